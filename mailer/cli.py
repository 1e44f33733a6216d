"""The command line: ``mailer ...`` and ``flask mailer ...``."""

from __future__ import annotations

import click
from flask.cli import AppGroup, ScriptInfo

from .state import current

group = AppGroup("mailer", help="Send email, see what became of it, steer it.")


@group.group()
def db() -> None:
    """The ledger's database."""


@db.command()
def upgrade() -> None:
    """Migrate the ledger to the newest revision."""
    click.echo(f"the ledger is at revision {current().database.upgrade()}")


def main() -> None:
    """Run the command line on the service's own app."""

    def create() -> object:
        from .app import create_app

        return create_app()

    group.main(obj=ScriptInfo(create_app=create), prog_name="mailer")


if __name__ == "__main__":
    main()
