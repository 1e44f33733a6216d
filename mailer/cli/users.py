"""``mailer users``: who may sign in to the console."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask.cli import with_appcontext

from .. import members
from ..state import current
from . import output
from .steering import actor


@click.group(short_help="Say who may sign in to the console, and as what.")
def users() -> None:
    """Say who may sign in to the console at /ops, and as what.

    A viewer looks; an operator also retries, cancels, pauses and suppresses; an admin also says who
    may do what.
    """


_role = click.option(
    "--role",
    type=click.Choice(members.ROLES),
    default="viewer",
    show_default=True,
    help="What they may do.",
)


_password = click.option(
    "--generate", is_flag=True, help="Make a password and print it once, instead of asking."
)


@users.command(short_help="Add somebody.")
@click.argument("name")
@_role
@_password
@with_appcontext
def add(name: str, role: str, generate: bool) -> None:
    """Add somebody. The password is asked for, or read from standard input.

    \b
      mailer users add ann --role admin
      mailer users add ben --role operator --generate
    """
    password = _ask(generate)
    with _errors_as_usage():
        members.add(current().database, name, role, password, actor=actor())
    _print(password, generate)
    click.echo(f"added {name.strip().lower()} as {role}", err=True)


@users.command("list", short_help="List everybody.")
@output.json_option
@with_appcontext
def list_users(as_json: bool) -> None:
    """List everybody, by name."""
    rows = members.listing(current().database)
    if as_json:
        output.print_json([dict(row._mapping) for row in rows])
    elif rows:
        output.print_table(
            ("NAME", "ROLE", f"LAST SEEN {output.zone()}"),
            [
                (row.name, row.role, output.short(row.seen_at) if row.seen_at else "-")
                for row in rows
            ],
        )
    else:
        click.echo("nobody can sign in: mailer users add NAME --role admin")


@users.command(short_help="Give somebody another role.")
@click.argument("name")
@click.argument("role", type=click.Choice(members.ROLES))
@with_appcontext
def role(name: str, role: str) -> None:
    """Give somebody another role, from their next request on."""
    members.set_role(current().database, name, role, actor=actor())
    click.echo(f"{name.strip().lower()} is {role} now")


@users.command(short_help="Give somebody another password.")
@click.argument("name")
@_password
@with_appcontext
def password(name: str, generate: bool) -> None:
    """Give somebody another password, and end their visits."""
    new = _ask(generate)
    with _errors_as_usage():
        members.set_password(current().database, name, new, actor=actor())
    _print(new, generate)
    click.echo(f"{name.strip().lower()} has another password, and is signed out", err=True)


@users.command(short_help="Remove somebody.")
@click.argument("name")
@with_appcontext
def remove(name: str) -> None:
    """Remove somebody, and end their visits. What they did stays in the audit."""
    members.remove(current().database, name, actor=actor())
    click.echo(f"removed {name.strip().lower()}")


def _ask(generate: bool) -> str:
    if generate:
        return secrets.token_urlsafe(15)
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))


def _print(password: str, generated: bool) -> None:
    if generated:
        click.echo(password)


@contextmanager
def _errors_as_usage() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error
