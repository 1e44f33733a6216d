"""``mailer preview``: an email template made into a file, and nothing sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from .. import message
from .. import preview as look
from ..composition import default_sender, message_id
from ..content import Address, Content
from ..state import State, current
from . import output
from .context import context_options

_SUFFIXES = {"eml": ".eml", "html": ".html", "text": ".txt"}


@click.command(short_help="Write what a template looks like to a file.")
@click.argument("template")
@click.option("--locale", metavar="LOCALE", help="Language of the template, as in de or de-AT.")
@context_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(_SUFFIXES)),
    help="The whole message, or one of its bodies; by --output's suffix, else eml.",
)
@click.option(
    "--output",
    "-o",
    "path",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File to write, - for standard output; TEMPLATE.eml if not given.",
)
@with_appcontext
def preview(
    *,
    template: str,
    locale: str | None,
    context: dict[str, Any],
    variables: tuple[tuple[str, str], ...],
    format_: str | None,
    path: Path | None,
) -> None:
    """Write what a template looks like to a file that a mail client or a browser opens.

    Its variables are those of its sample.json, unless --context and --set say otherwise.

    \b
      mailer preview welcome
      mailer preview confirm_email --locale de --output confirm.html
      mailer preview reset_password --format text --output -
    """
    state = current()
    format_ = format_ or _format(path)
    found = state.renderer.template(template)
    values = {**found.sample, **context, **dict(variables)}
    content, headers = look.preview(state, template, values, locale)
    data = _written(state, content, headers, format_)
    if path == Path("-"):
        click.echo(data, nl=False)
        return
    if path is None:
        variant = f"{template}.{locale}" if locale else template
        path = Path(variant + _SUFFIXES[format_])
    try:
        path.write_bytes(data)
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from error
    click.echo(f"{path}: {output.printable(content.subject)} ({len(data)} bytes)")


def _format(path: Path | None) -> str:
    suffix = path.suffix.lower() if path is not None else ""
    return next((name for name, known in _SUFFIXES.items() if known == suffix), "eml")


def _written(state: State, content: Content, headers: Mapping[str, str], format_: str) -> bytes:
    if format_ == "text":
        return _file(content.text)
    if format_ == "html":
        if content.html is None:
            raise click.ClickException("the template has no HTML: --format text or eml shows it")
        return _file(content.html)
    sender = default_sender(state) or Address("", "sender@example.com")
    return message.write(
        sender=sender,
        to=[Address("", look.RECIPIENT)],
        content=content,
        date=datetime.now(UTC),
        message_id=message_id("preview", sender),
        headers=headers,
    )


def _file(text: str) -> bytes:
    return (text if text.endswith("\n") else text + "\n").encode()
