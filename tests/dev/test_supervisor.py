"""The supervisor, run as a process of its own over stand-ins for the services."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailer.dev.groups import has_ended

NAMES = ("redis", "catcher", "worker", "beat", "web")

# A service: notes its process id, says "up", and notes in a file shared by all when it is asked
# to end. The worker has a pool process, deaf to TERM as Celery's is while it works.
STAND_IN = """
import os, pathlib, signal, subprocess, sys, time
name, mood = sys.argv[1:]
here = pathlib.Path.cwd()
def end(*_):
    with (here / "ended").open("a") as file:
        file.write(name + " ")
    if mood == "slow":
        time.sleep(1.3)
    if mood != "deaf":
        sys.exit(0)
signal.signal(signal.SIGTERM, end)
(here / f"{name}.{os.getpid()}.pid").touch()
if name == "worker":
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    pool = subprocess.Popen([sys.executable, "-c", code])
    (here / f"pool.{pool.pid}.pid").touch()
if mood == "broken":
    sys.exit("no such module")
if mood == "late":
    time.sleep(1)
if mood != "mute":
    print("up", flush=True)
if mood == "loud":
    print("[now] INFO all is well", flush=True)
    print("[now] WARNING look\\x1b[2J here", flush=True)
    print("  at this", flush=True)
if mood == "short-lived":
    (here / "short-lived").touch()
    time.sleep(0.1)
    sys.exit(7)
while True:
    time.sleep(600)
"""

DRIVER = """
import contextlib, json, os, pathlib, signal, sys, time
from mailer.dev.guardian import Guardian
from mailer.dev.services import PREPARED, Service, says
from mailer.dev.supervisor import Supervisor
from mailer.dev.terminal import Terminal
options = json.loads(sys.argv[1])
if options["nohup"]:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
here = pathlib.Path.cwd()
after = {"worker": (PREPARED, "redis"), "beat": (PREPARED, "worker"), "web": (PREPARED, "redis")}
stages = {"redis": 0, "catcher": 1, "worker": 2, "beat": 3, "web": 3}
services = [
    Service(
        name=name,
        command=(sys.executable, "stand_in.py", name, options["moods"].get(name, "well")),
        ready=says("^up$"),
        after=after.get(name, ()),
        stage=stages[name],
        awaited=name not in options["not_awaited"],
        budget=options["budget"],
    )
    for name in options["names"]
]
def job(stopping):
    print("job", flush=True)
    if options["job"] == "takes a while":
        while not list(here.glob("beat.*.pid")) or "up" not in (here / "beat.log").read_text():
            time.sleep(0.01)
        time.sleep(0.2)
        return True
    return options["job"] == "works" or not stopping.wait(60)
with contextlib.closing(Guardian()) as guardian:
    (here / f"guardian.{guardian.process.pid}.pid").touch()
    supervisor = Supervisor(
        services, logs=here, guardian=guardian, terminal=Terminal(sys.stdout, colour=False),
        environment=os.environ, verbose=options["verbose"], backoff=(0.05, 0.05),
        hung_up=(here / "hung-up").exists,
    )
    code = supervisor.run(job, prepare=lambda: print("prepared", flush=True),
                          farewell=lambda: print("farewell", flush=True),
                          end_after_job=options["end_after_job"])
sys.exit(code)
"""


class Run:
    """A supervisor that runs in ``directory``, and what it has written so far."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        (directory / "stand_in.py").write_text(STAND_IN)
        defaults = {"moods": {}, "budget": 0.8, "names": NAMES, "job": "works", "not_awaited": ()}
        defaults |= {"end_after_job": False, "verbose": False, "nohup": False}
        self._file = (directory / "output").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(defaults | options)],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=self._file,
            stderr=subprocess.STDOUT,
        )

    @property
    def output(self) -> str:
        return (self.directory / "output").read_text()

    def pids(self, name: str = "*") -> list[int]:
        return [int(path.name.split(".")[1]) for path in self.directory.glob(f"{name}.*.pid")]

    def wait_for(self, condition: Callable[[], object], *, within: float = 15) -> None:
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, self.output
            time.sleep(0.01)

    def wait_until_up(self) -> None:
        self.wait_for(lambda: "job" in self.output)

    def wait_until_all_gone(self, *, within: float = 15) -> None:
        self.wait_for(lambda: not any(map(lives, self.pids())), within=within)

    def end(self) -> int:
        return self.process.wait(15)

    def order_of_ends(self) -> list[str]:
        """The services as they were asked to end; beat and web, asked together, in this order."""
        order = (self.directory / "ended").read_text().split()
        return [*sorted(order[:2]), *order[2:]]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._file.close()
        self.wait_until_all_gone()


