"""``mailer dev``: one command for development."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import click
from dotenv import dotenv_values, find_dotenv
from flask import Flask

from ..dev.run import run
from ..errors import MailerError

# Of the extra `dev`. Its embedded Redis may be missing: then one on PATH is used.
_NEEDED = ("aiosmtpd", "gunicorn")


@click.command(short_help="Run everything that development needs.")
@click.option("--demo", is_flag=True, help="Sign a user up and reset a password, and show how.")
@click.option(
    "--exit",
    "exit_after_demo",
    is_flag=True,
    envvar="DEMO_EXIT",
    show_envvar=True,
    help="With --demo: end after it, with exit code 0 if its emails arrived.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show all that the services log.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/dev"),
    show_default=True,
    help="Where ledger, logs and Redis data are kept.",
)
@click.pass_context
def dev(
    ctx: click.Context, demo: bool, exit_after_demo: bool, verbose: bool, directory: Path
) -> None:
    """Run everything that development needs, until Ctrl-C: Redis, an SMTP server that keeps
    what it gets and shows it in an inbox, a worker, beat and the service's web app.

    \b
      mailer dev
      mailer dev --demo --exit
    """
    for name in _NEEDED:
        if find_spec(name) is None:
            raise MailerError(f"dev needs {name}: pip install 'mailer-dispatch[dev]'")
    from_file = dotenv_values(find_dotenv(usecwd=True))
    code = run(
        migrate=_migrate,
        environment={name: value for name, value in from_file.items() if value} | os.environ,
        directory=directory,
        demo=demo,
        exit_after_demo=demo and exit_after_demo,
        verbose=verbose,
    )
    ctx.exit(code)


def _migrate(url: str) -> None:
    # Imported while the first services are starting: it takes longer than all the rest here.
    from ..db import Database, located  # noqa: PLC0415
    from ..values import database_url  # noqa: PLC0415

    # Where the service will look for it.
    database = Database(located(database_url(url), Flask("mailer")))
    database.upgrade()
    database.close()
