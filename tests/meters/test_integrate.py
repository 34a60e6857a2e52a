"""The integrator against integrals known on paper."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeninfer.meters._integrate import Integrator


def test_constant_power():
    integrator = Integrator(max_gap_seconds=2.0)
    for tick in range(101):
        integrator.add(250.0, 5.0 + tick * 0.1)
    assert integrator.joules == pytest.approx(250.0 * 10.0)
    assert integrator.take_fault() == ("", 0.0)


def test_the_first_sample_is_the_start():
    integrator = Integrator(max_gap_seconds=2.0)
    assert integrator.joules == 0.0
    integrator.add(250.0, 1e6)
    assert integrator.joules == 0.0
    assert integrator.take_fault() == ("", 0.0)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=40), st.floats(0.0, 500.0), st.floats(0.0, 20.0))
def test_power_that_is_linear_in_time_is_integrated_exactly(gaps: list[float], base: float, slope: float):
    integrator = Integrator(max_gap_seconds=1.0)
    instant = 0.0
    integrator.add(base, instant)
    for gap in gaps:
        instant += gap
        integrator.add(base + slope * instant, instant)
    assert integrator.joules == pytest.approx(base * instant + slope * instant**2 / 2, rel=1e-9, abs=1e-9)


def test_samples_that_are_not_newer_are_ignored():
    integrator = Integrator(max_gap_seconds=2.0)
    samples = [(100.0, 0.0), (200.0, 1.0), (900.0, 1.0), (900.0, 0.5), (100.0, -3.0), (100.0, 2.0)]
    for watts, instant in samples:
        integrator.add(watts, instant)
    assert integrator.joules == pytest.approx(150.0 + 150.0)


def test_a_buffer_delivered_twice_counts_once():
    integrator = Integrator(max_gap_seconds=2.0)
    buffer = [(50.0 + tick, tick * 0.02) for tick in range(50)]
    for watts, instant in buffer + buffer[30:]:
        integrator.add(watts, instant)
    assert integrator.joules == pytest.approx(50.0 * 0.98 + 49 * 0.98 / 2)


def test_a_gap_goes_on_as_a_guess_and_is_told_once():
    integrator = Integrator(max_gap_seconds=1.0)
    integrator.add(100.0, 0.0)
    integrator.add(100.0, 1.0)
    assert integrator.take_fault() == ("", 0.0)
    integrator.add(300.0, 11.0)
    integrator.add(300.0, 12.0)
    assert integrator.joules == pytest.approx(100.0 + 2000.0 + 300.0)
    assert integrator.take_fault() == ("gap", pytest.approx(2000.0))
    assert integrator.take_fault() == ("", 0.0)


def test_gaps_since_the_last_question_add_up():
    integrator = Integrator(max_gap_seconds=1.0)
    for instant in (0.0, 10.0, 10.5, 20.5):
        integrator.add(100.0, instant)
    assert integrator.take_fault() == ("gap", pytest.approx(2000.0))


@given(st.lists(st.tuples(st.floats(0.0, 1000.0), st.floats(-5.0, 50.0)), max_size=60))
def test_joules_never_fall_and_a_guess_is_part_of_them(samples: list[tuple[float, float]]):
    integrator = Integrator(max_gap_seconds=3.0)
    guesses, before = 0.0, 0.0
    for watts, instant in samples:
        integrator.add(watts, instant)
        assert integrator.joules >= before
        fault, guess = integrator.take_fault()
        assert (fault == "gap") == (guess > 0.0) or fault == "gap"
        guesses += guess
        before = integrator.joules
    assert guesses <= before + 1e-6


@pytest.mark.parametrize(
    ("watts", "instant"), [(math.nan, 1.0), (-1.0, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)]
)
def test_what_is_no_sample_changes_nothing(watts: float, instant: float):
    integrator = Integrator(max_gap_seconds=5.0)
    integrator.add(10.0, 0.0)
    with pytest.raises(ValueError, match="not a sample of power"):
        integrator.add(watts, instant)
    integrator.add(10.0, 2.0)
    assert integrator.joules == pytest.approx(20.0)


@pytest.mark.parametrize("gap", [0.0, -1.0, math.nan])
def test_the_longest_gap_must_be_positive(gap: float):
    with pytest.raises(ValueError, match="must be positive"):
        Integrator(gap)
