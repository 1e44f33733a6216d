"""``mailer suppressions``: which addresses are not mailed, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
from flask.cli import with_appcontext

from ..ledger.suppressions import ORIGINS
from ..state import current
from ..unsubscribe import CATEGORY, CATEGORY_FORM
from . import output, parameters
from .steering import actor


def _category(text: str) -> str:
    if text and not CATEGORY.fullmatch(text):
        raise click.BadParameter(f"expected {CATEGORY_FORM}, got {text!r}")
    return text


_category_option = click.option(
    "--category", type=_category, default="", metavar="NAME", help="One category; else all mail."
)


@click.group(short_help="Add, remove and list addresses that are not mailed.")
def suppressions() -> None:
    """Add, remove and list addresses that are not mailed, at all or about one category."""


@suppressions.command(short_help="Mail no more to addresses.")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True, type=parameters.address)
@_category_option
@output.json_option
@with_appcontext
def add(addresses: tuple[str, ...], category: str, as_json: bool) -> None:
    """Mail no more to addresses. What is queued for them ends as suppressed.

    \b
      mailer suppressions add ann@example.com
      mailer suppressions add ann@example.com --category newsletter
    """
    added = current().ledger.suppress(
        addresses, origin="manual", category=category, words=f"by {actor()}", actor=actor()
    )
    if as_json:
        output.print_json([{"id": id, "address": address} for address, id in added.items()])
        return
    for address in added:
        click.echo(f"{output.printable(address)} gets no {_what(category)}")


@suppressions.command(short_help="Let mail through again.")
@click.argument("which", metavar="ADDRESS|ID...", nargs=-1, required=True)
@_category_option
@output.json_option
@with_appcontext
@click.pass_context
def remove(ctx: click.Context, which: tuple[str, ...], category: str, as_json: bool) -> None:
    """Let mail through again: by address, or by the suppression's id.

    An address stands for its suppression for all mail, or for that of --category: whoever has
    unsubscribed from a category stays so. What ended as suppressed is sent by `mailer retry`. The
    exit code is 1 when something was not there.

    \b
      mailer suppressions remove ann@example.com
      mailer suppressions remove ann@example.com --category newsletter
    """
    ledger = current().ledger
    addresses = [parameters.address(one) for one in which if "@" in one]
    ids = [one for one in which if "@" not in one]
    removed = ledger.unsuppress(actor=actor(), ids=ids, addresses=addresses, category=category)
    if as_json:
        output.print_json([{"id": id, "deleted": True} for id in removed])
    else:
        click.echo(f"removed {output.count(len(removed), 'suppression')}")
    for row in ledger.suppressions_of(addresses):
        words = f"{output.printable(row.address)} still gets no {_what(row.category)}"
        click.echo(f"mailer: {words}: id {row.id}", err=True)
    distinct = {one.lower() for one in [*addresses, *ids]}
    ctx.exit(1 if len(removed) < len(distinct) else 0)


@suppressions.command("list", short_help="List them, the newest first.")
@click.option("--origin", type=click.Choice(ORIGINS), help="Why they are there.")
@click.option("--category", type=_category, metavar="NAME", help="Those of one category.")
@click.option(
    "--since", type=parameters.past, metavar="TIME", help="Not older: 2026-11-24T09:30, or 2h."
)
@output.limit_option
@output.json_option
@with_appcontext
def list_suppressions(
    origin: str | None,
    category: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List suppressions, the newest first.

    \b
      mailer suppressions list --origin bounce --since 2h
      mailer suppressions list --category newsletter --json
    """
    page = current().ledger.suppressions(limit, origin=origin, category=category, since=since)
    if as_json:
        document = {"suppressions": _documents(page.suppressions), "more": page.has_more}
        output.print_json(document)
    elif page.suppressions:
        _print(page.suppressions)
        output.print_more(page.has_more, limit)
    else:
        click.echo("no suppressions")


@suppressions.command(short_help="Say why an address is not mailed.")
@click.argument("which", metavar="ADDRESS|ID")
@output.json_option
@with_appcontext
@click.pass_context
def show(ctx: click.Context, which: str, as_json: bool) -> None:
    """Say why an address is not mailed: all its suppressions, or the one with an id.

    The exit code is 1 when there is none.

    \b
      mailer suppressions show ann@example.com
    """
    ledger = current().ledger
    if "@" in which:
        rows = ledger.suppressions_of([parameters.address(which)])
    else:
        rows = [ledger.suppression(which)]
    if as_json:
        output.print_json({"suppressions": _documents(rows)})
    elif rows:
        _print(rows)
    else:
        click.echo(f"{output.printable(which)} is not suppressed")
    ctx.exit(0 if rows else 1)


def _print(rows: Sequence[Any]) -> None:
    output.print_table(
        ("ADDRESS", "GETS NO", "ORIGIN", f"SINCE {output.zone()}", "ID", "WORDS"),
        [
            (
                row.address,
                _what(row.category),
                row.origin,
                output.short(row.created_at),
                row.id,
                row.words,
            )
            for row in rows
        ],
        whole=5,
        last_may_go_below=True,
    )


def _documents(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in rows]


def _what(category: str) -> str:
    return f"{category} mail" if category else "mail at all"
