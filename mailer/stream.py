"""A stream: one conversation's share of a batch, and what of it is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from .fan import Supply
from .ledger import Claimed
from .outcome import Kind, Outcome
from .smtp import Envelope

Composed = tuple[Claimed, Envelope]


class Stream:
    """Sends what it is supplied with over one connection."""

    def __init__(
        self, send: Callable[..., Generator[Outcome, None, None]], mark: Callable[[Claimed], bool]
    ) -> None:
        """``send`` is `Transport.send` with all that is the same for every stream of a batch."""
        self._send = send
        self._mark = mark
        self.under_way: deque[Claimed] = deque()
        self.left = 0
        """So many of the first that are under way may have left; the others have not."""
        self.heard: list[tuple[Claimed, Outcome]] = []
        """All that was yielded: whoever was to hear it may have been cut off."""

    def talk(self, supply: Supply[Composed]) -> Iterator[tuple[Claimed, Outcome]]:
        """Yield each delivery with its outcome. Ends at the first that finds the transport of no
        use: that one, and what was composed ahead, stay under way."""
        outcomes = self._send(self._envelopes(supply), mark=self._may_leave)
        with closing(outcomes):
            for outcome in outcomes:
                if outcome.kind is Kind.UNAVAILABLE:
                    yield self.under_way[0], outcome
                    return
                heard = self.under_way[0], outcome
                self.heard.append(heard)
                self.under_way.popleft()
                self.left = max(0, self.left - 1)
                yield heard

    def _may_leave(self, position: int) -> bool:
        self.left = position + 1
        return self._mark(self.under_way[position])

    def _envelopes(self, supply: Supply[Composed]) -> Iterator[Envelope]:
        while some := supply():
            self.under_way.extend(claimed for claimed, _ in some)
            for _, envelope in some:
                yield envelope
