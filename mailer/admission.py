"""Which deliveries of a batch may leave now, over which transport; the others line up."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable

from .ledger import Claimed
from .outcome import Kind, Outcome
from .routing import Parcel
from .turn import Turn


class Admission:
    """A batch at the doors of the transports."""

    def __init__(self, turn: Turn, line_up: Callable[[Claimed, Outcome, float], None]) -> None:
        """``line_up`` hears of each that has to wait: the outcome says why, and the seconds how
        long."""
        self._turn = turn
        self._line_up = line_up

    def by_transport(
        self, deliveries: deque[Claimed]
    ) -> tuple[dict[str, list[Claimed]], list[Claimed]]:
        """Take all ``deliveries``; return those that may go now, by transport, and those for which
        there is none."""
        groups: dict[str, list[Claimed]] = {}
        lines: dict[str, list[Claimed]] = {}
        stranded: list[Claimed] = []
        while deliveries:
            claimed = deliveries.popleft()
            choice = self._turn.choose(_parcel(claimed))
            if choice is None:
                stranded.append(claimed)
            else:
                (lines if choice.is_full else groups).setdefault(choice.name, []).append(claimed)
        for name, line in lines.items():
            again, new = _parted(line)
            delays = self._turn.line_up(name, again=len(again), new=len(new))
            self._wait(again + new, delays, f"the limit of transport {name}")
        return groups, stranded

    def admit(self, name: str, group: list[Claimed]) -> tuple[deque[Claimed], list[Claimed]]:
        """Return those of ``group`` for which transport ``name`` has room, and those which may find
        another transport. What its recipients' domains have no room for lines up."""
        by_domain: dict[str, list[Claimed]] = {}
        for claimed in group:
            by_domain.setdefault(_domain(claimed.recipient), []).append(claimed)
        late: set[int] = set()
        for domain, some in by_domain.items():
            again, new = _parted(some)
            delays = self._turn.admit_to_domain(name, domain, again=len(again), new=len(new))
            behind = (again + new)[len(some) - len(delays) :]
            self._wait(behind, delays, f"the limit of {domain}")
            late.update(claimed.delivery_id for claimed in behind)
        admitted = deque(claimed for claimed in group if claimed.delivery_id not in late)
        room = self._turn.admit(name, len(admitted)) if admitted else 0
        turned_away = [admitted.pop() for _ in range(len(admitted) - room)]
        return admitted, turned_away[::-1]

    def _wait(self, group: list[Claimed], delays: list[float], limit: str) -> None:
        for claimed, delay in zip(group, delays, strict=True):
            words = f"waits for its turn: {limit} is reached"
            self._line_up(claimed, Outcome(Kind.CAPPED, words=words), delay)


def _parted(group: list[Claimed]) -> tuple[list[Claimed], list[Claimed]]:
    """Return those that had a turn by now, and those that are new."""
    again = [claimed for claimed in group if claimed.has_turn]
    return again, [claimed for claimed in group if not claimed.has_turn]


def _parcel(claimed: Claimed) -> Parcel:
    ((_, sender),) = claimed.email.addresses["from"]
    lot = zlib.crc32(f"{claimed.email.id} {claimed.recipient}".encode()) / 2**32
    email = claimed.email
    return Parcel(email.lane, _domain(sender), _domain(claimed.recipient), email.is_test, lot)


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()
