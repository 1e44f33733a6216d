"""``mailer test``: a conversation with the SMTP server, in front of the user."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from .. import trial
from ..outcome import Kind
from ..standing import described
from ..state import current
from ..transport import Step
from . import output, parameters

_MARKS = {"client": ">", "server": "<", "note": "*"}


@click.command(short_help="Talk to the SMTP server, and say what it says.")
@click.argument("address", type=parameters.address)
@click.option("--transport", "name", metavar="NAME", help="Which one (default: the first).")
@output.json_option
@with_appcontext
@click.pass_context
def test(ctx: click.Context, address: str, name: str | None, as_json: bool) -> None:
    """Talk to an SMTP server, print every step, and send a short message to ADDRESS.

    Says what was agreed on (TLS, certificate, AUTH), every command (>) and every reply (<), less
    the password. Goes past ledger and workers: it tests the server and the settings alone.

    \b
      mailer test ann@example.com
    """
    state = current()
    transport = trial.named(state, name)
    server = transport.server
    words = described(server.host, server.port, server.security, server.username)
    conversation = trial.converse(state, transport, address)
    if not as_json:
        click.echo(f"{_MARKS['note']} {words}")
    steps = []
    for step in conversation:
        steps.append(step)
        if not as_json and step.who != "result":
            click.echo(f"{_MARKS[step.who]} {output.printable(step.words)}")
    outcome = steps[-1].outcome
    if outcome is None:
        raise RuntimeError("Transport.test ended without an outcome")
    worked = outcome.kind is Kind.SENT
    if as_json:
        output.print_json(
            {
                "worked": worked,
                "transport": transport.name,
                "server": words,
                "steps": [{"who": one.who, "words": one.words} for one in steps[:-1]],
                "result": outcome._asdict(),
            }
        )
    else:
        click.echo(output.printable(_conclusion(worked, address, steps[-1])))
    ctx.exit(0 if worked else 1)


def _conclusion(worked: bool, address: str, result: Step) -> str:
    if worked:
        return f"The server took the message to {address}."
    return f"The message was not sent: {result.words}"
