"""``mailer bounce``: store what a mail server reports, which it pipes in."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

import click
from flask.cli import ScriptInfo

from .. import reporting
from ..errors import LedgerUnavailable, NotAReport, SettingError
from ..inbound import dsn
from ..state import of


@click.command(short_help="Store a bounce, read from standard input.")
@click.pass_context
def bounce(ctx: click.Context) -> None:
    """Store a bounce or a complaint that a mail server pipes in.

    A delivery status notification (RFC 3464) or a feedback report (RFC 5965). Exit code 0: stored,
    or nothing that is stored; 65: it is no report; 75: it cannot be stored now, to be tried again.

    \b
      mailer bounce < bounce.eml
    """
    if sys.stdin.isatty():
        raise click.UsageError("expected a message on standard input")
    raw = _read(sys.stdin.buffer)
    try:
        app = ctx.ensure_object(ScriptInfo).load_app()
        with app.app_context():
            heard = dsn.read(raw)
            reported = reporting.keep(of(app), dsn.SOURCE, heard)
    except NotAReport as error:
        _end(ctx, str(error), os.EX_DATAERR)
    except (LedgerUnavailable, SettingError) as error:
        # A mail server gives up on every other code, and with it the bounce.
        _end(ctx, str(error), os.EX_TEMPFAIL)
    else:
        click.echo(f"stored {reported.stored}, known {reported.known}, ignored {heard.ignored}")


def _read(stream: BinaryIO) -> bytes:
    raw = stream.read(dsn.READ_BYTES)
    while stream.read(65_536):  # else its writer would be told that we failed
        pass
    return raw


def _end(ctx: click.Context, words: str, code: int) -> None:
    click.echo(f"mailer: {' '.join(words.split())}", err=True)
    ctx.exit(code)
