"""Compare what the client was told, what the oracle accepted and what the ledger says."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from .oracle import Oracle
from .stand import Stand


@dataclass(frozen=True)
class Fault:
    """Something injected after which nobody may know whether the oracle has a message."""

    at: float
    recipient: str | None = None
    """Whose message alone was in hand; None: any."""

    def explains(self, recipient: str, first: float, second: float) -> bool:
        """Say whether a message accepted at both times is doubled because of this."""
        return self.recipient in {None, recipient} and first <= self.at <= second


@dataclass
class Verdict:
    """What became of all emails of one run."""

    accepted: int = 0
    """Emails whose dispatch returned, or whose row is there although the client died."""
    once: int = 0
    doubled: int = 0
    """Copies too many, each after an injected fault that may have hidden a 250."""
    unexplained: list[str] = field(default_factory=list)
    """Recipients of copies that no injected fault explains."""
    lost: list[str] = field(default_factory=list)
    """Recipients of accepted emails that the oracle does not have, though nobody is told so."""
    unknown: int = 0
    """Emails of policy ``hold`` that wait for a person."""
    failed: list[str] = field(default_factory=list)
    """Recipients of emails that were given up."""
    in_hand: int = 0
    """Attempts that a fault cut off: the most that may be doubled."""
    recovery: list[float] = field(default_factory=list)
    """Seconds from a fault until what it stopped went on."""
    request_p99: float = 0

    def at(self, share: float) -> float:
        """Return the recovery that so large a share of all did not exceed; 0 without any."""
        return percentile(self.recovery, share)

    def __str__(self) -> str:
        return (
            f"accepted={self.accepted} once={self.once} doubled={self.doubled}"
            f" unexplained={len(self.unexplained)} lost={len(self.lost)} unknown={self.unknown}"
            f" failed={len(self.failed)} in_hand={self.in_hand} recovery p50={self.at(0.5):.1f}"
            f" p99={self.at(0.99):.1f} max={self.at(1):.1f} request_p99={self.request_p99:.3f}"
        )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share does not exceed; 0 without any."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def judge(
    stand: Stand, faults: Sequence[Fault], name: str = "", *, others: Sequence[Oracle] = ()
) -> Verdict:
    """Judge the emails whose recipients begin with ``name``; add recovery where it is known.

    ``others`` are oracles besides the stand's own.
    """
    verdict = Verdict()
    copies: dict[str, list[tuple[float, str]]] = defaultdict(list)
    accepted = (one.accepted() for one in (stand.oracle, *others))
    for at, email_id, recipient in itertools.chain.from_iterable(accepted):
        if recipient.startswith(name):
            copies[recipient].append((at, email_id))
    told = stand.told(name)
    rows = {row.recipient: row for row in stand.deliveries(name)}
    promised = {one.recipient: one.email_id for one in told if one.email_id != "refused"}
    # Each recipient gets one email, so that recipients can be compared; ids and Message-IDs too.
    for recipient, row in rows.items():
        assert promised.get(recipient, row.email_id) == row.email_id
        assert {email_id for _, email_id in copies[recipient]} <= {row.email_id}
    assert set(copies) <= set(rows), "the oracle has what the ledger never had"
    everyone = {*promised, *rows}
    verdict.accepted = len(everyone)
    for recipient in sorted(everyone):
        times = sorted(at for at, _ in copies[recipient])
        status = rows[recipient].status if recipient in rows else None
        verdict.once += len(times) == 1
        for first, second in itertools.pairwise(times):
            if any(fault.explains(recipient, first, second) for fault in faults):
                verdict.doubled += 1
            else:
                verdict.unexplained.append(recipient)
        verdict.unknown += status == "unknown"
        if status == "failed":
            verdict.failed.append(recipient)
        elif not times and status != "unknown":
            verdict.lost.append(recipient)
    verdict.in_hand = len(stand.crashes(name))
    verdict.request_p99 = percentile([one.seconds for one in told], 0.99)
    return verdict


def resumed_after(stand: Stand, at: float, name: str = "") -> float | None:
    """Return seconds from ``at`` until the oracle had an email dispatched later; None: not yet."""
    later = {one.recipient for one in stand.told(name) if one.began_at > at}
    times = [when for when, _, recipient in stand.oracle.accepted() if recipient in later]
    return min(times) - at if times else None
