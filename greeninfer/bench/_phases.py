"""The joules of a phase: what the meters counted while it lasted, divided between this process and the others.

A cell is an ordinary user of the monitor: its exporter adds the lines of the books up, which together are what the
counters said, and forced ticks cut the intervals where a phase begins and ends. For a domain of the processor: dE
joules over the dT seconds of its intervals, P0 watts at rest, a phase of T seconds, and the share of the phase in what
kept the machine busy during dT.

    share   = own / (own + waiting + others)    CPU seconds; own: this process with all its threads and children
    dynamic = max(0, dE - P0*dT)
    net     = dynamic * share              what the model added
    gross   = net + min(dE, P0*T)          and what the machine draws at rest meanwhile
    other   = dynamic * (1 - share)        taken off: it belongs to other processes

Spans would not do: they see the calling thread, and native libraries work on threads of their own. On a GPU all joules
are the model's. Where the power at rest is not known, gross is dE * share and net is not known.

A phase begins right after a counter moved. It ends when the work does, and then this process waits for the counter to
move again, so that all its joules are in: dT is longer than T by about a period of the counter. What was drawn at rest
in that time is in neither figure, nor what looking at the counter took. Where the power at rest is not known, the
former cannot be told apart.

The kernel counts the machine's busy time in hundredths of a second for each core (proc_stat(5)), late by up to one
each; so much is not taken for others.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from greeninfer._energy import Quality
from greeninfer._monitor import Monitor
from greeninfer._records import NANO, MeterInfo, Settlement
from greeninfer.bench._cpu_time import Clocks, own_cpu_seconds
from greeninfer.bench._records import Phase

_ORDER: tuple[Quality, ...] = ("measured", "shared", "estimated")
_JIFFY_SECONDS = 0.01
_LOOK_SECONDS, _LOOK_PERIODS = 0.0005, 0.02
_PATIENCE_SECONDS, _PATIENCE_PERIODS = 0.5, 3.0


class Recorder:
    """An exporter that adds up what the books say of each domain.

    Attributes:
        nanojoules: of all lines, by domain id.
        seconds: of the intervals that gave them.
        faults: by domain id, how many lines had joules that nobody can be told to have used.
    """

    name = "bench"

    def __init__(self) -> None:
        self.nanojoules: defaultdict[str, int] = defaultdict(int)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.faults: defaultdict[str, int] = defaultdict(int)

    def export(self, settlement: Settlement) -> None:
        """Add a settlement."""
        for interval in settlement.intervals:
            for delta in interval.deltas:
                domain = delta.domain.id
                self.nanojoules[domain] += delta.nanojoules
                self.seconds[domain] += interval.seconds
                self.faults[domain] += bool(delta.fault)

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where one phase ends and the next may begin: a reading of every meter.

    Args:
        before: when it was asked for: the end of what came before.
        after: when the readings were there: the begin of what follows.
        nanojoules, seconds, faults: of the recorder then, by domain id.
        late: names of meters that gave no reading.
    """

    before: Clocks
    after: Clocks
    nanojoules: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    late: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """A phase, and what else was found between two marks.

    Args:
        phase: its figures.
        by_domain: gross joules by domain id.
        other_share: of other processes in the CPU time; None if unknown.
        notes: what a reader has to know, in words.
    """

    phase: Phase
    by_domain: Mapping[str, float]
    other_share: float | None
    notes: tuple[str, ...]


