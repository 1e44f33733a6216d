"""One service as it runs now: its process, its log, how often it has died."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from .guardian import Guardian
from .logs import AlarmFilter, LogTail, last_lines
from .services import Service


class Child:
    """A service under supervision. Started, looked after and stopped by one thread only."""

    def __init__(
        self,
        service: Service,
        *,
        logs: Path,
        guardian: Guardian,
        environment: Mapping[str, str],
    ) -> None:
        self.service = service
        self.log = logs / f"{service.name}.log"
        self.log.write_bytes(b"")
        self.started_at = 0.0
        self.up_at: float | None = None
        """When it was first seen to be up, since its last start; None: not yet."""
        self.announced = False
        """Whether the person at the terminal knows that it is up."""
        self.has_been_up = False
        self.quick_deaths = 0
        """Deaths in a row, each soon after a start."""
        self.restart_at: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian = guardian
        self._environment = environment
        self._tail = LogTail(self.log)
        self._calls_for_attention = AlarmFilter()

    @property
    def running(self) -> bool:
        """Whether it was started and its end has not been dealt with."""
        return self._process is not None

    @property
    def seconds_to_up(self) -> float:
        """How long the last start took, or has taken so far."""
        return (self.up_at or time.monotonic()) - self.started_at

    def start(self) -> None:
        """Start the process; a thread watches for it to be up."""
        self.restart_at = None
        self.up_at = None
        self.announced = False
        self.started_at = time.monotonic()
        offset = self.log.stat().st_size
        with self.log.open("ab") as log:
            process = self._guardian.launch(
                self.service.command,
                log=log,
                stage=self.service.stage,
                budget=self.service.budget,
                environment=self._environment,
            )
        self._process = process
        threading.Thread(target=self._watch, args=(process, offset), daemon=True).start()

    def _watch(self, process: subprocess.Popen[bytes], offset: int) -> None:
        while self._process is process:
            with self.log.open("rb") as file:
                file.seek(offset)
                log = file.read().decode(errors="replace")
            if self.service.ready(log):
                self.up_at = time.monotonic()
                return
            time.sleep(0.02)

    def death(self) -> str | None:
        """Say how it ended if it has ended by itself, and clean up after it; None: it has not."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        # Whatever the leader left behind, a pool process say, would keep its queue or its port.
        self._end(self._process)
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def interesting_lines(self, *, everything: bool) -> list[str]:
        """Return the new lines of its log that the person at the terminal should see."""
        lines = self._tail.new_lines()
        if everything:
            return lines
        if not self.service.alarms:
            return []
        return [line for line in lines if self._calls_for_attention(line)]

    def last_words(self, count: int = 12) -> list[str]:
        """Return the last lines of its log."""
        return last_lines(self.log, count)

    def terminate(self) -> None:
        """Ask it to end: the leader alone, which winds up its own children."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process is None or self._process.poll() is not None

    def end(self) -> None:
        """Kill whatever is left of it."""
        if self._process is not None:
            self._end(self._process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        self._guardian.end(process)
