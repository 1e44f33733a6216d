"""The options that send and preview share: the variables of a template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from . import parameters


def context_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --context and --set to a command, which gets them as ``context`` and ``variables``."""
    command = click.option(
        "--set",
        "variables",
        type=parameters.variable,
        multiple=True,
        metavar="KEY=VALUE",
        help="One variable, as text.",
    )(command)
    return click.option(
        "--context",
        type=parameters.context,
        default="{}",
        metavar="JSON|@FILE",
        help="The variables as a JSON object, or @ and a file that has it.",
    )(command)