class Phases:
    """Marks instants, and tells what was used between two.

    Args:
        monitor: started, with ``recorder`` among its exporters.
        recorder: adds up its lines.
        idle_watts: of domains whose meter does not say it itself, by domain id.
        busy_seconds: CPU seconds of the whole machine so far; None where that cannot be told.
        cores: of the machine.
        now, sleep, own_seconds: time, waiting, and the CPU seconds of this process.

    Attributes:
        now: the clock of all instants.
    """

    def __init__(
        self,
        monitor: Monitor,
        recorder: Recorder,
        idle_watts: Mapping[str, float],
        busy_seconds: Callable[[], float] | None,
        cores: int,
        *,
        now: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
        own_seconds: Callable[[], float] | None = None,
    ) -> None:
        self._monitor = monitor
        self._recorder = recorder
        self._idle_watts = idle_watts
        self._busy_seconds = busy_seconds
        self._cores = cores
        self.now = now
        self._sleep = sleep
        self._own_seconds = own_seconds or own_cpu_seconds

    @property
    def meters(self) -> tuple[MeterInfo, ...]:
        """Return what is read."""
        return self._monitor.meters

    @property
    def quality(self) -> Quality | None:
        """Return the worst quality of the meters; None without one."""
        return max((meter.quality for meter in self.meters), key=_ORDER.index, default=None)

    @property
    def gain(self) -> tuple[float, float]:
        """Return the widest of the meters' gains."""
        gains = [meter.gain for meter in self.meters] or [(1.0, 1.0)]
        return min(low for low, _ in gains), max(high for _, high in gains)

    @property
    def period_seconds(self) -> float:
        """Return how often the slowest counter changes; 0 without a meter."""
        return max((meter.period_seconds for meter in self.meters), default=0.0)

    def mark(self) -> Mark:
        """Wait until every counter moves, and cut all intervals there: where a phase ends and the next begins."""
        before = self._clocks()
        self._monitor.tick(force=True)  # takes what has moved before: nobody knows how long before
        return self._marked(before, self._wait())

    def cut(self) -> Mark:
        """Cut all intervals here without waiting, at what the counters said last: up to a period ago."""
        before = self._clocks()
        self._monitor.tick(force=True)
        return self._marked(before, ())

    def blocks(self, marks: Sequence[Mark]) -> tuple[Taken, ...]:
        """Return what was used between each two marks, which add up to the whole.

        The share is that of the whole: the kernel's clock is too coarse to tell others in a tenth of a second.
        """
        whole = marks[0], marks[-1]
        return tuple(self.between(begin, end, whole) for begin, end in pairwise(marks))

    def between(self, begin: Mark, end: Mark, whole: tuple[Mark, Mark] | None = None) -> Taken:
        """Return what was used between two marks; ``whole`` is what the share is taken of, if something longer."""
        seconds = end.before.instant - begin.after.instant
        own = end.before.cpu_seconds - begin.after.cpu_seconds
        share, told = self._shares(*(whole or (begin, end)))
        other_share = told or 0.0
        notes = []
        if told is None:
            notes.append("what other processes used is not known: all joules of the processor count as the model's")
        bare = Phase(seconds, own, ticks=int(seconds / self.period_seconds) if self.period_seconds else 0)
        missing = [f"{name} gave no reading at the end of a phase" for name in {*begin.late, *end.late}]
        by_domain: dict[str, float] = {}
        net: float | None = 0.0
        other = 0.0
        for meter in self.meters:
            for domain in meter.domains:
                name = domain.id
                joules = (end.nanojoules.get(name, 0) - begin.nanojoules.get(name, 0)) / NANO
                covered = end.seconds.get(name, 0.0) - begin.seconds.get(name, 0.0)
                if end.faults.get(name, 0) > begin.faults.get(name, 0):
                    missing.append(f"{name} was reset or lost")
                elif covered < 0.9 * seconds - (2.0 * meter.period_seconds if whole else 0.0):
                    missing.append(f"{name} was away")
                part, others_part = (1.0, 0.0) if domain.device == "gpu" else (share, other_share)
                watts = self._at_rest(meter, name)
                dynamic = max(0.0, joules - (watts or 0.0) * covered)
                by_domain[name] = dynamic * part + min(joules, (watts or 0.0) * seconds)
                other += dynamic * others_part
                net = None if net is None or watts is None else net + dynamic * part
        if missing:
            return Taken(bare, {}, told, (*notes, *(f"{each}: joules are not known" for each in sorted(set(missing)))))
        if not by_domain:
            return Taken(bare, {}, told, tuple(notes))
        if net is None:
            notes.append("what the machine draws at rest is not known, nor idle-subtracted joules")
        phase = replace(bare, joules=sum(by_domain.values()), net_joules=net, other_joules=other)
        return Taken(phase, by_domain, told, tuple(notes))

    def _clocks(self) -> Clocks:
        try:
            busy = None if self._busy_seconds is None else self._busy_seconds()
        except (OSError, ValueError):
            busy = None
        return Clocks(self.now(), self._own_seconds(), busy)

    def _marked(self, before: Clocks, late: tuple[str, ...]) -> Mark:
        recorder = self._recorder
        with self._monitor.guard:  # the sampler's thread may be at it, too
            counted = dict(recorder.nanojoules), dict(recorder.seconds), dict(recorder.faults)
        return Mark(before, self._clocks(), *counted, late)

    def _wait(self) -> tuple[str, ...]:
        """Read until each meter has given joules up to now; return the names of those that do not."""
        waiting = {meter.name for meter in self.meters}
        deadline = self.now() + max(_PATIENCE_SECONDS, _PATIENCE_PERIODS * self.period_seconds)
        while waiting:
            waiting -= {interval.meter for interval in self._monitor.tick(force=True).intervals if interval.deltas}
            if self.now() > deadline:
                break
            if waiting:
                self._sleep(max(_LOOK_SECONDS, _LOOK_PERIODS * self.period_seconds))
        return tuple(sorted(waiting))

    def _at_rest(self, meter: MeterInfo, domain: str) -> float | None:
        if meter.idle_watts is not None and len(meter.domains) == 1:
            return meter.idle_watts
        return self._idle_watts.get(domain)

    def _shares(self, begin: Mark, end: Mark) -> tuple[float, float | None]:
        """Return the part of the work, and of other processes, in what kept the machine busy until the last reading."""
        own, others = end.before.cpu_seconds - begin.after.cpu_seconds, self._others(begin.after, end.after)
        busy = end.after.cpu_seconds - begin.after.cpu_seconds + (others or 0.0)
        if busy <= 0.0:
            return 1.0, others
        return own / busy, None if others is None else others / busy

    def _others(self, begin: Clocks, end: Clocks) -> float | None:
        if begin.busy_seconds is None or end.busy_seconds is None:
            return None
        own, late = end.cpu_seconds - begin.cpu_seconds, self._cores * _JIFFY_SECONDS
        return max(0.0, end.busy_seconds - begin.busy_seconds - own - late)
