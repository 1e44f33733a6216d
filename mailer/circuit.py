"""Circuit breaker of a transport: closed, open, half-open, as values.

Closed, mail flows. It opens when the server cannot be used, or after some connections in a row
that broke; nobody tries until a pause is over. Then one email probes the server (half-open): what
becomes of it closes the circuit, or opens it for twice as long. A refused recipient says that the
server is well.
"""

from __future__ import annotations

from typing import NamedTuple

from .outcome import Kind, Outcome

FAILURES_ALLOWED = 5
"""Connections in a row that may break, or end with a 421, before the circuit opens."""
FORGOTTEN_SECONDS = 60.0
"""A failure so long ago is not in a row with a new one."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0

SERIOUS_STAGES = frozenset({"starttls", "auth"})
"""Trouble that no waiting mends: a certificate, a password."""


class Circuit(NamedTuple):
    """What is known of a transport. Instants are seconds since 1970. The default is closed."""

    failures: int = 0
    """In a row, while closed."""
    failed_at: float = 0
    trips: int = 0
    """In a row; 0: closed."""
    opened_at: float = 0
    open_until: float = 0
    """From then on half-open."""
    probed_until: float = 0
    """Until then somebody's email probes the server."""
    stage: str = ""
    code: int | None = None
    words: str = ""
    """The last failure."""

    def state(self, now: float) -> str:
        """Return ``closed``, ``open`` or ``half-open``."""
        if not self.trips:
            return "closed"
        # A clock that was set back must not keep it open for hours.
        return "open" if 0 < self.open_until - now <= LONGEST_PAUSE_SECONDS else "half-open"

    def closed_for(self, now: float) -> float:
        """Return the seconds until somebody may try; 0: now."""
        if self.state(now) == "open":
            return self.open_until - now
        return max(0.0, self.probed_until - now) if self.trips else 0.0


CLOSED = Circuit()


def probe(circuit: Circuit, now: float, seconds: float) -> Circuit:
    """Return the circuit while an email that may take so long probes its server."""
    return circuit._replace(probed_until=now + seconds)


def after(circuit: Circuit, outcome: Outcome, now: float) -> Circuit:
    """Return the circuit once an email had this outcome over its transport."""
    if _is_lost_or_421(outcome):
        in_a_row = now - circuit.failed_at < FORGOTTEN_SECONDS
        circuit = circuit._replace(
            failures=circuit.failures + 1 if in_a_row else 1,
            failed_at=now,
            stage=outcome.stage,
            code=outcome.code,
            words=outcome.words,
        )
        trips = circuit.failures >= FAILURES_ALLOWED or circuit.state(now) == "half-open"
        return _opened(circuit, outcome, now) if trips else circuit
    if outcome.kind is Kind.UNAVAILABLE:
        return _opened(circuit, outcome, now)
    if outcome.kind in {Kind.SENT, Kind.REFUSED, Kind.DEFERRED} and outcome.stage != "auth":
        return CLOSED  # the server answered about the email
    return circuit


def _is_lost_or_421(outcome: Outcome) -> bool:
    if outcome.code == 421:
        return True
    # Whatever was heard had a code.
    return outcome.kind in {Kind.DEFERRED, Kind.AMBIGUOUS} and outcome.code is None


def _opened(circuit: Circuit, outcome: Outcome, now: float) -> Circuit:
    if circuit.state(now) == "open":
        return circuit  # another worker's failure of the same outage
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**circuit.trips)
    return Circuit(
        failed_at=now,
        trips=circuit.trips + 1,
        opened_at=circuit.opened_at or now,
        open_until=now + pause,
        stage=outcome.stage,
        code=outcome.code,
        words=outcome.words,
    )
