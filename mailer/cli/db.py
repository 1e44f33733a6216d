"""``mailer db``"""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..state import current


@click.group()
def db() -> None:
    """The ledger's database."""


@db.command()
@with_appcontext
def upgrade() -> None:
    """Bring the ledger's tables up to date; does nothing when they are.

    \b
      mailer db upgrade
    """
    click.echo(f"the ledger is at revision {current().database.upgrade()}")
