"""A machine on paper: its time goes on when it is told to, its power is a formula, its counters move in steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from greeninfer._monitor import Monitor
from greeninfer._records import Device, Domain, MeterInfo, Reading
from greeninfer._settings import Settings
from greeninfer._share import Whole
from greeninfer.bench._phases import Phases, Recorder
from greeninfer.errors import MeterError

GLANCE_SECONDS = 1e-7  # what looking at the clock takes


@dataclass(slots=True)
class Machine:
    """Its clocks.

    Args:
        neighbour_cores: kept busy by other processes all the time.
        waiting_cores: used by this process while it waits.
        cores: of the processor.
        seconds, own, others: what the clocks have counted.
        meters: what counts its joules.
    """

    neighbour_cores: float = 0.0
    waiting_cores: float = 0.0
    cores: int = 2
    seconds: float = 50.0
    own: float = 3.0
    others: float = 7.0
    meters: list[Meter] = field(default_factory=list)

    def now(self) -> float:
        self._go_on(GLANCE_SECONDS, 0.0)
        return self.seconds

    def asleep(self) -> float:
        return 0.0

    def unix(self) -> float:
        return 1.7e9 + self.seconds

    def sleep(self, seconds: float) -> None:
        self._go_on(seconds, self.waiting_cores)

    def work(self, seconds: float, cores: float = 1.0) -> None:
        """Let this process keep so many cores busy, in steps that end with the counters'."""
        self._go_on(seconds, cores)

    def busy_seconds(self) -> float:
        """Return what /proc/stat would say: whole hundredths of a second, counted late."""
        return math.floor((self.own + self.others) * 100.0) / 100.0

    def own_seconds(self) -> float:
        return self.own

    def _go_on(self, seconds: float, cores: float) -> None:
        for meter in self.meters:
            meter.count(self.seconds, seconds, cores, self.neighbour_cores)
        self.seconds += seconds
        self.own += cores * seconds
        self.others += self.neighbour_cores * seconds


class Meter:
    """Counts idle_watts * seconds + core_watts * busy core seconds, and shows it at the end of each period.

    Args:
        machine: whose.
        idle_watts, core_watts: of each domain.
        name, device, domains: what it is.
        period_seconds: between two steps of its counters.
        says_idle: whether it knows its power at rest itself.
    """

    def __init__(
        self,
        machine: Machine,
        idle_watts: float = 10.0,
        core_watts: float = 20.0,
        *,
        name: str = "rapl",
        device: Device = "cpu",
        domains: int = 1,
        period_seconds: float = 0.001,
        says_idle: bool = False,
        gain: tuple[float, float] = (0.97, 1.03),
    ) -> None:
        self._machine = machine
        self._idle_watts, self._core_watts = idle_watts, core_watts
        self._joules = self._shown = 0.0
        self._domains = tuple(Domain(name, index, "part", device) for index in range(domains))
        quality = "estimated" if says_idle else "measured"
        known = idle_watts if says_idle else None
        self.info = MeterInfo(name, self._domains, quality, period_seconds, gain, "made up", known)
        self.fault = ""
        self.is_away = self.is_frozen = False
        self._stuck: dict[int, float] = {}
        machine.meters.append(self)

    def count(self, since: float, seconds: float, own_cores: float, other_cores: float) -> None:
        cores = own_cores if self._domains[0].device == "gpu" else own_cores + other_cores
        watts = self._idle_watts + self._core_watts * cores
        step = math.floor((since + seconds) / self.info.period_seconds) * self.info.period_seconds
        if step > since and not self.is_frozen:
            self._shown = self._joules + watts * (step - since)
        self._joules += watts * seconds

    def read(self) -> tuple[Reading, ...]:
        if self.is_away:
            raise MeterError(self.info.name, "vanished", "it was pulled out")
        fault, self.fault = self.fault, ""
        instant = self._machine.now()
        return tuple(
            Reading(domain, self._stuck.get(domain.index, self._shown), instant, fault) for domain in self._domains
        )

    def stick(self, index: int) -> None:
        """Let the counter of one domain stand still from now on."""
        self._stuck[index] = self._shown

    def close(self) -> None:
        pass


@contextmanager
def measuring(
    machine: Machine, idle_watts: dict[str, float], busy_seconds: Callable[[], float] | None = None
) -> Iterator[Phases]:
    """Give phases on a monitor that reads the machine's meters; its thread is not started."""
    recorder = Recorder()
    monitor = Monitor(Settings(exporters=()), meters=machine.meters, exporters=[recorder], clock=machine, share=Whole())
    monitor.tick(force=True)
    try:
        yield Phases(
            monitor,
            recorder,
            idle_watts,
            busy_seconds,
            machine.cores,
            now=machine.now,
            sleep=machine.sleep,
            own_seconds=machine.own_seconds,
        )
    finally:
        monitor.stop()
