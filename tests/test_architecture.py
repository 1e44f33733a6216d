"""The order of modules in docs/architecture.md is the order of imports in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .worker import CHECKOUT

PACKAGE = CHECKOUT / "mailer"


def levels() -> dict[str, int]:
    """Return module -> line of the table, from the first code block under "Modules"."""
    text = (CHECKOUT / "docs" / "architecture.md").read_text()
    found = re.search(r"## Modules.*?```\n(.*?)```", text, re.DOTALL)
    assert found
    return {
        name: int(number)
        for number, names in re.findall(r"^ *(\d+)  (.+)$", found[1], re.MULTILINE)
        for name in names.split()
    }


def modules() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py" and "versions" not in path.parts
    ]


def unit(path: Path) -> str:
    """Return the name that the table has for a file: a module, or the package it is in."""
    top = path.relative_to(PACKAGE).parts[0]
    return top.removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Yield the units of this package that a file imports while it runs."""
    tree = ast.parse(path.read_text())
    package = path.relative_to(PACKAGE).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level == 0:
                if (node.module or "").split(".")[0] != "mailer":
                    continue
                parts = tuple((node.module or "").split(".")[1:])
            else:
                base = package[: len(package) - (node.level - 1)] if node.level > 1 else package
                parts = (*base, *(node.module.split(".") if node.module else ()))
            if parts:
                yield parts[0]
            else:
                yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                names = alias.name.split(".")
                if names[0] == "mailer" and len(names) > 1:
                    yield names[1]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_lines_above_it(path: Path) -> None:
    order = levels()
    own = unit(path)
    assert own in order, f"{own} is not in the table of docs/architecture.md"
    for other in imported(path):
        if other != own:
            assert other in order, f"{own} imports {other}, which is not in the table"
            assert order[other] < order[own], f"{own} imports {other}, which is not above it"


def test_the_table_names_no_module_that_is_not_there() -> None:
    there = {unit(path) for path in modules()}
    assert set(levels()) == there
