"""The one way to ask what time it is. Seconds everywhere, from clocks that never go back."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the library gets its time from; tests pass one that they move by hand."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def asleep(self) -> float:
        """Return seconds spent in suspend since boot: grows only while the machine sleeps."""
        ...

    def unix(self) -> float:
        """Return seconds since 1970, for time stamps that people read; never for durations."""
        ...


class SystemClock:
    """The clocks of this machine."""

    now = staticmethod(time.perf_counter)
    unix = staticmethod(time.time)

    @staticmethod
    def asleep() -> float:
        """Return CLOCK_BOOTTIME minus CLOCK_MONOTONIC where the system has both, else 0."""
        if not hasattr(time, "CLOCK_BOOTTIME"):
            return 0.0
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
