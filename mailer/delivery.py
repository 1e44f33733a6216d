"""Drain a lane: claim a batch, send it, until nothing is due or the time is over."""

from __future__ import annotations

import math
import time

from . import shutdown
from .models import LANES
from .sending import Sending
from .state import State
from .turn import Turn

LOOK_AGAIN_SECONDS = 5.0
"""However long a transport is expected to be away, somebody may change that."""
GATHER_SECONDS = 0.05
"""A worker that has sent all there was lets so much time pass before it looks again. A claim and a
settle cost some 3 ms, in which on SQLite nothing is accepted, for one email as for fifty."""


def drain(state: State, lane: str) -> int:
    """Send what is due in ``lane`` for a bounded time; return how many deliveries were claimed.

    A full batch rings for the next worker before it sends, so workers join in one by one while
    there is more than one can do. A more urgent lane with due mail ends the drain early; the lane
    is rung again, and Celery fetches the more urgent one first. So do the limits of the transports:
    nothing waits here until there is room again, a worker is rung for then.
    """
    config = state.config
    began = time.monotonic()
    ends = began + config["MAILER_DRAIN_SECONDS"]
    # A server may take its time before a message leaves: then it goes on while the task and the
    # claim last, or a slow one would hold up its lane for good.
    task_leaves = began + config["MAILER_TASK_SECONDS"] - state.message_timeout
    claimed = 0
    answered = False
    gathered_at = 0.0
    with Turn(state.traffic, lane, state.ledger.paused_transports) as turn:
        while not shutdown.announced():
            # An email is started only if it can end, at its slowest, within the lease.
            lease_ends = time.monotonic() + config["MAILER_LEASE_SECONDS"]
            room = turn.room(config["MAILER_BATCH"])
            if not room:
                wait = LOOK_AGAIN_SECONDS if turn.wait is None else turn.wait
                _come_back(state, lane, min(wait, LOOK_AGAIN_SECONDS))
                return claimed
            time.sleep(max(0.0, gathered_at - time.monotonic()))
            batch = state.ledger.claim(lane, room)
            if not batch.deliveries:
                if answered:
                    if state.traffic.is_limited:
                        _come_back(state, lane, 0)
                    return claimed
                # Whoever commits from here on finds the bell silent and rings anew; what was
                # committed before, while it rang, the next claim finds.
                state.doorbell.answer(lane)
                answered = True
                continue
            answered = False
            if len(batch.deliveries) < room and not state.traffic.is_limited:
                gathered_at = time.monotonic() + GATHER_SECONDS
            claimed += len(batch.deliveries)
            last = batch.deliveries[-1].email.id
            if len(batch.deliveries) == config["MAILER_BATCH"]:
                state.doorbell.pass_on(lane, last)
            Sending(
                state,
                batch,
                turn,
                start_until=min(ends, lease_ends - state.message_budget),
                leave_until=min(task_leaves, lease_ends - state.message_timeout),
                interrupted=lambda: _is_due_before(state, lane),
            ).run()
            if time.monotonic() > ends or shutdown.announced() or _is_due_before(state, lane):
                state.doorbell.pass_on(lane, last)
                return claimed
    return claimed


def _come_back(state: State, lane: str, room_in: float) -> None:
    """Have a worker rung for when there is room again, and something is due."""
    email_id, due_in = state.ledger.next_due(lane) or ("", math.inf)
    if due_in <= LOOK_AGAIN_SECONDS:
        # While nothing may leave nobody else shall ring. But who commits what may leave does.
        state.doorbell.ring_later(lane, email_id, max(room_in, due_in), alone=room_in > 0)
    else:
        state.doorbell.answer(lane)


def _is_due_before(state: State, lane: str) -> bool:
    """Say whether a more urgent lane has due mail: a reset does not wait for a newsletter."""
    more_urgent = LANES[: LANES.index(lane)]
    return bool(more_urgent) and state.ledger.is_due(more_urgent)
