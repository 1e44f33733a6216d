"""Several conversations at once, for a caller that stays in one thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from mailer.fan import Supply, fan_out


def numbers(count: int) -> Supply[int]:
    """Return a supply of so many, three at a time."""
    left = iter(range(count))
    return lambda: [*islice(left, 3)]


def noted(given: list[int]) -> Supply[int]:
    """Return a supply of a thousand numbers that notes which it gave."""
    left = iter(range(1000))

    def supply() -> list[int]:
        given.append(next(left))
        return given[-1:]

    return supply


def talk(supply: Supply[int]) -> Iterator[tuple[int, str]]:
    """Answer each number with the name of the thread."""
    while numbers := supply():
        for number in numbers:
            yield number, threading.current_thread().name


@pytest.mark.parametrize("number", [1, 4])
def test_each_item_is_dealt_with_once(number: int) -> None:
    heard: list[tuple[int, str]] = []
    fan_out([talk] * number, numbers(200), heard.append)
    assert sorted(item for item, _ in heard) == list(range(200))


def test_conversations_have_their_threads_and_the_caller_keeps_its_own() -> None:
    here = threading.current_thread()
    together = threading.Barrier(4)

    def talk_together(supply: Supply[int]) -> Iterator[tuple[int, str]]:
        together.wait(10)
        yield from talk(supply)

    left = iter(range(100))

    def supply() -> list[int]:
        assert threading.current_thread() is here
        return [*islice(left, 3)]

    def hear(one: tuple[int, str]) -> None:
        assert threading.current_thread() is here
        assert one[1] != here.name

    fan_out([talk_together] * 4, supply, hear)
    assert next(left, None) is None


@pytest.mark.parametrize("number", [1, 3])
def test_what_the_supply_raises_is_raised_and_what_was_said_by_then_is_heard(number: int) -> None:
    left = iter(range(100))
    heard: list[int] = []

    def supply() -> list[int]:
        if len(heard) >= 5:
            raise RuntimeError("no more")
        return [next(left)]

    with pytest.raises(RuntimeError, match="no more"):
        fan_out([talk] * number, supply, lambda one: heard.append(one[0]))
    assert sorted(heard) == list(range(next(left)))


def test_what_a_conversation_raises_ends_the_others_and_nothing_is_unheard() -> None:
    given: list[int] = []
    heard: list[int] = []
    supply = noted(given)

    def breaks(supply: Supply[int]) -> Iterator[tuple[int, str]]:
        if supply():
            raise RuntimeError("a bug")
        yield 0, ""

    with pytest.raises(RuntimeError, match="a bug"):
        fan_out([talk, breaks, talk], supply, lambda one: heard.append(one[0]))
    assert len(given) - len(heard) == 1
    assert len(given) < 1000


@pytest.mark.parametrize("number", [1, 3])
def test_what_hearing_raises_stops_the_supply_and_the_rest_is_heard(number: int) -> None:
    def talk_of_several(supply: Supply[int]) -> Iterator[tuple[int, str]]:
        """Ask for several, and have all their answers by the time the first is told."""
        while numbers := [*supply(), *supply(), *supply()]:
            for item in numbers:
                yield item, ""

    given: list[int] = []
    heard: list[int] = []
    supply = noted(given)

    def hear(one: tuple[int, str]) -> None:
        heard.append(one[0])
        if len(heard) == 20:
            raise RuntimeError("the ledger is away")

    with pytest.raises(RuntimeError, match="the ledger is away"):
        fan_out([talk_of_several] * number, supply, hear)
    assert sorted(heard) == given
    assert len(given) < 100
