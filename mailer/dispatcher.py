"""The only door in: ``dispatch`` and ``dispatch_many`` accept, ``retry`` and ``cancel`` steer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flask_mail import Message
from sqlalchemy.orm import Session, scoped_session

from . import commits, interchange, signals, spans, trace
from .content import Attachment
from .db import unavailable_as_ours
from .drafting import FARTHEST, REQUEST_FIELDS, Mailbox, Request, draft
from .errors import InvalidEmail, NotFound, Problem
from .ledger import Draft, Filters, Recorded, events
from .ledger.operations import Changed
from .models import Email
from .state import State, current

AnySession = Session | scoped_session[Any]


def dispatch(
    template: str | Message | None = None,
    *,
    to: Mailbox | Sequence[Mailbox] = (),
    context: Mapping[str, Any] | None = None,
    cc: Mailbox | Sequence[Mailbox] = (),
    bcc: Mailbox | Sequence[Mailbox] = (),
    subject: str | None = None,
    html: str | None = None,
    text: str | None = None,
    sender: Mailbox | None = None,
    reply_to: Mailbox | Sequence[Mailbox] | None = None,
    headers: Mapping[str, str] | None = None,
    attachments: Iterable[Attachment] = (),
    tags: Mapping[str, str] | None = None,
    locale: str | None = None,
    lane: str | None = None,
    send_at: datetime | None = None,
    expires_at: datetime | None = None,
    idempotency_key: str | None = None,
    on_unknown: str | None = None,
    category: str | None = None,
    session: AnySession | None = None,
) -> Email:
    """Accept an email: check it, store it, wake a worker. Returns as soon as it is stored.

    ``template`` names a folder of email templates that ``context`` (JSON values) fills in. None
    sends ``subject`` with ``text`` and/or ``html`` as they are; a `flask_mail.Message` likewise.
    An address is ``"a@b.example"``, ``"Name <a@b.example>"`` or ``("Name", "a@b.example")``.
    Not before ``send_at``, not after ``expires_at`` (aware datetimes).

    ``idempotency_key``: dispatching again with the same key and content returns the email that
    was stored before; other content raises IdempotencyConflict. ``on_unknown``: ``"resend"``
    (at least once) or ``"hold"`` (at most once, a person decides). ``category``: what recipients
    may unsubscribe from, such as ``"newsletter"``; by default the template's.

    ``session``: store in the caller's own transaction instead; its commit wakes the worker, its
    rollback leaves nothing. It must be on the ledger's database.

    Raises InvalidEmail with every problem at once, or LedgerUnavailable; then nothing is stored
    (unless its ``maybe_stored`` says that nobody knows: try again with an idempotency key).
    A broker that is away is no error: the email is sent when it is back.
    """
    request = Request(
        template=None if isinstance(template, Message) else template,
        to=to,
        context=context,
        cc=cc,
        bcc=bcc,
        subject=subject,
        html=html,
        text=text,
        sender=sender,
        reply_to=reply_to,
        headers=headers,
        attachments=attachments,
        tags=tags,
        locale=locale,
        lane=lane,
        send_at=send_at,
        expires_at=expires_at,
        idempotency_key=idempotency_key,
        on_unknown=on_unknown,
        category=category,
    )
    if isinstance(template, Message):
        request.take(interchange.arguments(template))
    state = current()
    return _accept(state, [draft(state, request)], session)[0].email


def dispatch_many(
    emails: Iterable[Mapping[str, Any]], *, session: AnySession | None = None
) -> list[Email]:
    """Accept many emails in one transaction: all of them, or none.

    Each is a mapping of ``dispatch``'s arguments, but for ``session``. Raises InvalidEmail with
    every problem of every email; fields are named ``emails[3].to``.
    """
    state = current()
    drafts: list[Draft] = []
    problems: list[Problem] = []
    for position, arguments in enumerate(emails):
        if unknown := set(arguments) - REQUEST_FIELDS:
            names = ", ".join(sorted(unknown))
            problems.append(Problem(f"emails[{position}]", f"there is no argument {names}"))
            continue
        try:
            drafts.append(draft(state, Request(**arguments)))
        except InvalidEmail as error:
            problems += [
                Problem(f"emails[{position}].{field}", message) for field, message in error.problems
            ]
    if problems:
        raise InvalidEmail(problems)
    return [one.email for one in _accept(state, drafts, session)] if drafts else []


def drafted(request: Request) -> Draft:
    """Check an email and return it for `accept`. Raises InvalidEmail, with every problem at
    once."""
    return draft(current(), request)


def accept(drafts: list[Draft], session: AnySession | None = None, *, by: str) -> list[Recorded]:
    """Accept what was drafted, in one transaction (of ``session``, if there is one), and wake a
    worker. ``by`` says who asked for it. Raises LedgerUnavailable or IdempotencyConflict."""
    return _accept(current(), drafts, session, by) if drafts else []


def check_known(email_id: str) -> None:
    """Raise NotFound if there is no such email."""
    if current().ledger.lane(email_id) is None:
        raise NotFound(f"there is no email {email_id!r}")


def reschedule(email_id: str, send_at: datetime, *, actor: str) -> list[Changed]:
    """Send an email at another time: those of its deliveries that still wait for theirs. Raises
    NotFound; InvalidEmail when that is too far away."""
    check_known(email_id)
    if send_at - datetime.now(UTC) > FARTHEST:
        expected = f"expected an instant within {FARTHEST.days} days"
        raise InvalidEmail([Problem("send_at", expected)])
    return current().ledger.reschedule(email_id, send_at, actor=actor)


def retry(filters: Filters, *, actor: str) -> list[Changed]:
    """Open failed, unknown, expired, cancelled or suppressed deliveries again and wake workers.

    Deferred ones become due now. Those to suppressed addresses stay as they are. ``actor`` says who
    did it, for the audit. Doing it twice sends nothing twice.
    """
    state = current()
    changed = state.ledger.retry(filters, actor=actor)
    _ring(state, {one.lane: one.email_id for one in reversed(changed)})
    return changed


def cancel(filters: Filters, *, actor: str) -> list[Changed]:
    """Cancel deliveries that are still queued. Raises NotFound when the one email that was named
    does not exist."""
    if filters.email_id is not None:
        check_known(filters.email_id)
    return current().ledger.cancel(filters, actor=actor)


def resolve(filters: Filters, *, sent: bool, actor: str) -> list[Changed]:
    """Decide about ``unknown`` deliveries, whose fate a person has found out: the server has them
    (``sent``), or they are sent again."""
    state = current()
    changed = state.ledger.resolve(filters, sent=sent, actor=actor)
    if not sent:
        _ring(state, {one.lane: one.email_id for one in reversed(changed)})
    return changed


def pause(lane: str, *, actor: str) -> bool:
    """Let a lane's mail wait, accepted as ever: workers claim no more of it. False: it was paused
    already."""
    return current().ledger.pause(lane, actor=actor)


def resume(lane: str, *, actor: str) -> bool:
    """Let a lane's mail go on, and wake a worker. False: the lane was not paused."""
    state = current()
    resumed = state.ledger.resume(lane, actor=actor)
    if resumed and (email_id := state.ledger.due().get(lane)):
        state.doorbell.ring(lane, email_id)
    return resumed