def lives(pid: int) -> bool:
    return not has_ended(pid)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(**options: Any) -> Run:
        runs.append(Run(tmp_path, **options))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def stopped(output: str) -> list[str]:
    return re.findall(r"(\w+) +[\d.]+ s  (?:stopped|killed)", output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_in_order_within_five_seconds(
    start: Callable[..., Run], number: int
) -> None:
    run = start()
    run.wait_until_up()
    began = time.monotonic()
    run.process.send_signal(number)
    assert run.end() == 0
    assert time.monotonic() - began < 5
    assert stopped(run.output) == ["web", "beat", "worker", "catcher", "redis"]
    assert run.order_of_ends() == ["beat", "web", "worker", "catcher", "redis"]
    assert len(run.pids()) == 7  # five services, a pool process and the guardian
    assert not any(map(lives, run.pids()))


def test_services_wait_for_the_preparation_and_for_those_they_need(
    start: Callable[..., Run],
) -> None:
    run = start()
    run.wait_until_up()
    lines = [line for line in run.output.splitlines() if line]
    for earlier, later in (("prepared", "worker"), ("redis", "worker"), ("worker", "beat")):
        first, second = (
            next(i for i, line in enumerate(lines) if word in line) for word in (earlier, later)
        )
        assert first < second, run.output


def test_the_job_does_not_wait_for_a_service_that_is_not_awaited(
    start: Callable[..., Run],
) -> None:
    run = start(moods={"beat": "mute"}, not_awaited=["beat"])
    run.wait_for(lambda: "job" in run.output)
    assert "✓ beat" not in run.output


@pytest.mark.parametrize(("job", "beat"), [("takes a while", "well"), ("works", "late")])
def test_the_farewell_is_the_last_word_once_everything_is_up(
    start: Callable[..., Run], job: str, beat: str
) -> None:
    run = start(not_awaited=["beat"], job=job, moods={"beat": beat})
    run.wait_for(lambda: "farewell" in run.output)
    farewell = run.output.index("farewell")
    assert run.output.index("job") < farewell
    assert run.output.index("✓ beat") < farewell


def test_a_service_deaf_to_term_is_killed_with_its_group(start: Callable[..., Run]) -> None:
    run = start(moods={"worker": "deaf"}, budget=0.3)
    run.wait_until_up()
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert re.search(r"worker .*killed, it did not stop in time", run.output)
    assert stopped(run.output) == ["web", "beat", "worker", "catcher", "redis"]
    assert not any(map(lives, run.pids()))


def test_a_service_may_use_the_time_that_those_before_it_left(start: Callable[..., Run]) -> None:
    run = start(moods={"worker": "slow"}, budget=1.1)
    run.wait_until_up()
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert re.search(r"✓ worker +[\d.]+ s  stopped", run.output)


def test_a_hangup_stops_everything_in_order(start: Callable[..., Run]) -> None:
    run = start()
    run.wait_until_up()
    (run.directory / "hung-up").touch()
    assert run.end() == 0
    assert run.order_of_ends() == ["beat", "web", "worker", "catcher", "redis"]
    assert not any(map(lives, run.pids()))


def test_a_second_hangup_signal_hurries_nobody(start: Callable[..., Run]) -> None:
    run = start(moods={"worker": "slow"}, budget=3)
    run.wait_until_up()
    run.process.send_signal(signal.SIGHUP)
    run.wait_for(lambda: (run.directory / "ended").exists() and "worker" in run.order_of_ends())
    run.process.send_signal(signal.SIGHUP)
    assert run.end() == 0
    assert re.search(r"✓ worker +[\d.]+ s  stopped", run.output)


def test_under_nohup_the_signal_of_a_hangup_stops_nothing(start: Callable[..., Run]) -> None:
    run = start(nohup=True)
    run.wait_until_up()
    run.process.send_signal(signal.SIGHUP)
    [worker] = run.pids("worker")
    os.kill(worker, signal.SIGKILL)
    run.wait_for(lambda: run.output.count("✓ worker") == 2)
    assert "Stopping" not in run.output


def test_a_second_interrupt_hurries(start: Callable[..., Run]) -> None:
    run = start(moods={"worker": "deaf"}, budget=60)
    run.wait_until_up()
    run.process.send_signal(signal.SIGINT)
    run.wait_for(lambda: (run.directory / "ended").exists() and "worker" in run.order_of_ends())
    began = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert time.monotonic() - began < 5
    assert not any(map(lives, run.pids()))


def test_everything_ends_in_order_when_the_supervisor_is_killed(start: Callable[..., Run]) -> None:
    run = start(moods={"beat": "deaf"}, budget=0.3)
    run.wait_until_up()
    run.process.kill()
    run.wait_until_all_gone(within=8)
    assert run.order_of_ends() == ["beat", "web", "worker", "catcher", "redis"]
    assert len(run.pids()) == 7


def test_everything_ends_when_the_supervisor_is_killed_while_it_starts(
    start: Callable[..., Run],
) -> None:
    run = start()
    run.wait_for(lambda: run.pids("guardian"))
    run.process.kill()
    run.wait_until_all_gone(within=8)


def test_a_guardian_that_dies_is_replaced_by_one_that_knows_everything(
    start: Callable[..., Run],
) -> None:
    run = start()
    run.wait_until_up()
    os.kill(run.pids("guardian")[0], signal.SIGKILL)
    run.wait_for(lambda: "guardian died: started again" in run.output)
    run.process.kill()
    run.wait_until_all_gone(within=8)
    assert run.order_of_ends() == ["beat", "web", "worker", "catcher", "redis"]


def test_a_killed_worker_is_started_again_and_its_pool_is_gone(start: Callable[..., Run]) -> None:
    run = start()
    run.wait_until_up()
    [worker], [pool] = run.pids("worker"), run.pids("pool")
    os.kill(worker, signal.SIGKILL)
    run.wait_for(lambda: run.output.count("✓ worker") == 2)
    assert "worker  died (killed by SIGKILL)" in run.output
    assert not lives(pool)
    assert sum(map(lives, run.pids("worker"))) == 1
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert not any(map(lives, run.pids()))


def test_a_service_that_keeps_dying_is_given_up_with_exit_code_1(start: Callable[..., Run]) -> None:
    run = start(moods={"beat": "short-lived"})
    assert run.end() == 1
    assert "beat    died 3 times in a row (exit code 7): giving up" in run.output
    assert len(run.pids("beat")) == 3
    assert not any(map(lives, run.pids()))


def test_a_service_that_cannot_start_ends_the_run_and_shows_its_last_words(
    start: Callable[..., Run],
) -> None:
    run = start(moods={"web": "broken"})
    assert run.end() == 1
    assert "web     did not start (exit code 1)" in run.output
    assert "no such module" in run.output
    assert len(run.pids("web")) == 1
    assert not any(map(lives, run.pids()))


@pytest.mark.parametrize(("job", "code"), [("works", 0), ("is interrupted", 1)])
def test_the_exit_code_after_the_job_says_whether_it_was_done(
    start: Callable[..., Run], job: str, code: int
) -> None:
    run = start(job=job, end_after_job=True)
    if job == "is interrupted":
        run.wait_until_up()
        run.process.send_signal(signal.SIGTERM)
    assert run.end() == code
    assert not any(map(lives, run.pids()))


def test_warnings_are_shown_with_the_name_and_the_rest_stays_in_the_log(
    start: Callable[..., Run],
) -> None:
    run = start(moods={"web": "loud"})
    run.wait_for(lambda: "at this" in run.output)
    assert "  web     | [now] WARNING look�[2J here\n  web     |   at this\n" in run.output
    assert "all is well" not in run.output
    assert "all is well" in (run.directory / "web.log").read_text()


def test_verbose_shows_everything(start: Callable[..., Run]) -> None:
    run = start(moods={"web": "loud"}, verbose=True)
    run.wait_for(lambda: "web     | [now] INFO all is well" in run.output)
