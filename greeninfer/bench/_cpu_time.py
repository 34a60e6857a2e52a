"""CPU seconds: of this process, of the whole machine, and both with the time at an instant."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from greeninfer._settings import Settings
from greeninfer._share import CpuTime, busy_seconds


@dataclass(frozen=True, slots=True)
class Clocks:
    """What the clocks said at an instant.

    Args:
        instant: monotonic seconds.
        cpu_seconds: of this process and its children so far.
        busy_seconds: of all processes so far; None where the machine does not tell.
    """

    instant: float
    cpu_seconds: float
    busy_seconds: float | None


def machine_cpu(settings: Settings) -> tuple[Callable[[], float] | None, int]:
    """Return what tells the busy seconds of all processors together (None where nothing does), and their number."""
    stat = Path(settings.proc_root) / "stat"
    try:
        counts = busy_seconds(stat) > 0.0  # in some sandboxes (gVisor) it is 0 for ever
        return partial(busy_seconds, stat) if counts else None, CpuTime(settings.proc_root, 0.0).cores
    except (OSError, ValueError):
        return None, os.cpu_count() or 1


def own_cpu_seconds() -> float:
    """Return the CPU seconds of this process, all its threads, and of children that have ended."""
    children = getrusage(RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
