"""``mailer top``: whether mail flows and what waits, live in the terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import with_appcontext

from ..ledger.tallies import Flow
from ..outcome import said
from ..overview import RANGES, SHARES, Overview, look
from ..state import current
from . import output

EVERY_SECONDS = 2.0
_BARS = " ▁▂▃▄▅▆▇█"
_CLEAR = "\x1b[H\x1b[2J"
# What stood in the terminal before comes back at the end.
_OTHER_SCREEN, _SCREEN = "\x1b[?1049h", "\x1b[?1049l"


@click.command(short_help="Watch mail flow.")
@click.option("--range", "over", type=click.Choice(list(RANGES)), default="hour", show_default=True)
@click.option("--once", is_flag=True, help="Print it once.")
@output.json_option
@with_appcontext
def top(over: str, once: bool, as_json: bool) -> None:
    """Show whether mail flows, what happened, what waits, how the transports stand and what goes
    wrong, anew every two seconds. `q` or Ctrl-C ends it. Where there is no terminal it is printed
    once.

    \b
      mailer top
      mailer top --range day --once
    """
    if as_json:
        output.print_json(_document(look(current(), over)))
        return
    if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print(look(current(), over), over)
        return
    with _own_screen():
        while True:
            found = look(current(), over)
            click.echo(_CLEAR, nl=False)
            _print(found, over)
            click.echo("q ends")
            if _quits_within(EVERY_SECONDS):
                return


@contextmanager
def _own_screen() -> Iterator[None]:
    """Have the terminal's other screen, and each key as it is pressed."""
    before = termios.tcgetattr(sys.stdin)
    click.echo(_OTHER_SCREEN, nl=False)
    try:
        tty.setcbreak(sys.stdin, termios.TCSANOW)  # what was typed already counts
        yield
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        click.echo(_SCREEN, nl=False)


def _quits_within(seconds: float) -> bool:
    """Wait so long, unless `q` is pressed or the terminal is gone."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0]:
            keys = os.read(sys.stdin.fileno(), 100)
            if b"q" in keys or not keys:
                return True
    return False


def _print(found: Overview, over: str) -> None:
    verdict = found.verdict
    colour = {"good": "green", "wait": "yellow", "bad": "red"}[verdict.level]
    click.echo(click.style(verdict.words, fg=colour, bold=True))
    for reason in verdict.reasons:
        click.echo(output.printable(f"  {reason.words}"))
    for check in found.health.checks:
        if not check.ok:
            continue
        click.echo(output.printable(f"{check.name:<10} {check.reason}"))
    click.echo(f"{'workers':<10} {_workers(found.workers)}")
    if found.flow is None:
        return
    click.echo()
    _print_flow(found.flow, found.latency, over)
    click.echo()
    output.print_table(
        ("LANE", "DUE", "OLDEST DUE", "DEFERRED", "QUEUED", "SENDING", *map(_within, SHARES)),
        [
            (
                one.name + (" (paused)" if one.paused_by else ""),
                one.due,
                _span(one.oldest_due_seconds),
                one.deferred,
                one.queued,
                one.sending,
                *map(_span, one.latency),
            )
            for one in found.lanes
        ],
        whole=9,
    )
    click.echo()
    output.print_table(
        ("TRANSPORT", "STATE", "SENT/MIN", "SENT", "DEFERRED", "REFUSED", "LAST TROUBLE"),
        [
            (
                one.name,
                one.word,
                round(one.figures.per_minute),
                one.figures.sent,
                one.figures.deferred,
                one.figures.refused,
                said(one.trouble.code, one.trouble.enhanced, one.trouble.words)
                if one.trouble
                else "-",
            )
            for one in found.transports
        ],
        whole=6,
    )
    if found.failures:
        click.echo()
        output.print_table(
            ("OF THE NEWEST", "STATE", "REASON"),
            [
                (one.number, one.state, said(one.code, one.enhanced, one.words))
                for one in found.failures
            ],
            whole=2,
        )


def _print_flow(flow: Flow, latency: Sequence[float | None], over: str) -> None:
    within = ", ".join(
        f"{_within(share)} {_span(seconds)}" for share, seconds in zip(SHARES, latency, strict=True)
    )
    click.echo(f"the last {over}; sent: {within}")
    for name, numbers in flow.numbers.items():
        click.echo(f"{name:<9} {flow.total(name):>9}  {_bars(numbers)}".rstrip())


def _bars(numbers: Sequence[int]) -> str:
    """Draw the newest periods, as many as fit, each as high as its share of the highest."""
    room = output.width() - 22
    shown = numbers[-room:]
    highest = max(shown)
    return "".join(_BARS[-(-one * (len(_BARS) - 1) // (highest or 1))] for one in shown)


def _workers(workers: dict[str, float] | None) -> str:
    if workers is None:
        return "not known without Redis"
    seen = [f"{name} seen {output.duration(seconds)} ago" for name, seconds in workers.items()]
    return output.printable(", ".join(seen)) or "none was seen"


def _within(share: float) -> str:
    return f"{share * 100:g} %"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2g} s" if seconds < 10 else output.duration(seconds)


def _document(found: Overview) -> dict[str, Any]:
    flow = found.flow
    return {
        "verdict": {
            **found.verdict._asdict(),
            "reasons": [reason.words for reason in found.verdict.reasons],
        },
        "workers": found.workers,
        "lanes": [
            {**one._asdict(), "latency": dict(zip(map(_within, SHARES), one.latency, strict=True))}
            for one in found.lanes
        ],
        "flow": flow
        and {"step_seconds": flow.step, "begins_at": flow.begins, "deliveries": flow.numbers},
        "transports": [
            {"name": one.name, "state": one.state, **one.figures._asdict()}
            for one in found.transports
        ],
        "failures": [one._asdict() for one in found.failures],
    }