def pause_transport(name: str, *, actor: str) -> bool:
    """Send nothing over a transport: mail takes the next that fits, or waits. False: it was paused
    already. Raises NotFound."""
    return _known_transport(name).ledger.pause_transport(name, actor=actor)


def resume_transport(name: str, *, actor: str) -> bool:
    """Use a transport again, and wake the workers. False: it was not paused. Raises NotFound."""
    state = _known_transport(name)
    resumed = state.ledger.resume_transport(name, actor=actor)
    if resumed:
        for lane, email_id in state.ledger.due().items():
            state.doorbell.pass_on(lane, email_id)  # a bell may ring until somebody looks again
    return resumed


def _known_transport(name: str) -> State:
    state = current()
    if name not in state.traffic.dsns:
        raise NotFound(f"no transport {name!r}; there are {', '.join(state.traffic.dsns)}")
    return state


def _accept(
    state: State, drafts: list[Draft], session: AnySession | None, by: str | None = None
) -> list[Recorded]:
    came_from = {"accepted_by": by or trace.origin(), "request_id": trace.request_id()}
    for one in drafts:
        one.email.update(came_from)
    return spans.dispatching(drafts, lambda: _store(state, drafts, session))


def _store(state: State, drafts: list[Draft], session: AnySession | None) -> list[Recorded]:
    if session is None:
        recorded = state.ledger.accept(drafts)
        _after_commit(state, recorded)
    else:
        opened = session() if isinstance(session, scoped_session) else session
        with unavailable_as_ours():
            recorded = state.ledger.record(opened.connection(), drafts)
            noted = events.was_noted(opened.connection())
        commits.run_after(opened, lambda: _after_commit(state, recorded))
        if noted:
            commits.run_after(opened, state.ring_for_events)
    return recorded


def _after_commit(state: State, recorded: list[Recorded]) -> None:
    trace.note_accepted(one.values["id"] for one in recorded)
    new = [one for one in recorded if one.new]
    # One ring a lane, whatever the number: the task drains all that is due.
    _ring(state, {one.values["lane"]: one.values["id"] for one in reversed(new) if one.due})
    if signals.email_queued.receivers:
        for one in new:
            signals.tell(signals.email_queued, state.app, email=one.email)


def _ring(state: State, email_ids: dict[str, str]) -> None:
    for lane, email_id in email_ids.items():
        state.doorbell.ring_for_commit(lane, email_id)
