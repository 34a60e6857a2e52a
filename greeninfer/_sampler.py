"""Reads meters and makes intervals; everything that can go wrong with a reading is sorted out here.

A read that fails, or a counter that has not moved, skips the tick: counters are cumulative, so the next good read
covers the longer interval and nothing is lost. What stays away for longer than a second and a half is declared lost (or
frozen): time goes on without it, and the joules that it brings when it comes back are booked as unattributed under that
reason. Nothing is ever read as zero.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from greeninfer._clock import Clock
from greeninfer._energy import Quality
from greeninfer._records import NANO, Delta, Failure, Interval, MeterInfo, Reading
from greeninfer.errors import MeterError

_log = logging.getLogger("greeninfer")

_SUSPEND_SECONDS = 0.05
_HOLD_SECONDS = 1.5
_HOLD_PERIODS = 5.0


class Meter(Protocol):
    """What a sampler needs of a meter; `meters/_contract.py` is the whole contract."""

    @property
    def info(self) -> MeterInfo:
        """Return what the meter is."""
        ...

    def read(self) -> tuple[Reading, ...]:
        """Return one reading per domain, or raise MeterError."""
        ...


@dataclass(slots=True)
class _Counter:
    """One domain since the last interval.

    Args:
        joules: of the reading that ended that interval.
        frozen: it was given up, until it moves.
        fault: the first fault of a reading since, also of one whose tick was skipped.
        guess_joules: what its faults guessed since.
    """

    joules: float
    frozen: bool = False
    fault: str = ""
    guess_joules: float = 0.0

    def see(self, reading: Reading) -> None:
        """Keep what is wrong with a reading until an interval is made."""
        self.fault = self.fault or reading.fault
        self.guess_joules += reading.guess_joules

    def take(self, reading: Reading, fault: str, quality: Quality) -> list[Delta]:
        """Return what was used since; the guessed part is booked apart, as an estimate."""
        whole = round(reading.joules * NANO) - round(self.joules * NANO)
        guessed = min(whole, round(self.guess_joules * NANO))
        parts = [Delta(reading.domain, whole - guessed, quality, fault)]
        if guessed:
            parts = [part for part in parts if part.nanojoules]
            parts.append(Delta(reading.domain, guessed, "estimated", fault))
        self.joules, self.frozen, self.fault, self.guess_joules = reading.joules, False, "", 0.0
        return parts


class Sampler:
    """Reads one meter, tick by tick.

    Args:
        meter: what to read.
        clock: tells of suspends.
        tick_seconds: how often it is asked, at most; a slower meter is asked once per period of its own.
    """

    def __init__(self, meter: Meter, clock: Clock, tick_seconds: float) -> None:
        self.info = meter.info
        self.period_seconds = max(tick_seconds, meter.info.period_seconds)
        self._meter = meter
        self._clock = clock
        self._hold_seconds = max(_HOLD_SECONDS, _HOLD_PERIODS * self.period_seconds)
        self._counters: list[_Counter] = []
        self._good_at = clock.now()  # instant of the last reading that an interval was made of
        self._until = self._good_at  # end of the last interval
        self._asleep = clock.asleep()
        self._lost = ""  # the reason, once the meter is given up
        self._failures: dict[str, int] = {}
        self._logged: set[str] = set()

    def due(self, now: float) -> bool:
        """Return whether the meter can have something new."""
        # A tick that comes a little early must not wait for the next one.
        return not self._counters or now - self._until >= 0.9 * self.period_seconds

    def take_failures(self) -> list[Failure]:
        """Return the failures since the last call."""
        failures, self._failures = self._failures, {}
        return [Failure(self.info.name, reason, count) for reason, count in failures.items()]

    def tick(self) -> Interval | None:
        """Read once; return the interval since the last one, or None where this tick has to be skipped."""
        try:
            readings = self._meter.read()
        except MeterError as error:
            return self._missed(error.reason, error.detail)
        except Exception as error:  # noqa: BLE001 - a meter is foreign code; what it breaks must not stop the others
            return self._missed("broken", repr(error))
        now = readings[0].instant
        if not self._counters:
            self._start(readings)
            return None
        for reading, counter in zip(readings, self._counters, strict=True):
            counter.see(reading)
        if now <= self._until:
            self._fail("clock", "time did not go forward")
            return None
        waited_for = [
            counter
            for reading, counter in zip(readings, self._counters, strict=True)
            if reading.joules == counter.joules and not counter.frozen
        ]
        if waited_for and not self._overdue(now):
            return None
        for counter in waited_for:
            counter.frozen = True
            self._fail("frozen", "the counter does not move")
        return self._interval(readings)

    def _missed(self, reason: str, detail: str) -> Interval | None:
        """Skip this tick, or let time go on without the meter once it has been away for too long."""
        self._fail(reason, detail)
        now = self._clock.now()
        return self._give_up(now) if self._overdue(now) and now > self._until else None

    def _start(self, readings: Sequence[Reading]) -> None:
        """Take the first reading: what came before is nobody's."""
        self._counters = [_Counter(reading.joules) for reading in readings]
        self._good_at = self._until = readings[0].instant
        self._asleep = self._clock.asleep()
        self._lost = ""

    def _overdue(self, now: float) -> bool:
        return now - self._good_at > self._hold_seconds

    def _interval(self, readings: Sequence[Reading]) -> Interval:
        slept = "suspend" if self._clock.asleep() - self._asleep > _SUSPEND_SECONDS else ""
        deltas: list[Delta] = []
        for reading, counter in zip(readings, self._counters, strict=True):
            if counter.frozen and reading.joules == counter.joules:
                continue  # lost: no delta at all, which is not a delta of 0
            fault = slept or self._lost or counter.fault or ("frozen" if counter.frozen else "")
            if fault:
                self._fail(fault, reading.domain.id)
            deltas.extend(counter.take(reading, fault, self.info.quality))
        interval = Interval(self.info.name, self._until, readings[0].instant, tuple(deltas))
        self._good_at = self._until = readings[0].instant
        self._asleep = self._clock.asleep()
        if self._lost:
            _log.info("greeninfer.meter_back meter=%s", self.info.name)
            self._lost = ""
        return interval

    def _give_up(self, now: float) -> Interval:
        """Return an interval in which no domain has joules."""
        if not self._lost:
            self._lost = "sensor_lost"
            _log.warning("greeninfer.meter_lost meter=%s", self.info.name)
        start, self._until = self._until, now
        return Interval(self.info.name, start, self._until, ())

    def _fail(self, reason: str, detail: str) -> None:
        self._failures[reason] = self._failures.get(reason, 0) + 1
        if reason not in self._logged:
            self._logged.add(reason)
            _log.warning("greeninfer.meter_failure meter=%s reason=%s detail=%s", self.info.name, reason, detail)
