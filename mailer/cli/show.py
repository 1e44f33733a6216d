"""``mailer show``: one email, everything that happened to it, and what happens next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

import click
from flask.cli import with_appcontext

from ..ledger.queries import History
from ..outcome import said, took
from ..state import State, current
from ..why import Sentence, following, held_back
from . import output

_OF_REPORT = (
    "received_at", "occurred_at", "kind", "permanent", "source", "recipient", "code", "enhanced",
    "words",
)  # fmt: skip


class _Event(NamedTuple):
    at: datetime
    attempt: str
    """Empty: it was none."""
    what: str
    seconds: float | None = None


@click.command(short_help="Show an email, and what happens next.")
@click.argument("email_id", metavar="ID")
@output.json_option
@with_appcontext
@click.pass_context
def show(ctx: click.Context, email_id: str, as_json: bool) -> None:
    """Show an email, each recipient with every attempt, and what happens next.

    ID is an email's id, or the beginning of one. Values of the context are never shown.

    \b
      mailer show 0193a5b2-1c3d-7abc
    """
    state = current()
    history = state.ledger.show(whole_id(state, email_id))
    commands = output.commands(ctx)
    nexts = following(state, history, held_back(state, history))
    if as_json:
        output.print_json(_document(history, commands, nexts))
    else:
        _print(history, commands, nexts)


def whole_id(state: State, prefix: str) -> str:
    """Return the email id that begins with ``prefix``. Raises NotFound."""
    return state.ledger.find(prefix.strip().lower())


def _print(history: History, commands: str, nexts: Mapping[int, Sentence]) -> None:
    email = history.email
    addresses = {
        field: ", ".join(f"{name} <{address}>" if name else address for name, address in pairs)
        for field, pairs in email.addresses.items()
    }
    age = output.duration(output.seconds_since(email.created_at))
    output.print_fields(
        [
            ("email", email.id),
            ("template", email.template),
            ("locale", email.locale),
            ("subject", email.subject),
            ("from", addresses["from"]),
            ("to", addresses["to"]),
            ("cc", addresses["cc"]),
            ("reply to", addresses["reply_to"]),
            ("accepted", f"{_instant(email.created_at)}, {age} ago"),
            ("accepted by", email.accepted_by),
            ("expires", email.expires_at and _instant(email.expires_at)),
            ("lane", email.lane),
            ("category", email.category),
            ("test", "sent with a test key: it goes to no recipient" if email.is_test else None),
            ("on unknown", email.on_unknown),
            ("context", _context(email)),
            ("content", email.erased_at and f"erased on {output.local(email.erased_at)}"),
            ("tags", ", ".join(f"{name}={value}" for name, value in email.tags.items())),
            (
                "attached",
                ", ".join(
                    f"{one.filename} ({output.size(one.size)})" for one in history.attachments
                ),
            ),
            ("key", email.idempotency_key),
            ("request", email.request_id),
        ]
    )
    for delivery in history.deliveries:
        tried = f"attempt {delivery.attempts} of {delivery.attempts_allowed}"
        reported = f", {delivery.outcome}" if delivery.outcome != delivery.state else ""
        click.echo(
            f"\n{output.printable(delivery.recipient)}: {delivery.state}{reported}"
            + (f", {tried}" if delivery.attempts else "")
        )
        for at, event in _events(history, delivery.id, delivery.recipient):
            click.echo(f"  {output.local(at)}  {output.printable(event)}")
        words = output.sentence(nexts[delivery.id], email.id, commands)
        click.echo(f"  {output.printable(words)}")


def _report(report: Any, *, of_another: bool) -> str:
    words = said(report.code, report.enhanced, report.words)
    what = report.kind + (" for good" if report.permanent else "")
    what += f" at {report.recipient}" if of_another and report.recipient else ""
    return f"{what}, says {report.source}" + (f": {words}" if words else "")


def _events(history: History, delivery_id: int, recipient: str) -> list[tuple[datetime, str]]:
    """Return attempts and what people did, in order of time; attempts that ended alike are one."""
    events = [
        _Event(one.ended_at, f"attempt {one.number}", _ending(one), one.seconds)
        for one in history.attempts[delivery_id]
    ]
    events += [
        _Event(entry.at, "", f"{entry.action} by {entry.actor}")
        for entry in history.audit[delivery_id]
    ]
    events += [
        _Event(one.received_at, "", _report(one, of_another=one.recipient != recipient.lower()))
        for one in history.reports[delivery_id]
    ]
    events.sort(key=lambda event: event.at)
    alike = groupby(events, key=lambda event: (event.attempt, event.what))
    return [_told(list(group)) for _, group in alike]


def _told(alike: Sequence[_Event]) -> tuple[datetime, str]:
    first, last = alike[0].at, alike[-1].at
    attempt, what = alike[0].attempt, alike[0].what
    if not attempt:
        return last, what
    if len(alike) > 1:
        attempt += f", {len(alike)} times from {_clock(first, last)} to {_clock(last, first)}"
    if lasted := took(one.seconds for one in alike):
        attempt += f", {'up to ' if len(alike) > 1 else ''}{lasted}"
    return first, f"{attempt}: {what}"


def _clock(instant: datetime, other: datetime) -> str:
    """Return a local time, with its day if that is not the other's."""
    same_day = instant.astimezone().date() == other.astimezone().date()
    return f"{instant.astimezone():{'%H:%M' if same_day else '%m-%d %H:%M'}}"


