"""What commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ..why import Sentence, Verb

Cell = str | int | None

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many."
)

_GAP = 2
_NARROWEST = 8
_INDENT = "    "
_HALF_A_YEAR = 182 * 86_400


def print_json(document: Any) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False, default=_plain)
    # JSON escapes ESC itself, but neither CSI in one character (U+009B) nor what turns the
    # reading direction.
    click.echo("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def print_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    whole: int = 0,
    last_may_go_below: bool = False,
) -> None:
    """Print aligned columns, numbers to the right.

    On a terminal, the widest columns are cut to its width; the first ``whole`` ones never. With
    ``last_may_go_below``, the last column rather stands below each row, in full.
    """
    lines = [list(headers), *([_shown(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    below = [""] * len(lines)
    room = width()
    if sys.stdout.isatty():
        if last_may_go_below and sum(widths) + _GAP * (len(widths) - 1) > room:
            below = ["", *(line[-1] for line in lines[1:])]
            lines, rows, widths = [line[:-1] for line in lines], [r[:-1] for r in rows], widths[:-1]
        _fit(widths, room, whole)
    numbers = [
        bool(rows) and all(cell is None or isinstance(cell, int) for cell in column)
        for column in zip(*rows, strict=True)
    ] or [False] * len(headers)
    for line, words in zip(lines, below, strict=True):
        cells = [
            cut(text, width).rjust(width) if number else cut(text, width).ljust(width)
            for text, width, number in zip(line, widths, numbers, strict=True)
        ]
        click.echo((" " * _GAP).join(cells).rstrip())
        if words:
            click.echo(
                textwrap.fill(words, room, initial_indent=_INDENT, subsequent_indent=_INDENT)
            )


def print_more(more: bool, limit: int) -> None:
    """Say below a table that there is more than it shows, if so."""
    if more:
        click.echo(f"(the newest {limit}; --limit shows more)")


def width() -> int:
    """Return how many characters fit beside one another."""
    return shutil.get_terminal_size().columns


def print_fields(fields: Sequence[tuple[str, str | None]]) -> None:
    """Print names and values under one another, less those that have none."""
    present = [(name, value) for name, value in fields if value]
    width = max(len(name) for name, _ in present)
    for name, value in present:
        click.echo(f"{name:<{width}}{' ' * _GAP}{printable(value)}")


def printable(text: str) -> str:
    """Replace control characters: what a server or a caller says must not steer the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def local(instant: datetime) -> str:
    """Return an instant in the local time zone, which `--since` and its like read back."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M:%S}"


def short(instant: datetime) -> str:
    """Return a local time as `ls` would: with the year only if it is not of these months."""
    near = abs(seconds_since(instant)) < _HALF_A_YEAR
    return f"{instant.astimezone():{'%m-%d %H:%M' if near else '%Y-%m-%d'}}"


def zone() -> str:
    """Return the name of the local time zone."""
    return datetime.now().astimezone().tzname() or "local time"


def seconds_since(instant: datetime) -> float:
    # For the eye only: what is due is decided by the database's clock.
    return (datetime.now(UTC) - instant).total_seconds()


def duration(seconds: float) -> str:
    """Return seconds in one unit, as a person would say it: ``45 s``, ``12 min``, ``3 h``."""
    for unit, size, up_to in (("s", 1, 90), ("min", 60, 5_400), ("h", 3_600, 172_800)):
        if seconds < up_to:
            return f"{max(0, round(seconds / size))} {unit}"
    return f"{round(seconds / 86_400)} days"


def size(number: int) -> str:
    """Return a number of bytes as a person would say it: ``310 bytes``, ``12 kB``, ``3.4 MB``."""
    if number < 1_000:
        return f"{number} bytes"
    return f"{number / 1_000:.0f} kB" if number < 999_500 else f"{number / 1_000_000:.1f} MB"


def count(number: int, what: str) -> str:
    """Return a number of things, as in ``1 email``, ``2 emails``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def commands(ctx: click.Context) -> str:
    """Return how the commands beside this one begin: ``mailer`` or ``flask mailer``."""
    return ctx.parent.command_path if ctx.parent else "mailer"


def sentence(parts: Sentence, email_id: str, commands: str) -> str:
    """Return a sentence about an email, with commands for what can be done."""
    return "".join(_spoken(part, email_id, commands) for part in parts)


def _spoken(part: str | datetime | timedelta | Verb, email_id: str, commands: str) -> str:
    match part:
        case str():
            return part
        case datetime():
            return local(part)
        case timedelta():
            return duration(part.total_seconds())
        case Verb.RETRY:
            return f"`{commands} retry {email_id}`"
        case Verb.RESOLVE_SENT:
            return f"`{commands} resolve {email_id} --sent`"
        case Verb.RESOLVE_RESEND:
            return "--resend"


def deliveries(number: int) -> str:
    return f"{number} {'delivery' if number == 1 else 'deliveries'}"


def _shown(cell: Cell) -> str:
    return "" if cell is None else printable(str(cell))


def _fit(widths: list[int], room: int, whole: int) -> None:
    room -= _GAP * (len(widths) - 1)
    flexible = range(whole, len(widths))
    while sum(widths) > room:
        widest = max(flexible, key=lambda column: widths[column])
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"expected a JSON value, got {type(value).__name__}")
