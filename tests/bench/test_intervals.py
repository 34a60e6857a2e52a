"""Intervals against closed forms worked out by hand, and against worlds measured twice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from greeninfer.bench._candidates import Figure
from greeninfer.bench._intervals import (
    cell_intervals,
    log_spread,
    over_blocks,
    over_splits,
    ratio,
    relative_spread,
    t_quantile,
)

from .results_builders import failed, graded, results, run


def test_quantiles_of_student_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with scikit-learn")
    for freedom in range(1, 200):
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=2e-4), freedom


def test_two_splits_by_hand() -> None:
    # logs 0 and ln 1.21, so sd = ln 1.21 / sqrt 2; t(1) = 12.7062; sqrt(2/2) = 1; half = 12.7062 * 0.134789
    figure = over_splits([1.0, 1.21])
    assert figure.value == pytest.approx(1.105)
    assert figure.low == pytest.approx(1.105 * math.exp(-1.712658), rel=1e-4)
    assert figure.high == pytest.approx(1.105 * math.exp(1.712658), rel=1e-4)


def test_figures_with_a_zero_are_taken_as_they_are_and_stay_above_it() -> None:
    # mean 1, sd 1, t(2) = 4.3027, sqrt(2/3): half = 3.513
    assert over_splits([0.0, 1.0, 2.0]) == Figure(1.0, 0.0, pytest.approx(4.5131, rel=1e-4))


def test_idle_subtracted_joules_may_be_negative() -> None:
    figure = over_splits([-1.0, 0.0, 1.0])
    assert figure == Figure(0.0, pytest.approx(-3.5131, rel=1e-4), pytest.approx(3.5131, rel=1e-4))


def test_one_split_has_no_interval_and_says_so_by_none() -> None:
    assert over_splits([3.0]) == Figure(3.0, None, None)
    assert over_blocks(3.0, [1.0, 2.0, 3.0]) == Figure(3.0, None, None)
    assert relative_spread([3.0]) is None


@pytest.mark.parametrize(("splits", "spread"), [(2, 0.05), (3, 0.4), (10, 0.4)])
def test_a_repeat_lies_within_nineteen_times_of_twenty(splits: int, spread: float) -> None:
    random = np.random.default_rng(splits)
    worlds = random.lognormal(0.0, spread, (2000, 2, splits))
    inside = 0
    for once, again in worlds:
        figure = over_splits(list(once))
        inside += figure.low <= float(again.mean()) <= figure.high  # type: ignore[operator]
    assert 0.90 <= inside / len(worlds) <= 0.98


@pytest.mark.parametrize(("correlation", "at_least"), [(0.0, 0.93), (0.5, 0.88)])
def test_blocks_that_resemble_their_neighbours(correlation: float, at_least: float) -> None:
    """Autocorrelated blocks; with r = 0.5 an interval that took them for independent would hold some 75 %."""
    random = np.random.default_rng(1)
    blocks, inside, naive, worlds = 20, 0, 0, 600
    for _ in range(worlds):
        series = random.normal(size=(2, blocks + 30))
        for at in range(1, blocks + 30):
            series[:, at] += correlation * series[:, at - 1]
        once, again = np.exp(0.1 * series[:, 30:])
        figure = over_blocks(float(once.mean()), list(once))
        plain = over_splits(list(once))
        inside += figure.low <= again.mean() <= figure.high
        naive += plain.low <= again.mean() <= plain.high
    assert at_least <= inside / worlds <= 0.99
    assert correlation == 0.0 or naive / worlds < inside / worlds - 0.05


@pytest.mark.parametrize(
    ("spreads", "within"),
    [
        ({"a": 0.05, "b": 0.05, "c": 0.05}, (0.92, 0.98)),
        ({"steady": 0.01, "middling": 0.05, "shaky": 0.2}, (0.90, 0.995)),
    ],
)
def test_a_second_run_lies_in_the_interval_of_its_cell(spreads: dict[str, float], within: tuple[float, float]) -> None:
    random = np.random.default_rng(5)
    inside = dict.fromkeys(spreads, 0)
    widths: dict[str, list[float]] = {name: [] for name in spreads}
    for _ in range(60):
        pairs, again = [], {}
        for name, spread in spreads.items():
            for split in range(10):
                made = run(name, split, float(random.lognormal(0.0, spread)))
                pairs.append((made, graded([True])))
                again[made.cell.id] = (name, float(random.lognormal(0.0, spread)))
        for cell, figure in cell_intervals(results(pairs)).items():
            name, joules = again[cell]
            inside[name] += figure.low <= joules <= figure.high  # type: ignore[operator]
            widths[name].append(math.log(figure.high / figure.low))  # type: ignore[operator]
    assert within[0] <= sum(inside.values()) / (600 * len(spreads)) <= within[1]
    assert min(inside.values()) >= 0.87 * 600
    if "steady" in spreads:
        assert np.mean(widths["steady"]) < 0.2 * np.mean(widths["shaky"])


def test_cells_without_joules_or_that_failed_have_no_interval_and_one_split_no_bounds() -> None:
    alone = run("a", 0, 2.0)
    held = results([(alone, graded([True])), (run("b", 0, None), graded([True])), (failed("c"), None)])
    lost = results([(alone, graded([True])), (run("d", 0, status="failed"), None)])
    assert cell_intervals(lost) == {alone.cell.id: Figure(2.0)}
    assert cell_intervals(held) == {alone.cell.id: Figure(2.0)}


def test_a_ratio_is_paired_by_split() -> None:
    """The third split is ten times as dear for both; their ratio is 2 in all of them, give or take a hundredth."""
    under = {0: 1.0, 1: 1.0, 2: 10.0}
    over = {0: 2.0, 1: 2.02, 2: 20.0}
    figure = ratio(over, under, 2.0, (Figure(1.0), Figure(1.0)))
    # logs: ln 2, ln 2.02, ln 2: sd = ln 1.01 / sqrt 3 = 0.0057448; half = 4.3027 * sqrt(2/3) * 0.0057448 = 0.020182
    assert figure.low == pytest.approx(2.0 * math.exp(-0.020182), rel=1e-5)
    assert figure.high == pytest.approx(2.0 * math.exp(0.020182), rel=1e-5)


def test_the_spread_that_an_interval_stands_for() -> None:
    """1.96 * sqrt 2 * 0.1 = 0.27718 either way on the log scale."""
    assert log_spread(Figure(2.0, 2.0 * math.exp(-0.27718), 2.0 * math.exp(0.27718))) == pytest.approx(0.1, rel=1e-4)
    assert (log_spread(Figure(2.0)), log_spread(None)) == (0.0, 0.0)


def test_a_ratio_that_cannot_be_paired_adds_both_noises() -> None:
    # half widths on the log scale 0.3 and 0.4 make 0.5
    widths = (Figure(2.0, 2.0 * math.exp(-0.3), 2.0 * math.exp(0.3)), Figure(1.0, math.exp(-0.4), math.exp(0.4)))
    figure = ratio({0: 2.0}, {0: 1.0}, 2.0, widths)
    assert (figure.low, figure.high) == pytest.approx((2.0 * math.exp(-0.5), 2.0 * math.exp(0.5)))
    assert ratio({0: 2.0}, {0: 1.0}, 2.0, (widths[0], Figure(1.0))) == Figure(2.0)
