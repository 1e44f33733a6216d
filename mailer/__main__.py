"""``python -m mailer`` and the command ``mailer``: the command line on the service's own app."""

from __future__ import annotations

import logging

from flask import Flask
from flask.cli import ScriptInfo

import mailer

from .cli import group


def main() -> None:
    """Run the command line."""
    # Whoever needs the ledger says so in a line of its own; and `mailer db upgrade` should not
    # first be told to run `mailer db upgrade`.
    logging.getLogger("mailer.app").setLevel(logging.ERROR)
    group.main(obj=ScriptInfo(create_app=_create_app), prog_name="mailer")


def _create_app() -> Flask:
    # The package imports the app when it is first asked for: not all commands need it.
    return mailer.create_app()


if __name__ == "__main__":
    main()
