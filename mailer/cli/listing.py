"""``mailer list``"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from flask.cli import with_appcontext

from ..ledger import Filters
from ..outcome import said
from ..state import current
from . import output
from .filters import check, filter_options

# Enough of an id to hold its instant of 48 bits and 12 random ones; all 36 characters if not.
_ID_LENGTHS = (18, 23, 36)


@click.command("list")
@filter_options
@output.limit_option
@output.json_option
@with_appcontext
def list_deliveries(limit: int, as_json: bool, states: tuple[str, ...], **conditions: Any) -> None:
    """List deliveries, newest first.

    The id is the email's, shortened: `show`, `retry` and `cancel` take the beginning of one. Of a
    delivery that was sent, STATE says what was reported of it since: the worst.

    \b
      mailer list --state failed --state unknown --since 2h
      mailer list --state bounced --state complained
      mailer list --recipient ann@example.com
      mailer list --code 550 --json
    """
    state = current()
    check(state, conditions)
    filters = Filters(statuses=frozenset(states) or None, **conditions)
    found = state.ledger.list(filters, limit + 1)
    rows, more = found[:limit], len(found) > limit
    if as_json:
        output.print_json({"deliveries": [as_document(row) for row in rows], "more": more})
    elif rows:
        print_deliveries(rows)
        output.print_more(more, limit)
    else:
        click.echo("no deliveries")


def print_deliveries(rows: Sequence[Any]) -> None:
    """Print rows of `Ledger.list` as a table; what was said below its row when it is narrow."""
    length = _id_length({row.email_id for row in rows})
    output.print_table(
        ("ID", "STATE", f"ACCEPTED {output.zone()}", "RECIPIENT", "WHAT", "LAST ATTEMPT"),
        [
            (
                row.email_id[:length],
                row.outcome,
                output.short(row.created_at),
                row.recipient,
                what(row),
                said(row.code, row.enhanced, row.reason),
            )
            for row in rows
        ],
        whole=3,
        last_may_go_below=True,
    )


def what(email: Any) -> str:
    """Return the template of an email, or the subject of one that has none; of test mail, that it
    is."""
    words = email.template or f'"{email.subject}"'
    return f"test: {words}" if email.is_test else words


def as_document(row: Any) -> dict[str, Any]:
    return {
        "email_id": row.email_id,
        "delivery_id": row.delivery_id,
        "recipient": row.recipient,
        "template": row.template,
        "subject": row.subject,
        "lane": row.lane,
        "state": row.state,
        "outcome": row.outcome,
        "attempts": row.attempts,
        "accepted_at": row.created_at,
        "due_at": row.due_at,
        "updated_at": row.updated_at,
        "stage": row.stage,
        "code": row.code,
        "enhanced": row.enhanced,
        "reason": row.reason,
        "is_test": row.is_test,
    }


def _id_length(ids: set[str]) -> int:
    return next(length for length in _ID_LENGTHS if len({one[:length] for one in ids}) == len(ids))
