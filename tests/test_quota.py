"""Tokens per second, what lanes leave to each other, connections, and turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.quota import UNUSED, Limits, Quota, is_line, line_up, release, room, take

NOW = 1_000_000.0


def nobody_is_gone(holder: str) -> bool:
    return False


def taken(
    quota: Quota, limits: Limits, now: float, wanted: int, *, urgency: float = 1, holder: str = "a"
) -> tuple[Quota, int]:
    return take(
        quota, limits, now, wanted=wanted, urgency=urgency, holder=holder, hold_seconds=60,
        is_gone=nobody_is_gone,
    )  # fmt: skip


def test_at_first_there_is_a_second_s_worth_and_what_is_kept_for_the_urgent() -> None:
    assert taken(UNUSED, Limits(rate=10), NOW, 100)[1] == 12
    assert taken(UNUSED, Limits(rate=10), NOW, 100, urgency=0)[1] == 10


def test_tokens_come_back_with_time_up_to_a_second_s_worth() -> None:
    quota, _ = taken(UNUSED, Limits(rate=10), NOW, 100)
    assert taken(quota, Limits(rate=10), NOW + 0.5, 100)[1] == 5
    assert taken(quota, Limits(rate=10), NOW + 3600, 100)[1] == 12


def test_a_rate_below_one_a_second_still_lets_one_through() -> None:
    quota, granted = taken(UNUSED, Limits(rate=0.1), NOW, 5, urgency=0)
    assert granted == 1
    assert taken(quota, Limits(rate=0.1), NOW + 9.9, 5, urgency=0)[1] == 0
    assert taken(quota, Limits(rate=0.1), NOW + 10, 5, urgency=0)[1] == 1


def test_the_urgent_find_tokens_though_the_others_took_all_they_could() -> None:
    quota = UNUSED
    for tick in range(100):
        quota, _ = taken(quota, Limits(rate=50), NOW + tick / 10, 100, urgency=0)
    assert taken(quota, Limits(rate=50), NOW + 10, 20, urgency=1)[1] >= 10
    assert (
        room(quota, Limits(rate=50), NOW + 9.9, urgency=0, holder="a", is_gone=nobody_is_gone)[0]
        < 1
    )


@given(
    rate=st.floats(0.5, 500),
    asks=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 200), st.sampled_from([0, 0.5, 1]))),
)
def test_no_more_leaves_than_the_rate_allows(
    rate: float, asks: list[tuple[float, int, float]]
) -> None:
    quota, now, total = UNUSED, NOW, 0
    for passed, wanted, urgency in asks:
        now += passed
        quota, granted = taken(quota, Limits(rate=rate), now, wanted, urgency=urgency)
        assert 0 <= granted <= wanted
        total += granted
    at_once = max(1.0, rate) + max(1.0, rate / 5)
    assert total <= at_once + rate * (now - NOW) + 1e-3


def test_connections_are_counted_by_holder_until_they_are_given_back() -> None:
    limits = Limits(connections=2)
    quota, granted = taken(UNUSED, limits, NOW, 100, holder="a")
    assert granted == 100
    quota, _ = taken(quota, limits, NOW, 100, holder="b")
    assert taken(quota, limits, NOW, 100, holder="c")[1] == 0
    assert taken(quota, limits, NOW, 100, holder="b")[1] == 100
    assert taken(release(quota, "a"), limits, NOW, 100, holder="c")[1] == 100
    assert taken(quota, limits, NOW + 61, 100, holder="c")[1] == 100, "not for ever"


def test_the_connection_of_a_dead_worker_is_free_at_once() -> None:
    limits = Limits(connections=1)
    quota, _ = taken(UNUSED, limits, NOW, 1, holder="dead")
    _, granted = take(
        quota, limits, NOW, wanted=1, urgency=1, holder="b", hold_seconds=60,
        is_gone=lambda holder: holder == "dead",
    )  # fmt: skip
    assert granted == 1


def test_those_that_are_new_line_up_one_after_another() -> None:
    limits = Limits(rate=4)
    quota, delays = line_up(UNUSED, limits, NOW, "bulk", again=0, new=3)
    assert delays == pytest.approx([0.25, 0.5, 0.75])
    assert is_line(quota, "bulk", NOW)
    quota, delays = line_up(quota, limits, NOW, "bulk", again=0, new=2)
    assert delays == pytest.approx([1.0, 1.25])
    assert not is_line(quota, "bulk", NOW + 100)
    assert line_up(quota, limits, NOW + 100, "bulk", again=0, new=1)[1] == pytest.approx([0.25])


def test_who_had_a_turn_is_next_again_and_not_sent_to_the_end_of_the_line() -> None:
    quota, _ = line_up(UNUSED, Limits(rate=1), NOW, "bulk", again=0, new=1000)
    same, delays = line_up(quota, Limits(rate=1), NOW, "bulk", again=2, new=0)
    assert delays == pytest.approx([1, 2])
    assert same == quota


def test_a_lane_does_not_stand_behind_the_line_of_another() -> None:
    quota, _ = line_up(UNUSED, Limits(rate=1), NOW, "bulk", again=0, new=1000)
    assert not is_line(quota, "critical", NOW)
    _, delays = line_up(quota, Limits(rate=1), NOW, "critical", again=0, new=1)
    assert delays == pytest.approx([1])


def test_without_limits_there_is_always_room() -> None:
    assert taken(UNUSED, Limits(), NOW, 10_000) == (UNUSED, 10_000)
