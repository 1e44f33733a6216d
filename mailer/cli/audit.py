"""``mailer audit``"""

from __future__ import annotations

from datetime import datetime

import click
from flask.cli import with_appcontext

from ..ledger.acts import ACTIONS
from ..state import current
from . import output, parameters


@click.command(short_help="Say who did what, when, to how many.")
@click.option(
    "--since", type=parameters.past, metavar="TIME", help="Not older: 2026-11-24T09:30, or 2h."
)
@click.option("--actor", metavar="WHO", help="Such as 'member ann', 'api key shop', cli:root.")
@click.option("--action", type=click.Choice(ACTIONS), metavar="WHAT", help="Such as retry.")
@output.limit_option
@output.json_option
@with_appcontext
def audit(
    since: datetime | None, actor: str | None, action: str | None, limit: int, as_json: bool
) -> None:
    """Say who did what, when, to how many, the newest first: what people and programs did to the
    mail, and to who may do what.

    \b
      mailer audit --since 2h
      mailer audit --actor 'member ann' --action retry
      mailer audit --action 'fail to sign in' --json
    """
    rows, more = current().ledger.acts(limit, actor=actor, action=action, since=since)
    if as_json:
        output.print_json({"acts": [dict(row._mapping) for row in rows], "more": more})
    elif rows:
        output.print_table(
            (f"AT {output.zone()}", "WHO", "DID", "NUMBER", "TO"),
            [(output.local(row.at), row.actor, row.action, row.number, row.about) for row in rows],
            whole=4,
            last_may_go_below=True,
        )
        output.print_more(more, limit)
    else:
        click.echo("nobody did anything")
