"""How much of the machine is busy with work that no span covers.

Every process sees the whole machine's joules; what belongs to other processes, and to this one outside its spans, is
told apart by CPU time. `/proc/stat` counts in hundredths of a second, as long as half a tick, so the rate over the last
second is used.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from greeninfer._sampler import Meter

_log = logging.getLogger("greeninfer")

_LOOK_BACK_SECONDS = 1.0
_LOOK_SECONDS = 0.1  # reading /proc/stat costs tens of microseconds, more on large machines


class Share(Protocol):
    """Tells the CPU seconds of work that no span covers.

    Attributes:
        period_seconds: how long it takes to tell anything new; nothing shorter can be learned from.
    """

    period_seconds: float

    def other(self, now: float, seconds: float, ours: float) -> float:
        """Return the other CPU seconds of the last ``seconds``; spans ran ``ours`` CPU seconds since the start."""
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

    Raises:
        OSError, ValueError: if ``stat`` there cannot be read or understood.
    """

    period_seconds = _LOOK_SECONDS

    def __init__(self, proc_root: str, now: float) -> None:
        self._stat = Path(proc_root) / "stat"
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


def open_share(proc_root: str, now: float, meters: Sequence[Meter]) -> Share:
    """Return what tells of others on the machine that these meters count."""
    if all(meter.info.name == "simulated" for meter in meters):
        return Whole()  # nobody else is on a simulated machine
    try:
        return CpuTime(proc_root, now)
    except (OSError, ValueError) as error:
        _log.warning("greeninfer.other_unknown proc_root=%s error=%r", proc_root, error)
        return Whole()


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
