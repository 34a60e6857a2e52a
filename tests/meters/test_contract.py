"""The contract of ``greeninfer/meters/_contract.py``, for every meter there is."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Rig

from greeninfer.errors import MeterError


@pytest.fixture
def rig(make_rig: Callable[[], Rig]) -> Iterator[Rig]:
    built = make_rig()
    yield built
    built.meter.close()


def joules(rig: Rig) -> tuple[float, ...]:
    return tuple(reading.joules for reading in rig.meter.read())


def test_info_is_constant(rig: Rig) -> None:
    before = rig.meter.info
    rig.meter.read()
    rig.run(1.0)
    rig.meter.read()
    assert rig.meter.info == before
    rig.meter.close()
    assert rig.meter.info == before


def test_info_says_what_a_person_must_know(rig: Rig) -> None:
    info = rig.meter.info
    assert info.name
    assert info.domains
    assert info.source
    assert info.quality in ("measured", "estimated")
    assert info.period_seconds >= 0.0
    low, high = info.gain
    assert 0.0 < low <= 1.0 <= high < math.inf


def test_domains_are_unique_and_their_parents_known(rig: Rig) -> None:
    ids = [domain.id for domain in rig.meter.info.domains]
    assert len(set(ids)) == len(ids)
    for domain in rig.meter.info.domains:
        assert domain.meter == rig.meter.info.name
        assert domain.device in ("cpu", "gpu")
        assert domain.parent in ("", *ids)
        assert domain.parent != domain.id


def test_readings_come_in_the_order_of_domains(rig: Rig) -> None:
    for _ in range(3):
        assert tuple(reading.domain for reading in rig.meter.read()) == rig.meter.info.domains
        rig.run(0.5)


def test_joules_are_those_that_the_machine_used(rig: Rig) -> None:
    rig.meter.read()
    start = joules(rig)
    seconds = (0.02, 0.5, 3.0, 0.02, 0.3)
    for each in seconds:
        rig.run(each)
        readings = rig.meter.read()
        assert [(reading.fault, reading.guess_joules) for reading in readings] == [("", 0.0)] * len(readings)
    used = [now - before for now, before in zip(joules(rig), start, strict=True)]
    assert used == pytest.approx([watts * sum(seconds) for watts in rig.watts], rel=rig.tolerance)
    assert all(watts > 0.0 for watts in rig.watts), "a rig that draws nothing shows nothing"


def test_joules_never_fall_and_instants_never_go_back(rig: Rig) -> None:
    before = rig.meter.read()
    for seconds in (0.0, 0.001, 0.02, 0.0, 1.0, 30.0):
        rig.run(seconds)
        now = rig.meter.read()
        for old, new in zip(before, now, strict=True):
            assert new.joules >= old.joules
            assert new.instant > old.instant or (seconds == 0.0 and new.instant == old.instant)
            assert math.isfinite(new.joules)
        before = now


def test_a_lost_meter_raises_and_comes_back_with_all_its_joules(rig: Rig) -> None:
    if rig.lose is None:
        pytest.skip("this meter cannot be lost")
    rig.meter.read()
    rig.run(1.0)
    start = joules(rig)
    rig.lose()
    for _ in range(3):
        rig.run(1.0)
        with pytest.raises(MeterError) as raised:
            rig.meter.read()
        assert raised.value.meter == rig.meter.info.name
        assert raised.value.reason.islower()
        assert raised.value.reason.isalpha()
    rig.find()
    rig.run(1.0)
    used = [now - before for now, before in zip(joules(rig), start, strict=True)]
    assert used == pytest.approx([4.0 * watts for watts in rig.watts], rel=rig.tolerance)


def test_close_twice(make_rig: Callable[[], Rig]) -> None:
    rig = make_rig()
    rig.meter.read()
    rig.meter.close()
    rig.meter.close()


def test_no_thread_is_started(make_rig: Callable[[], Rig]) -> None:
    before = set(threading.enumerate())
    rig = make_rig()
    rig.meter.read()
    rig.run(1.0)
    rig.meter.read()
    assert set(threading.enumerate()) == before
    rig.meter.close()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are counted through /proc")
def test_no_descriptor_is_leaked(make_rig: Callable[[], Rig]) -> None:
    before = set(os.listdir("/proc/self/fd"))
    rig = make_rig()
    rig.meter.read()
    if rig.lose is not None:
        rig.lose()
        for _ in range(3):
            rig.run(1.0)
            with pytest.raises(MeterError):
                rig.meter.read()
        rig.find()
        rig.run(1.0)
        rig.meter.read()
    rig.meter.close()
    assert set(os.listdir("/proc/self/fd")) == before
