"""``mailer why``: what happens to an email next, in a sentence, and what that is known from."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import with_appcontext

from ..state import current
from ..why import evidence, following, held_back
from . import output
from .show import whole_id


@click.command(short_help="Say why an email is where it is.")
@click.argument("email_id", metavar="ID")
@output.json_option
@with_appcontext
@click.pass_context
def why(ctx: click.Context, email_id: str, as_json: bool) -> None:
    """Say in a sentence what happens to each delivery of an email next, and from what that is
    known: the last reply, who paused what, circuits and limits of transports.

    ID is an email's id, or the beginning of one.

    \b
      mailer why 0193a5b2-1c3d-7abc
    """
    state = current()
    history = state.ledger.show(whole_id(state, email_id))
    commands = output.commands(ctx)
    email = history.email
    held = held_back(state, history)
    nexts, known = following(state, history, held), evidence(state, history, held)
    documents: list[dict[str, Any]] = [
        {
            "recipient": one.recipient,
            "state": one.outcome,
            "next": output.sentence(nexts[one.id], email.id, commands),
            "evidence": [
                {"subject": each.subject, "words": output.sentence(each.words, email.id, commands)}
                for each in known[one.id]
            ],
        }
        for one in history.deliveries
    ]
    if as_json:
        output.print_json({"id": email.id, "deliveries": documents})
        return
    for number, one in enumerate(documents):
        click.echo(
            ("\n" if number else "") + f"{output.printable(one['recipient'])}: {one['state']}"
        )
        click.echo(f"  {output.printable(one['next'])}")
        output.print_fields([(f"  {each['subject']}", each["words"]) for each in one["evidence"]])
