"""Three ways to get cumulative joules out of a board, behind one shape.

A read has two steps, so that boards that can be read are not held up by one that cannot, and nothing is booked in a
round that fails: ``look`` asks the driver and may raise; ``book`` takes what was seen and never does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from greeninfer._clock import Clock
from greeninfer.errors import MeterError
from greeninfer.meters._counter import Counter
from greeninfer.meters._integrate import Integrator
from greeninfer.meters._nvml_board import Board

_LATE_SECONDS = 0.005
_STAMP_SECONDS = 10.0
_COUNTER_UNIT_JOULES = 0.001


@dataclass(frozen=True, slots=True)
class Look:
    """What a board said at ``instant``: (joules or watts, their own instant) each, oldest first."""

    instant: float
    values: tuple[tuple[float, float], ...]
    unix_seconds: float = 0.0


class Source(Protocol):
    """One way to read one board."""

    def look(self) -> Look:
        """Ask the driver; raises MeterError."""
        ...

    def book(self, look: Look) -> tuple[float, str, float]:
        """Return cumulative joules, fault and guess, as ``Counter.advance`` does."""
        ...


class CountedEnergy:
    """The energy counter. 64 bits of millijoules never wrap; the driver restarts it from 0 when it is reloaded."""

    def __init__(self, board: Board, clock: Clock, period_seconds: float) -> None:
        self._board = board
        self._clock = clock
        self._late_seconds = max(_LATE_SECONDS, period_seconds)
        # Between two reads that straddle an update the counter shows a whole period at once; two, with its jitter.
        self._counter = Counter(None, board.max_watts, 2.0 * period_seconds * board.max_watts + _COUNTER_UNIT_JOULES)

    def look(self) -> Look:
        """Read the counter."""
        joules, instant = _timed(self._board.joules, self._clock, self._late_seconds)
        return Look(instant, ((joules, instant),))

    def book(self, look: Look) -> tuple[float, str, float]:
        """Unwrap the counter."""
        return self._counter.advance(*look.values[0])


class PolledPower:
    """Power at each read, integrated: for boards without a counter whose driver buffers no samples."""

    def __init__(self, board: Board, clock: Clock, period_seconds: float, max_gap_seconds: float) -> None:
        self._board = board
        self._clock = clock
        self._late_seconds = max(_LATE_SECONDS, period_seconds)
        self._integrator = Integrator(max_gap_seconds)

    def look(self) -> Look:
        """Read the power."""
        watts, instant = _timed(self._board.watts, self._clock, self._late_seconds)
        return Look(instant, ((watts, instant),))

    def book(self, look: Look) -> tuple[float, str, float]:
        """Integrate up to now."""
        self._integrator.add(*look.values[0])
        return self._integrator.joules, *self._integrator.take_fault()


class BufferedPower:
    """Power samples that the driver took and stamped itself, integrated: finer than polling, for fewer calls.

    The joules reach up to the newest sample, some tens of milliseconds ago, as a counter's do. Stamps are of the wall
    clock, so each sample is placed by its age. If somebody sets that clock, those from before it are left out, and
    power is interpolated over them; none is counted twice.

    Raises:
        MeterError: unsupported, if the driver keeps no such buffer or stamps it by some other clock.
    """

    def __init__(self, board: Board, clock: Clock, max_gap_seconds: float) -> None:
        self._board = board
        self._clock = clock
        self._integrator = Integrator(max_gap_seconds)
        stamps = [stamp for stamp, _ in board.samples(0.0)]
        if len(stamps) < 2 or not abs(clock.unix() - stamps[-1]) <= _STAMP_SECONDS:
            raise MeterError("nvml", "unsupported", f"gpu {board.index}: no buffered power samples that can be placed")
        self.period_seconds = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
        self._newest_unix_seconds = stamps[-2]  # so that the first look has one sample to start from

    def look(self) -> Look:
        """Fetch the samples since the last that was booked."""
        since = min(self._newest_unix_seconds, self._clock.unix())
        fetched = self._board.samples(since)
        now, unix_seconds = self._clock.now(), self._clock.unix()
        # Stamps in the future are from before the wall clock was set back.
        samples = [(stamp, watts) for stamp, watts in fetched if stamp <= unix_seconds]
        values = tuple((watts, now - (unix_seconds - stamp)) for stamp, watts in samples)
        return Look(now, values, samples[-1][0] if samples else since)

    def book(self, look: Look) -> tuple[float, str, float]:
        """Integrate up to the newest sample."""
        for watts, instant in look.values:
            self._integrator.add(watts, instant)
        self._newest_unix_seconds = look.unix_seconds
        return self._integrator.joules, *self._integrator.take_fault()


def _timed(ask: Callable[[], float], clock: Clock, late_seconds: float) -> tuple[float, float]:
    """Return the answer and the middle of the call; asks again once if it was interrupted, since its middle then says
    too little of when the driver answered.
    """
    for _ in range(2):
        before = clock.now()
        value = ask()
        after = clock.now()
        if after - before <= late_seconds:
            return value, 0.5 * (before + after)
    raise MeterError("nvml", "late", f"a call took {(after - before) * 1e3:.1f} ms, twice")
