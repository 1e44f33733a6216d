"""Jinja2 as emails need it: where templates are found, how they are read and compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.compiler
import markupsafe

from . import inlining
from .errors import TemplateError

# Text to text, in C. Where markupsafe has it no more, its escape() gives a Markup of the same text.
_escape_text: Callable[[str], str] = getattr(markupsafe, "_escape_inner", markupsafe.escape)

_STYLESHEET = "_style.css"

_DICT_ATTRIBUTES = frozenset(dir(dict))

FindFile = Callable[[str], Path | None]
"""Returns the file that templates call by a name; None when there is none."""


def _escaped(value: Any) -> str:
    return _escape_text(value) if type(value) is str else markupsafe.escape(value)


class _CodeGenerator(jinja2.compiler.CodeGenerator):
    """Writes the Python of a template.

    What a template outputs is only joined. Jinja escapes it to a Markup, a class in Python that
    costs 0.3 us a value, two fifths of the HTML of an order's confirmation; text will do.
    """

    def _output_child_pre(self, node: Any, frame: Any, finalize: Any) -> None:
        if frame.eval_ctx.autoescape and not frame.eval_ctx.volatile:
            self.write("environment.escaped(")
        else:
            super()._output_child_pre(node, frame, finalize)


class Environment(jinja2.Environment):
    """How the files of one kind, HTML or text, become templates."""

    code_generator_class = _CodeGenerator
    escaped = staticmethod(_escaped)

    def __init__(
        self,
        offered: Mapping[str, object],
        find_file: FindFile,
        *,
        html: bool,
        auto_reload: bool = False,
    ) -> None:
        """Templates see what is ``offered``; if ``html``, what they output is escaped."""
        super().__init__(
            autoescape=html,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            loader=_Loader(find_file, inlines_css=html),
            auto_reload=auto_reload,
            cache_size=-1,
        )
        self.globals.update(offered)

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """Return what every template sees, as a dict of its own.

        It is copied for each rendering. Jinja's is a ChainMap, which follows later changes that
        nobody makes here, and costs 6 us each time, where a dict costs less than one.
        """
        return {**self.globals, **(d or {})}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return what ``obj.attribute`` means in a template.

        Jinja asks for the attribute first, and for the key once that has raised AttributeError. Of
        a dict it is known beforehand which attributes there are: 0.5 us less each time, and the
        confirmation of an order of five rows has fifty.
        """
        if type(obj) is dict and attribute in obj and attribute not in _DICT_ATTRIBUTES:
            return obj[attribute]
        return super().getattr(obj, attribute)


class _Loader(jinja2.BaseLoader):
    """Reads template files; HTML gets the shared stylesheet inlined as it is read."""

    def __init__(self, find_file: FindFile, *, inlines_css: bool) -> None:
        self._find_file = find_file
        self._inlines_css = inlines_css

    def get_source(
        self, environment: jinja2.Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        # Raises TemplateNotFound for "..", and makes "/etc/passwd" relative.
        template = "/".join(jinja2.loaders.split_template_path(template))
        before = self._state(template)
        path = self._find_file(template)
        if path is None:
            raise jinja2.TemplateNotFound(template)
        source = _read(path)
        css_path = self._find_file(_STYLESHEET) if self._inlines_css else None
        if css_path is not None:
            css = _read(css_path)
            inlining.check_stylesheet(css, file=str(css_path))
            try:
                source = inlining.inline(source, css, file=str(path))
            except jinja2.TemplateSyntaxError:
                pass  # Jinja finds the same mistake when it compiles, and knows the file.
        return source, str(path), lambda: self._state(template) == before

    def _state(self, name: str) -> list[tuple[Path, int] | None]:
        """Return what changes when another file is to be used, or the file has been changed."""
        names = [name, _STYLESHEET] if self._inlines_css else [name]
        paths = [self._find_file(each) for each in names]
        return [(path, path.stat().st_mtime_ns) if path else None for path in paths]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"{path}: cannot be read: {error}") from error