def _ending(attempt: Any) -> str:
    at = f" over {attempt.transport}" if attempt.transport else ""
    at += f" at {attempt.stage}" if attempt.stage else ""
    words = said(attempt.code, attempt.enhanced, attempt.words)
    return f"{attempt.outcome}{at}" + (f": {words}" if words else "")


def _context(email: Any) -> str | None:
    if email.template is None or email.erased_at:
        return None
    if email.context is None:
        return "erased: every copy was sent"
    names = ", ".join(sorted(email.context))
    return f"{names} (values are not shown)" if names else "empty"


def _instant(instant: datetime) -> str:
    return f"{output.local(instant)} {output.zone()}"


def _document(history: History, commands: str, nexts: Mapping[int, Sentence]) -> dict[str, Any]:
    email = history.email
    return {
        "id": email.id,
        "template": email.template,
        "locale": email.locale,
        "subject": email.subject,
        "lane": email.lane,
        "category": email.category,
        **{
            field: [{"name": name, "email": address} for name, address in pairs]
            for field, pairs in email.addresses.items()
        },
        "accepted_at": email.created_at,
        "accepted_by": email.accepted_by,
        "expires_at": email.expires_at,
        "on_unknown": email.on_unknown,
        "is_test": email.is_test,
        "erased_at": email.erased_at,
        "context_names": None if email.context is None else sorted(email.context),
        "tags": email.tags,
        "attachments": [
            {name: getattr(one, name) for name in ("filename", "content_type", "size")}
            for one in history.attachments
        ],
        "idempotency_key": email.idempotency_key,
        "request_id": email.request_id,
        "deliveries": list(_delivery_documents(history, commands, nexts)),
    }


def _delivery_documents(
    history: History, commands: str, nexts: Mapping[int, Sentence]
) -> Iterator[dict[str, Any]]:
    for one in history.deliveries:
        columns = ("recipient", "state", "outcome", "attempts_allowed", "due_at", "expires_at")
        said_last = ("updated_at", "stage", "code", "enhanced", "reason")
        of_attempt = ("number", "ended_at", "seconds", "outcome", "status", "transport")
        yield {
            "delivery_id": one.id,
            **{name: getattr(one, name) for name in (*columns, "lease_until", *said_last)},
            "attempts": [
                {
                    name: getattr(attempt, name)
                    for name in (*of_attempt, "stage", "code", "enhanced", "words")
                }
                for attempt in history.attempts[one.id]
            ],
            "audit": [
                {name: getattr(entry, name) for name in ("at", "actor", "action")}
                for entry in history.audit[one.id]
            ],
            "reports": [
                {name: getattr(report, name) for name in _OF_REPORT}
                for report in history.reports[one.id]
            ],
            "next": output.sentence(nexts[one.id], history.email.id, commands),
        }
