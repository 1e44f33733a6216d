"""``mailer keys``: who may use the HTTP API."""

from __future__ import annotations

from datetime import datetime, timedelta

import click
from flask.cli import with_appcontext

from .. import keys as api_keys
from ..state import current
from . import output, parameters


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
@click.option("--expires", type=parameters.future, metavar="WHEN", help="Such as 'in 90d'.")
@output.json_option
@with_appcontext
def create(
    *,
    name: str,
    scopes: tuple[str, ...],
    senders: tuple[str, ...],
    templates: tuple[str, ...],
    expires: datetime | None,
    as_json: bool,
) -> None:
    """Make a key, and print it once: only a digest of it is stored.

    \b
      mailer keys create shop --sender '*@shop.example' --template 'order_*'
      mailer keys create support --scope read --scope manage --expires 'in 90d'
    """
    expires_in: timedelta | None = None
    if expires is not None:
        expires_in = expires - datetime.now(expires.tzinfo)
    try:
        key_id, token = api_keys.create(
            current().database,
            name,
            scopes=scopes,
            senders=senders,
            templates=templates,
            expires_in=expires_in,
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
        ("id", "name", "scopes", "senders", "templates", "last used"),
        [
            (
                row.id,
                row.name,
                " ".join(row.scopes),
                " ".join(row.senders) or "any",
                " ".join(row.templates) or "any",
                row.last_used_at.strftime("%Y-%m-%d %H:%M") if row.last_used_at else "never",
            )
            for row in rows
        ],
        whole=1,
    )


@keys.command(short_help="Make a key good for nothing.")
@click.argument("key_id", metavar="ID")
@with_appcontext
def revoke(key_id: str) -> None:
    """Make a key good for nothing, from the next request on."""
    api_keys.revoke(current().database, key_id)
    click.echo(f"revoked {key_id}")
