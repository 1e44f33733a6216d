"""``mailer keys``: who may use the HTTP API."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
from flask.cli import with_appcontext

from .. import grants
from .. import keys as api_keys
from ..models import LANES
from ..state import current
from . import output, parameters
from .steering import actor


@click.group(short_help="Make, list and revoke keys of the HTTP API.")
def keys() -> None:
    """Make, list and revoke keys of the HTTP API."""


@keys.command(short_help="Make a key, and print it once.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(api_keys.SCOPES),
    multiple=True,
    default=("send",),
    show_default=True,
    help="What it may do; may be given several times.",
)
@click.option(
    "--sender", "senders", metavar="PATTERN", multiple=True, help="Such as '*@example.com'."
)
@click.option(
    "--template", "templates", metavar="PATTERN", multiple=True, help="Such as 'reset_*'."
)
@click.option(
    "--recipient", "recipients", metavar="PATTERN", multiple=True, help="For staging: no others."
)
@click.option("--lane", type=click.Choice(LANES), help="The lane of all that it sends.")
@click.option("--rate", metavar="RATE", help="At most so many emails, such as 100/min.")
@click.option(
    "--test", "is_test", is_flag=True, help="What it sends goes to no recipient, only to a catcher."
)
@click.option(
    "--expires", "expires_at", type=parameters.future, metavar="WHEN", help="Such as 'in 90d'."
)
@output.json_option
@with_appcontext
def create(*, name: str, as_json: bool, **options: Any) -> None:
    """Make a key, and print it once: only a digest of it is stored.

    In a PATTERN * stands for any characters, ? for one. Each may be given several times; without
    one, anything goes.

    \b
      mailer keys create shop --sender '*@shop.example' --template 'order_*'
      mailer keys create support --scope read --scope manage --expires 'in 90d'
      mailer keys create news --sender news@shop.example --lane bulk --rate 100/min
      mailer keys create staging --recipient '*@shop.example'
      mailer keys create ci --test
    """
    try:
        key_id, token = api_keys.create(
            current().database, name, grants.checked(**options), actor=actor()
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        output.print_json({"id": key_id, "token": token})
        return
    click.echo(token)
    click.echo(f"Key {key_id} ({name}). It is not shown again.", err=True)


@keys.command("list", short_help="List the keys.")
@output.json_option
@with_appcontext
def list_keys(as_json: bool) -> None:
    """List the keys that are not revoked, the newest first."""
    rows = api_keys.listing(current().database)
    if as_json:
        output.print_json(
            [
                {name: value for name, value in row._mapping.items() if name != "digest"}
                for row in rows
            ]
        )
        return
    output.print_table(
        ("ID", "NAME", "SCOPES", "LAST USED", "MAY ONLY"),
        [
            (
                row.id,
                row.name,
                " ".join(row.scopes),
                _day(row.last_used_at) if row.last_used_at else "never",
                ", ".join(api_keys.limits(row)) or "-",
            )
            for row in rows
        ],
        whole=1,
        last_may_go_below=True,
    )


@keys.command(short_help="Make a key good for nothing.")
@click.argument("key_id", metavar="ID")
@with_appcontext
def revoke(key_id: str) -> None:
    """Make a key good for nothing, from the next request on."""
    api_keys.revoke(current().database, key_id, actor=actor())
    click.echo(f"revoked {key_id}")


def _day(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M")
