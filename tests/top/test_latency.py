"""Quantiles from buckets, against samples that are known and against the rule in words."""

from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeninfer.top._latency import Quantile, quantile

INF = math.inf
BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0, 10.0]


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        (0.5, {0.1: 10.0, INF: 10.0}, Quantile(0.05)),
        (0.95, {0.1: 10.0, INF: 10.0}, Quantile(0.095)),
        (0.5, {0.01: 10.0, 0.025: 30.0, 0.05: 44.0, INF: 44.0}, Quantile(0.019)),
        (0.5, {0.1: 0.0, 0.2: 10.0, INF: 10.0}, Quantile(0.15)),
        (0.5, {0.1: 5.0, 0.2: 5.0, 0.4: 10.0, INF: 10.0}, Quantile(0.1)),
        (0.95, {0.1: 9.0, INF: 10.0}, Quantile(0.1, beyond=True)),
        (0.5, {0.1: 0.0, INF: 10.0}, Quantile(0.1, beyond=True)),
        (0.95, {0.1: 5.0, 0.2: 3.0, 0.4: 10.0, INF: 10.0}, Quantile(0.38)),
        (0.5, {0.1: 0.0, INF: 0.0}, None),
        (0.5, {}, None),
        (0.5, {INF: 3.0}, None),
        (0.5, {0.1: 3.0}, None),
    ],
)
def test_a_quantile(share: float, buckets: dict[float, float], expected: Quantile | None) -> None:
    found = quantile(share, buckets)
    if expected is None or found is None:
        assert found == expected
    else:
        assert found.seconds == pytest.approx(expected.seconds)
        assert found.beyond == expected.beyond


@given(samples=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=200), share=st.sampled_from([0.5, 0.95]))
def test_the_true_quantile_is_in_the_same_bucket(samples: list[float], share: float) -> None:
    buckets = {bound: float(sum(each <= bound for each in samples)) for bound in [*BOUNDS, INF]}
    found = quantile(share, buckets)
    true = sorted(samples)[math.ceil(share * len(samples)) - 1]
    assert found is not None
    if found.beyond:
        assert true > found.seconds == BOUNDS[-1]
    else:
        place = bisect_left(BOUNDS, true)
        assert ([0.0, *BOUNDS][place]) <= found.seconds <= BOUNDS[place]


@given(st.dictionaries(st.floats(0.0, 100.0) | st.just(INF), st.floats(0.0, 1e9), max_size=6))
def test_buckets_that_contradict_each_other_do_no_harm(buckets: dict[float, float]) -> None:
    found = quantile(0.95, buckets)
    assert found is None or 0.0 <= found.seconds <= 100.0
