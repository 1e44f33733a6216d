"""Render an email template and a context to content.

Contexts are plain data, so that a template shows values and calls nothing of ours. HTML is
autoescaped whatever a file is called; subject and text are not, for they are not HTML.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import jinja2

from . import plaintext, template, unsubscribe, variables
from .content import Content
from .environment import Environment
from .errors import RenderError, TemplateError
from .template import EmailTemplate, Part

log = logging.getLogger(__name__)

_SCALARS = (str, int, float, bool, type(None))

# White space of every kind, and the controls, which end a line somewhere or are invisible.
_NOT_ONE_LINE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")

# What a template can raise by what it does with its context. An exception that merely strikes
# while a template runs, such as a task's time limit, must pass.
_TEMPLATE_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class Renderer:
    """The email templates of a search path. One serves all threads of a process."""

    def __init__(
        self,
        search_path: Sequence[Path],
        *,
        url_for: Callable[..., str],
        product_name: str,
        base_url: str,
        auto_reload: bool = False,
    ) -> None:
        """Read every template's settings; a wrong one is logged and costs only that template.

        In ``search_path`` the first directory that has an email template or a shared file wins.
        ``url_for`` gives absolute URLs. With ``auto_reload`` changes on disk show at once;
        without it, files are read once.
        """
        self._search_path = [Path(directory) for directory in search_path]
        self._auto_reload = auto_reload
        self._folders = template.find(self._search_path)
        self._templates: dict[str, EmailTemplate] = {}
        for name, path in self._folders.items():
            try:
                self._templates[name] = template.load(path)
            except TemplateError as error:
                log.warning("template=%s unusable: %s", name, error)
        self._required: dict[str, frozenset[str]] = {}
        offered: dict[str, object] = {
            "url_for": url_for,
            "product_name": product_name,
            "base_url": base_url,
        }
        self._html, self._text = (
            Environment(offered, self._find_file, html=html, auto_reload=auto_reload)
            for html in (True, False)
        )

    def names(self) -> list[str]:
        """Return the names of all email templates, sorted; also of those that are unusable."""
        return list(self._current_folders())

    def template(self, name: str) -> EmailTemplate:
        """Return the email template called ``name``.

        Raises TemplateError when there is none or its settings are wrong; those are read again
        each time, so that mending them needs no restart.
        """
        folders = self._current_folders()
        if name not in folders:
            raise template.unknown(name, folders, self._search_path)
        if self._auto_reload or name not in self._templates:
            return template.load(folders[name])
        return self._templates[name]

    def overrides_suppressions(self, name: str | None, lane: str) -> bool:
        """Say whether an email made with a template goes to suppressed addresses too; raises
        TemplateError."""
        return name is not None and lane == "critical" and self.template(name).override_suppressions

    def overriding(self) -> list[str]:
        """Return the names of the templates that may go to suppressed addresses too."""
        found = []
        for name in self.names():
            with suppress(TemplateError):
                if self.template(name).override_suppressions:
                    found.append(name)
        return found

    def required(self, name: str, locale: str | None = None) -> frozenset[str]:
        """Return the variables that a context must have; raises TemplateError."""
        found: set[str] = set()
        for kind, environment, path, _ in self._parts(name, locale):
            if self._auto_reload or path not in self._required:
                try:
                    needs = variables.required(environment, path)
                except jinja2.TemplateError as error:
                    raise TemplateError(_describe(error, path)) from error
                offered = {"lang", "locale", *({"subject"} if kind != "subject.txt" else ())}
                self._required[path] = needs - offered
            found |= self._required[path]
        if self.template(name).category:
            found.discard(unsubscribe.VARIABLE)
        return frozenset(found)

    def render(
        self, name: str, context: Mapping[str, object], locale: str | None = None
    ) -> Content:
        """Return subject, text and HTML of email template ``name`` for ``context``.

        A template also sees ``url_for``, ``base_url``, ``product_name``; ``locale``, the one asked
        for, and ``lang``, the one its file is written in; and, in a body, ``subject``. Without a
        ``body.txt`` the text is derived from the HTML. An email with a category has its link in
        the context, as ``unsubscribe_url``.

        Raises RenderError for whatever goes wrong; values of the context are not in its message.
        """
        try:
            _check_plain(context)
            parts = [*self._parts(name, locale)]
        except TemplateError as error:
            raise RenderError(str(error)) from error
        values = {**context, "locale": locale or template.DEFAULT_LOCALE}
        rendered: dict[str, str] = {}
        for kind, environment, path, part in parts:
            values["lang"] = part.locale
            rendered[kind] = self._render(environment, path, values)
            if kind == "subject.txt":
                rendered[kind] = _NOT_ONE_LINE.sub(" ", rendered[kind]).strip()
                values["subject"] = rendered[kind]
        html = rendered.get("body.html")
        text = rendered.get("body.txt")
        if text is None:
            text = plaintext.from_html(html or "")
        return Content(rendered["subject.txt"], text, html)

    def _current_folders(self) -> dict[str, Path]:
        return template.find(self._search_path) if self._auto_reload else self._folders

    def _find_file(self, name: str) -> Path | None:
        """Return the file that templates call ``name``, which is a template author's, not input."""
        folder, _, file = name.partition("/")
        owner = [known] if file and (known := self._current_folders().get(folder)) else []
        candidates = [known / file for known in owner] + [each / name for each in self._search_path]
        return next((path for path in candidates if path.is_file()), None)

    def _parts(
        self, name: str, locale: str | None
    ) -> Iterator[tuple[str, jinja2.Environment, str, Part]]:
        """Yield kind, environment, path and part of the files for ``locale``, the subject first."""
        found = self.template(name)
        subject = found.part("subject.txt", locale)
        text = found.part("body.txt", locale)
        html = found.part("body.html", locale)
        if subject is None or (text is None and html is None):
            missing = "subject.txt" if subject is None else "body.txt or body.html"
            raise TemplateError(f"{found.path}: no {missing} for locale {locale!r}")
        yield "subject.txt", self._text, f"{name}/{subject.file}", subject
        if text is not None:
            yield "body.txt", self._text, f"{name}/{text.file}", text
        if html is not None:
            yield "body.html", self._html, f"{name}/{html.file}", html

    def _render(self, environment: jinja2.Environment, path: str, values: dict[str, object]) -> str:
        try:
            return environment.get_template(path).render(values)
        except TemplateError as error:
            raise RenderError(str(error)) from error
        except _TEMPLATE_FAULTS as error:
            raise RenderError(_describe(error, path, values)) from error


