"""``mailer transports``: where mail leaves, how it goes, and what is paused."""

from __future__ import annotations

from typing import Any

import click
from flask.cli import with_appcontext

from .. import dispatcher
from ..outcome import said
from ..standing import Standing, standings
from ..state import current
from . import lanes, output
from .steering import actor


@click.group(
    short_help="Say where mail leaves, and how it goes; pause, resume.",
    invoke_without_command=True,
)
@output.json_option
@with_appcontext
@click.pass_context
def transports(ctx: click.Context, as_json: bool) -> None:
    """Say of each transport, in the order of preference, whether it can be used, its limits, what
    it did in the last ten minutes, and its last trouble.

    usable: mail flows. not usable: the server could not be used, and nobody tries for some seconds.
    probing: the next email finds out. paused: somebody said so; mail takes the next transport that
    fits, or waits. In JSON `state` is that of its circuit: closed, open, half-open, or paused.

    \b
      mailer transports
      mailer transports pause backup
    """
    if ctx.invoked_subcommand is not None:
        return
    state = current()
    documents = [_document(one) for one in standings(state)]
    if as_json:
        output.print_json({"transports": documents, "shared": not state.traffic.shared.away})
        return
    output.print_table(
        ("NAME", "SENT/MIN", "SENT", "DEFERRED", "REFUSED", "STATE", "SERVER"),
        [
            (
                one["name"],
                one["sent_per_minute"],
                one["sent"],
                one["deferred"],
                one["refused"],
                one["words"],
                "; ".join(filter(None, (one["server"], one["limits"], one["takes"]))),
            )
            for one in documents
        ],
        whole=5,
        last_may_go_below=True,
    )
    click.echo("SENT, DEFERRED and REFUSED: within ten minutes")
    for one in documents:
        if trouble := one["last_trouble"]:
            ago = output.duration(output.seconds_since(trouble["at"]))
            words = said(trouble["code"], trouble["enhanced"], trouble["words"])
            click.echo(output.printable(f"{one['name']}: {ago} ago at {trouble['stage']}: {words}"))
    if state.traffic.shared.away:
        click.echo("Redis is away: each worker goes by what it knows itself", err=True)


@transports.command(short_help="Send nothing over a transport.")
@click.argument("name")
@output.json_option
@with_appcontext
def pause(name: str, as_json: bool) -> None:
    """Send nothing over a transport until it is resumed: mail takes the next that fits, or waits.

    Workers know within a second or so; what is being sent ends.

    \b
      mailer transports pause primary
    """
    lanes.say("transport", name, True, dispatcher.pause_transport(name, actor=actor()), as_json)


@transports.command(short_help="Use a paused transport again.")
@click.argument("name")
@output.json_option
@with_appcontext
def resume(name: str, as_json: bool) -> None:
    """Use a paused transport again, at once.

    \b
      mailer transports resume primary
    """
    lanes.say("transport", name, False, dispatcher.resume_transport(name, actor=actor()), as_json)


def _document(one: Standing) -> dict[str, Any]:
    words = one.word
    if one.paused:
        since = output.duration(output.seconds_since(one.paused.at))
        words = f"paused by {one.paused.actor} {since} ago"
    elif one.state == "open":
        words = f"{words}, next try in {output.duration(one.closed_for)}"
    return {
        "name": one.name,
        "server": one.server,
        "state": one.state,
        "words": words,
        "opened_at": one.opened_at,
        "limits": one.limits,
        "takes": one.takes,
        "connections": one.connections,
        "sent_per_minute": one.figures.per_minute,
        "sent": one.figures.sent,
        "deferred": one.figures.deferred,
        "refused": one.figures.refused,
        "last_trouble": one.trouble and one.trouble._asdict(),
    }
