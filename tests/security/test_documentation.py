"""The threat table names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def rows() -> list[str]:
    lines = (CHECKOUT / "docs" / "security.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [line for line in table if not line.startswith(("|---", "| threat |"))]


def test_every_threat_names_tests_and_every_test_that_it_names_exists() -> None:
    files = (CHECKOUT / "tests").rglob("test_*.py")
    existing = {
        name for path in files for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert len(rows()) > 30
    for row in rows():
        threat, _, tests = row.strip("| ").split(" | ")
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, threat
        assert not set(named) - existing, threat
