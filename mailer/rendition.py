"""An email as people may look at it: as it was or would be sent, and without what is secret.

Nothing is minted for it: no context loader is called, and no link to unsubscribe is signed. Of
security mail the values, its own subject and the values of its own headers are secret, and without
a template all that it says. Tags, names of files and idempotency keys are not: they are there to be
found by.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from . import plaintext, unsubscribe
from .composition import Composed, written
from .content import Attachment, Content
from .errors import MessageError, RenderError, TemplateError
from .state import State

_HIDDEN = "hidden"
"""What a link to unsubscribe has where its token would be."""


class Rendition(NamedTuple):
    """What there is to be shown of an email."""

    composed: Composed | None
    """None: it is not shown."""
    attachments: Sequence[Attachment]
    note: str
    """Why it is not shown, or what stands in it instead of its values; empty: it is as it was
    sent, or would be."""


def is_secret(state: State, template: str | None, lane: str) -> bool:
    """Say whether what an email says may be a secret of its recipient."""
    if lane == "critical" or template in state.loaders:
        return True
    if template is None:
        return False
    try:
        return state.renderer.template(template).lane == "critical"
    except TemplateError:  # nobody can tell any more
        return True


def open_templates(state: State) -> list[str]:
    """Return the templates whose emails have no secrets, unless their lane says so."""
    return [name for name in state.renderer.names() if not is_secret(state, name, "default")]


def subject(state: State, email: Any) -> str | None:
    """Return the subject that ``email`` (a row) was dispatched with, as it may be shown; None: its
    template makes it."""
    hides = email.subject is not None and is_secret(state, email.template, email.lane)
    found: str | None = "[hidden subject]" if hides else email.subject
    return found


def rendition(state: State, email: Any) -> Rendition:
    """Return ``email`` (a row of its columns) as it may be shown."""
    if email.erased_at is not None:
        return _hidden(f"Its content was erased on {email.erased_at:%Y-%m-%d}.")
    try:
        hides = is_secret(state, email.template, email.lane)
        if hides and email.template is None:
            return _hidden(
                "It is not shown: it is security mail (lane critical) without a template, so that "
                "nobody can tell which of its words are secret."
            )
        content, note = _content(state, email, hides)
        files: Sequence[Attachment] = ()
        if email.has_attachments and not hides:
            files = state.ledger.attachments(email.id)
        if hides:
            headers = {name: f"[{name}]" for name in email.headers}
            email = SimpleNamespace(**{**email._mapping, "headers": headers})
        return Rendition(written(state, email, content, _link(state, email), files), files, note)
    except (RenderError, TemplateError, MessageError) as error:
        return _hidden(f"It cannot be shown: {error}.")


def _hidden(why: str) -> Rendition:
    return Rendition(None, (), why)


def _content(state: State, email: Any, hides: bool) -> tuple[Content, str]:
    if email.template is None:
        text = email.text if email.text is not None else plaintext.from_html(email.html)
        return Content(email.subject, text, email.html), ""
    note, context = "", email.context
    if hides or context is None:
        why = "are secret" if hides else "were erased once every copy was sent"
        note = f"Its values {why}: names in square brackets stand in their place."
        context = _placeholders(state, email)
    if link := _link(state, email):
        context = {**context, unsubscribe.VARIABLE: link}
    content = state.renderer.render(email.template, context, email.locale)
    own = subject(state, email)
    return content if own is None else content._replace(subject=own), note


def _placeholders(state: State, email: Any) -> dict[str, Any]:
    """Return a context of the form of the template's sample, with names in place of texts."""
    sample = state.renderer.template(email.template).sample
    needed = dict.fromkeys(state.renderer.required(email.template, email.locale), "")
    return {name: _named(value, name) for name, value in {**needed, **sample}.items()}


def _named(value: Any, name: str) -> Any:
    match value:
        case str():
            return f"[{name}]"
        case dict():
            return {key: _named(one, f"{name}.{key}") for key, one in value.items()}
        case list():
            return [_named(one, name) for one in value]
    return value  # numbers of a sample: no text could stand where they are reckoned with


def _link(state: State, email: Any) -> str | None:
    if email.category is None or unsubscribe.obstacle(state.app):
        return None
    return state.url_for(unsubscribe.ENDPOINT, token=_HIDDEN)
