"""Why an email is where it is: what happens to each delivery next, and what is known of that."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from .health import Way, hindrance, ways
from .ledger import Filters
from .ledger.queries import History
from .ledger.sweeping import CRASHES_ALLOWED
from .models import Status
from .outcome import said
from .state import State


class Verb(enum.Enum):
    """What a person can do about a delivery."""

    RETRY = enum.auto()
    RESOLVE_SENT = enum.auto()
    RESOLVE_RESEND = enum.auto()


Sentence = tuple[str | datetime | timedelta | Verb, ...]
"""Words, and what whoever shows them writes in its own way: instants, spans, what to do."""


class Evidence(NamedTuple):
    """Something that is known of a delivery, or of what it waits for."""

    subject: str
    """Such as ``last reply`` or ``transport default``."""
    words: Sentence


_NOT_SENT = {
    "MAIL_SUPPRESS_SEND": "MAIL_SUPPRESS_SEND was set",
    "test key": "it was sent with a test key, and no transport is for test",
}
"""How the words of an attempt begin of which no server knows, and why."""


def following(state: State, history: History, held: Collection[int]) -> dict[int, Sentence]:
    """Say what happens to each delivery of an email next, by its id. ``held``: of `held_back`."""
    waits = any(one.status == Status.QUEUED for one in history.deliveries)
    hindered = hindrance(state, history.email.lane) if waits else None
    return {
        one.id: what_happens_next(
            one,
            history.email,
            history.attempts[one.id],
            hindered=hindered,
            is_held=one.id in held,
        )
        for one in history.deliveries
    }


def held_back(state: State, history: History) -> frozenset[int]:
    """Return the deliveries of an email that a retry leaves as they are: their recipients are
    suppressed."""
    _, held = state.ledger.held_back(Filters(email_id=history.email.id), None)
    return frozenset(one.delivery_id for one in held)


def what_happens_next(
    delivery: Any,
    email: Any,
    attempts: Sequence[Any],
    *,
    hindered: str | None,
    is_held: bool = False,
) -> Sentence:
    """Say what happens to a delivery next, and when. ``hindered``: why nothing of its lane can
    leave; ``is_held``: as `held_back` says."""
    words: Sentence
    stays = f" Now nothing of its lane can leave: {hindered}." if hindered else ""
    match delivery.state:
        case "deferred" if is_held:
            words = ("It ends as suppressed ", *_ahead(delivery.due_at), *_limit(delivery), ".")
        case "deferred":
            number = f": attempt {delivery.attempts + 1} of {delivery.attempts_allowed}"
            again = ("It is tried again ", *_ahead(delivery.due_at), number, *_limit(delivery))
            now = f" makes it due now.{stays}" if hindered else " tries it now."
            words = (*again, ". ", Verb.RETRY, now)
        case "scheduled":
            words = ("It is sent ", *_ahead(delivery.due_at), *_limit(delivery), f".{stays}")
        case Status.QUEUED:
            due = ("due for ", _since(delivery.due_at), *_limit(delivery))
            words = ("The next free worker sends it, ", *due, ".")
            if hindered:
                words = ("It waits, ", *due, f": {hindered}.")
        case Status.SENDING:
            doubt = "A worker is sending it; if its outcome is not known "
            words = (doubt, *_ahead(delivery.lease_until), f", it {_given_up(delivery, email)}.")
        case Status.SENT if delivery.outcome == "bounced":
            words = ("Nothing more happens: the server had it, and it came back.",)
        case Status.SENT:
            words = (f"Nothing more happens: {_where(attempts)}.",)
        case Status.UNKNOWN:
            words = _undecided(email)
        case _ if email.erased_at:
            words = ("Nothing more happens: its content was erased, so it cannot be sent again.",)
        case _ if is_held or delivery.state == Status.SUPPRESSED:
            unless = " sends it, once its recipient is not suppressed any more."
            words = ("Nothing happens by itself: ", Verb.RETRY, unless)
        case _:
            words = ("Nothing happens by itself: ", Verb.RETRY, " sends it, with fresh attempts.")
    return words


def _undecided(email: Any) -> Sentence:
    begin = ("Nothing happens by itself: the server may have it. ", Verb.RESOLVE_SENT)
    if email.erased_at:
        return (*begin, " if it has; its content was erased, so it cannot be sent again.")
    again = " to send it, perhaps for the second time."
    return (*begin, " if it has, or ", Verb.RESOLVE_RESEND, again)


def evidence(state: State, history: History, held: Collection[int]) -> dict[int, list[Evidence]]:
    """Return what is known of each delivery, by its id: the last reply, what was reported and done,
    and what stands in the way of those that wait. ``held``: of `held_back`."""
    waits = any(one.status == Status.QUEUED for one in history.deliveries)
    of_lane = _of_lane(state, history.email.lane) if waits else []
    found = {}
    for delivery in history.deliveries:
        known = [*_last_reply(history.attempts[delivery.id])]
        known += _last_report(history.reports[delivery.id])
        known += _last_act(history.audit[delivery.id])
        if delivery.status == Status.QUEUED:
            known += of_lane
        if delivery.status == Status.SUPPRESSED or delivery.id in held:
            known += _suppressions(state, delivery.recipient, history.email.category)
        found[delivery.id] = known
    return found


def _given_up(delivery: Any, email: Any) -> str:
    """Return what a sweep makes of a delivery whose lease ran out (`ledger.sweeping`)."""
    unknown = "waits for a person, as unknown"
    holds = email.on_unknown == "hold"
    if holds and delivery.marked_at is not None:
        return unknown
    if delivery.crashes + 1 >= CRASHES_ALLOWED:
        otherwise = f"fails: workers stopped while sending it, {CRASHES_ALLOWED} times in a row"
    elif delivery.attempts >= delivery.attempts_allowed:
        otherwise = "fails: that was its last attempt" if holds else unknown
    else:
        otherwise = "is queued again"
    # It may have begun to leave by then.
    return f"{unknown}, if it has begun to leave, and else {otherwise}" if holds else otherwise


def _where(attempts: Sequence[Any]) -> str:
    """Return who has what was sent."""
    last = (attempts[-1].words or "") if attempts else ""
    for beginning, reason in _NOT_SENT.items():
        if last.startswith(f"{beginning}: not handed"):
            return f"no server has it, because {reason}"
    return "the server has it"


def _ahead(instant: datetime) -> Sentence:
    return ("at ", instant, ", in ", max(timedelta(0), -_since(instant)))


def _since(instant: datetime) -> timedelta:
    # For the eye only: what is due is decided by the database's clock.
    return datetime.now(UTC) - instant


def _ago(instant: datetime) -> Sentence:
    return (", ", max(timedelta(0), _since(instant)), " ago")


def _limit(delivery: Any) -> Sentence:
    if delivery.expires_at is None:
        return ()
    return (", unless it is later than ", delivery.expires_at, " by then")


def _last_reply(attempts: Sequence[Any]) -> list[Evidence]:
    if not attempts:
        return []
    last = attempts[-1]
    over = f" over {last.transport}" if last.transport else ""
    at = f" at {last.stage}" if last.stage else ""
    words = said(last.code, last.enhanced, last.words) or last.outcome
    return [Evidence("last reply", (f"{words}{over}{at}", *_ago(last.ended_at)))]


def _last_report(reports: Sequence[Any]) -> list[Evidence]:
    if not reports:
        return []
    last = reports[-1]
    words = said(last.code, last.enhanced, last.words)
    told = f"{last.kind}, says {last.source}" + (f": {words}" if words else "")
    return [Evidence("last report", (told, *_ago(last.received_at)))]


def _last_act(audit: Sequence[Any]) -> list[Evidence]:
    if not audit:
        return []
    last = audit[-1]
    return [Evidence("last done", (f"{last.action} by {last.actor}", *_ago(last.at)))]


def _suppressions(state: State, recipient: str, category: str | None) -> list[Evidence]:
    return [
        Evidence(
            f"suppressed for {row.category or 'all mail'}",
            (row.origin + (f": {row.words}" if row.words else ""), *_ago(row.created_at)),
        )
        for row in state.ledger.suppressions_of([recipient])
        if row.category in {"", category}
    ]


def _of_lane(state: State, lane: str) -> list[Evidence]:
    pause = state.ledger.paused_lanes().get(lane)
    words: Sentence = (f"paused by {pause.actor}", *_ago(pause.at)) if pause else ("not paused",)
    of_ways = [Evidence(f"transport {way.dsn.name}", _of_way(way)) for way in ways(state, lane)]
    return [Evidence(f"lane {lane}", words), *of_ways]


def _of_way(way: Way) -> Sentence:
    if way.pause:
        return (f"paused by {way.pause.actor}", *_ago(way.pause.at))
    if way.open_for:
        last = said(way.circuit.code, None, way.circuit.words)
        at = f" at {way.circuit.stage}" if way.circuit.stage else ""
        seconds = timedelta(seconds=way.open_for)
        return (f"could not be used{at}: {last}; tried again in ", seconds)
    if not way.has_room:
        return (f"at its limit of {', '.join(way.dsn.limits.words())}",)
    return ("usable as far as is known",)
