"""``mailer retry``, ``cancel`` and ``resolve``: say how many and which, then do it."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import click
from flask.cli import with_appcontext

from .. import dispatcher
from ..ledger import Filters
from ..ledger.filters import WAITING
from ..ledger.operations import Changed
from ..models import RETRYABLE, Status
from ..state import State, current
from . import output
from .filters import check, filter_options
from .listing import as_document, print_deliveries
from .show import whole_id

_SHOWN = 20

Verb = Callable[..., list[Changed]]


def _steering_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        with_appcontext,
        output.json_option,
        click.option("--yes", "-y", is_flag=True, help="Don't ask."),
        click.option("--dry-run", is_flag=True, help="Only say which deliveries it would be."),
    ):
        command = option(command)
    return command


def _chosen_by_ids_or_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    return filter_options(click.argument("email_ids", metavar="[ID]...", nargs=-1)(command))


@click.command(short_help="Send deliveries that failed or were deferred again.")
@_steering_options
@_chosen_by_ids_or_filters
def retry(**options: Any) -> None:
    """Send failed, unknown, expired, cancelled or suppressed deliveries again, and deferred ones
    now rather than later.

    Those to suppressed addresses stay as they are. The others keep their Message-ID; all but the
    deferred ones get fresh attempts. ID is an email's id or the beginning of one; with filters,
    too, a delivery must match both. Asks first when it is about more than one, and needs --yes
    where nobody can be asked.

    \b
      mailer retry 0193a5b2-1c3d-7abc
      mailer retry --state failed --code 550 --since 2h --dry-run
      mailer retry --code 451 --yes
    """
    _steer(dispatcher.retry, {*RETRYABLE, "deferred"}, "retry", "retried", **options)


@click.command(short_help="Cancel deliveries that are still queued.")
@_steering_options
@_chosen_by_ids_or_filters
def cancel(**options: Any) -> None:
    """Cancel deliveries that are still queued; those being sent are past recall.

    ID is an email's id or the beginning of one; with filters, too, a delivery must match both.
    Asks first when it is about more than one, and needs --yes where nobody can be asked.

    \b
      mailer cancel 0193a5b2-1c3d-7abc
      mailer cancel --template newsletter --lane bulk
    """
    _steer(dispatcher.cancel, {Status.QUEUED}, "cancel", "cancelled", **options)


@click.command(short_help="Say what became of deliveries that are unknown.")
@_steering_options
@click.argument("email_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--sent", is_flag=True, help="The server has it.")
@click.option("--resend", is_flag=True, help="Send it again.")
def resolve(sent: bool, resend: bool, **options: Any) -> None:
    """Say what became of deliveries that are unknown: the server has them, or it has not.

    With --sent they are sent and nothing more happens; with --resend they are sent again, with
    fresh attempts. ID is an email's id or the beginning of one. Asks first when it is about more
    than one delivery, and needs --yes where nobody can be asked.

    \b
      mailer resolve 0193a5b2-1c3d-7abc --sent
      mailer resolve 0193a5b2-1c3d-7abc --resend
    """
    if sent == resend:
        got = "both" if sent else "neither"
        raise click.UsageError(f"expected --sent or --resend, got {got}: what became of it?")
    verb = partial(dispatcher.resolve, sent=sent)
    _steer(verb, {Status.UNKNOWN}, "resolve", "resolved", **options)


def _steer(
    verb: Verb,
    allowed: Collection[str],
    name: str,
    done: str,
    *,
    email_ids: Sequence[str],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    states: Sequence[str] = (),
    **conditions: Any,
) -> None:
    if not (email_ids or states) and all(value is None for value in conditions.values()):
        raise click.UsageError("expected an id or a filter, so that it is not about everything")
    state = current()
    check(state, conditions)
    ids = dict.fromkeys(whole_id(state, one) for one in email_ids) or [None]
    statuses = _narrow(allowed) & _narrow(states) if states else _narrow(allowed)
    chosen = [Filters(email_id=one, statuses=statuses, **conditions) for one in ids]
    found = _matching(state, chosen)
    erased = [row for row in found if row.erased_at and name == "retry"]
    if erased:
        found = [row for row in found if not row.erased_at]
        click.echo(
            f"{output.deliveries(len(erased))} cannot be sent again: {_why(erased)}", err=True
        )
    held = _held_back(state, chosen) if name == "retry" else set()
    found = [row for row in found if row.delivery_id not in held]
    more = {"dry_run": dry_run, **({"suppressed": len(held)} if name == "retry" else {})}
    if not as_json and found:
        click.echo(f"{output.deliveries(len(found))} to {name}:")
        _print_some(found)
    if dry_run:
        if as_json:
            output.print_json({done: [as_document(row) for row in found], **more})
        elif not found:
            click.echo(f"nothing to {name}")
        return
    if len(found) > 1 and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                f"to {name} {output.deliveries(len(found))} needs --yes: nobody is here to be asked"
            )
        question = f"{name.capitalize()} these {output.deliveries(len(found))}?"
        click.confirm(question, abort=True, err=True)
    changed = [one for filters in chosen for one in verb(filters, actor=actor())]
    if as_json:
        output.print_json({done: [one._asdict() for one in changed], **more})
    elif changed:
        emails = len({one.email_id for one in changed})
        of = f" of {emails} emails" if emails > 1 else ""
        click.echo(f"{done} {output.deliveries(len(changed))}{of}")
    elif not (erased or held):
        _print_nothing_changed(state, chosen, allowed)


def actor() -> str:
    """Return who is at the keyboard, for the audit."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # a container may run as a user that it has no name for
        return f"cli:{os.getuid()}"


def _narrow(states: Collection[str]) -> frozenset[str]:
    """Return states with what ``queued`` is made of, so that sets of them can be compared."""
    return frozenset(states) | (WAITING if Status.QUEUED in states else frozenset())


def _matching(state: State, chosen: Sequence[Filters]) -> list[Any]:
    return [row for filters in chosen for row in state.ledger.list(filters, None)]


def _why(erased: Sequence[Any]) -> str:
    days = sorted({f"{row.erased_at.astimezone():%Y-%m-%d}" for row in erased})
    on = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    return f"the content was erased {on}"


def _held_back(state: State, chosen: Sequence[Filters]) -> set[int]:
    """Return the deliveries that are not retried, and say whose they are and what to do first."""
    held = [one for filters in chosen for one in state.ledger.held_back(filters, None)[1]]
    hit = dict.fromkeys((one.suppressed.address, one.suppressed.category) for one in held)
    for address, category in [*hit][:_SHOWN]:
        option = f" --category {category}" if category else ""
        remedy = f"`mailer suppressions remove {shlex.quote(address)}{option}`"
        words = f"{address} is suppressed, so that nothing is sent there: first {remedy}"
        click.echo(f"mailer: {output.printable(words)}", err=True)
    if len(hit) > _SHOWN:
        click.echo(f"mailer: and {len(hit) - _SHOWN} more are suppressed", err=True)
    return {one.delivery_id for one in held}


def _print_some(rows: Sequence[Any]) -> None:
    print_deliveries(rows[:_SHOWN])
    if len(rows) > _SHOWN:
        click.echo(f"... and {len(rows) - _SHOWN} more")


def _print_nothing_changed(
    state: State, chosen: Sequence[Filters], allowed: Collection[str]
) -> None:
    *most, last = sorted(allowed)
    wanted = f"{', '.join(most)} or {last}" if most else last
    click.echo(f"nothing changed: nothing that matches is {wanted}")
    named = [Filters(email_id=one.email_id) for one in chosen if one.email_id]
    if rows := _matching(state, named):
        _print_some(rows)
