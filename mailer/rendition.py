"""An email as people may look at it: as it was or would be sent, and without what is secret.

Nothing is minted for it: no context loader is called, and no link to unsubscribe is signed.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def rendition(state: State, email: Any) -> Rendition:
    """Return ``email`` (a row of its columns) as it may be shown."""
    if email.erased_at is not None:
        return _hidden(f"Its content was erased on {email.erased_at:%Y-%m-%d}.")
    try:
        is_secret = _is_secret(state, email)
        if is_secret and email.template is None:
            return _hidden(
                "It is not shown: it is security mail (lane critical) without a template, so that "
                "nobody can tell which of its words are secret."
            )
        content, note = _content(state, email, is_secret)
        files: Sequence[Attachment] = ()
        if email.has_attachments and not is_secret:
            files = state.ledger.attachments(email.id)
        return Rendition(written(state, email, content, _link(state, email), files), files, note)
    except (RenderError, TemplateError, MessageError) as error:
        return _hidden(f"It cannot be shown: {error}.")


def _hidden(why: str) -> Rendition:
    return Rendition(None, (), why)


def _is_secret(state: State, email: Any) -> bool:
    """Say whether what it says may be a secret of its recipient."""
    if email.lane == "critical" or email.template in state.loaders:
        return True
    return email.template is not None and state.renderer.template(email.template).lane == "critical"


def _content(state: State, email: Any, is_secret: bool) -> tuple[Content, str]:
    if email.template is None:
        text = email.text if email.text is not None else plaintext.from_html(email.html)
        return Content(email.subject, text, email.html), ""
    note, context = "", email.context
    if is_secret or context is None:
        why = "are secret" if is_secret else "were erased once every copy was sent"
        note = f"Its values {why}: names in square brackets stand in their place."
        context = _placeholders(state, email)
    if link := _link(state, email):
        context = {**context, unsubscribe.VARIABLE: link}
    content = state.renderer.render(email.template, context, email.locale)
    return content if email.subject is None else content._replace(subject=email.subject), note


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
