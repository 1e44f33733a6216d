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
    """Sends what it is supplied with over one connection. Of what is under way the first may have
    left; what was composed ahead of it has not."""

    def __init__(
        self, send: Callable[..., Generator[Outcome, None, None]], mark: Callable[[Claimed], bool]
    ) -> None:
        """``send`` is `Transport.send` with all that is the same for every stream of a batch."""
        self._send = send
        self._mark = mark
        self.under_way: deque[Claimed] = deque()
        self.heard: list[tuple[Claimed, Outcome]] = []
        """All that was yielded: whoever was to hear it may have been cut off."""

    def talk(self, supply: Supply[Composed]) -> Iterator[tuple[Claimed, Outcome]]:
        """Yield each delivery with its outcome. Ends at the first that finds the transport of no
        use: that one, and what was composed ahead, stay under way."""
        outcomes = self._send(self._envelopes(supply), mark=lambda: self._mark(self.under_way[0]))
        with closing(outcomes):
            for outcome in outcomes:
                if outcome.kind is Kind.UNAVAILABLE:
                    yield self.under_way[0], outcome
                    return
                heard = self.under_way[0], outcome
                self.heard.append(heard)
                self.under_way.popleft()
                yield heard

    def _envelopes(self, supply: Supply[Composed]) -> Iterator[Envelope]:
        while (composed := supply()) is not None:
            claimed, envelope = composed
            self.under_way.append(claimed)
            yield envelope
