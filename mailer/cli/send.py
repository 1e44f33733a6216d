"""``mailer send``"""

from __future__ import annotations

import mimetypes
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from ..content import Attachment
from ..dispatcher import accept, drafted
from ..drafting import Request
from ..models import LANES
from . import output, parameters
from .context import context_options
from .steering import actor


@click.command(short_help="Send an email.")
@click.argument("template", required=False)
@click.option("--to", multiple=True, metavar="ADDRESS", help="Recipient; give it once for each.")
@click.option("--cc", multiple=True, metavar="ADDRESS", help="Copy; shown to all.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="Copy that no header tells of.")
@click.option("--subject", metavar="TEXT", help="Subject; with a template, instead of its own.")
@click.option("--text", metavar="TEXT", help="Text body of an email without a template.")
@click.option("--html", metavar="HTML", help="HTML body of an email without a template.")
@context_options
@click.option("--sender", metavar="ADDRESS", help="From; MAIL_DEFAULT_SENDER if not given.")
@click.option("--reply-to", multiple=True, metavar="ADDRESS", help="Where answers go.")
@click.option(
    "--attach",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    help="File to attach; give it once for each.",
)
@click.option("--locale", metavar="LOCALE", help="Language of the template, as in de or de-AT.")
@click.option("--lane", type=click.Choice(LANES), help="Queue; the template's if not given.")
@click.option(
    "--category", metavar="NAME", help="What recipients may unsubscribe from, as in newsletter."
)
@click.option(
    "--at",
    "send_at",
    type=parameters.future,
    metavar="TIME",
    help="Not before: 2026-11-24T09:30, or in 10m, 2h.",
)
@click.option(
    "--expires", "expires_at", type=parameters.future, metavar="TIME", help="Not after; like --at."
)
@click.option(
    "--key",
    "idempotency_key",
    metavar="TEXT",
    help="Idempotency key: the same email twice with one key is sent once.",
)
@output.json_option
@with_appcontext
def send(
    *,
    template: str | None,
    context: dict[str, Any],
    variables: tuple[tuple[str, str], ...],
    files: tuple[Path, ...],
    send_at: datetime | None,
    expires_at: datetime | None,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Send an email: from a template, or from --subject with --text and --html.

    Prints the id of the email, which `show` takes. It is stored by then, and a worker sends it.

    \b
      mailer send welcome --to ann@example.com --set start_url=https://app.example.com
      mailer send --to 'Ann <ann@example.com>' --subject Hello --text 'Hello Ann.'
    """
    request = Request(
        template=template,
        context={**context, **dict(variables)},
        attachments=[_attachment(file) for file in files],
        send_at=send_at,
        expires_at=expires_at,
        **arguments,
    )
    (recorded,) = accept([drafted(request)], by=actor())
    email_id = recorded.values["id"]
    if as_json:
        output.print_json({"id": email_id})
    else:
        click.echo(email_id)


def _attachment(path: Path) -> Attachment:
    content_type, encoding = mimetypes.guess_type(path.name)
    # notes.txt.gz is no text.
    if content_type is None or encoding is not None:
        content_type = "application/octet-stream"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from error
    return Attachment(filename=path.name, data=data, content_type=content_type)
