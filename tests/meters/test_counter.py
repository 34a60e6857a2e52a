"""Laws of the counter guard, against truth that is simulated here: joules used, then shown modulo a range."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeninfer.meters._counter import Counter

RANGE = 262_143.32885
MAX_WATTS = 500.0
QUANTUM = 5.0

seconds_between = st.floats(0.001, 30.0)
power = st.floats(0.0, MAX_WATTS)
steps = st.lists(st.tuples(seconds_between, power), min_size=1, max_size=60)
start = st.floats(0.0, RANGE * 0.999)


def bound(seconds: float) -> float:
    return 1.5 * MAX_WATTS * seconds + QUANTUM


@given(start, steps)
def test_a_counter_that_wraps_gives_the_same_as_one_that_does_not(first: float, schedule: list[tuple[float, float]]):
    # A small range, so that many schedules wrap several times; the longest step's bound stays below it.
    modulus = bound(30.0) * 1.01
    first %= modulus
    wrapping, endless = Counter(modulus, MAX_WATTS, QUANTUM), Counter(None, MAX_WATTS, QUANTUM)
    instant, used = 0.0, 0.0
    wrapping.advance(first, instant)
    endless.advance(first, instant)
    for seconds, watts in schedule:
        instant += seconds
        used += watts * seconds
        joules, fault, guess = wrapping.advance((first + used) % modulus, instant)
        assert (fault, guess) == ("", 0.0)
        assert joules == pytest.approx(used, abs=1e-6)
        assert endless.advance(first + used, instant) == (pytest.approx(joules, abs=1e-6), "", 0.0)


def test_a_domain_that_drew_nothing_for_hours_wakes_without_a_fault():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    for second in range(0, 7200, 10):
        counter.advance(1000.0, float(second))
    assert counter.advance(1050.0, 7200.0) == (pytest.approx(50.0), "", 0.0)


@given(start, st.floats(0.001, 300.0), power, st.floats(0.0, 1.0))
def test_a_reset_never_credits_more_than_is_possible(before: float, seconds: float, watts: float, moment: float):
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance(before, 0.0)
    since_reset = watts * seconds * (1.0 - moment)
    joules, fault, guess = counter.advance(since_reset, seconds)
    assert 0.0 <= joules <= bound(seconds)
    if since_reset < before - RANGE + bound(seconds):
        return  # looks like a wrap: undetectable, and bounded by the line above
    if since_reset < before:
        assert fault == "reset"
        assert guess == joules


def test_a_reset_goes_on_by_last_known_power():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    for second in range(11):
        counter.advance(100_000.0 + 80.0 * second, float(second))
    joules, fault, guess = counter.advance(12.0, 13.0)
    assert fault == "reset"
    assert guess == pytest.approx(80.0 * 3.0)
    assert joules == pytest.approx(800.0 + 240.0)
    assert counter.advance(12.0 + 80.0, 14.0) == (pytest.approx(1120.0), "", 0.0)


def test_power_is_known_after_the_first_moments_too():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance(100_000.0, 0.0)
    counter.advance(100_008.0, 0.1)
    _, fault, guess = counter.advance(0.0, 0.3)
    assert fault == "reset"
    assert guess == pytest.approx(80.0 * 0.2)


def test_a_reset_at_the_second_read_guesses_nothing_and_says_so():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance(100_000.0, 0.0)
    assert counter.advance(3.0, 1.0) == (0.0, "reset", 0.0)


def test_one_step_seen_by_two_reads_close_together_is_not_a_power():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    for second in range(6):
        counter.advance(100_000.0 + 80.0 * second, float(second))
    # 1 mJ-resolution device, 0.4 J appear within 10 us: that is no 40 kW.
    counter.advance(100_400.4, 5.00001)
    _, fault, guess = counter.advance(0.0, 6.00001)
    assert fault == "reset"
    assert guess == pytest.approx(80.0, rel=0.01)


def test_an_impossible_step_forward_is_a_fault():
    counter = Counter(None, MAX_WATTS, QUANTUM)
    counter.advance(0.0, 0.0)
    counter.advance(100.0, 1.0)
    joules, fault, guess = counter.advance(150_000.0, 2.0)
    assert (fault, guess) == ("reset", pytest.approx(100.0))
    assert joules == pytest.approx(200.0)


def test_a_failed_read_taken_for_zero_elsewhere_is_only_a_longer_step_here():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance(100_000.0, 0.0)
    # Nothing is advanced while reads fail; the next good one covers all of the time.
    assert counter.advance(100_030.0, 20.0) == (pytest.approx(30.0), "", 0.0)


def test_a_stuck_counter_that_catches_up_tells_the_truth():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance(1000.0, 0.0)
    for tick in range(1, 501):
        assert counter.advance(1000.0, tick * 0.02) == (0.0, "", 0.0)
    # 10 s at 400 W arrive within one tick of 20 ms.
    assert counter.advance(5000.0, 10.02) == (pytest.approx(4000.0), "", 0.0)


def test_a_gap_within_the_bound_still_tells_a_wrap_from_a_reset():
    # 5 minutes at 500 W: bound 225 kJ, less than the range.
    wrapped = Counter(RANGE, MAX_WATTS, QUANTUM)
    wrapped.advance(RANGE - 1000.0, 0.0)
    assert wrapped.advance(14_000.0, 300.0) == (pytest.approx(15_000.0), "", 0.0)
    reset = Counter(RANGE, MAX_WATTS, QUANTUM)
    reset.advance(30_000.0, 0.0)
    assert reset.advance(14_000.0, 300.0)[1] == "reset"


def test_a_forward_step_after_a_long_gap_is_good_while_one_more_wrap_is_impossible():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance(0.0, 0.0)
    # Bound 300 kJ: 100 kJ is possible, 362 kJ is not.
    assert counter.advance(100_000.0, 400.0) == (pytest.approx(100_000.0), "", 0.0)


@given(
    st.floats(0.0, RANGE * 0.999),
    st.floats(0.0, RANGE * 0.999),
    st.floats(3600.0, 100_000.0),
    st.floats(0.1, MAX_WATTS),
)
def test_after_hours_the_number_of_wraps_is_a_guess_and_says_so(before: float, now: float, gap: float, watts: float):
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance((before - 10.0 * watts) % RANGE, -10.0)
    counter.advance(before, 0.0)
    if abs(now - before) < 1e-3:
        return
    already = counter.advance(before, 0.0)[0]
    joules, fault, guess = counter.advance(now, gap)
    assert fault == "gap"
    assert joules == pytest.approx(already + guess)
    assert 0.0 <= guess <= bound(gap)
    # The possible value that is nearest to what the last known power would have used; after a step back that power
    # alone, if no possible value is near.
    expected = watts * gap
    possible = [(now - before) % RANGE + wraps * RANGE for wraps in range(int(bound(gap) / RANGE) + 1)]
    nearest = min(possible, key=lambda each: abs(each - expected))
    if now < before and nearest > expected + RANGE / 2:
        nearest = expected
    assert guess == pytest.approx(nearest, abs=1e-3) or abs(guess - expected) == pytest.approx(RANGE / 2, abs=1e-3)


def test_a_gap_at_steady_power_is_guessed_exactly():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    for second in range(11):
        counter.advance(60.0 * second, float(second))
    hours = 8 * 3600.0
    _, fault, guess = counter.advance((600.0 + 60.0 * hours) % RANGE, 10.0 + hours)
    assert fault == "gap"
    assert guess == pytest.approx(60.0 * hours)


def test_a_step_back_that_a_reset_explains_as_well_as_a_wrap_is_a_guess():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance(200_000.0, 0.0)
    counter.advance(200_600.0, 10.0)
    _, fault, guess = counter.advance(24_000.0, 410.0)  # bound 300 kJ: more than a range
    assert fault == "gap"
    assert guess == pytest.approx(24_000.0 - 200_600.0 + RANGE)


def test_a_guess_is_never_more_than_is_possible():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    before = 0.8 * RANGE
    for second in range(11):
        counter.advance(before - 5000.0 + 500.0 * second, float(second))
    gap = 0.9 * RANGE / 500.0
    # 0.38 or 1.38 ranges explain the step back, 500 W would be 0.9 ranges, and at most 1.35 ranges are possible.
    _, fault, guess = counter.advance(before + (0.38 - 1.0) * RANGE, 10.0 + gap)
    assert fault == "gap"
    assert guess == pytest.approx(bound(gap))


def test_power_learned_after_a_reset_owes_nothing_to_the_time_before():
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance(100_000.0, 0.0)
    assert counter.advance(10.0, 10.0)[1:] == ("reset", 0.0)
    counter.advance(90.0, 11.0)
    assert counter.advance(0.0, 12.0)[1:] == ("reset", pytest.approx(80.0))


@given(st.lists(st.tuples(st.floats(0.0, RANGE), st.floats(-1.0, 20_000.0)), min_size=1, max_size=50))
def test_joules_never_fall_whatever_the_hardware_says(rounds: list[tuple[float, float]]):
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    instant, before, instants = 0.0, 0.0, []
    for raw, seconds in rounds:
        instant += seconds
        instants.append(instant)
        joules, fault, guess = counter.advance(raw, instant)
        assert math.isfinite(joules)
        assert joules - before <= bound(max(instants) - min(instants)) + 1e-6
        assert joules >= before
        assert 0.0 <= guess <= joules - before + 1e-6
        assert fault in ("", "reset", "gap")
        assert fault or guess == 0.0
        before = joules


@pytest.mark.parametrize("raw", [math.nan, math.inf, -1.0])
def test_what_is_no_counter_value_changes_nothing(raw: float):
    counter = Counter(RANGE, MAX_WATTS, QUANTUM)
    counter.advance(10.0, 0.0)
    with pytest.raises(ValueError, match="not the value of a counter"):
        counter.advance(raw, 1.0)
    assert counter.advance(50.0, 2.0) == (pytest.approx(40.0), "", 0.0)


@pytest.mark.parametrize(
    "arguments", [(0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, -1.0), (1.0, 1.0, math.inf), (math.nan, 1.0, 1.0)]
)
def test_arguments_must_be_positive(arguments: tuple[float, float, float]):
    with pytest.raises(ValueError, match="must be positive"):
        Counter(*arguments)
