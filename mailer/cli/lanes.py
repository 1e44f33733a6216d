"""``mailer pause`` and ``resume``: let the mail of a lane wait, and go on."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from .. import dispatcher
from ..models import LANES
from . import output
from .steering import actor

_lane = click.argument("lane", type=click.Choice(LANES))


@click.command(short_help="Let the mail of a lane wait.")
@_lane
@output.json_option
@with_appcontext
def pause(lane: str, as_json: bool) -> None:
    """Let the mail of a lane wait: it is accepted as ever, and no worker takes it.

    What workers have in hand by now they still send, for some seconds. What is to be sent before
    some time expires as ever. `status` shows who paused a lane, and when.

    \b
      mailer pause bulk
    """
    say("lane", lane, True, dispatcher.pause(lane, actor=actor()), as_json)


@click.command(short_help="Let the mail of a paused lane go on.")
@_lane
@output.json_option
@with_appcontext
def resume(lane: str, as_json: bool) -> None:
    """Let the mail of a paused lane go on, at once.

    \b
      mailer resume bulk
    """
    say("lane", lane, False, dispatcher.resume(lane, actor=actor()), as_json)


def say(what: str, name: str, paused: bool, changed: bool, as_json: bool) -> None:
    """Print what became of a lane or a transport."""
    if as_json:
        output.print_json({what: name, "paused": paused, "changed": changed})
    elif changed:
        click.echo(f"{'paused' if paused else 'resumed'} {what} {name}")
    else:
        click.echo(f"{what} {name} was {'paused already' if paused else 'not paused'}")
