"""``mailer status``: is it well, and how much is waiting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext
from kombu.utils.url import maybe_sanitize_url

from .. import presence
from ..health import Check, alerts, examine, lanes_without_transport, late_lanes, neglected
from ..ledger.counts import Counts
from ..models import LANES, Status
from ..outcome import said
from ..state import State, current
from . import output

_DATABASE_SECONDS = 15
_TROUBLE = (Status.FAILED, Status.UNKNOWN, Status.EXPIRED, Status.CANCELLED, Status.SUPPRESSED)


@click.command(short_help="Say whether all is well, and what waits.")
@output.json_option
@with_appcontext
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say whether the ledger, Redis and the workers are well, and what waits in each lane.

    Exit code 0: all is well. 1: the database is not migrated or not reachable, Redis is not
    reachable, the scheduler (beat) was not seen for a minute, mail is due and no worker is running,
    the last that a lane heard is that no SMTP server can be used, a lane has mail that has been due
    for 2 minutes and that nobody sends, a job (such as a bulk send) has waited or a webhook was not
    told for a minute, a transport refuses the login or TLS, or a server refused most of what it was
    given in the last ten minutes. `transports` says more about those.
    Mail that failed is no reason: it waits for `retry`. A paused lane is none either.

    \b
      mailer status || page-somebody
    """
    state = current()
    commands = ctx.parent.command_path if ctx.parent else "mailer"
    health = examine(state, database_seconds=_DATABASE_SECONDS)
    counts = health.counts
    database_problem = _database_problem(state, health.database, commands)
    redis_problem = _problem(health.redis)
    lanes = _lanes(counts, state.ledger.troubles()) if counts else {}
    late = late_lanes(counts) if counts else []
    alarming = [*alerts(state), *neglected(state, counts)] if counts else []
    workers = presence.workers(state.traffic.shared)
    there = None if workers is None else sum(map(presence.is_there, workers.values()))
    nobody_sends = there == 0 and counts is not None and any(counts.due.values())
    healthy = health.ok and not late and not alarming and not nobody_sends
    if as_json:
        output.print_json(
            {
                "healthy": healthy,
                "checks": {
                    one.name: {"ok": one.ok, "reason": one.details or one.reason}
                    for one in health.checks
                },
                "database": {"url": _database_url(state), "problem": database_problem},
                "redis": {"url": _redis_url(state), "problem": redis_problem},
                "workers": there,
                "oldest_due_seconds": counts and counts.oldest_due_seconds,
                "late_lanes": late,
                "lanes_without_transport": lanes_without_transport(state, counts) if counts else [],
                "alerts": alarming,
                "lanes": counts
                and {
                    lane: _lane_document(counts, lane, numbers) for lane, numbers in lanes.items()
                },
            }
        )
    else:
        click.echo(f"database   {_database_line(state, database_problem)}")
        click.echo(f"redis      {_redis_line(state, redis_problem)}")
        click.echo(f"scheduler  {health.scheduler.reason}")
        click.echo(f"transport  {health.transport.reason}")
        click.echo(f"workers    {_workers_line(there)}")
        if nobody_sends:
            click.echo("mail is due, and no worker is running")
        if counts:
            _print_lanes(lanes)
            _print_deferrals(counts)
            _print_pauses(counts)
        for lane in late:
            click.echo(f"lane {lane}: mail is due and nobody sends it; is a worker running?")
        for words in alarming:
            click.echo(output.printable(words))
    ctx.exit(0 if healthy else 1)


def _workers_line(there: int | None) -> str:
    if there is None:
        return "not known: they say so in Redis"
    return f"{there or 'none'} seen lately"


def _problem(check: Check) -> str | None:
    return None if check.ok else check.details or check.reason


def _database_problem(state: State, check: Check, commands: str) -> str | None:
    problem = _problem(check)
    url = state.database.url
    is_sqlite = url.get_backend_name() == "sqlite"
    if problem and is_sqlite and not Path(url.database or "").exists():
        return f"{problem}: run `{commands} db upgrade`"
    return problem


def _database_line(state: State, problem: str | None) -> str:
    url = _database_url(state)
    if problem and url in problem:
        return problem
    return f"{url}: {problem or 'migrated'}"


def _redis_line(state: State, problem: str | None) -> str:
    url = _redis_url(state)
    return f"{url}: {problem or 'reachable'}" if url else "none: the broker is another one"


def _lanes(counts: Counts, troubles: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Return the numbers of each lane, by what they are of."""
    return {
        lane: {
            "queued": counts.by_lane.get(lane, {}).get(Status.QUEUED, 0),
            "due": counts.due.get(lane, 0),
            "deferred": counts.deferred.get(lane, 0),
            "sending": counts.by_lane.get(lane, {}).get(Status.SENDING, 0),
            **{one.value: troubles.get(lane, {}).get(one, 0) for one in _TROUBLE},
            "oldest_due_seconds": counts.due_seconds.get(lane),
        }
        for lane in LANES
    }


def _lane_document(counts: Counts, lane: str, numbers: dict[str, Any]) -> dict[str, Any]:
    newest = counts.deferrals.get(lane)
    paused = counts.paused.get(lane)
    return {
        **numbers,
        "newest_deferral": newest and newest._asdict(),
        "paused": paused and paused._asdict(),
    }


def _print_lanes(lanes: dict[str, Any]) -> None:
    names = ["queued", "due", "deferred", "sending", "failed"]
    # The rarer states only when there are any: all of them are wider than a terminal.
    names += [one for one in _TROUBLE if one not in names and any(n[one] for n in lanes.values())]
    click.echo()
    output.print_table(
        ("LANE", *(name.upper() for name in names), "OLDEST DUE"),
        [
            (lane, *(numbers[name] for name in names), _age(numbers["oldest_due_seconds"]))
            for lane, numbers in lanes.items()
        ],
        whole=len(names) + 2,
    )


def _print_deferrals(counts: Counts) -> None:
    for lane, newest in sorted(counts.deferrals.items()):
        number = counts.deferred[lane]
        which = f"{number} deferred, the newest" if number else "due again, deferred by"
        words = said(newest.code, newest.enhanced, newest.words)
        click.echo(output.printable(f"lane {lane}: {which}: {newest.stage}: {words}"))


def _print_pauses(counts: Counts) -> None:
    for what, pauses, command in (
        ("lane", counts.paused, "resume"),
        ("transport", counts.paused_transports, "transports resume"),
    ):
        for name, pause in sorted(pauses.items()):
            when = output.duration(output.seconds_since(pause.at))
            words = f"{what} {name}: paused by {pause.actor} {when} ago; `{command} {name}` lets it"
            click.echo(output.printable(f"{words} go on"))


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else output.duration(seconds)


def _database_url(state: State) -> str:
    return state.database.url.render_as_string(hide_password=True)


def _redis_url(state: State) -> str | None:
    return state.redis_url and str(maybe_sanitize_url(state.redis_url))