def _check_plain(context: Mapping[str, object]) -> None:
    try:
        for name, value in context.items():
            if type(value) not in _SCALARS:
                _check_value(value, name)
    except RecursionError:
        raise RenderError("context: nested too deeply") from None


def _check_value(value: object, path: str) -> None:
    # Exact types: a Markup is a str too, and would get past the escaping.
    # A tuple will do: in a context that is dispatched, JSON makes it a list.
    if type(value) is list or type(value) is tuple:
        for index, item in enumerate(value):
            if type(item) not in _SCALARS:
                _check_value(item, f"{path}[{index}]")
    elif type(value) is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise RenderError(f"context: {path}: expected text as key, got {_named(key)}")
            if type(item) not in _SCALARS:
                _check_value(item, f"{path}.{key}")
    else:
        raise RenderError(
            f"context: {path}: expected text, number, true or false, None, list or dict, "
            f"got {_named(value)}"
        )


def _named(value: object) -> str:
    return type(value).__name__


def _describe(error: Exception, path: str, values: Mapping[str, object] | None = None) -> str:
    """Return in one line where and why a template failed, without any of ``values``."""
    where, line = _place(error, path)
    match error:
        case jinja2.TemplateNotFound():
            reason = f"there is no {error.name!r}"
        case jinja2.TemplateSyntaxError():
            reason = error.message or "syntax error"
        case jinja2.TemplateError():
            reason = str(error)
        case _:
            reason = f"{type(error).__name__}: {error}"
    reason = " ".join(reason.split())
    if not isinstance(error, jinja2.TemplateSyntaxError):
        reason = _redacted(reason, values or {})
    return f"{where}, line {line}: {reason}" if line else f"{where}: {reason}"


def _place(error: Exception, path: str) -> tuple[str, int]:
    """Return the file and the line (0 for unknown) where ``error`` comes from."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        return error.filename or path, error.lineno
    place = (path, 0)
    step = error.__traceback__
    while step is not None:
        # Jinja puts a frame of this kind for each template that was running.
        if "__jinja_exception__" in step.tb_frame.f_globals:
            place = (step.tb_frame.f_code.co_filename, step.tb_lineno)
        step = step.tb_next
    return place


def _redacted(reason: str, values: Mapping[str, object]) -> str:
    """Return ``reason`` with the values of the context blotted out: some are secrets."""
    if re.fullmatch(r"'\w+' is undefined", reason):
        return reason  # The name is the template's.
    shown = {form for text in _texts([*values.values()]) for form in (text, repr(text)[1:-1])}
    longest_first = sorted((" ".join(form.split()) for form in shown), key=len, reverse=True)
    forms = "|".join(re.escape(form) for form in longest_first if form)
    return re.sub(rf"(?<!\w)(?:{forms})(?!\w)", "[...]", reason) if forms else reason


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
    elif value is not None and not isinstance(value, bool):
        yield str(value)
