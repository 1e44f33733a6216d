"""The sink in a process of its own, and what it has counted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

CHECKOUT = Path(__file__).parent.parent


class Accepted(NamedTuple):
    """Messages that the sink accepted."""

    stamps: list[float]
    distinct: int
    """Recipients."""
    smallest: int
    """Bytes of the smallest message."""
    peak: int
    """Connections that were open at once."""

    def per_second(self, since: float) -> float:
        """Return the rate from an instant of the monotonic clock to the last message."""
        return len(self.stamps) / (self.stamps[-1] - since)

    def steady(self) -> float:
        """Return the rate from the tenth to the ninetieth of a hundred: without start and end."""
        low, high = len(self.stamps) // 10, len(self.stamps) * 9 // 10 - 1
        return (high - low) / (self.stamps[high] - self.stamps[low])


class Sink:
    """Asks the sink."""

    def __init__(self, pid: int, questions: IO[str], answers: IO[str]) -> None:
        self.pid = pid
        self._questions = questions
        self._answers = answers
        self.port = int(answers.readline())

    def _ask(self, question: str) -> Any:
        self._questions.write(question + "\n")
        self._questions.flush()
        return json.loads(self._answers.readline())

    def reset(self) -> None:
        self._ask("reset")

    def be_far(self, seconds: float) -> None:
        """Be so far away, there and back."""
        self._ask(f"rtt {seconds}")

    def wait_until_warm(self, number: int, within: float, explain: Callable[[], str]) -> None:
        self._wait("warm", number, within, explain)

    def wait_for(
        self, number: int, within: float, explain: Callable[[], str], *, smallest: int = 0
    ) -> Accepted:
        """Return what was accepted, once it is so many.

        Each must have had another recipient, and ``smallest`` bytes or more.
        """
        self._wait("count", number, within, explain)
        accepted = Accepted(**self._ask("summary"))
        if (len(accepted.stamps), accepted.distinct) != (number, number):
            raise SystemExit(
                f"expected {number} emails, one for each recipient; the sink has "
                f"{len(accepted.stamps)} for {accepted.distinct}"
            )
        if accepted.smallest < smallest:
            raise SystemExit(f"expected {smallest} bytes or more, got {accepted.smallest}")
        return accepted

    def _wait(self, what: str, number: int, within: float, explain: Callable[[], str]) -> None:
        deadline = time.monotonic() + within
        while (counted := self._ask("count"))[what] < number:
            if time.monotonic() > deadline:
                raise SystemExit(f"{counted} of {number} within {within:g} s\n{explain()}")
            time.sleep(0.02)


@contextmanager
def sink() -> Iterator[Sink]:
    """Run the sink; it ends with the block, or with us."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sink"],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise SystemExit("the sink cannot be asked")
        yield Sink(process.pid, process.stdin, process.stdout)
