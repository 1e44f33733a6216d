"""Watch the scheduler: notice within a minute that nobody sweeps, say so, and sweep instead."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from . import shutdown
from .doorbell import JOBS, WEBHOOKS
from .errors import LedgerUnavailable
from .ledger import Swept
from .state import State

LOOK_SECONDS = 10.0
"""How often an idle worker looks."""
_MISSING_SECONDS = 60.0
TALLY_FOR_SECONDS = 0.5
"""How long counting may keep a worker from the mail: what is left, the next sweep counts."""

log = logging.getLogger(__name__)


def missing_after(config: Mapping[str, Any]) -> float:
    """Return the seconds without a sweep after which there is no scheduler: a minute, unless it
    is set to sweep as rarely as that."""
    return max(_MISSING_SECONDS, 2 * float(config["MAILER_SWEEP_SECONDS"]))


def stand_in(state: State) -> bool:
    """Sweep and ring in the scheduler's place if nobody did for a minute: deferred mail goes on,
    and one worker of all says so, once a minute. Return whether it was this one."""
    after = missing_after(state.config)
    swept = state.ledger.stand_in(after_seconds=after)
    if swept is None:
        return False
    log.warning(
        "scheduler=missing seconds=%.0f: this worker sweeps in its place; is beat running?", after
    )
    ring_due(state, swept)
    state.ledger.tally(for_seconds=TALLY_FOR_SECONDS)
    return True


def ring_due(state: State, swept: Swept) -> None:
    """Ring for the due mail, events and jobs that a sweep found."""
    for lane, email_id in swept.due.items():
        if swept.crashed:
            # The worker that died may have left its bell ringing with nobody to answer it.
            state.doorbell.pass_on(lane, email_id)
        else:
            state.doorbell.ring(lane, email_id)
    if swept.events_due:
        state.events_bell.ring(WEBHOOKS, "")
    for job_id in swept.jobs_due:
        state.jobs_bell.ring(JOBS, job_id)


def look(states: list[State]) -> None:
    """Stand in for the scheduler of each app, from the worker's timer."""
    for state in states:
        if shutdown.announced():
            return
        try:
            stand_in(state)
        except LedgerUnavailable as error:
            log.warning("scheduler=unknown: %s", error)
