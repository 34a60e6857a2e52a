"""Intervals from readings, and everything that can go wrong with a reading, on counters that a test moves by hand."""

from __future__ import annotations

import logging
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_world import DRAM, PACKAGE, ManualClock, ScriptedMeter

from greeninfer._records import NANO, Delta, Failure, Interval
from greeninfer._sampler import Sampler

TICK = 0.1


class Sampled:
    """A meter that uses power as told, and its sampler, read every tenth of a second."""

    def __init__(self, *domains: object, period_seconds: float = 0.0, quality: str = "measured") -> None:
        self.clock = ManualClock(0.0)
        self.meter = ScriptedMeter(
            self.clock, *domains, period_seconds=period_seconds, quality=quality  # type: ignore[arg-type]
        )  # fmt: skip
        self.sampler = Sampler(self.meter, self.clock, TICK)
        self.intervals: list[Interval] = []

    def tick(self, *joules: float) -> Interval | None:
        """Let a tenth of a second pass, in which the domains use these joules, and read."""
        self.clock.advance(TICK)
        for domain, used in zip(self.meter.domains, joules, strict=False):
            self.meter.use(used, domain)
        return self.read()

    def read(self) -> Interval | None:
        interval = self.sampler.tick()
        if interval is not None:
            self.intervals.append(interval)
        return interval

    @property
    def failures(self) -> dict[str, int]:
        return {failure.reason: failure.count for failure in self.sampler.take_failures()}


def started(*domains: object, **more: object) -> Sampled:
    world = Sampled(*domains, **more)  # type: ignore[arg-type]
    world.meter.use(1000.0)  # what was used before the first reading is nobody's
    assert world.read() is None
    return world


def told(interval: Interval | None) -> list[tuple[float, str]]:
    """Return (joules, fault) of an interval's deltas."""
    assert interval is not None
    return [(delta.nanojoules / NANO, delta.fault) for delta in interval.deltas]


# When all is well


