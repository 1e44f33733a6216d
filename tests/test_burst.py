"""Bursts: the first call at once, the last one heard, those between them saved."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from mailer.burst import Bursts

from .worker import wait_until


@pytest.fixture
def calls() -> list[tuple[str, str]]:
    return []


def bursts(calls: list[tuple[str, str]], seconds: float) -> Bursts:
    return Bursts(lambda key, value: calls.append((key, value)), seconds=seconds)


def test_the_first_call_is_made_at_once_and_by_the_caller(calls: list[tuple[str, str]]) -> None:
    made_by = []
    Bursts(lambda key, value: made_by.append(threading.current_thread()), seconds=60)("a", "1")
    assert made_by == [threading.current_thread()]


def test_of_the_rest_of_a_burst_the_last_is_called_at_its_end(
    calls: list[tuple[str, str]],
) -> None:
    one = bursts(calls, 0.2)
    for value in "1234":
        one("a", value)
    assert calls == [("a", "1")]
    wait_until(lambda: len(calls) > 1, 5)
    assert calls == [("a", "1"), ("a", "4")]


def test_a_burst_of_one_key_holds_up_no_other(calls: list[tuple[str, str]]) -> None:
    one = bursts(calls, 60)
    one("a", "1")
    one("b", "2")
    assert calls == [("a", "1"), ("b", "2")]


def test_a_stream_is_called_once_for_each_burst_and_at_its_end(
    calls: list[tuple[str, str]],
) -> None:
    one = bursts(calls, 0.02)
    began = time.monotonic()
    for value in range(2000):
        one("a", str(value))
        time.sleep(0.0001)
    bursts_at_most = (time.monotonic() - began) / 0.02 * 2 + 2  # a timer may be early, never twice
    wait_until(lambda: calls[-1] == ("a", "1999"), 5)
    assert 2 < len(calls) <= bursts_at_most


def test_an_interpreter_that_ends_makes_the_call_that_waits() -> None:
    program = (
        "from mailer.burst import Bursts; "
        "one = Bursts(lambda key, value: print(value, flush=True), seconds=0.3); "
        "one('a', 'first'); one('a', 'last')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["first", "last"]
