"""``mailer db``"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from flask.cli import with_appcontext
from sqlalchemy import URL

from ..state import current


@click.group()
def db() -> None:
    """The ledger's database."""


@db.command()
@with_appcontext
def upgrade() -> None:
    """Bring the ledger's tables up to date; does nothing when they are.

    Says where the ledger is, so that it is not a surprise.

    \b
      mailer db upgrade
    """
    database = current().database
    revision = database.upgrade()
    url = database.url.render_as_string(hide_password=True)
    click.echo(f"the ledger at {url} is at revision {revision}")
    if _goes_with_the_environment(database.url):
        click.echo(
            f"mailer: the ledger lies within the Python environment {sys.prefix} and would go "
            "with it: set MAILER_DATABASE_URL to a place that stays",
            err=True,
        )


def _goes_with_the_environment(url: URL) -> bool:
    if url.get_backend_name() != "sqlite" or not url.database:
        return False
    return Path(url.database).resolve().is_relative_to(Path(sys.prefix).resolve())
