"""The guardian: a process that stops the others when their supervisor is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from . import groups

# By path and isolated: importing the package would cost each start a second.
_GROUPS = (sys.executable, "-I", "-S", str(Path(groups.__file__).resolve()))


class Guardian:
    """Starts processes, each in its own group, and a guardian that outlives us to stop them.

    ``keep_open`` are file descriptors that the guardian holds as long as it lives: a lock, say,
    that must not be free before the last process has ended.
    """

    def __init__(self, *, keep_open: Sequence[int] = ()) -> None:
        self._keep_open = tuple(keep_open)
        self._notices: dict[int, bytes] = {}
        self._start()

    def _start(self) -> None:
        reading, self._pipe = os.pipe()
        try:
            self.process = subprocess.Popen(  # nosec B603  # noqa: S603 - our own program
                [*_GROUPS, "guard"],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=self._keep_open,
                start_new_session=True,
            )
        finally:
            os.close(reading)
        for notice in self._notices.values():
            self._tell(notice)

    def _tell(self, notice: bytes) -> None:
        try:
            os.write(self._pipe, notice)
        except BrokenPipeError:
            pass  # It has died: `revive` tells its successor everything.

    def revive(self) -> bool:
        """Start another guardian if this one has died; return whether it had."""
        if self.process.poll() is None:
            return False
        os.close(self._pipe)
        self._start()
        return True

    def launch(
        self,
        command: Sequence[str],
        *,
        log: IO[bytes],
        stage: int = 0,
        budget: float = 1.0,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` in its own session, with both outputs going to ``log``.

        Without us, the guardian stops the highest stage first and waits ``budget`` seconds
        between TERM and KILL.
        """
        process = subprocess.Popen(  # nosec B603  # noqa: S603 - a list, no shell
            [*_GROUPS, "launch", str(self._pipe), str(stage), str(budget), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=None if environment is None else dict(environment),
            pass_fds=[self._pipe],
            start_new_session=True,
        )
        notice = groups.notice(stage, budget, process.pid)
        self._notices[process.pid] = notice
        # Once more than the launched process does itself, for a guardian that dies in between.
        self._tell(notice)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what is left of the process and of its group, and forget them."""
        groups.signal_group(process.pid, signal.SIGKILL)
        process.wait()
        groups.end_group(process.pid)
        self._notices.pop(process.pid, None)
        self._tell(groups.forget(process.pid))

    def close(self) -> None:
        """Let the guardian go, which first stops whatever has not been ended."""
        os.close(self._pipe)
        self.process.wait()
