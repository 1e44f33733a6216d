"""``mailer status``: is it well, and how much is waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import redis
from flask.cli import with_appcontext
from kombu.utils.url import maybe_sanitize_url

from ..errors import LedgerUnavailable
from ..ledger.counts import Counts
from ..models import LANES, Status
from ..state import State, current
from . import output
from .listing import said

LATE_SECONDS = 120
"""Beat rings at least every 60 s: what has been due for longer has no worker."""
_REDIS_SECONDS = 2
_TROUBLE = (Status.FAILED, Status.UNKNOWN, Status.EXPIRED, Status.CANCELLED, Status.SUPPRESSED)


@click.command(short_help="Say whether all is well, and what waits.")
@output.json_option
@with_appcontext
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say whether the ledger, Redis and the workers are well, and what waits in each lane.

    Exit code 0: all is well. 1: the database is not migrated or not reachable, Redis is not
    reachable, the last that a lane heard is that the SMTP server cannot be used, or a lane has
    mail that has been due for 2 minutes and that nobody sends.
    Mail that failed is no reason: it waits for `retry`.

    \b
      mailer status || page-somebody
    """
    state = current()
    commands = ctx.parent.command_path if ctx.parent else "mailer"
    counts, database_problem = _ledger(state, commands)
    redis_problem = _redis_problem(state)
    late = _late_lanes(counts) if counts else []
    stuck = _stuck_lanes(counts) if counts else []
    healthy = not (database_problem or redis_problem or late or stuck)
    if as_json:
        output.print_json(
            {
                "healthy": healthy,
                "database": {"url": _database_url(state), "problem": database_problem},
                "redis": {"url": _redis_url(state), "problem": redis_problem},
                "oldest_due_seconds": counts and counts.oldest_due_seconds,
                "late_lanes": late,
                "lanes_without_transport": stuck,
                "lanes": counts and {lane: _lane_document(counts, lane) for lane in LANES},
            }
        )
    else:
        click.echo(f"database  {_database_line(state, database_problem)}")
        click.echo(f"redis     {_redis_line(state, redis_problem)}")
        if counts:
            _print_lanes(counts)
            _print_deferrals(counts)
        for lane in late:
            click.echo(f"lane {lane}: mail is due and nobody sends it; is a worker running?")
    ctx.exit(0 if healthy else 1)


def _ledger(state: State, commands: str) -> tuple[Counts | None, str | None]:
    """Return the counts, and what is wrong with the database."""
    try:
        state.database.check_migrated()
        return state.ledger.counts(), None
    except LedgerUnavailable as error:
        url = state.database.url
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return None, f"{error}: run `{commands} db upgrade`"
        return None, str(error)


def _database_line(state: State, problem: str | None) -> str:
    url = _database_url(state)
    if problem and url in problem:
        return problem
    return f"{url}: {problem or 'migrated'}"


def _redis_problem(state: State) -> str | None:
    if state.redis_url is None:
        return None
    client = redis.Redis.from_url(
        state.redis_url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
    )
    try:
        with client:
            client.ping()
    except redis.RedisError as error:
        return f"not reachable: {error}"
    return None


def _redis_line(state: State, problem: str | None) -> str:
    url = _redis_url(state)
    return f"{url}: {problem or 'reachable'}" if url else "none: the broker is another one"


def _late_lanes(counts: Counts) -> list[str]:
    return [
        lane
        for lane, seconds in sorted(counts.due_seconds.items())
        if seconds > LATE_SECONDS and not counts.by_lane[lane].get(Status.SENDING)
    ]


def _stuck_lanes(counts: Counts) -> list[str]:
    """Return the lanes whose newest deferral tells of the transport rather than of an email."""
    return [lane for lane, newest in sorted(counts.deferrals.items()) if newest.is_of_transport]


def _lane_document(counts: Counts, lane: str) -> dict[str, Any]:
    newest = counts.deferrals.get(lane)
    return {**_numbers(counts, lane), "newest_deferral": newest and newest._asdict()}


def _numbers(counts: Counts, lane: str) -> dict[str, Any]:
    by_status = counts.by_lane.get(lane, {})
    return {
        "queued": by_status.get(Status.QUEUED, 0),
        "due": counts.due.get(lane, 0),
        "deferred": counts.deferred.get(lane, 0),
        **{one.value: by_status.get(one, 0) for one in (Status.SENDING, *_TROUBLE)},
        "oldest_due_seconds": counts.due_seconds.get(lane),
    }


def _print_lanes(counts: Counts) -> None:
    lanes = {lane: _numbers(counts, lane) for lane in LANES}
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


def _age(seconds: float | None) -> str:
    return "-" if seconds is None else output.duration(seconds)


def _database_url(state: State) -> str:
    return state.database.url.render_as_string(hide_password=True)


def _redis_url(state: State) -> str | None:
    return state.redis_url and str(maybe_sanitize_url(state.redis_url))
