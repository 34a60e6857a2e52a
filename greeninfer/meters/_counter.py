"""One hardware energy counter, unwrapped in line: each delta must be physically possible, or it is a fault.

A counter of ``range`` joules that steps back has wrapped or was reset, and the number alone cannot tell which. The
energy that the device can have used since the counter last moved can::

    bound = 1.5 * max_watts * seconds + quantum

* Of ``delta``, ``delta + range``, ``delta + 2 range`` ... exactly one lies in [0, bound]: that one is true.
* None does: the counter was reset (driver reload, suspend), or jumped. What was used meanwhile is not known; the
  cumulative joules go on by the last known power times the seconds, as a guess that the fault "reset" announces.
* Several do, or the counter stepped back while the bound exceeds a whole range, so that a reset looks like a wrap
  too: the gap was too long. The cumulative joules go on by the possible value nearest to last known power times
  seconds, all of it a guess that the fault "gap" announces.

What stays undetected: a reset that leaves the value within ``bound`` of a wrap, or past its old value. Then at most
``bound`` joules are credited, never a whole range.

Time runs from the moment when the counter last *moved*, not from the last read: a counter that stuck for seconds and
then catches up tells the truth, and its big step is possible over those seconds.
"""

from __future__ import annotations

import math

_HEADROOM = 1.5
"""Factor on max_watts * seconds: power of a device overshoots its rating for moments, clocks have jitter."""

_WINDOW_SECONDS = 1.0
"""Last known power is a mean over at least this long where there is as much: one step of the counter over two reads
that happen to straddle it would give any power."""


class Counter:
    """Turn the values of one counter that wraps and resets into joules that only grow.

    Args:
        range_joules: the modulus: one unit more than the largest value; None for a counter that never wraps.
        max_watts: the most power that the device can draw for a while; generous is safe, tight is not.
        quantum_joules: the most that the counter may show at once, beyond power times time since it last moved:
            max_watts times its update period, and its unit.

    Raises:
        ValueError: if an argument is not positive.
    """

    __slots__ = (
        "_instant",
        "_joules",
        "_mark_instant",
        "_mark_joules",
        "_max_watts",
        "_quantum_joules",
        "_range_joules",
        "_raw_joules",
        "_watts",
    )

    def __init__(self, range_joules: float | None, max_watts: float, quantum_joules: float) -> None:
        for name, value in (
            ("range_joules", range_joules),
            ("max_watts", max_watts),
            ("quantum_joules", quantum_joules),
        ):
            if value is not None and not value > 0.0:
                raise ValueError(f"{name}={value!r} must be positive")
        self._range_joules = range_joules
        self._max_watts = max_watts
        self._quantum_joules = quantum_joules
        self._joules = 0.0
        self._raw_joules = -1.0
        self._instant = 0.0
        self._watts: float | None = None
        self._mark_joules = 0.0
        self._mark_instant = 0.0

    def advance(self, raw_joules: float, instant: float) -> tuple[float, str, float]:
        """Take what the counter says now and return (cumulative joules, fault, joules of them that are a guess).

        The first value is the start: 0 joules. Fault is "" or "reset" or "gap"; a guess belongs to this step
        alone. Before any power is known the guess after a reset is 0 joules, and the fault says that it is one.

        Raises:
            ValueError: if the value is negative or not finite; nothing changes then. A meter checks what it reads
                and raises ``MeterError`` before it comes here.
        """
        if not 0.0 <= raw_joules < math.inf:
            raise ValueError(f"raw_joules={raw_joules!r} is not the value of a counter")
        before = self._raw_joules
        if raw_joules == before:
            return self._joules, "", 0.0
        if before < 0.0:
            self._raw_joules, self._instant, self._mark_instant = raw_joules, instant, instant
            return self._joules, "", 0.0
        seconds = max(0.0, instant - self._instant)
        self._raw_joules, self._instant = raw_joules, instant
        delta = raw_joules - before
        bound = _HEADROOM * self._max_watts * seconds + self._quantum_joules
        modulus = self._range_joules
        if modulus is None:
            good = 0.0 <= delta <= bound
            return self._go_on(delta) if good else self._book(self._expected(seconds), "reset")
        if delta < 0.0:
            if bound >= modulus:
                return self._book(self._nearest(delta + modulus, seconds, bound, modulus), "gap")
            delta += modulus
        if delta > bound:
            return self._book(self._expected(seconds), "reset")
        if delta + modulus <= bound:
            return self._book(self._nearest(delta, seconds, bound, modulus), "gap")
        return self._go_on(delta)

    def _go_on(self, joules: float) -> tuple[float, str, float]:
        self._joules += joules
        seconds = self._instant - self._mark_instant
        if seconds >= _WINDOW_SECONDS:
            self._watts = (self._joules - self._mark_joules) / seconds
            self._mark_joules, self._mark_instant = self._joules, self._instant
        return self._joules, "", 0.0

    def _book(self, guess: float, fault: str) -> tuple[float, str, float]:
        self._joules += guess
        self._mark_joules, self._mark_instant = self._joules, self._instant
        return self._joules, fault, guess

    def _expected(self, seconds: float) -> float:
        """Return last known power times seconds; the power of a first window that is not full yet counts too."""
        if self._watts is None:
            known = self._instant - seconds - self._mark_instant
            self._watts = (self._joules - self._mark_joules) / known if known > 0.0 else None
        return min(self._watts or 0.0, self._max_watts) * seconds

    def _nearest(self, first: float, seconds: float, bound: float, modulus: float) -> float:
        """Return which of first, first + modulus, ... up to bound lies nearest to what is expected."""
        wraps = max(0, round((self._expected(seconds) - first) / modulus))
        possible = first + wraps * modulus
        return possible if possible <= bound or not wraps else possible - modulus
