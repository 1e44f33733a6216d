"""``mailer export`` and ``mailer purge``: give or erase what is stored of a person."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from typing import Any

import click
from flask.cli import with_appcontext

from .. import users
from ..ledger.person import Purged
from ..ledger.queries import History
from ..state import State, current
from . import output, parameters
from .steering import actor

_address_option = click.option(
    "--address", type=parameters.address, required=True, metavar="ADDRESS", help="Whose."
)
_OF_USER = ("id", "email", "created_at", "confirmed_at")


@click.command(short_help="Print everything on one address.")
@_address_option
@with_appcontext
def export(address: str) -> None:
    """Print everything that is stored of one address, as one JSON document.

    The emails that it is in, with their content as far as it is still there, its deliveries, its
    suppressions, its rows of bulk sends, and the account of the service. It shows contexts: handle
    the output with care.

    \b
      mailer export --address ann@example.com > ann.json
    """
    state = current()
    with users.reading(state.database) as session:
        user = users.by_address(session, address.lower())
    output.print_json(
        {
            "address": address,
            "user": user and {name: getattr(user, name) for name in _OF_USER},
            "suppressions": [_columns(one) for one in state.ledger.suppressions_of([address])],
            "emails": [_document(state, one) for one in state.ledger.export(address)],
            "bulk_rows": [_columns(one) for one in state.ledger.bulk_rows_of(address)],
            "reports": [_columns(one) for one in state.ledger.reports_without_delivery(address)],
        }
    )


@click.command(short_help="Erase everything on one address.")
@_address_option
@click.option("--dry-run", is_flag=True, help="Only say what it would be.")
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@output.json_option
@with_appcontext
@click.pass_context
def purge(ctx: click.Context, address: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase a person: deliveries to the address, emails that nobody else was to get, the account.

    What is queued is cancelled first. What is being sent cannot be erased: then the exit code is
    1, and it is to be run again. In emails that others got too, the address is replaced; what
    their text says of the person stays until it is old enough. Suppressions stay, or the person
    would be mailed again: `mailer suppressions remove` is for them. Asks first, and needs --yes
    where nobody can be asked.

    \b
      mailer purge --address ann@example.com --dry-run
      mailer purge --address ann@example.com --yes
    """
    state = current()
    with users.reading(state.database) as session:
        has_account = users.by_address(session, address.lower()) is not None
    kept = len(state.ledger.suppressions_of([address]))
    if dry_run or not yes:
        expected = state.ledger.purge(address, actor=actor(), dry_run=True)
        if dry_run and as_json:
            _print_json(expected, has_account, kept, dry_run=True)
        else:
            _say("would erase", expected, has_account, kept, err=as_json)
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("to purge needs --yes: nobody is here to be asked")
        click.confirm("Erase this for good?", abort=True, err=True)
    # The account first: from then on nobody writes to it.
    with state.database.session() as session:
        had_account = users.erase(session, address.lower())
    purged = state.ledger.purge(address, actor=actor())
    if as_json:
        _print_json(purged, had_account, kept, dry_run=False)
    else:
        _say("erased", purged, had_account, kept)
    ctx.exit(1 if purged.left else 0)


def _print_json(purged: Purged, account: bool, kept: int, *, dry_run: bool) -> None:
    erased = {**purged._asdict(), "accounts": int(account)}
    output.print_json({"erased": erased, "kept": {"suppressions": kept}, "dry_run": dry_run})


def _say(verb: str, purged: Purged, account: bool, kept: int, *, err: bool = False) -> None:
    emails = output.count(purged.emails, "email")
    click.echo(
        f"{verb} {output.deliveries(purged.deliveries)} ({purged.cancelled} still queued), "
        f"{emails}, {output.count(int(account), 'account')}; "
        f"the address in {output.count(purged.shared, 'email')} of others too"
        + (f"; {output.count(purged.reports, 'report')}" if purged.reports else ""),
        err=err,
    )
    if kept:
        suppressions = output.count(kept, "suppression")
        click.echo(f"kept {suppressions} of the address, so that it is not mailed again", err=err)
    if purged.left:
        left = output.count(purged.left, "email")
        click.echo(f"mailer: {left} being sent just now, not erased: run it again", err=True)


def _document(state: State, history: History) -> dict[str, Any]:
    files = state.ledger.attachments(history.email.id)
    return {
        **_columns(history.email),
        "attachments": [
            {
                "filename": file.filename,
                "content_type": file.content_type,
                "data_base64": base64.b64encode(file.data).decode(),
            }
            for file in files
        ],
        "deliveries": list(_deliveries(history)),
    }


def _deliveries(history: History) -> Iterator[dict[str, Any]]:
    for one in history.deliveries:
        yield {
            **_columns(one),
            "attempts": [_columns(attempt) for attempt in history.attempts[one.id]],
            "audit": [_columns(entry) for entry in history.audit[one.id]],
            "reports": [_columns(report) for report in history.reports[one.id]],
        }


def _columns(row: Any) -> dict[str, Any]:
    return dict(row._mapping)
