"""Durations are counted in buckets from which quantiles can be read."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from mailer.histogram import BOUNDS, bucket, quantile


def test_bounds_grow_by_less_than_15_percent_and_are_whole_to_read() -> None:
    assert {0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 1000} <= {*BOUNDS}
    assert all(1.1 < high / low < 1.15 for low, high in itertools.pairwise(BOUNDS))
    assert BOUNDS[-1] > 10 * 86_400


def test_a_bucket_has_what_is_up_to_its_bound() -> None:
    assert BOUNDS[bucket(0.5)] == 0.5
    assert BOUNDS[bucket(0.5001)] == 0.56
    assert (bucket(0), bucket(1e9)) == (0, len(BOUNDS))


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_quantile_is_within_7_percent(share: float) -> None:
    draws = random.Random(7)
    durations = sorted(draws.lognormvariate(-1, 2) for _ in range(5000))
    true = durations[int(share * len(durations)) - 1]
    assert quantile(Counter(map(bucket, durations)), share) == pytest.approx(true, rel=0.08)


def test_nothing_has_no_quantile_and_one_duration_is_every_quantile() -> None:
    assert quantile({}, 0.5) is None
    for share in (0.5, 0.99):
        assert quantile({bucket(1.7): 1}, share) == pytest.approx(1.7, rel=0.07)
