"""Turns timestamped power samples into cumulative joules, for devices that know watts but count no energy."""

from __future__ import annotations

import math


class Integrator:
    """Integrate power over time by the trapezoid rule.

    Exact for power that is linear between samples. The first sample sets the start: 0 joules. A sample that is
    not newer than the one before it brings no time and is ignored: drivers hand out the same buffered sample
    twice, and with equal stamps nobody can tell which came first.

    Args:
        max_gap_seconds: the longest time between two samples over which their mean may stand for what happened
            between them. Beyond it the joules still go on by that mean, as a guess that ``take_fault`` reports.

    Raises:
        ValueError: if ``max_gap_seconds`` is not positive.
    """

    __slots__ = ("_fault", "_guess_joules", "_instant", "_joules", "_max_gap_seconds", "_watts")

    def __init__(self, max_gap_seconds: float) -> None:
        if not max_gap_seconds > 0.0:
            raise ValueError(f"max_gap_seconds={max_gap_seconds!r} must be positive")
        self._max_gap_seconds = max_gap_seconds
        self._joules = 0.0
        self._watts = 0.0
        self._instant: float | None = None
        self._fault = ""
        self._guess_joules = 0.0

    @property
    def joules(self) -> float:
        """Return cumulative joules since the first sample, guesses included; never smaller than before."""
        return self._joules

    def add(self, watts: float, instant: float) -> None:
        """Take one sample: power in watts at ``instant`` in monotonic seconds.

        Raises:
            ValueError: if the power is negative or not finite, or the instant is not finite; nothing changes then.
                A meter checks what its driver says and raises ``MeterError`` before it comes here.
        """
        if not (0.0 <= watts < math.inf and math.isfinite(instant)):
            raise ValueError(f"watts={watts!r} at instant={instant!r} is not a sample of power")
        if self._instant is not None:
            seconds = instant - self._instant
            if seconds <= 0.0:
                return
            joules = 0.5 * (self._watts + watts) * seconds
            self._joules += joules
            if seconds > self._max_gap_seconds:
                self._fault = "gap"
                self._guess_joules += joules
        self._watts = watts
        self._instant = instant

    def take_fault(self) -> tuple[str, float]:
        """Return what went wrong since the last call: ("gap", joules that are a guess), or ("", 0.0)."""
        taken = self._fault, self._guess_joules
        self._fault, self._guess_joules = "", 0.0
        return taken
