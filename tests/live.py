"""A monitor with its real thread, on a simulated meter that counts one watt and whatever the test burns.

``Live``: the thread ticks once, at the start; after that time stands still for the books until the test calls
``tick`` or ``settle``, so that nothing depends on how fast the machine is. ``play``: a script in its own process.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter, thread_time
from types import TracebackType
from typing import Any

from simulated_world import Kept

from greeninfer import Monitor, Settings
from greeninfer._clock import SystemClock
from greeninfer._records import NANO, Measurement, Settlement, State
from greeninfer._share import Whole
from greeninfer.exporters import Exporter
from greeninfer.meters.simulated import Power, SimulatedMeter

FOREVER = 10.0
"""Seconds between two ticks: longer than any test lasts."""


def environment(**ours: object) -> dict[str, str]:
    """Return an environment for a fresh interpreter in which only these settings are made."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GREENINFER_")}
    here = Path(__file__).parent
    return (
        inherited
        | {"PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
        | {f"GREENINFER_{name}": str(value) for name, value in ours.items()}
    )


def play(script: str, folder: Path, *, code: int = 0, timeout: float = 60.0, **ours: object) -> Any:
    """Run a script there, in its own process and with these settings; return what it printed, as JSON or None."""
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(
        command, env=environment(**ours), cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def spin(cpu_seconds: float) -> float:
    """Use so much CPU time of this thread, and return what it really was."""
    begun = thread_time()
    while (used := thread_time() - begun) < cpu_seconds:
        pass
    return used


def wait_until_asleep(threads: Iterable[threading.Thread]) -> None:
    """Return once these threads use no CPU time any more; what they do to fall asleep is work, too."""
    clocks = [time.pthread_getcpuclockid(thread.ident) for thread in threads if thread.ident]
    before = [0.0]
    while before != (before := [time.clock_gettime(clock) for clock in clocks]):
        time.sleep(0.002)


class Clock(SystemClock):
    """The clock of this machine, which was slow for a while before anything began."""

    slow_seconds = 1.0

    def now(self) -> float:  # type: ignore[override]
        return perf_counter() - self.slow_seconds


class Collected:
    """An exporter that keeps what it gets."""

    name = "collected"

    def __init__(self) -> None:
        self.settlements: list[Settlement] = []
        self.arrivals: queue.SimpleQueue[float] = queue.SimpleQueue()

    def export(self, settlement: Settlement) -> None:
        self.settlements.append(settlement)
        self.arrivals.put(perf_counter())

    def close(self) -> None:
        pass

    @property
    def measurements(self) -> list[Measurement]:
        return [each for settlement in self.settlements for each in settlement.measurements]

    def nanojoules(self, *states: State) -> int:
        """Return what stands in these lines, all lines by default."""
        lines = [line for settlement in self.settlements for line in settlement.lines]
        return sum(line.nanojoules for line in lines if not states or line.state in states)

    def failures(self) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        for settlement in self.settlements:
            for failure in settlement.failures:
                key = failure.meter, failure.reason
                counts[key] = counts.get(key, 0) + failure.count
        return counts


class Live:
    """The doors write to this monitor inside the block; at its end the books must have closed to the nanojoule."""

    def __init__(
        self,
        watts: Power = 1.0,
        *exporters: Exporter,
        tick_seconds: float = FOREVER,
        running: Callable[[], float] | None = None,
    ) -> None:
        clock = self._clock = Clock()
        self.meter = SimulatedMeter(watts, clock=clock, running=running)
        self.kept = Kept(self.meter)
        self.collected = Collected()
        self.monitor = Monitor(
            Settings(tick_seconds=tick_seconds),
            meters=[self.kept],  # type: ignore[list-item]
            exporters=[*exporters, self.collected],
            clock=clock,
            share=Whole(),
        )

    def __enter__(self) -> Live:
        self.monitor.__enter__()
        self.tick()  # what comes before the first reading is nobody's
        self._clock.slow_seconds = 0.0
        self.tick()  # a whole second of idle power is known now
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.monitor.__exit__(kind, error, at)
        if error is None:
            first, last = self.kept.readings[0][0].joules, self.kept.readings[-1][0].joules
            assert self.collected.nanojoules() == round(last * NANO) - round(first * NANO)

    def tick(self) -> Settlement:
        return self.monitor.tick(force=True)

    def burn(self, joules: float) -> None:
        """Do some work: a little CPU time, and joules that are known."""
        spin(0.0005)
        self.meter.burn(joules)
        spin(0.0005)

    def burn_apart(self, joules: float) -> None:
        """Burn joules in a tick of their own, so that nobody else in the books can have them by mere vicinity."""
        self.tick()
        self.burn(joules)
        self.tick()

    def settle(self) -> list[Measurement]:
        """Return everything that is settled."""
        assert self.monitor.flush(timeout=20.0)
        return self.collected.measurements

    def named(self, name: str) -> list[Measurement]:
        return [each for each in self.settle() if each.key[0] == name]

    def one(self, name: str) -> Measurement:
        """Return the measurement of this name; there must be exactly one."""
        (measurement,) = self.named(name)
        return measurement

    def joules(self, name: str) -> float:
        """Return the own joules of all measurements of this name."""
        return sum(each.nanojoules for each in self.named(name)) / NANO

    def open_spans(self) -> dict[str, int]:
        """Return the names of which spans are open, with their number."""
        return {name: count for name, count in self.tick().in_flight.items() if count}
