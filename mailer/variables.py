"""Find the variables that a Jinja template needs, without rendering it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import jinja2
from jinja2 import meta, nodes
from jinja2.visitor import NodeTransformer

from .errors import TemplateError


def required(environment: jinja2.Environment, name: str) -> frozenset[str]:
    """Return the top-level variables that rendering template ``name`` cannot do without.

    Follows extends, include and import where they name a constant. Globals are not listed, nor
    is a variable that the template can do without: used as ``x is defined``, under
    ``{% if x is defined %}``, or as ``x|default(...)``.

    Raises TemplateError when a file that it names is missing, and jinja2.TemplateSyntaxError.
    """
    return frozenset(_required(environment, name, frozenset(), ()))


def _required(
    environment: jinja2.Environment, name: str, overridden: frozenset[str], path: tuple[str, ...]
) -> set[str]:
    if environment.loader is None or name in path:
        return set()
    source, filename, _ = environment.loader.get_source(environment, name)
    tree = environment.parse(source, name, filename)
    _DropBlocks(overridden).visit(tree)
    try:
        found = meta.find_undeclared_variables(_DropOptional().visit(tree))
    except jinja2.TemplateAssertionError as error:
        # An unknown filter or test. Jinja knows the line, and calls the file "<introspection>".
        error.name, error.filename = name, filename
        raise

    found -= set(_exported(tree))

    # What this file assigns, the files it extends and includes can see.
    assigned = {each.name for each in tree.find_all(nodes.Name) if each.ctx != "load"}
    blocks = overridden | {block.name for block in tree.find_all(nodes.Block) if not _supers(block)}
    for node, other, optional in _references(tree):
        below = blocks if isinstance(node, nodes.Extends) else frozenset()
        try:
            found |= _required(environment, other, below, (*path, name)) - assigned
        except jinja2.TemplateNotFound:
            if not optional:
                raise TemplateError(
                    f"{filename}, line {node.lineno}: there is no {other!r}"
                ) from None
    return found


_Node = TypeVar("_Node", bound=nodes.Node)


def _exported(tree: nodes.Template) -> Iterator[str]:
    """Yield what the top level of a file defines: its blocks can see that too."""
    for node in tree.body:
        match node:
            case nodes.FromImport():
                yield from (name if isinstance(name, str) else name[1] for name in node.names)
            case nodes.Import():
                yield node.target
            case nodes.Macro():
                yield node.name
            case nodes.Assign() | nodes.AssignBlock():
                yield from (each.name for each in _targets(node.target))


def _targets(target: nodes.Node) -> list[nodes.Name]:
    return [target] if isinstance(target, nodes.Name) else [*target.find_all(nodes.Name)]


def _references(tree: nodes.Template) -> Iterator[tuple[nodes.Node, str, bool]]:
    """Yield the other templates named by constants, and whether they may be missing."""
    kinds = (nodes.Extends, nodes.FromImport, nodes.Import, nodes.Include)
    for node in tree.find_all(kinds):
        named: nodes.Expr = node.template  # type: ignore[attr-defined] # all kinds have one
        choices = isinstance(named, nodes.List | nodes.Tuple)
        for item in named.items if isinstance(named, nodes.List | nodes.Tuple) else [named]:
            if isinstance(item, nodes.Const) and isinstance(item.value, str):
                yield node, item.value, choices or getattr(node, "ignore_missing", False)


def _supers(block: nodes.Block) -> bool:
    """Return whether ``block`` shows the block that it overrides."""
    return any(
        isinstance(call.node, nodes.Name) and call.node.name == "super"
        for call in block.find_all(nodes.Call)
    )


class _DropBlocks(NodeTransformer):
    """Empties the blocks that a child template replaces."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def visit_Block(self, node: nodes.Block) -> nodes.Node:  # noqa: N802 (named by jinja2)
        if node.name in self._names:
            node.body = []
        return self.generic_visit(node)


class _DropOptional(NodeTransformer):
    """Replaces every use of a variable that cannot fail by a constant."""

    def __init__(self) -> None:
        self._guarded: frozenset[str] = frozenset()

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802 (named by jinja2)
        if node.ctx == "load" and node.name in self._guarded:
            return nodes.Const(None, lineno=node.lineno)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:  # noqa: N802 (named by jinja2)
        if node.name in ("defined", "undefined") and isinstance(node.node, nodes.Name):
            return nodes.Const(True, lineno=node.lineno)
        return self.generic_visit(node)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802 (named by jinja2)
        if node.name in ("default", "d") and isinstance(node.node, nodes.Name):
            node.node = nodes.Const(None, lineno=node.lineno)
        return self.generic_visit(node)

    def visit_And(self, node: nodes.And) -> nodes.Node:  # noqa: N802 (named by jinja2)
        guards = _tested(node.left)
        node.left = self.visit(node.left)
        node.right = self._visit_guarded(node.right, guards)
        return node

    def visit_If(self, node: nodes.If) -> nodes.Node:  # noqa: N802 (named by jinja2)
        guards = _tested(node.test)
        node.test = self.visit(node.test)
        node.body = [self._visit_guarded(child, guards) for child in node.body]
        node.elif_ = [self.visit(child) for child in node.elif_]
        node.else_ = [self.visit(child) for child in node.else_]
        return node

    def visit_CondExpr(self, node: nodes.CondExpr) -> nodes.Node:  # noqa: N802 (named by jinja2)
        guards = _tested(node.test)
        node.test = self.visit(node.test)
        node.expr1 = self._visit_guarded(node.expr1, guards)
        node.expr2 = self.visit(node.expr2) if node.expr2 else None
        return node

    def _visit_guarded(self, node: _Node, names: frozenset[str]) -> _Node:
        outside = self._guarded
        self._guarded |= names
        result: _Node = self.visit(node)
        self._guarded = outside
        return result


def _tested(test: nodes.Node) -> frozenset[str]:
    """Return the variables that are certainly defined where ``test`` is true."""
    if isinstance(test, nodes.And):
        return _tested(test.left) | _tested(test.right)
    if (
        isinstance(test, nodes.Test)
        and test.name == "defined"
        and isinstance(test.node, nodes.Name)
    ):
        return frozenset({test.node.name})
    return frozenset()
