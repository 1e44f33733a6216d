"""``mailer failed``"""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..ledger.failures import LOOKED_AT
from ..outcome import said
from ..state import current
from . import output


@click.command(short_help="What did not go well, by its reason.")
@output.json_option
@with_appcontext
def failed(as_json: bool) -> None:
    """List what failed, expired or is deferred, and what nobody knows the fate of, by its reason,
    the most frequent first. In a server's words … stands for what differs from email to email.

    \b
      mailer failed
      mailer list --state failed --code 550
      mailer retry --state failed --code 550 --dry-run
    """
    found = current().ledger.failures(LOOKED_AT)
    if as_json:
        groups = [one._asdict() for one in found.groups]
        output.print_json({"reasons": groups, "all": found.is_all})
    elif found.groups:
        output.print_table(
            ("STATE", "DELIVERIES", f"NEWEST {output.zone()}", "REASON"),
            [
                (
                    one.state,
                    one.number,
                    output.short(one.newest_at),
                    said(one.code, one.enhanced, one.words),
                )
                for one in found.groups
            ],
            whole=3,
            last_may_go_below=True,
        )
        if not found.is_all:
            click.echo(f"(of the newest {LOOKED_AT} of each state)")
    else:
        click.echo("nothing failed")
