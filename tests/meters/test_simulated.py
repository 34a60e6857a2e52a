"""The simulated machine: its joules are those of arithmetic done here, and it breaks when told."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from conftest import HandClock, Rig

from greeninfer._records import Domain
from greeninfer._settings import Settings
from greeninfer.errors import MeterError
from greeninfer.meters.simulated import SimulatedMeter, open_simulated

PACKAGE = Domain("simulated", 0, "package")
GPU = Domain("simulated", 0, "gpu", device="gpu")


def contract_rig(tmp_path: Path) -> Rig:
    clock = HandClock()
    meter = SimulatedMeter((40.0, 300.0), clock=clock, domains=(PACKAGE, GPU), range_joules=50_000.0)

    def run(seconds: float) -> None:
        clock.seconds += seconds

    return Rig(meter, (40.0, 300.0), run, meter.vanish, meter.appear)


def joules(meter: SimulatedMeter) -> float:
    return meter.read()[0].joules


def test_a_number_of_watts(clock: HandClock) -> None:
    meter = SimulatedMeter(50.0, clock=clock)
    assert joules(meter) == 0.0
    clock.seconds += 3.0
    assert joules(meter) == pytest.approx(150.0)


def test_a_function_of_the_instant_is_integrated_exactly_whatever_the_reads(clock: HandClock) -> None:
    def square(instant: float, cores: float) -> float:
        return 400.0 if (instant * 10.0) % 2.0 < 1.0 else 50.0

    rarely = SimulatedMeter(square, clock=clock)
    often = SimulatedMeter(square, clock=clock)
    rarely.read()
    for _ in range(1000):
        often.read()
        clock.seconds += 0.00137
    clock.seconds = 1002.0
    # Ten periods of 0.2 s: one half at 400 W, the other at 50 W.
    assert joules(rarely) == pytest.approx(450.0, rel=1e-9)
    assert joules(often) == pytest.approx(450.0, rel=1e-9)


def test_a_function_sees_the_instants_of_the_clock(clock: HandClock) -> None:
    meter = SimulatedMeter(lambda instant, cores: 100.0 * (instant - 1000.0), clock=clock)
    meter.read()
    clock.seconds = 1002.0
    assert joules(meter) == pytest.approx(200.0, rel=1e-6)
    clock.seconds = 1003.0
    assert joules(meter) == pytest.approx(450.0, rel=1e-6)


def test_power_follows_what_runs(clock: HandClock) -> None:
    ran = [0.0]
    meter = SimulatedMeter(lambda instant, cores: 20.0 + 10.0 * cores, clock=clock, running=lambda: ran[0])
    meter.read()
    clock.seconds += 2.0
    ran[0] += 3.0
    assert joules(meter) == pytest.approx(20.0 * 2.0 + 10.0 * 3.0)
    clock.seconds += 1.0
    assert joules(meter) == pytest.approx(20.0 * 3.0 + 10.0 * 3.0)


def test_burn_goes_to_the_domain_that_is_named(clock: HandClock) -> None:
    meter = SimulatedMeter((10.0, 20.0), clock=clock, domains=(PACKAGE, GPU))
    meter.read()
    meter.burn(5.0)
    meter.burn(7.0, GPU)
    meter.burn(1.0, "simulated/0/gpu")
    assert [reading.joules for reading in meter.read()] == pytest.approx([5.0, 8.0])
    clock.seconds += 1.0
    assert [reading.joules for reading in meter.read()] == pytest.approx([15.0, 28.0])
    assert meter.true_joules() == pytest.approx(15.0)
    assert meter.true_joules(GPU) == pytest.approx(28.0)
    with pytest.raises(ValueError, match="no domain 'simulated/1/gpu'"):
        meter.burn(1.0, "simulated/1/gpu")
    with pytest.raises(ValueError, match="cannot be burnt"):
        meter.burn(-1.0)


def test_counters_change_once_per_period(clock: HandClock) -> None:
    meter = SimulatedMeter(100.0, clock=clock, period_seconds=0.1)
    assert meter.info.period_seconds == 0.1
    seen = []
    for _ in range(10):
        clock.seconds += 0.03
        seen.append(joules(meter))
    # Reads at 0.03 ... 0.30 s see the value of the last whole tenth of a second.
    assert seen == pytest.approx([0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 20.0, 20.0, 20.0, 30.0])


def test_a_burst_shows_at_the_next_period(clock: HandClock) -> None:
    meter = SimulatedMeter(0.0, clock=clock, period_seconds=0.1)
    meter.read()
    clock.seconds += 0.05
    meter.burn(4.0)
    assert joules(meter) == 0.0
    clock.seconds += 0.06
    assert joules(meter) == pytest.approx(4.0)


def test_wraps_are_unwrapped(clock: HandClock) -> None:
    meter = SimulatedMeter(100.0, clock=clock, range_joules=1000.0, max_watts=200.0)
    for _ in range(100):
        reading = meter.read()[0]
        assert reading.fault == ""
        clock.seconds += 1.0
    assert joules(meter) == pytest.approx(10_000.0)


def test_a_counter_with_a_range_shows_no_more_than_hardware_would(clock: HandClock) -> None:
    meter = SimulatedMeter(0.0, clock=clock, range_joules=1000.0, max_watts=200.0)
    meter.read()
    clock.seconds += 1.0
    meter.burn(1050.0)
    # A burst of a whole range within a second is beyond max_watts, and invisible.
    assert joules(meter) == pytest.approx(50.0)
    assert meter.true_joules() == pytest.approx(1050.0)


def test_a_reset_is_announced_with_a_guess(clock: HandClock) -> None:
    meter = SimulatedMeter(100.0, clock=clock)
    meter.read()
    clock.seconds += 10.0
    assert joules(meter) == pytest.approx(1000.0)
    meter.reset()
    clock.seconds += 2.0
    reading = meter.read()[0]
    assert reading.fault == "reset"
    assert reading.guess_joules == pytest.approx(200.0)
    assert reading.joules == pytest.approx(1200.0)
    clock.seconds += 1.0
    reading = meter.read()[0]
    assert (reading.fault, reading.guess_joules) == ("", 0.0)
    assert reading.joules == pytest.approx(1300.0)


def test_a_frozen_counter_catches_up(clock: HandClock) -> None:
    meter = SimulatedMeter(100.0, clock=clock, range_joules=10_000.0, max_watts=200.0)
    meter.read()
    clock.seconds += 1.0
    meter.freeze()
    clock.seconds += 5.0
    assert joules(meter) == pytest.approx(100.0)
    assert meter.true_joules() == pytest.approx(600.0)
    clock.seconds += 5.0
    assert joules(meter) == pytest.approx(100.0)
    meter.thaw()
    reading = meter.read()[0]
    assert reading.fault == ""
    assert reading.joules == pytest.approx(1100.0)


def test_a_slow_read_fails_as_late(clock: HandClock) -> None:
    meter = SimulatedMeter(100.0, clock=clock)
    meter.read()
    meter.lag(0.004)
    meter.read()
    meter.lag(0.006)
    clock.seconds += 1.0
    with pytest.raises(MeterError) as raised:
        meter.read()
    assert raised.value.reason == "late"
    meter.lag(0.0)
    assert joules(meter) == pytest.approx(100.0)


def test_vanish_takes_the_reason(clock: HandClock) -> None:
    meter = SimulatedMeter(clock=clock)
    meter.vanish("permission")
    with pytest.raises(MeterError, match="permission"):
        meter.read()


def test_powers_must_match_domains(clock: HandClock) -> None:
    with pytest.raises(ValueError, match="3 powers for 2 domains"):
        SimulatedMeter((1.0, 2.0, 3.0), clock=clock, domains=(PACKAGE, GPU))
    with pytest.raises(ValueError, match="0 domains"):
        SimulatedMeter(1.0, clock=clock, domains=())


def test_the_meter_by_name_is_an_estimate_and_follows_this_process(clock: HandClock) -> None:
    meter = open_simulated(Settings(), clock)
    assert meter.info.quality == "estimated"
    assert "not a sensor" in meter.info.source
    meter.read()
    before = time.process_time()
    while time.process_time() - before < 0.02:
        pass
    clock.seconds += 1.0
    used = joules(meter)
    ran = time.process_time() - before
    assert 20.0 + 10.0 * 0.02 <= used <= 20.0 + 10.0 * (ran + 0.05)
