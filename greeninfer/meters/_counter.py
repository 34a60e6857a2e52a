"""One hardware energy counter, unwrapped in line: each delta must be physically possible, or it is a fault.

A counter of ``range`` joules that steps back has wrapped or was reset, and the number alone cannot tell which. The
energy that the device can have used can::

    bound = 1.5 * max_watts * seconds + quantum

* Of ``delta``, ``delta + range``, ``delta + 2 range`` ... exactly one lies in [0, bound]: that one is true.
* None does: the counter was reset (driver reload, suspend), or jumped. What was used meanwhile is not known; the
  cumulative joules go on by the last known power times the seconds, as a guess that the fault "reset" announces.
* Several do, or the counter stepped back while the bound exceeds a whole range, so that a reset looks like a wrap
  too: the gap was too long. The cumulative joules go on by the possible value nearest to last known power times
  seconds, or by the latter where none is near, all of it a guess that the fault "gap" announces.

The seconds are those since the last read; where they do not explain the step, those since the counter last *moved*: a
counter that stuck for a while and then catches up tells the truth, and its big step is possible over that time.

What stays undetected: a reset that leaves the value within ``bound`` of a wrap, or past its old value. Then at most
``bound`` joules are credited, never a whole range.
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
        quantum_joules: the most that the counter may show at once, beyond power times time: max_watts times its
            update period, and its unit.

    Raises:
        ValueError: if an argument is not positive and finite.
    """

    __slots__ = (
        "_joules",
        "_mark_instant",
        "_mark_joules",
        "_max_watts",
        "_modulus",
        "_moved",
        "_quantum_joules",
        "_raw_joules",
        "_read",
        "_watts",
    )

    def __init__(self, range_joules: float | None, max_watts: float, quantum_joules: float) -> None:
        if (
            not all(0.0 < each < math.inf for each in (range_joules or 1.0, max_watts, quantum_joules))
            or range_joules == 0
        ):
            raise ValueError(f"{range_joules=}, {max_watts=}, {quantum_joules=} must be positive")
        self._modulus = math.inf if range_joules is None else range_joules
        self._max_watts = max_watts
        self._quantum_joules = quantum_joules
        self._joules = 0.0
        self._raw_joules = -1.0
        self._read = self._moved = self._mark_instant = 0.0
        self._mark_joules = 0.0
        self._watts: float | None = None

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
        if self._raw_joules < 0.0:
            self._raw_joules = raw_joules
            self._read = self._moved = self._mark_instant = instant
            return self._joules, "", 0.0
        read, self._read = self._read, instant
        if raw_joules == self._raw_joules:
            return self._joules, "", 0.0
        moved, self._moved = self._moved, instant
        delta = raw_joules - self._raw_joules
        self._raw_joules = raw_joules
        least, fault = self._judge(delta, instant - read)
        if fault and read != moved:
            least, fault = self._judge(delta, instant - moved)
        if not fault:
            return self._go_on(least, instant)
        expected = self._expected(moved, max(0.0, instant - moved))
        guess = expected if fault == "reset" else self._nearest(least, expected, back=delta < 0.0)
        guess = min(guess, self._bound(instant - moved))  # a guess too must be physically possible
        self._joules += guess
        self._mark_joules, self._mark_instant = self._joules, instant
        return self._joules, fault, guess

    def _bound(self, seconds: float) -> float:
        return _HEADROOM * self._max_watts * max(0.0, seconds) + self._quantum_joules

    def _judge(self, delta: float, seconds: float) -> tuple[float, str]:
        """Return the least joules that explain a step of the counter, and why they cannot be trusted, or ""."""
        bound = self._bound(seconds)
        least = delta if delta >= 0.0 else delta + self._modulus
        if least > bound:
            return least, "reset"
        if least + self._modulus <= bound or (delta < 0.0 and self._modulus <= bound):
            return least, "gap"
        return least, ""

    def _go_on(self, joules: float, instant: float) -> tuple[float, str, float]:
        self._joules += joules
        seconds = instant - self._mark_instant
        if seconds >= _WINDOW_SECONDS:
            self._watts = (self._joules - self._mark_joules) / seconds
            self._mark_joules, self._mark_instant = self._joules, instant
        return self._joules, "", 0.0

    def _expected(self, moved: float, seconds: float) -> float:
        """Return last known power times seconds; the power of a first window that is not full yet counts too."""
        if self._watts is None and moved > self._mark_instant:
            self._watts = (self._joules - self._mark_joules) / (moved - self._mark_instant)
        return (self._watts or 0.0) * seconds

    def _nearest(self, least: float, expected: float, *, back: bool) -> float:
        """Return which of least, least + modulus ... is nearest to what is expected.

        After a step back a reset is possible too: if no wrap comes near, the expected joules are the better guess.
        """
        wraps = max(0, round((expected - least) / self._modulus))
        nearest = least + wraps * self._modulus
        return expected if back and nearest - expected > 0.5 * self._modulus else nearest
