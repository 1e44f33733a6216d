"""Keeps a list of services running, and leaves none behind."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ..errors import MailerError
from .child import Child
from .guardian import Guardian
from .services import PREPARED, Service
from .terminal import Terminal, printable

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_TICK_SECONDS = 0.02
_START_SECONDS = 60.0
# A death within so many seconds of the start is a quick one.
_QUICK_SECONDS = 10.0
# How long to wait before the restart after the first quick death in a row, the second, ...;
# after one more than there are here it is given up.
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0)
_HURRIED_SECONDS = 0.2

Job = Callable[[threading.Event], bool]
"""What to do once everything is up; told by the event to break off; answers whether it worked."""


class Supervisor:
    """Starts services as soon as what they need is up, and stops them stage by stage."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        logs: Path,
        guardian: Guardian,
        terminal: Terminal,
        environment: Mapping[str, str],
        verbose: bool = False,
        backoff: Sequence[float] = BACKOFF_SECONDS,
        hung_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self._children = [
            Child(service, logs=logs, guardian=guardian, environment=environment)
            for service in services
        ]
        self._guardian = guardian
        self._terminal = terminal
        self._verbose = verbose
        self._backoff = backoff
        self._width = max(len(service.name) for service in services)
        self._prepared = False
        self._hung_up = hung_up
        self._hangup_signalled = False
        self._interrupts = 0
        self._stopping = threading.Event()
        self._job: threading.Thread | None = None
        self._job_worked: bool | None = None
        self._failed = False

    def run(
        self,
        job: Job,
        *,
        prepare: Callable[[], None],
        farewell: Callable[[], None],
        end_after_job: bool = False,
    ) -> int:
        """Run until a signal, a hangup, a failure or, with ``end_after_job``, the end of ``job``.

        ``prepare`` runs while the services that wait for nothing are starting, before the others;
        ``farewell`` once the job is done and everything is up, to stay so.
        Returns the exit code: 0 if nothing failed and the job, as far as it was wanted, worked.
        """
        with self._signals_counted():
            try:
                self._start_those_ready()
                prepare()
                self._prepared = True
                self._supervise(job, None if end_after_job else farewell)
            except MailerError as error:
                self._failed = True
                self._terminal.line(self._terminal.style(f"  {error}", "red"))
            finally:
                # Before the job is told to break off: one that was interrupted has not failed.
                worked = self._job_worked
                self._stopping.set()
                self._stop_all()
        wanted = end_after_job or worked is not None
        return 1 if self._failed or (wanted and not worked) else 0

    @contextmanager
    def _signals_counted(self) -> Iterator[None]:
        def count(_number: int, _frame: FrameType | None) -> None:
            self._interrupts += 1

        def hang_up(_number: int, _frame: FrameType | None) -> None:
            # Not counted: the shell sends one and the kernel another, and nobody is in a hurry.
            self._hangup_signalled = True

        before = {number: signal.signal(number, count) for number in _SIGNALS}
        # Under nohup it stays ignored.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, hang_up)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _supervise(self, job: Job, farewell: Callable[[], None] | None) -> None:
        taken_leave = False
        while not self._interrupts and not self._failed and not self._is_over():
            job_done = self._job_worked is not None
            self._start_those_ready()
            for child in self._children:
                self._look_after(child)
            self._show_logs()
            if self._guardian.revive():
                self._say("guardian", "died: started again", "yellow")
            if self._job is None and all(
                child.has_been_up for child in self._children if child.service.awaited
            ):
                self._job = threading.Thread(target=self._do, args=(job,), daemon=True)
                self._job.start()
            if job_done and farewell is None:
                return
            everyone_up = all(child.announced for child in self._children)
            if job_done and farewell is not None and everyone_up and not taken_leave:
                taken_leave = True
                farewell()
            time.sleep(_TICK_SECONDS)

    def _is_over(self) -> bool:
        return self._hangup_signalled or self._hung_up()

    def _do(self, job: Job) -> None:
        worked = False
        try:
            worked = job(self._stopping)
        finally:
            self._job_worked = worked

    def _start_those_ready(self) -> None:
        met = {child.service.name for child in self._children if child.up_at is not None}
        if self._prepared:
            met.add(PREPARED)
        now = time.monotonic()
        for child in self._children:
            if child.running:
                continue
            if child.restart_at is not None:
                if now >= child.restart_at:
                    child.start()
            elif met.issuperset(child.service.after):
                child.start()

    def _look_after(self, child: Child) -> None:
        name = child.service.name
        # First, so that a service that was up for a moment is not one that never was.
        child.has_been_up = child.has_been_up or child.up_at is not None
        # Good news can wait until the job has said what it has to say.
        quiet = self._job is None or self._job_worked is not None
        if child.up_at is not None and not child.announced and quiet:
            child.announced = True
            took = self._terminal.style(f"{child.seconds_to_up:5.1f} s", "dim")
            mark = self._terminal.style("✓", "green")
            text = f"  {mark} {name:<{self._width}} {took}  {child.service.shown}"
            self._terminal.line(text.rstrip())
        if (end := child.death()) is not None:
            self._show_logs()
            self._died(child, end)
        elif child.running and child.up_at is None and child.seconds_to_up > _START_SECONDS:
            self._say(name, f"not up after {_START_SECONDS:.0f} s: giving up", "red")
            self._show_last_words(child)
            self._failed = True

    def _died(self, child: Child, end: str) -> None:
        name = child.service.name
        lived = time.monotonic() - child.started_at
        child.quick_deaths = child.quick_deaths + 1 if lived < _QUICK_SECONDS else 1
        if not child.has_been_up:
            self._say(name, f"did not start ({end}); its last lines:", "red")
            self._failed = True
        elif child.quick_deaths > len(self._backoff):
            self._say(name, f"died {child.quick_deaths} times in a row ({end}): giving up", "red")
            self._failed = True
        else:
            wait = self._backoff[child.quick_deaths - 1]
            child.restart_at = time.monotonic() + wait
            self._say(name, f"died ({end}); starting it again. Its last lines:", "red")
        self._show_last_words(child)

    def _show_last_words(self, child: Child) -> None:
        words = child.last_words()
        self._terminal.lines(
            f"    {self._terminal.style(printable(line), 'dim')}" for line in words
        )

    def _show_logs(self) -> None:
        for child in self._children:
            lines = child.interesting_lines(everything=self._verbose)
            name = self._terminal.style(f"{child.service.name:<{self._width}}", "cyan")
            self._terminal.lines(f"  {name} | {printable(line)}" for line in lines)

    def _say(self, name: str, words: str, colour: str) -> None:
        mark = self._terminal.style("!", colour)
        self._terminal.line(f"  {mark} {name:<{self._width}} {words}")

    def _stop_all(self) -> None:
        self._terminal.lines(["", self._terminal.style("  Stopping", "bold")])
        asked = self._interrupts
        stages = {child.service.stage for child in self._children}
        deadline = time.monotonic()
        for stage in sorted(stages, reverse=True):
            children = [child for child in self._children if child.service.stage == stage]
            deadline += max(child.service.budget for child in children)
            running = [child for child in reversed(children) if child.running]
            self._stop(running, asked, deadline)

    def _stop(self, children: Sequence[Child], asked: int, deadline: float) -> None:
        began = time.monotonic()
        for child in children:
            child.terminate()
        for child in children:
            while not child.has_ended() and time.monotonic() < deadline:
                if self._interrupts > asked:
                    deadline = min(deadline, began + _HURRIED_SECONDS)
                self._show_logs()
                time.sleep(_TICK_SECONDS)
            in_time = child.has_ended()
            child.end()
            self._show_logs()
            self._show_end(child, time.monotonic() - began, in_time=in_time)

    def _show_end(self, child: Child, took: float, *, in_time: bool) -> None:
        mark, colour, words = (
            ("✓", "green", "stopped")
            if in_time
            else ("!", "yellow", "killed, it did not stop in time")
        )
        name = f"{child.service.name:<{self._width}}"
        seconds = self._terminal.style(f"{took:5.1f} s", "dim")
        self._terminal.line(f"  {self._terminal.style(mark, colour)} {name} {seconds}  {words}")
