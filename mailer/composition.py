"""Compose: turn a stored email into the content and the bytes that are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import addresses, message, plaintext, unsubscribe
from .content import Address, Attachment, Content, Context
from .errors import LoaderError, MissingVariable, RenderError, SettingError
from .inbound.told import POSTMARK_HEADER
from .state import Loader, State

_POSTMARK = POSTMARK_HEADER.lower()
_LOADER_FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError)
"""What a context loader does wrong with what it was given, now and at every attempt. Others may
pass: a ValueError, too, since that is what becomes of another service's wrong answer."""


class Composed(NamedTuple):
    """An email ready to be sent."""

    content: Content
    message: bytes
    sender: str
    """Envelope sender (MAIL FROM)."""
    smtputf8: bool
    """An address in its head needs SMTPUTF8 (RFC 6531)."""

    def __repr__(self) -> str:
        return f"<Composed of {len(self.message)} bytes>"  # a link in it may be a secret


def compose(
    state: State, email: Any, recipient: str, attachments: Sequence[Attachment] | None = None
) -> Composed | None:
    """Render and write ``email`` (an `Email`, or a row of its columns).

    The copies of its recipients are different with a category, for each has a link of its own, and
    with a context loader, which is told for whom it loads.
    Its attachments are those of the ledger unless given. Returns None when its context loader no
    longer wants it. Raises RenderError or MessageError; TemplateError when its template is not
    here, SettingError when no link can be made; what else a context loader raises comes through.
    """
    link = None if email.category is None else unsubscribe_link(state, email.category, recipient)
    content = _content(state, email, recipient, link)
    if content is None:
        return None
    if attachments is None:
        # One email at a time: a batch of large ones would not fit into memory.
        attachments = state.ledger.attachments(email.id) if email.has_attachments else ()
    return written(state, email, content, link, attachments)


def written(
    state: State,
    email: Any,
    content: Content,
    link: str | None,
    attachments: Sequence[Attachment],
) -> Composed:
    """Write ``email`` with its rendered content; ``link`` is where to unsubscribe. Raises
    MessageError."""
    named = {field: [Address(*pair) for pair in pairs] for field, pairs in email.addresses.items()}
    (sender,) = named["from"]
    data = message.write(
        sender=sender,
        to=named["to"],
        cc=named["cc"],
        reply_to=named["reply_to"],
        content=content,
        date=email.created_at,
        message_id=message_id(email.id, sender),
        headers=_headers(state, email, link),
        attachments=attachments,
    )
    return Composed(content, data, sender.email, smtputf8=not data.isascii())


def message_id(email_id: str, sender: Address) -> str:
    """Return the Message-ID without ``<>``: the email's, so equal on every attempt."""
    return f"{email_id}@{sender.email.rpartition('@')[2]}"


def default_sender(state: State) -> Address | None:
    """Return MAIL_DEFAULT_SENDER, None when it is not set. Raises SettingError."""
    value = state.config["MAIL_DEFAULT_SENDER"]
    if not value:
        return None
    try:
        return addresses.parse(value, allow_test_domains=True)
    except ValueError as error:
        raise SettingError(f"MAIL_DEFAULT_SENDER: {error}") from error


def unsubscribe_link(state: State, category: str, recipient: str) -> str:
    """Return the link at which ``recipient`` unsubscribes. Raises SettingError."""
    if obstacle := unsubscribe.obstacle(state.app):
        raise SettingError(obstacle)
    choice = unsubscribe.Choice(recipient.lower(), category)
    token = unsubscribe.mint(state.config, choice)
    return state.url_for(unsubscribe.ENDPOINT, token=token)


def _headers(state: State, email: Any, link: str | None) -> Mapping[str, str]:
    """Return its headers; for Postmark with the email's id, which comes back with its reports: they
    have the Message-ID of a message nowhere."""
    headers: Mapping[str, str] = email.headers
    if link is not None:
        headers = {**headers, **unsubscribe.headers(link)}
    if state.config["MAILER_POSTMARK_TOKEN"] is not None:
        others = {name: value for name, value in headers.items() if name.lower() != _POSTMARK}
        headers = {**others, POSTMARK_HEADER: email.id}
    return headers


def _content(state: State, email: Any, recipient: str, link: str | None) -> Content | None:
    if email.erased_at is not None:  # never an empty email instead
        raise RenderError(f"its content was erased on {email.erased_at:%Y-%m-%d}")
    if email.template is None:
        text = email.text if email.text is not None else plaintext.from_html(email.html)
        return Content(email.subject, text, email.html)
    state.renderer.template(email.template)
    context = email.context or {}
    if loader := state.loaders.get(email.template):
        named = [address for name in ("to", "cc") for _, address in email.addresses[name]]
        loaded = _load(email.template, loader, Context(context, [recipient, *named]))
        if loaded is None:
            return None
        if not isinstance(loaded, dict):
            raise RenderError(
                f"the context loader of {email.template!r}: expected a dict or None, "
                f"got {type(loaded).__name__}"
            )
        context = loaded
    if link is not None:
        context = {**context, unsubscribe.VARIABLE: link}
    content = state.renderer.render(email.template, context, email.locale)
    return content if email.subject is None else content._replace(subject=email.subject)


def _load(template: str, loader: Loader, context: Context) -> dict[str, Any] | None:
    try:
        return loader(context)
    except MissingVariable as error:
        words = f"needs {str(error)[:80]}, which was not dispatched"
        raise LoaderError(f"the context loader of {template!r} {words}") from error
    except _LOADER_FAULTS as error:
        words = f"raised {type(error).__name__}"
        raise LoaderError(f"the context loader of {template!r} {words}") from error
