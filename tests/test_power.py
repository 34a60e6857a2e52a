"""Mean power of domains: figures of which a scrape now and then gives the right mean."""

from __future__ import annotations

import pytest
from simulated_world import DRAM, PACKAGE

from greeninfer._power import MeanPower
from greeninfer._records import NANO, Delta, Interval

TICK = 0.02


def told(power: MeanPower, seconds: float, joules: float, fault: str = "") -> float | None:
    """Return the power of the package that became known with an interval, in W."""
    delta = Delta(PACKAGE, round(joules * NANO), "measured", fault)
    return power.watts([Interval("scripted", 0.0, seconds, (delta,))]).get(PACKAGE.id)


def test_the_first_interval_is_told_at_once_and_then_means_of_a_second() -> None:
    power = MeanPower()
    assert told(power, TICK, 1.0) == pytest.approx(50.0)
    jumps = [2.0, 0.0, 0.0, 0.0] * 50
    figures = [told(power, TICK, joules) for joules in jumps]
    means = [each for each in figures if each is not None]
    assert means == pytest.approx([26.0, 25.0, 25.0, 25.0], abs=1.5)
    # Looked at at any moment, the last figure is the mean power; that of the last tick would be 0 or 100 W.
    assert sum(means) / len(means) == pytest.approx(sum(jumps) / len(jumps) / TICK, rel=0.02)


def test_an_interval_that_is_longer_is_a_mean_of_its_own() -> None:
    power = MeanPower()
    told(power, TICK, 1.0)
    assert told(power, 10.0, 30.0) == pytest.approx(3.0)
    assert told(power, 0.5, 1.0) is None
    assert told(power, 0.5, 2.0) == pytest.approx(3.0)


def test_joules_of_a_fault_and_of_no_time_tell_nothing() -> None:
    power = MeanPower()
    told(power, TICK, 1.0)
    assert told(power, 60.0, 1e6, "suspend") is None
    assert told(power, 0.0, 1.0) is None
    assert told(power, 2.0, 8.0) == pytest.approx(4.0)


def test_domains_are_told_apart() -> None:
    deltas = (Delta(PACKAGE, 40 * NANO, "measured"), Delta(DRAM, 3 * NANO, "measured"))
    assert MeanPower().watts([Interval("scripted", 0.0, 2.0, deltas)]) == {PACKAGE.id: 20.0, DRAM.id: 1.5}
