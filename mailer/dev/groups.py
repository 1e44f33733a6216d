"""Process groups that do not outlive whoever started them.

Every service runs in a session, hence a process group, of its own. Run as a script, this file is
the two small programs that see to their end; it uses the standard library only, so that they
start in milliseconds:

``groups.py guard``
    Reads notices from standard input. When that ends, which it does when the writer dies however
    it dies, stops the groups it still knows of, highest stage first.
``groups.py launch FD STAGE BUDGET COMMAND...``
    Announces its own group over ``FD``, then becomes ``COMMAND``. The notice is written before
    there is anything to stop, so no moment is left in which a kill goes unnoticed.

A notice is one line: ``+ STAGE BUDGET GROUP`` or ``- GROUP``.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def notice(stage: int, budget: float, group: int) -> bytes:
    """Return the line that announces a group; ``budget`` is seconds from TERM to KILL."""
    return b"+ %d %.3f %d\n" % (stage, budget, group)


def forget(group: int) -> bytes:
    """Return the line that says a group has ended."""
    return b"- %d\n" % group


def signal_group(group: int, number: int) -> bool:
    """Signal every process of the group; return whether there was one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # PermissionError: on macOS, a group of which only zombies are left.
        return False
    return True


def _state(pid: str) -> tuple[str, int] | None:
    """Return the state of a process as Linux has it, "Z" for a zombie, and its group."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in brackets before these may contain anything.
            state, _, group, *_ = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return state.decode(), int(group)


def has_ended(pid: int) -> bool:
    """Whether the process is gone or a zombie: in a container, nobody may ever look after those."""
    if os.path.exists("/proc/self/stat"):
        state = _state(str(pid))
        return state is None or state[0] == "Z"
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return True
    return False


def _is_empty(group: int) -> bool:
    if not signal_group(group, 0):
        return True
    if not os.path.exists("/proc/self/stat"):
        return False
    states = [_state(pid) for pid in os.listdir("/proc") if pid.isdecimal()]
    return not any(state and state[1] == group and state[0] != "Z" for state in states)


def end_group(group: int) -> None:
    """Kill what is left of the group and wait, at most a second, until it is empty."""
    deadline = time.monotonic() + 1
    signal_group(group, signal.SIGKILL)
    while not _is_empty(group) and time.monotonic() < deadline:
        time.sleep(0.01)


def _stop(groups: dict[int, float]) -> None:
    """Stop groups, given with their budgets, together."""
    for group in groups:
        try:
            # The leader alone: it winds up its own children. A Celery pool process that gets TERM
            # dies at once, and with it the task it was running.
            os.kill(group, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            pass
    began = time.monotonic()
    for group, budget in groups.items():
        while not has_ended(group) and time.monotonic() - began < budget:
            time.sleep(0.02)
        end_group(group)


def _guard() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    stages: dict[int, dict[int, float]] = {}
    for line in sys.stdin.buffer:
        match line.split():
            case [b"+", stage, budget, group]:
                stages.setdefault(int(stage), {})[int(group)] = float(budget)
            case [b"-", group]:
                for groups in stages.values():
                    groups.pop(int(group), None)
    for _, groups in sorted(stages.items(), reverse=True):
        _stop(groups)


def _launch(fd: int, stage: int, budget: float, command: list[str]) -> None:
    try:
        os.write(fd, notice(stage, budget, os.getpid()))
        os.close(fd)
    except BrokenPipeError:
        pass  # The guardian has just died; its successor is told by the supervisor.
    try:
        os.execvp(command[0], command)  # nosec B606  # noqa: S606 - our purpose
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["guard"]:
            _guard()
        case ["launch", fd, stage, budget, *command]:
            _launch(int(fd), int(stage), float(budget), command)
