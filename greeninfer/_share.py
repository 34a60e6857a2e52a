"""How much of the machine is busy with work that no span covers.

Every process sees the whole machine's joules; what belongs to other processes, and to this one outside its spans, is
told apart by CPU time. `/proc/stat` counts in hundredths of a second, as long as half a tick, so the rate over the last
second is used.

Other processes of ours, the siblings (`_presence.py`), keep books of the same joules, and they are known better: the
kernel tells the CPU time of a process in nanoseconds, so theirs and our own outside spans are known tick by tick.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from greeninfer._activity import Company
from greeninfer._presence import Presence
from greeninfer._records import Interval, MeterInfo
from greeninfer._sampler import Meter

_log = logging.getLogger("greeninfer")

ProcessCpu = Callable[[int], float | None]
"""Returns the CPU seconds of a process, all its threads together, by its number; None where it cannot be known."""

_LOOK_BACK_SECONDS = 1.0
_LOOK_SECONDS = 0.1  # reading /proc/stat costs tens of microseconds, more on large machines
_CLOCK_SECONDS = 0.0005  # between two looks at CPU clocks, for each of them: one takes some thousandths of that


class Share(Protocol):
    """Tells the CPU seconds of work that no span covers.

    Attributes:
        period_seconds: how long it takes to tell anything new; nothing shorter can be learned from.
    """

    period_seconds: float

    def other(self, now: float, seconds: float, ours: float) -> float:
        """Return the other CPU seconds of the last ``seconds``; spans ran ``ours`` CPU seconds since the start."""
        ...


@runtime_checkable
class Divided(Share, Protocol):
    """Tells also which part of it siblings have on their books."""

    @property
    def speaks(self) -> bool:
        """Return whether it is this process that tells figures of the machine as a whole."""
        ...

    def company(self, meter: MeterInfo, interval: Interval, ours: float) -> Company | None:
        """Return what siblings mean for an interval, before ``other`` tells the rest; None if there are none.

        Args:
            meter: whose interval it is.
            interval: follows the one before.
            ours: seconds that spans ran on this kind of device since the start.
        """
        ...

    def close(self) -> None:
        """Stop looking for siblings, and be seen no more."""
        ...


class Whole:
    """The machine is all ours: for simulated nodes, and where nothing tells of others."""

    period_seconds = 0.0

    def other(self, now: float, seconds: float, ours: float) -> float:
        """Return 0."""
        return 0.0


class CpuTime:
    """Compares the machine's busy time with that of the spans.

    Args:
        proc_root: where /proc is.
        now: monotonic seconds.

    Attributes:
        cores: how many the machine has.

    Raises:
        OSError, ValueError: if ``stat`` there cannot be read or understood.
    """

    period_seconds = _LOOK_SECONDS

    def __init__(self, proc_root: str, now: float) -> None:
        self._stat = Path(proc_root) / "stat"
        self.cores = max(1, self._stat.read_text(encoding="ascii", errors="replace").count("\ncpu"))
        # (instant, busy seconds, span seconds), oldest first
        self._marks: list[tuple[float, float, float]] = [(now, busy_seconds(self._stat), 0.0)]

    def other(self, now: float, seconds: float, ours: float) -> float:
        """Return the other CPU seconds of the last ``seconds``; what cannot be read leaves the last rate in force."""
        if now - self._marks[-1][0] >= _LOOK_SECONDS:
            try:
                self._marks.append((now, busy_seconds(self._stat), ours))
            except (OSError, ValueError):
                return self._rate() * seconds
            while len(self._marks) > 2 and now - self._marks[1][0] >= _LOOK_BACK_SECONDS:
                del self._marks[0]
        return self._rate() * seconds

    def _rate(self) -> float:
        if len(self._marks) < 2:
            return 0.0
        then, busy_then, ours_then = self._marks[0]
        now, busy_now, ours_now = self._marks[-1]
        return max(0.0, (busy_now - busy_then) - (ours_now - ours_then)) / (now - then) if now > then else 0.0


class Among:
    """A machine on which siblings may be.

    Args:
        machine: how busy it is.
        presence: finds the siblings.
        process_cpu: how the CPU time of a process is seen.
    """

    def __init__(self, machine: CpuTime, presence: Presence, process_cpu: ProcessCpu) -> None:
        self.period_seconds = machine.period_seconds
        self._machine = machine
        self._presence = presence
        self._process_cpu = process_cpu
        self._cpu: dict[int, float] = {}  # CPU seconds at the last look, by process
        self._spans = 0.0  # of which so many in spans of this one
        self._looked = 0.0
        self._rates: dict[int, float] = {}  # CPU seconds per second outside our spans, by process
        self._covered = 0.0  # all that were seen so
        self._known = 0.0  # cores that this process and siblings keep busy, spans included

    @property
    def speaks(self) -> bool:
        """Return whether this process has the lowest number of the siblings."""
        return self._presence.speaks

    def company(self, meter: MeterInfo, interval: Interval, ours: float) -> Company | None:
        """Return what siblings mean for an interval, or None if there are none."""
        now = interval.end
        self._presence.look(now)
        if not (self._presence.siblings or self._cpu):
            return None
        siblings = self._presence.sharing(meter.name)
        on_gpu = meter.domains[0].device == "gpu"
        if not on_gpu:
            self._look([each.pid for each in siblings], now, ours)
        if not siblings:
            return None
        part = self._presence.part(meter.name, interval.start, now)
        if on_gpu:
            self._presence.tell(now, ours)
            told = self._presence.told(meter.name, now)
            return Company(0.0, tuple(spans * interval.seconds for spans in told), part)
        seconds = {pid: rate * interval.seconds for pid, rate in self._rates.items()}
        return Company(
            seconds.get(self._presence.pid, 0.0), tuple(seconds.get(each.pid, 0.0) for each in siblings), part
        )

    def other(self, now: float, seconds: float, ours: float) -> float:
        """Return the CPU seconds, of the last ``seconds``, of processes that are not ours.

        They are known as a rate over the last second; where cores are scarce, ours took theirs for the moment.
        """
        left = max(0.0, self._machine.cores - self._known) * seconds
        return min(left, self._machine.other(now, seconds, ours + self._covered))

    def close(self) -> None:
        """Be seen no more."""
        self._presence.close()

    def _look(self, siblings: list[int], now: float, spans: float) -> None:
        """Read the CPU clocks of these processes and of our own, unless they are many and it was only just done."""
        if not siblings:
            self._cpu, self._rates, self._known = {}, {}, 0.0
            return
        seconds = now - self._looked
        if self._cpu and seconds < _CLOCK_SECONDS * len(siblings):
            return
        me = self._presence.pid
        cpu = {pid: clock for pid in (me, *siblings) if (clock := self._process_cpu(pid)) is not None}
        inside = {me: spans - self._spans}
        ran = {
            pid: max(0.0, cpu[pid] - before - inside.get(pid, 0.0)) for pid, before in self._cpu.items() if pid in cpu
        }
        self._rates = {pid: each / seconds for pid, each in ran.items()} if seconds > 0.0 else {}
        self._known = sum(self._rates.values()) + (max(0.0, spans - self._spans) / seconds if self._rates else 0.0)
        self._covered += sum(ran.values())
        self._cpu, self._spans, self._looked = cpu, spans, now


def open_share(proc_root: str, now: float, meters: Sequence[Meter]) -> Share:
    """Return what tells of others on the machine that these meters count."""
    if all(meter.info.name == "simulated" for meter in meters):
        return Whole()  # nobody else is on a simulated machine
    try:
        machine = CpuTime(proc_root, now)
    except (OSError, ValueError) as error:
        _log.warning("greeninfer.other_unknown proc_root=%s error=%r", proc_root, error)
        return Whole()
    tokens = {meter.info.name: token(meter.info) for meter in meters if meter.info.name != "simulated"}
    try:
        return Among(machine, Presence(proc_root, tokens, now), process_cpu)
    except (OSError, ValueError) as error:
        _log.info("greeninfer.siblings_unknown proc_root=%s error=%r", proc_root, error)
        return machine


def token(meter: MeterInfo) -> str:
    """Return what tells the same sensors of the same machine to all processes that read them."""
    # Where a meter reads tells a simulated tree apart; of GPUs the sensors can be reached in several ways.
    source = meter.source if meter.domains[0].device == "cpu" else ""
    return f"{zlib.crc32(repr((meter.name, [domain.id for domain in meter.domains], source)).encode()):08x}"


def process_cpu(pid: int) -> float | None:
    """Return the CPU seconds of any process in our PID namespace, or None once it is gone.

    The clock id is the kernel's own encoding of a process's CPU clock (include/linux/posix-timers_types.h:
    ``(~pid << 3) | CPUCLOCK_SCHED``, what clock_getcpuclockid(3) returns); no right is needed to read it. Unlike
    /proc/PID/stat it counts in nanoseconds, and a look takes less than a microsecond.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, OverflowError):
        return None


def busy_seconds(stat: Path) -> float:
    """Return the CPU seconds that all processors of a machine have worked since boot.

    user + nice + system + irq + softirq of the first line of /proc/stat, in USER_HZ of 1/100 s (proc_stat(5)); guest
    time is part of user, steal is another machine's, iowait is idle.

    Raises:
        OSError, ValueError: if the file cannot be read or understood.
    """
    fields = stat.read_text(encoding="ascii", errors="replace").split("\n", 1)[0].split()
    if len(fields) < 8 or fields[0] != "cpu":
        raise ValueError(f"{stat} does not start with the line of all processors")
    user, nice, system, _idle, _iowait, irq, softirq = (int(count) for count in fields[1:8])
    return (user + nice + system + irq + softirq) / 100.0
