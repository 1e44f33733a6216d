"""Which deliveries: the filters that `list`, `retry` and `cancel` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from .. import bulk
from ..ledger.filters import OUTCOMES
from ..models import LANES
from ..state import State
from . import parameters

_OPTIONS = (
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice(OUTCOMES),
        metavar="STATE",
        help=f"{', '.join(OUTCOMES)}; deferred and scheduled are queued as well, the last "
        "three sent. Several: any of them.",
    ),
    click.option("--template", type=parameters.name, metavar="NAME", help="Template of the email."),
    click.option("--recipient", type=parameters.address, metavar="ADDRESS", help="Whom it is for."),
    click.option("--code", type=int, metavar="NUMBER", help="SMTP code of the last attempt: 451."),
    click.option("--lane", type=click.Choice(LANES), help="Queue of the delivery."),
    click.option(
        "--since",
        type=parameters.past,
        metavar="TIME",
        help="Accepted at or after: 2026-11-24T09:30, or 10m, 2h, 3d ago.",
    ),
    click.option(
        "--until", type=parameters.past, metavar="TIME", help="Accepted before; like --since."
    ),
    click.option("--bulk", type=parameters.name, metavar="ID", help="Accepted by this bulk send."),
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets them named like the fields of `Filters`, but for
    ``states``: a tuple, empty when not given."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check(state: State, conditions: Mapping[str, Any]) -> None:
    """Raise NotFound if they name a bulk send that is not there: it is no filter that nothing
    matches, but a mistake."""
    if conditions.get("bulk") is not None:
        bulk.find(state, conditions["bulk"])
