"""Templates: what there is, what each looks like, a test to see it in a mailbox."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import Response, make_response, request, url_for

from ... import dispatcher
from ...content import Content
from ...drafting import Request
from ...errors import MailerError, NotFound, RenderError, SettingError, TemplateError
from ...ledger import acts
from ...preview import RECIPIENT, preview
from ...state import current
from ...template import EmailTemplate
from ...web.security import MAX_BODY_BYTES
from .. import access
from ..blueprint import FRAME, Answer, console, view
from ..given import refuse_suppressed
from ..limits import TESTS, in_words
from ..pages import page

GMAIL_CLIPS_BYTES = 102 * 1024
_LONGEST_ADDRESS = 3_500
"""Of a preview with its values, below what gunicorn takes as a request's first line."""

_TAKE_VALUES = frozenset({"ops.check_template", "ops.show_template_html", "ops.send_template"})
_WRITTEN_TIMES = 4
"""A form writes a byte as so many: ``%5Cu00e4`` for one that is two."""


class Listed(NamedTuple):
    """A template as the list has it."""

    name: str
    template: EmailTemplate | None
    needs: list[str]
    problem: str
    """Why it cannot be used."""


class Typed(NamedTuple):
    """What the form of a template says."""

    text: str
    values: dict[str, Any]
    locale: str
    scheme: str
    """``light`` or ``dark``."""
    problem: str
    """Why the text is no context."""


@console.url_value_preprocessor
def _allow_values(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Take as large a context as an email may have, from members: before the form is read for its
    token."""
    if endpoint in _TAKE_VALUES and access.member_may("viewer"):
        size = current().config["MAILER_MAX_CONTEXT_BYTES"] * _WRITTEN_TIMES + MAX_BODY_BYTES
        request.max_content_length = request.max_form_memory_size = size


@view("GET", "/templates", role="viewer")
def templates() -> Answer:
    """List them."""
    return page("templates", rows=[_listed(name) for name in current().renderer.names()])


@view("GET", "/templates/<name>", role="viewer")
def template(name: str) -> Answer:
    """Show one with its sample."""
    return _shown(_known(name), _typed(_known(name)))


@view("POST", "/templates/<name>", role="viewer")
def check_template(name: str) -> Answer:
    """Show one with other values; to a request for the live part, that part."""
    found = _known(name)
    return _shown(found, _typed(found))


@view("GET", "/templates/<name>/html", role="viewer")
def template_html(name: str) -> Answer:
    """Show its HTML."""
    return _framed(_known(name))


@view("POST", "/templates/<name>/html", role="viewer")
def show_template_html(name: str) -> Answer:
    """Show its HTML with values that are too long for an address."""
    return _framed(_known(name))


@view("POST", "/templates/<name>/send", role="operator")
def send_template(name: str) -> Answer:
    """Send it to an address, with these values."""
    found = _known(name)
    typed, address = _typed(found), request.form.get("address", "").strip()
    if wait := TESTS.take(access.actor()):
        words = f"That was tried too often. {in_words(wait)}"
        return _shown(found, typed, status=429, wrong=words, address=address)
    is_new = False
    try:
        email_id, is_new = _sent(found, typed, address)
    except (MailerError, ValueError) as problem:
        return _shown(found, typed, status=422, wrong=str(problem), address=address)
    finally:
        if not is_new:
            TESTS.give_back(access.actor())
    return _shown(found, typed, address=address, email_id=email_id)


def _sent(found: EmailTemplate, typed: Typed, address: str) -> tuple[str, bool]:
    """Accept a test; return its email's id, and False if the form had sent it before. Raises
    MailerError, or ValueError when it would not be sent there."""
    content = _rendered(found, typed, address or RECIPIENT)
    wanted = Request(
        to=address,
        subject=f"[Test] {content.subject}",
        text=content.text,
        html=content.html,
        category=found.category,
        tags={"kind": "template-test"},
        idempotency_key=f"console:{request.form.get('once', '')[:60]}",
    )
    drafted = dispatcher.drafted(wanted)
    refuse_suppressed(*drafted.recipients, category=found.category)
    with current().database.session() as session:
        (recorded,) = dispatcher.accept([drafted], session, by=access.actor())
        if recorded.new:
            about = f"{found.name} {recorded.values['id']}"
            acts.note(session.connection(), access.actor(), "send test", about)
    return recorded.values["id"], recorded.new


def _listed(name: str) -> Listed:
    renderer = current().renderer
    try:
        return Listed(name, renderer.template(name), sorted(renderer.required(name)), "")
    except TemplateError as problem:
        return Listed(name, None, [], str(problem))


def _known(name: str) -> EmailTemplate:
    renderer = current().renderer
    if name not in renderer.names():
        raise NotFound(f"no email template is called {name!r}")
    try:
        return renderer.template(name)
    except TemplateError as problem:
        raise NotFound(f"template {name!r} cannot be used: {problem}") from problem


def _typed(found: EmailTemplate) -> Typed:
    locale = request.values.get("locale", "")
    scheme = "dark" if request.values.get("scheme") == "dark" else "light"
    if (text := request.values.get("context")) is None:
        try:
            sample = found.sample
        except TemplateError as problem:
            return Typed("{}", {}, locale, scheme, str(problem))
        return Typed(json.dumps(sample, indent=2, ensure_ascii=False), sample, locale, scheme, "")
    try:
        return Typed(text, _values(text), locale, scheme, "")
    except RecursionError:
        return Typed(text, {}, locale, scheme, "values: nested too deeply")
    except ValueError as problem:
        return Typed(text, {}, locale, scheme, f"values: {problem}")


def _values(text: str) -> dict[str, Any]:
    """Return the context that a text is in JSON. Raises ValueError or RecursionError."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {type(values).__name__}")
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        character = f"\\u{ord(error.object[error.start]):04x}"
        raise ValueError(f"expected whole characters, got half of one, {character}") from error
    return values