def test_an_interval_is_the_difference_of_two_readings() -> None:
    world = started(PACKAGE, DRAM)
    interval = world.tick(5.0, 0.25)
    assert interval == Interval(
        "scripted", 0.0, TICK, (Delta(PACKAGE, 5 * NANO, "measured"), Delta(DRAM, NANO // 4, "measured"))
    )
    assert interval.seconds == TICK
    assert told(world.tick(3.0, 0.5)) == [(3.0, ""), (0.5, "")]
    assert world.intervals[1].start == world.intervals[0].end
    assert world.failures == {}


def test_what_is_estimated_says_so() -> None:
    interval = started(quality="estimated").tick(5.0)
    assert interval is not None
    assert interval.deltas[0].quality == "estimated"


@settings(max_examples=50, deadline=None)
@given(st.floats(0.0, 1e7), st.lists(st.floats(1e-10, 1.0), min_size=1, max_size=60))
def test_rounding_never_adds_up(start: float, used: list[float]) -> None:
    world = Sampled()
    world.meter.use(start)
    world.read()
    first = world.meter.joules[PACKAGE.id]
    moved = [world.tick(each) is not None for each in used]
    if moved[-1]:
        last = world.meter.joules[PACKAGE.id]
        total = sum(delta.nanojoules for interval in world.intervals for delta in interval.deltas)
        assert total == round(last * NANO) - round(first * NANO)
    assert all(delta.nanojoules >= 0 for interval in world.intervals for delta in interval.deltas)


def test_a_meter_is_asked_once_per_tick_or_per_period_of_its_own() -> None:
    quick, slow = started(), started(period_seconds=1.0)
    for world, period in ((quick, TICK), (slow, 1.0)):
        now = world.clock.now()
        assert world.sampler.period_seconds == period
        assert not world.sampler.due(now)
        assert not world.sampler.due(now + 0.5 * period)
        # A tick that comes a hair early must not have to wait for the next one.
        assert world.sampler.due(now + 0.95 * period)
        world.tick(1.0)
        assert not world.sampler.due(world.clock.now())


# Reads that fail


def test_the_read_after_a_missed_one_covers_both() -> None:
    world = started()
    world.tick(5.0)
    world.meter.broken = "garbage"
    assert world.tick(7.0) is None
    assert world.tick(1.0) is None
    world.meter.broken = ""
    interval = world.tick(2.0)
    assert told(interval) == [(10.0, "")]
    assert interval is not None
    assert [interval.start, interval.end] == pytest.approx([TICK, 4 * TICK])
    assert world.failures == {"garbage": 2}
    assert world.failures == {}


def test_failures_are_told_by_meter_and_reason() -> None:
    world = started()
    for reason in ("garbage", "permission", "garbage"):
        world.meter.broken = reason
        world.tick(1.0)
    assert world.sampler.take_failures() == [Failure("scripted", "garbage", 2), Failure("scripted", "permission", 1)]


def test_what_stays_away_is_lost_and_time_goes_on_without_it() -> None:
    world = started()
    world.tick(5.0)
    world.meter.broken = "vanished"
    skipped = [world.tick(1.0) for _ in range(14)]
    assert skipped == [None] * 14  # 1.4 s: it may come back
    for _ in range(5):
        world.tick(1.0)
    lost = world.intervals[1:]
    assert len(lost) >= 3
    assert all(interval.deltas == () for interval in lost)  # no joules, which is not 0 joules
    assert lost[0].start == world.intervals[0].end
    assert lost[-1].end == world.clock.now()


def test_what_a_lost_meter_brings_back_is_nobodys() -> None:
    world = started()
    world.meter.broken = "vanished"
    for _ in range(20):
        world.tick(1.0)
    world.meter.broken = ""
    world.sampler.take_failures()
    back = world.tick(1.0)
    assert told(back) == [(21.0, "sensor_lost")]
    assert world.failures == {"sensor_lost": 1}
    assert told(world.tick(3.0)) == [(3.0, "")]
    assert world.failures == {}


def test_a_slow_meter_is_waited_for_longer() -> None:
    world = started(period_seconds=1.0)
    world.meter.broken = "late"
    assert [world.tick(1.0) for _ in range(49)] == [None] * 49
    assert [world.tick(1.0) for _ in range(2)][-1] is not None


def test_a_meter_that_never_worked_does_not_hold_time_up() -> None:
    world = Sampled()
    world.meter.broken = "permission"
    for _ in range(30):
        world.tick(1.0)
    assert world.intervals
    assert world.intervals[0].start == 0.0
    assert all(interval.deltas == () for interval in world.intervals)
    world.meter.broken = ""
    assert world.tick(1.0) is None  # the first reading: what came before is nobody's
    assert told(world.tick(2.0)) == [(2.0, "")]
    assert world.intervals[-1].start == world.clock.now() - TICK


def test_time_that_did_not_pass_is_no_interval_even_without_a_meter() -> None:
    world = started()
    world.meter.broken = "vanished"
    for _ in range(20):
        world.tick(1.0)
    count = len(world.intervals)
    assert world.read() is None
    assert len(world.intervals) == count
    assert world.tick(1.0) is not None


def test_losing_a_meter_is_logged_once_each_way(caplog: pytest.LogCaptureFixture) -> None:
    world = started()
    with caplog.at_level(logging.INFO, "greeninfer"):
        world.meter.broken = "vanished"
        for _ in range(40):
            world.tick(1.0)
        world.meter.broken = ""
        world.tick(1.0)
        world.tick(1.0)
    events = [record.getMessage().split()[0] for record in caplog.records]
    assert events == [
        "greeninfer.meter_failure",
        "greeninfer.meter_lost",
        "greeninfer.meter_failure",
        "greeninfer.meter_back",
    ]


# Counters that do not move


def test_a_counter_that_has_not_moved_yet_skips_the_tick() -> None:
    world = started()
    world.tick(5.0)
    assert world.tick(0.0) is None
    assert world.tick(0.0) is None
    assert told(world.tick(9.0)) == [(9.0, "")]
    assert world.intervals[1].seconds == pytest.approx(3 * TICK)
    assert world.failures == {}


def test_a_counter_that_stays_is_frozen_and_what_it_catches_up_is_nobodys() -> None:
    world = started()
    world.tick(5.0)
    assert [world.tick(0.0) for _ in range(14)] == [None] * 14
    assert [world.tick(0.0) for _ in range(5)][-1] is not None
    assert all(interval.deltas == () for interval in world.intervals[1:])
    assert world.failures == {"frozen": 1}
    assert told(world.tick(33.0)) == [(33.0, "frozen")]
    assert told(world.tick(1.0)) == [(1.0, "")]


def test_one_frozen_domain_of_two_does_not_take_the_other_with_it() -> None:
    world = started(PACKAGE, DRAM)
    world.tick(5.0, 1.0)
    for _ in range(25):
        world.tick(2.0, 0.0)
    frozen = world.intervals[1:]
    assert {delta.domain for interval in frozen for delta in interval.deltas} == {PACKAGE}
    assert sum(delta.nanojoules for interval in frozen for delta in interval.deltas) == 50 * NANO
    assert frozen[-1].seconds == pytest.approx(TICK)
    assert told(world.tick(2.0, 9.0)) == [(2.0, ""), (9.0, "frozen")]
    assert told(world.tick(2.0, 1.0)) == [(2.0, ""), (1.0, "")]


def test_both_frozen_come_back_one_after_the_other() -> None:
    world = started(PACKAGE, DRAM)
    for _ in range(20):
        world.tick(0.0, 0.0)
    assert told(world.tick(8.0, 0.0)) == [(8.0, "frozen")]
    assert told(world.tick(1.0, 4.0)) == [(1.0, ""), (4.0, "frozen")]


def test_a_meter_that_comes_back_frozen_loses_nothing() -> None:
    world = started()
    world.meter.broken = "vanished"
    for _ in range(20):
        world.tick(0.0)
    world.meter.broken = ""
    for _ in range(3):
        world.tick(0.0)
    interval = world.tick(6.0)
    assert interval is not None
    assert sum(delta.nanojoules for delta in interval.deltas) == 6 * NANO
    assert all(delta.fault in ("sensor_lost", "frozen") for delta in interval.deltas)


# Resets


def test_a_guess_after_a_reset_is_estimated_and_nobodys() -> None:
    world = started(PACKAGE, DRAM)
    world.tick(5.0, 1.0)
    world.meter.reset(2.5)
    interval = world.tick(0.0, 1.0)
    assert interval is not None
    assert interval.deltas == (Delta(PACKAGE, 2_500_000_000, "estimated", "reset"), Delta(DRAM, NANO, "measured"))
    assert world.failures == {"reset": 1}
    assert told(world.tick(1.0, 1.0)) == [(1.0, ""), (1.0, "")]


def test_what_a_reset_left_measured_is_booked_apart_from_the_guess() -> None:
    world = started()
    world.meter.broken = "late"
    world.tick(5.0)  # known, but not read
    world.meter.broken = ""
    world.meter.reset(2.0)
    interval = world.tick(0.0)
    assert interval is not None
    assert set(interval.deltas) == {
        Delta(PACKAGE, 2 * NANO, "estimated", "reset"), Delta(PACKAGE, 5 * NANO, "measured", "reset"),
    }  # fmt: skip


def test_a_reset_is_not_forgotten_while_another_counter_holds_the_tick_up() -> None:
    world = started(PACKAGE, DRAM)
    world.tick(5.0, 1.0)
    world.meter.reset(2.0)
    assert world.tick(0.0, 0.0) is None  # the other counter has not moved yet
    interval = world.tick(3.0, 1.0)
    assert interval is not None
    package = [delta for delta in interval.deltas if delta.domain == PACKAGE]
    assert sum(delta.nanojoules for delta in package) == 5 * NANO
    # The guess is in it, so nothing of it can be divided as if it were measured.
    assert {delta.fault for delta in package} == {"reset"}
    assert sum(delta.nanojoules for delta in package if delta.quality == "estimated") == 2 * NANO


def test_a_reset_without_any_guess_is_not_forgotten_either() -> None:
    world = started()
    world.tick(5.0)
    world.meter.reset(0.0)
    world.tick(0.0)  # joules of a tenth of a second are missing here, and the counter shows what it showed before
    assert {fault for _, fault in told(world.tick(3.0))} == {"reset"}


def test_a_reset_that_was_seen_while_time_stood_still_is_not_forgotten() -> None:
    world = started()
    world.tick(5.0)
    world.meter.reset(2.0)
    assert world.read() is None
    assert sorted(told(world.tick(1.0))) == [(1.0, "reset"), (2.0, "reset")]


def test_two_resets_in_one_interval_are_two_guesses() -> None:
    world = started(PACKAGE, DRAM)
    world.tick(5.0, 1.0)
    for guess in (2.0, 4.0):
        world.meter.reset(guess)
        assert world.tick(0.0, 0.0) is None
    interval = world.tick(1.0, 1.0)
    assert interval is not None
    estimated = [delta.nanojoules for delta in interval.deltas if delta.quality == "estimated"]
    assert sum(estimated) == 6 * NANO


# Suspend and clocks


def test_what_was_used_around_a_suspend_is_nobodys() -> None:
    world = started(PACKAGE, DRAM)
    world.tick(5.0, 1.0)
    world.clock.slept += 3600.0
    assert told(world.tick(7.0, 2.0)) == [(7.0, "suspend"), (2.0, "suspend")]
    assert world.failures == {"suspend": 2}
    assert told(world.tick(1.0, 1.0)) == [(1.0, ""), (1.0, "")]


def test_a_suspend_during_a_tick_that_is_skipped_is_not_forgotten() -> None:
    world = started()
    world.clock.slept += 3600.0
    world.meter.broken = "late"
    world.tick(5.0)
    world.meter.broken = ""
    assert told(world.tick(2.0)) == [(7.0, "suspend")]
    assert told(world.tick(1.0)) == [(1.0, "")]


def test_clocks_that_differ_by_a_hair_are_no_suspend() -> None:
    world = started()
    world.clock.slept += 0.001
    assert told(world.tick(5.0)) == [(5.0, "")]


def test_a_suspend_before_the_first_reading_is_none_of_ours() -> None:
    world = Sampled()
    world.clock.slept += 3600.0
    world.tick(5.0)
    assert told(world.tick(2.0)) == [(2.0, "")]


def test_a_reading_at_the_same_instant_is_skipped_and_counted() -> None:
    world = started()
    world.tick(5.0)
    world.meter.use(3.0)
    assert world.read() is None
    assert world.failures == {"clock": 1}
    assert told(world.tick(1.0)) == [(4.0, "")]


# Whatever happens


event = st.one_of(
    st.tuples(st.just("use"), st.floats(1e-9, 50.0), st.floats(1e-9, 50.0)),
    st.tuples(st.just("still"), st.floats(0.0, 1.0), st.just(0.0)),
    st.tuples(st.just("broken"), st.floats(0.0, 5.0), st.floats(0.0, 5.0)),
    st.tuples(st.just("sleep"), st.floats(1e-9, 5.0), st.floats(1e-9, 5.0)),
    st.tuples(st.just("reset"), st.floats(0.0, 5.0), st.floats(1e-9, 5.0)),
    st.tuples(st.just("long"), st.floats(1e-9, 5.0), st.floats(0.0, 5.0)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(event, min_size=10, max_size=40))
def test_intervals_follow_each_other_and_lose_no_joule(script: list[tuple[str, float, float]]) -> None:
    world = started(PACKAGE, DRAM)
    first = dict(world.meter.joules)
    guessed = 0.0
    for what, package, dram in script:
        world.meter.broken = "late" if what == "broken" else ""
        if what == "sleep":
            world.clock.slept += 1.0
        if what == "long":
            world.clock.advance(2.0)
        if what == "reset":
            world.meter.reset(package)
            guessed += package
            package = 0.0
        world.tick(package, dram)
    world.meter.broken = ""
    for _ in range(3):  # what is lost or frozen comes back
        world.tick(1.0, 1.0)

    assert all(before.end == after.start for before, after in pairwise(world.intervals))
    assert all(interval.seconds > 0.0 for interval in world.intervals)
    for domain in (PACKAGE, DRAM):
        deltas = [delta for interval in world.intervals for delta in interval.deltas if delta.domain == domain]
        assert all(delta.nanojoules >= 0 for delta in deltas)
        shown = round(world.meter.joules[domain.id] * NANO) - round(first[domain.id] * NANO)
        assert sum(delta.nanojoules for delta in deltas) == shown
    estimated = [
        delta.nanojoules for interval in world.intervals for delta in interval.deltas if delta.quality == "estimated"
    ]
    assert sum(estimated) == pytest.approx(guessed * NANO, abs=100.0)
    assert all(delta.fault for interval in world.intervals for delta in interval.deltas if delta.quality == "estimated")
