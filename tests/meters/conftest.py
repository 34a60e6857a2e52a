"""Rigs: one machine per meter, for the contract that all of them keep.

To hold one more meter to ``test_contract.py`` add a line to ``RIGS`` and, in that meter's own test file, a function
that takes a fresh directory and returns a ``Rig``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from greeninfer.meters._contract import Meter

RIGS = {
    "estimate": "test_estimate:contract_rig",
    "nvml": "test_nvml:contract_rig",
    "nvml, power polled": "test_nvml:polled_rig",
    "nvml, power samples": "test_nvml:buffered_rig",
    "pyrapl": "test_pyrapl:contract_rig",
    "rapl": "test_rapl:contract_rig",
    "simulated": "test_simulated:contract_rig",
}


class HandClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start: float = 1000.0) -> None:
        self.seconds = start

    def now(self) -> float:
        return self.seconds

    def asleep(self) -> float:
        return 0.0

    def unix(self) -> float:
        return 1.7e9 + self.seconds


@dataclass
class Rig:
    """A meter and the hands on the machine that it measures.

    Args:
        meter: freshly opened, not read yet.
        watts: the true power of each domain, in the order of ``info.domains``, known without the meter.
        run: lets seconds pass, in which every domain draws its watts.
        lose: breaks the meter so that the next read raises; None where nothing can be lost.
        find: mends what ``lose`` broke.
        tolerance: relative error that the meter may have in a run of some seconds.
    """

    meter: Meter
    watts: tuple[float, ...]
    run: Callable[[float], None]
    lose: Callable[[], None] | None
    find: Callable[[], None]
    tolerance: float = 1e-6


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=sorted(RIGS))
def make_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Rig]:
    """Return what sets up the rig of each meter in turn, so that a test can look at the process before and after."""
    module, _, function = RIGS[request.param].partition(":")
    build: Callable[[Path], Rig] = getattr(importlib.import_module(module), function)
    return lambda: build(tmp_path)
