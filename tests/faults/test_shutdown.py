"""Workers asked to end under load, one after another and all at once; and some that are cut off."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mailer.turn import OWN_CONNECTIONS

from ..worker import Process, wait_until
from .budget import BUSY_SECONDS, SERVER, budget
from .conftest import on_one_database
from .stand import Stand, Worker
from .verdict import Fault, Verdict, judge

SETTINGS = {
    "MAIL_CONNECT_TIMEOUT_SECONDS": 0.5,
    "MAIL_TIMEOUT_SECONDS": 0.5,
    "MAIL_FINAL_TIMEOUT_SECONDS": 2,
    "MAILER_DRAIN_SECONDS": 3,
    "MAILER_TASK_SECONDS": 7.5,
    "MAILER_LEASE_SECONDS": 8,
    "MAILER_BATCH": 20,
}
THINKS_SECONDS = 0.05
"""The oracle does so about each message."""
PONDERS_SECONDS = 0.3
"""The same, where there is to be something in hand at any moment."""
CONCURRENCY = 2
ENDS_WITHIN = budget(SETTINGS) + 3 + BUSY_SECONDS
"""The email in hand, and what Celery takes to end when it has nothing to do: 3 seconds."""
IN_HAND = 2 * OWN_CONNECTIONS
"""On each connection a child may end the email in hand, and the one whose commands travelled with
that."""


def test_a_worker_that_is_asked_to_end_doubles_nothing_and_leaves_nothing_to_a_lease(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    kind = setup["MAILER_DATABASE_URL"].partition(":")[0]
    with _stand({**setup, **SETTINGS}, tmp_path, chunking=kind == "postgresql") as stand:
        verdicts = {
            "TERM and INT, one after another": _roll(stand, long),
            "TERM, all at once": _end_all(stand, long),
        }
        if long or kind == "sqlite":
            verdicts["TERM, while the server is slow"] = _end_while_slow(stand)
        for words, verdict in verdicts.items():
            publish("shutdown", words, kind, verdict)
            assert not verdict.lost, words
            assert not verdict.failed, words
            assert verdict.once == verdict.accepted, words
        assert not stand.crashes(), "a claim was left to its lease"


@on_one_database("sqlite")
def test_a_worker_that_is_cut_off_doubles_at_most_what_it_had_in_hand(
    setup: dict[str, Any], tmp_path: Path, publish: Callable[..., None], long: bool
) -> None:
    kind = setup["MAILER_DATABASE_URL"].partition(":")[0]
    rate = 30 if long else 15
    # Those of policy hold travel alone all the same.
    with _stand({**setup, **SETTINGS}, tmp_path, PONDERS_SECONDS, chunking=True) as stand:
        with (
            stand.client("load", "resend", 100_000, rate, "on_unknown=resend"),
            stand.client("load", "hold", 100_000, rate, "on_unknown=hold"),
        ):
            wait_until(lambda: _accepted(stand, "") > 20, 30, stand.words)
            faults = [
                Fault(cut_off(stand))
                for _ in range(3 if long else 1)
                for cut_off in (_quit, _end_the_group, _kill_all_children)
            ]
            stand.enough("resend")
            stand.enough("hold")
        stand.wait_until_over(seconds=180 if long else 60)
        for policy in ("resend", "hold"):
            verdict = judge(stand, faults, policy)
            crashes = stand.crashes(policy)
            verdict.recovery = [
                # From the claim that was cut off, which is a little before it.
                (one.updated_at - one.ended_at).total_seconds() + SETTINGS["MAILER_LEASE_SECONDS"]
                for one in crashes
            ]
            words = f"QUIT, TERM to children too, kill -9 of all children; `{policy}`"
            publish("shutdown", words, kind, verdict)
            assert not verdict.lost, policy
            assert not verdict.failed, policy
            assert not verdict.unexplained, policy
            assert verdict.doubled <= verdict.in_hand, policy
            assert policy == "resend" or not verdict.doubled
            assert policy == "hold" or not verdict.unknown
        assert stand.crashes(), "nothing was in hand"


def _stand(
    settings: dict[str, Any],
    folder: Path,
    delay: float = THINKS_SECONDS,
    *,
    chunking: bool = False,
) -> Stand:
    return Stand(
        settings,
        folder / "stand",
        workers=2,
        concurrency=CONCURRENCY,
        delay=delay,
        server=SERVER,
        chunking=chunking,
    )


def _roll(stand: Stand, long: bool) -> Verdict:
    """Replace one worker after another while emails come in."""
    recovery = []
    with stand.client("load", "roll", 100_000, 25):
        wait_until(lambda: _accepted(stand, "roll") > 20, 30, stand.words)
        for number in range(10 if long else 2):
            worker = stand.workers[number % 2]
            at = time.time()
            _end([worker], signal.SIGTERM if number % 2 else signal.SIGINT)
            wait_until(worker.ready, 30, stand.words)
            recovery.append(_resumed(stand, "roll", at))
        stand.enough("roll")
    stand.wait_until_over("roll", seconds=180)
    verdict = judge(stand, [], "roll")
    verdict.recovery = recovery
    return verdict


def _end_all(stand: Stand, long: bool) -> Verdict:
    for worker in stand.workers:
        worker.hold_down()
    with stand.client("load", "all", 2000 if long else 300, 200):
        wait_until(lambda: _accepted(stand, "all") > 20, 30, stand.words)
        at = time.time()
        ended_at = _end(stand.workers, signal.SIGTERM)
        states = {row.status for row in stand.deliveries("all")}
        assert states == {"sent", "queued"}, "at once means before the worker has ended"
        begun = [when for when, _, _ in stand.oracle.accepted() if when > at]
        assert len(begun) <= len(stand.workers) * CONCURRENCY * IN_HAND
        for worker in stand.workers:
            worker.bring_back()
    stand.wait_until_over("all", seconds=180)
    verdict = judge(stand, [], "all")
    verdict.recovery = [_resumed(stand, "all", ended_at)]
    return verdict


def _end_while_slow(stand: Stand) -> Verdict:
    name = "dot_slow_always-"
    wait_until(lambda: all(worker.ready() for worker in stand.workers), 30, stand.words)
    with stand.client("send", *(f"{name}{number}=resend=default" for number in range(4))):
        wait_until(lambda: _accepted(stand, name) >= 1, 30, stand.words)
        _end(stand.workers, signal.SIGTERM)
    stand.wait_until_over(name, seconds=60)
    return judge(stand, [], name)


def _end(workers: Sequence[Worker], number: int) -> float:
    """Ask workers to end, and return when they have; their supervisor brings them back."""
    processes = [worker.process for worker in workers]
    for process in processes:
        process.signal(number)
    _wait_for_the_end(processes)
    return time.time()


def _wait_for_the_end(processes: Sequence[Process]) -> None:
    wait_until(
        lambda: all(process.exit_code is not None for process in processes),
        ENDS_WITHIN,
        lambda: [process.output[-2000:] for process in processes],
    )


def _quit(stand: Stand) -> float:
    _wait_until_at_work(stand)
    return _end(stand.workers[:1], signal.SIGQUIT)


def _end_the_group(stand: Stand) -> float:
    """As systemd does unless it is told not to: TERM for every process of the service."""
    _wait_until_at_work(stand)
    process = stand.workers[1].process
    os.killpg(process.pid, signal.SIGTERM)
    _wait_for_the_end([process])
    return time.time()


def _kill_all_children(stand: Stand) -> float:
    """Return when they were killed, once others take their places and work: whatever was in hand
    was theirs."""
    _wait_until_at_work(stand)
    starts = [worker.starts for worker in stand.workers]
    before = [_children(worker.process.pid) for worker in stand.workers]
    known = [_names(worker) for worker in stand.workers]
    for child in set().union(*before):
        os.kill(child, signal.SIGKILL)
    # What the oracle thinks about now it will still accept.
    at = time.time() + 2 * PONDERS_SECONDS
    for worker, killed, names in zip(stand.workers, before, known, strict=True):
        main = worker.process.pid
        wait_until(lambda: len(_children(main) - killed) == CONCURRENCY, 20, stand.words)  # noqa: B023
        wait_until(lambda: _names(worker) - names, 20, stand.words)  # noqa: B023
    assert starts == [worker.starts for worker in stand.workers], "a worker itself has ended"
    return at


def _wait_until_at_work(stand: Stand) -> None:
    wait_until(lambda: all(worker.ready() for worker in stand.workers), 30, stand.words)
    before = _accepted(stand, "")
    wait_until(lambda: _accepted(stand, "") > before + 5, 30, stand.words)


def _children(pid: int) -> set[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return set(map(int, found.stdout.split()))


def _names(worker: Worker) -> set[str]:
    """Return the names of the children that have done a task."""
    return set(re.findall(r"(ForkPoolWorker-\d+)\] Task \S+ succeeded", worker.words))


def _accepted(stand: Stand, name: str) -> int:
    return sum(to.startswith(name) for _, _, to in stand.oracle.accepted())


def _resumed(stand: Stand, name: str, at: float) -> float:
    """Return seconds from ``at`` until the oracle had the next email."""

    def times() -> list[float]:
        accepted = stand.oracle.accepted()
        return [when for when, _, to in accepted if to.startswith(name) and when > at]

    wait_until(times, 30, stand.words)
    return min(times()) - at
