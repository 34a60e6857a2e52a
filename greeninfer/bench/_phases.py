"""How a phase of a cell comes by its joules.

The monitor cuts its intervals at the borders of a phase. For a domain d: dE the joules of its counter in the phase, P0
its watts at rest, dt the seconds of its intervals, share = own / (own + others) of the machine's busy CPU seconds:

    CPU   dynamic = max(0, dE - P0*dt);  net = dynamic*share;  other = dynamic*(1 - share);  gross = dE - other
    GPU   gross = dE;  net = dE - P0*dt;  other = 0

Where P0 is not known it is 0 in the division, and net is None. Joules under a fault (reset, suspend) make the phase's
joules None. /proc/stat counts in hundredths of a second, so others get away with one of these per core:
others = max(0, busy - own - 0.01*cores).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from greeninfer._energy import Quality
from greeninfer._monitor import Monitor
from greeninfer._records import NANO, Interval, Settlement
from greeninfer._share import busy_seconds
from greeninfer.bench._records import Phase

_JIFFY_SECONDS = 0.01  # USER_HZ of proc_stat(5)
_PATIENCE_PERIODS = 3.0
_QUALITIES: tuple[Quality, ...] = ("measured", "shared", "estimated")


class Collected:
    """An exporter that keeps intervals until they are taken."""

    name = "bench"

    def __init__(self) -> None:
        self.intervals: list[Interval] = []

    def export(self, settlement: Settlement) -> None:
        """Keep the intervals of a settlement."""
        self.intervals.extend(settlement.intervals)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One phase, or a block of one.

    Args:
        phase: its figures.
        by_domain: gross joules by domain id; empty where they are not known.
        share: of this process in what was busy; None if unknown.
        quality: worst of the joules.
        notes: what a reader has to know.
    """

    phase: Phase
    by_domain: Mapping[str, float] = field(default_factory=dict)
    share: float | None = None
    quality: Quality | None = None
    notes: tuple[str, ...] = ()


class Borders:
    """Cuts time into phases; ``cut`` ends one and begins the next.

    Args:
        monitor: what measures; it has started.
        collected: one of its exporters.
        idle_watts: power at rest by domain id.
        cores: logical cores of the machine.
    """

    def __init__(self, monitor: Monitor, collected: Collected, idle_watts: Mapping[str, float], cores: int) -> None:
        self._monitor = monitor
        self._collected = collected
        self._idle_watts = dict(idle_watts)
        for info in monitor.meters:
            if info.idle_watts is not None and len(info.domains) == 1:
                self._idle_watts.setdefault(info.domains[0].id, info.idle_watts)
        self._cores = cores
        self._stat = Path(monitor.settings.proc_root) / "stat"
        self.period_seconds = max(
            (max(info.period_seconds, monitor.settings.tick_seconds) for info in monitor.meters), default=0.0
        )
        self.begin()

    def begin(self) -> None:
        """Begin a phase here; what came before is nobody's."""
        self._read_up_to_now()
        self._collected.intervals.clear()
        self._cpu, self._busy, self._then = cpu_seconds(), self._busy_seconds(), time.perf_counter()

    def cut(self) -> Cut:
        """End the phase, return it and begin the next."""
        seconds, cpu, busy = time.perf_counter() - self._then, cpu_seconds() - self._cpu, self._busy_seconds()
        lost = self._read_up_to_now()
        with self._monitor.guard:
            intervals = list(self._collected.intervals)
        share = None if busy is None or self._busy is None else self.share(cpu, busy - self._busy)
        made = divide(intervals, self._idle_watts, share, seconds, cpu, self.period_seconds)
        if lost:
            made = Cut(Phase(seconds, cpu, ticks=made.phase.ticks), {}, share, None, (*made.notes, *lost))
        self.begin_after()
        return made

    def begin_after(self) -> None:
        """Begin the next phase where the last reading was."""
        with self._monitor.guard:
            self._collected.intervals.clear()
        self._cpu, self._busy, self._then = cpu_seconds(), self._busy_seconds(), time.perf_counter()

    def share(self, own: float, busy: float) -> float:
        """Return this process's part of busy CPU seconds, 1 where it used next to nothing."""
        others = max(0.0, busy - own - self._cores * _JIFFY_SECONDS)
        return own / (own + others) if own + others > 0.0 else 1.0

    def _busy_seconds(self) -> float | None:
        try:
            return busy_seconds(self._stat)
        except (OSError, ValueError):
            return None

    def _read_up_to_now(self) -> tuple[str, ...]:
        """Force readings until each meter has one from now on; return what is amiss where one has none."""
        now = time.perf_counter()
        waiting = {info.name for info in self._monitor.meters}
        deadline = now + max(0.5, _PATIENCE_PERIODS * self._period())
        while waiting:
            for interval in self._monitor.tick(force=True).intervals:
                waiting.discard(interval.meter)
            if time.perf_counter() > deadline:
                break
            if waiting:
                time.sleep(0.001)
        return tuple(f"{name} gave no reading at the end of a phase" for name in sorted(waiting))

    def _period(self) -> float:
        return max((info.period_seconds for info in self._monitor.meters), default=0.0)


def divide(
    intervals: list[Interval],
    idle_watts: Mapping[str, float],
    share: float | None,
    seconds: float,
    cpu: float,
    period_seconds: float,
) -> Cut:
    """Divide the joules of a phase between this process and others; see the top of the module."""
    joules: dict[str, float] = {}
    covered: dict[str, float] = {}
    devices: dict[str, str] = {}
    notes: list[str] = []
    qualities: list[Quality] = []
    broken = False
    for interval in intervals:
        broken |= not interval.deltas
        for delta in interval.deltas:
            name = delta.domain.id
            joules[name] = joules.get(name, 0.0) + delta.nanojoules / NANO
            devices[name] = delta.domain.device
            qualities.append(delta.quality)
            if delta.fault:
                broken = True
                notes.append(f"{name}: {delta.fault}")
        for name in {delta.domain.id for delta in interval.deltas}:
            covered[name] = covered.get(name, 0.0) + interval.seconds
    ticks = int(seconds / period_seconds + 1e-9) if period_seconds else 0
    if broken or not joules:
        if broken:
            notes.append("joules of a phase are not known: a meter was away or began anew")
        return Cut(Phase(seconds, cpu, ticks=ticks), {}, share, None, tuple(dict.fromkeys(notes)))
    if share is None:
        notes.append("/proc/stat cannot be read: joules of other processes are not taken off")
    gross: dict[str, float] = {}
    net, other, known = 0.0, 0.0, True
    for name, counted in joules.items():
        watts = idle_watts.get(name)
        known &= watts is not None
        idle = (watts or 0.0) * covered[name]
        part = 1.0 if devices[name] == "gpu" or share is None else share
        dynamic = counted - idle if devices[name] == "gpu" else max(0.0, counted - idle)
        net += dynamic * part
        other += dynamic * (1.0 - part)
        gross[name] = counted - dynamic * (1.0 - part)
        if watts is None:
            notes.append(f"{name}: watts at rest are not known, so net joules are not")
    phase = Phase(seconds, cpu, sum(gross.values()), net if known else None, other, ticks)
    return Cut(phase, gross, share, max(qualities, key=_QUALITIES.index), tuple(dict.fromkeys(notes)))


def cpu_seconds() -> float:
    """Return CPU seconds of this process, all its threads, and of its children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
