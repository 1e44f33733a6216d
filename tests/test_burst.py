"""Bursts: calls by a thread of its own, few for many, and none forgotten."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from mailer import burst
from mailer.burst import Bursts

from .worker import wait_until


@pytest.fixture
def calls() -> list[tuple[str, str]]:
    return []


def bursts(calls: list[tuple[str, str]], seconds: float) -> Bursts:
    return Bursts(lambda key, value: calls.append((key, value)), seconds=seconds)


def test_the_caller_does_not_wait() -> None:
    may_end, made_by = threading.Event(), []

    def call(key: str, value: str) -> None:
        may_end.wait(10)
        made_by.append(threading.current_thread())

    one = Bursts(call, seconds=0)
    began = time.monotonic()
    one("a", "1")
    assert time.monotonic() - began < 1
    assert one.finish(0.01) is False
    may_end.set()
    assert one.finish(10) is True
    assert made_by != [threading.current_thread()]


def test_the_first_call_is_made_at_once(calls: list[tuple[str, str]]) -> None:
    one = bursts(calls, 60)
    one("a", "1")
    wait_until(lambda: calls == [("a", "1")], 5)


def test_of_a_burst_the_last_of_each_key_is_called(calls: list[tuple[str, str]]) -> None:
    one = bursts(calls, 0.2)
    one("a", "1")
    assert one.finish(5)
    for value in "234":
        one("a", value)
        one("b", value)
    assert one.finish(5)
    assert calls == [("a", "1"), ("a", "4"), ("b", "4")]


def test_a_stream_is_called_now_and_then_and_at_its_end(calls: list[tuple[str, str]]) -> None:
    one = bursts(calls, 0.02)
    began = time.monotonic()
    for value in range(2000):
        one("a", str(value))
        time.sleep(0.0001)
    assert one.finish(5)
    assert calls[-1] == ("a", "1999")
    assert 2 < len(calls) <= (time.monotonic() - began) / 0.02 + 2


def test_an_idle_thread_ends_and_the_next_call_has_one(
    calls: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(burst, "IDLE_SECONDS", 0.01)
    one = bursts(calls, 0)
    before = threading.active_count()
    one("a", "1")
    assert one.finish(5)
    wait_until(lambda: threading.active_count() <= before, 5)
    one("a", "2")
    assert one.finish(5)
    assert calls == [("a", "1"), ("a", "2")]


def test_an_interpreter_that_ends_makes_the_calls_that_wait() -> None:
    program = (
        "import time; from mailer.burst import Bursts; "
        "call = lambda key, value: (time.sleep(0.2), print(value, flush=True)); "
        "one = Bursts(call, seconds=0.3); "
        "one('a', 'first'); time.sleep(0.1); one('a', 'last')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["first", "last"]
