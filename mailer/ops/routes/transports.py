"""Transports and lanes: where mail leaves, what waits; pause, resume, talk to a server."""

from __future__ import annotations

from flask import request, url_for

from ... import addresses, dispatcher, health, trial
from ...errors import NotFound, SettingError
from ...ledger.counts import Counts
from ...models import LANES, Status
from ...outcome import Kind
from ...standing import Standing, standings
from ...state import current
from ...transport import Step
from .. import access
from ..blueprint import Answer, view
from ..given import refuse_suppressed
from ..limits import TESTS, in_words
from ..pages import done, page


@view("GET", "/transports", role="viewer")
def transports() -> Answer:
    """Show both."""
    state = current()
    counts = state.ledger.counts()
    return page(
        "transports",
        transports=standings(state),
        lanes=[_lane(counts, lane) for lane in LANES],
        without_transport=health.lanes_without_transport(state, counts),
        is_redis_away=state.traffic.shared.away,
    )


@view("GET", "/transports/<name>", role="viewer")
def transport(name: str) -> Answer:
    """Show one, with a form to talk to its server."""
    return page("transport", transport=_standing(name))


@view("POST", "/transports/<name>/test", role="operator")
def test_transport(name: str) -> Answer:
    """Talk to its server, and show what was said."""
    found = _standing(name)
    typed = request.form.get("address", "").strip()
    steps: list[Step] = []
    address, error, status = None, None, 200
    try:
        address = _recipient(typed) if typed else None
        if address and (wait := TESTS.take(access.actor())):
            error, status = f"That was tried too often. {in_words(wait)}", 429
        else:
            if address:  # before it leaves: no transaction spans a conversation
                current().ledger.note(access.actor(), "send test", f"transport {name}")
            way = trial.named(current(), name)
            steps = list(trial.converse(current(), way, address, is_impatient=True))
    except (ValueError, SettingError) as problem:
        error, status = str(problem), 422
    outcome = steps[-1].outcome if steps else None
    return page(
        "transport",
        status=status,
        transport=found,
        steps=steps,
        worked=outcome is None or outcome.kind is Kind.SENT,
        address=address,
        typed=typed,
        error=error,
    )


@view("POST", "/transports/<name>/pause", role="operator")
def pause_transport(name: str) -> Answer:
    """Send nothing over it."""
    changed = dispatcher.pause_transport(name, actor=access.actor())
    return _switched(f"Transport {name}", "paused", changed)


@view("POST", "/transports/<name>/resume", role="operator")
def resume_transport(name: str) -> Answer:
    """Use it again."""
    changed = dispatcher.resume_transport(name, actor=access.actor())
    return _switched(f"Transport {name}", "resumed", changed)


@view("POST", "/lanes/<lane>/pause", role="operator")
def pause_lane(lane: str) -> Answer:
    """Let its mail wait."""
    changed = dispatcher.pause(_known_lane(lane), actor=access.actor())
    return _switched(f"Lane {lane}", "paused", changed)


@view("POST", "/lanes/<lane>/resume", role="operator")
def resume_lane(lane: str) -> Answer:
    """Let its mail go on."""
    changed = dispatcher.resume(_known_lane(lane), actor=access.actor())
    return _switched(f"Lane {lane}", "resumed", changed)


def _recipient(typed: str) -> str:
    """Return the address that was typed. Raises ValueError, also when it is suppressed."""
    address = addresses.parse(typed, allow_test_domains=True).email
    refuse_suppressed(address)
    return address


def _standing(name: str) -> Standing:
    trial.named(current(), name)
    return next(one for one in standings(current()) if one.name == name)


def _known_lane(lane: str) -> str:
    if lane not in LANES:
        raise NotFound(f"no lane {lane!r}; there are {', '.join(LANES)}")
    return lane


def _switched(what: str, verb: str, changed: bool) -> Answer:
    words = f"{what} is {verb}." if changed else f"{what} was {verb} already."
    return done(words, url_for("ops.transports"))


def _lane(counts: Counts, lane: str) -> dict[str, object]:
    by_status = counts.by_lane.get(lane, {})
    return {
        "name": lane,
        "waiting": by_status.get(Status.QUEUED, 0),
        "due": counts.due.get(lane, 0),
        "oldest_due_seconds": counts.due_seconds.get(lane),
        "deferred": counts.deferred.get(lane, 0),
        "sending": by_status.get(Status.SENDING, 0),
        "deferral": counts.deferrals.get(lane),
        "paused": counts.paused.get(lane),
    }