def _rendered(found: EmailTemplate, typed: Typed, recipient: str = RECIPIENT) -> Content:
    """Return the content. Raises RenderError or SettingError."""
    if typed.problem:
        raise RenderError(typed.problem)
    return preview(
        current(), found.name, typed.values, typed.locale or None, recipient=recipient
    ).content


def _shown(found: EmailTemplate, typed: Typed, **more: Any) -> Response:
    content, problem, missing = None, "", []
    try:
        needs = current().renderer.required(found.name, typed.locale or None)
        missing = sorted(needs - typed.values.keys()) if not typed.problem else []
        content = _rendered(found, typed)
    except (RenderError, SettingError, TemplateError) as error:
        problem = str(error)
    query = urlencode({"locale": typed.locale, "scheme": typed.scheme, "context": typed.text})
    address = f"{url_for('ops.template_html', name=found.name)}?{query}"
    html = content.html if content else None
    return page(
        "template",
        template=found,
        typed=typed,
        content=content,
        problem=problem,
        missing=missing,
        html_bytes=len(html.encode(errors="replace")) if html else 0,
        clipped_at=GMAIL_CLIPS_BYTES,
        html_address=address if len(address) <= _LONGEST_ADDRESS else None,
        has_loader=found.name in current().loaders,
        once=str(uuid.uuid4()),
        **more,
    )


def _framed(found: EmailTemplate) -> Response:
    typed = _typed(found)
    try:
        content = _rendered(found, typed)
    except (RenderError, SettingError) as problem:
        response = make_response(str(problem), 422)
        response.mimetype = "text/plain"
    else:
        html = content.html or "This template has no HTML."
        response = make_response(_in_scheme(html, typed.scheme))
    response.headers["Content-Security-Policy"] = FRAME
    return response


def _in_scheme(html: str, scheme: str) -> str:
    """Return HTML that looks as in this colour scheme, whatever the browser's is."""
    asked = re.sub(
        r"prefers-color-scheme:\s*(light|dark)",
        lambda found: "min-width: 0" if found[1] == scheme else "max-width: 0",
        html,
    )
    return re.sub(r"(color-scheme(?:: |\" content=\"))light dark", rf"\1{scheme}", asked)
