"""A machine that exists only in arithmetic: its joules are known exactly, and it breaks when it is told to.

For examples, demos and tests. It goes through the same counter guard as real hardware, so that a wrap, a reset or a
stuck counter is handled by the code that handles them in earnest.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

from greeninfer._clock import Clock
from greeninfer._energy import Quality
from greeninfer._records import Domain, MeterInfo, Reading
from greeninfer._settings import Settings
from greeninfer.errors import MeterError
from greeninfer.meters._counter import Counter

Power = float | Callable[[float, float], float]
"""Watts: a number, or a function of (instant, cores): monotonic seconds, and seconds of work that run per second."""

_STEP_SECONDS = 0.001
"""A function of the instant is taken to be constant inside each millisecond of the clock (its value at the middle), so
that its integral is exact and does not depend on when the meter is read."""

_BURST_SECONDS = 0.01
_LATE_SECONDS = 0.005
_ANY_JOULES = 1e18


def open_simulated(settings: Settings, clock: Clock) -> SimulatedMeter:
    """Open a machine that draws 20 W, and 10 W more per busy core of this process.

    It says "estimated": its joules are no measurement of anything.
    """
    return SimulatedMeter(
        lambda instant, cores: 20.0 + 10.0 * cores,
        clock=clock,
        running=time.process_time,
        quality="estimated",
        source="simulated, not a sensor: 20 W and 10 W per busy core of this process",
    )


class SimulatedMeter:
    """Count the joules of a simulated machine.

    Args:
        watts: power of every domain, or a sequence with one power per domain.
        clock: where instants come from; one that is moved by hand makes everything exact.
        domains: what it counts; one package by default.
        running: cumulative seconds of work, such as ``time.process_time``; the ``cores`` that a power function sees
            are its growth over the time between two looks at the meter. None: nothing runs, cores is 0.
        range_joules: the counters wrap at this; None for counters that never wrap.
        max_watts: what the guard takes for physically possible; None believes any step forward, but 1000 W where
            there is a range, because there a wrap must be told from a reset.
        quality: "measured" by default, as if it were a sensor.
        period_seconds: the counters change only each such period after the start; 0: at every look.
        name: of the meter, for programs that simulate several.
        source: what ``info`` says of it.

    Raises:
        ValueError: if there is not one power per domain, no domain, or a power that is negative or not finite.
    """

    def __init__(
        self,
        watts: Power | Sequence[Power] = 50.0,
        *,
        clock: Clock,
        domains: Sequence[Domain] | None = None,
        running: Callable[[], float] | None = None,
        range_joules: float | None = None,
        max_watts: float | None = None,
        quality: Quality = "measured",
        period_seconds: float = 0.0,
        name: str = "simulated",
        source: str = "simulated, not a sensor",
    ) -> None:
        domains = (Domain(name, 0, "package"),) if domains is None else tuple(domains)
        powers = tuple(watts) if isinstance(watts, Sequence) else (watts,) * len(domains)
        if not domains or len(powers) != len(domains):
            raise ValueError(f"{len(powers)} powers for {len(domains)} domains")
        for power in powers:
            if not callable(power) and not (math.isfinite(power) and power >= 0.0):
                raise ValueError(f"watts={power!r} is not possible; allowed: finite watts from 0 up, or a function")
        self._clock = clock
        self._running = running or (lambda: 0.0)
        self._range_joules = range_joules
        self._period_seconds = period_seconds
        self._start = self._instant = clock.now()
        self._ran_seconds = self._running()
        self._cells = {
            domain.id: _Cell(domain, power, _guard(range_joules, max_watts, period_seconds))
            for domain, power in zip(domains, powers, strict=True)
        }
        self._frozen = False
        self._vanished = ""
        self._lag_seconds = 0.0
        self._lock = threading.Lock()  # burn() comes from the threads that work, read() from the sampler
        self._info = MeterInfo(name, domains, quality, period_seconds, (1.0, 1.0), source)

    @property
    def info(self) -> MeterInfo:
        """Return what the simulated machine is; the gain is 1: it is its own truth."""
        return self._info

    def read(self) -> tuple[Reading, ...]:
        """Return cumulative joules since the first read, as the counters show them.

        Raises:
            MeterError: after ``vanish`` or ``lag``.
        """
        with self._lock:
            instant = self._advance()
            if self._vanished:
                raise MeterError(self._info.name, self._vanished, "as told")
            if self._lag_seconds > _LATE_SECONDS:
                raise MeterError(self._info.name, "late", f"reading took {self._lag_seconds * 1e3:.1f} ms")
            return tuple(cell.read(instant, self._range_joules) for cell in self._cells.values())

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""

    def burn(self, joules: float, domain: Domain | str | None = None) -> None:
        """Use up joules at once, in one domain (itself or its id; the first by default).

        A burst beyond what ``max_watts`` allows is judged by the guard as on hardware: as a reset.

        Raises:
            ValueError: if the joules are negative or the domain is not one of the meter's.
        """
        if not 0.0 <= joules < math.inf:
            raise ValueError(f"joules={joules!r} cannot be burnt")
        with self._lock:
            self._advance()
            self._cell(domain).true_joules += joules

    def true_joules(self, domain: Domain | str | None = None) -> float:
        """Return what a domain really used since the start, whatever its counter shows."""
        with self._lock:
            self._advance()
            return self._cell(domain).true_joules

    def reset(self) -> None:
        """Let all counters start again from 0, as a driver that is loaded again does."""
        with self._lock:
            self._advance()
            for cell in self._cells.values():
                cell.zero_joules = cell.shown_joules = cell.true_joules

    def freeze(self) -> None:
        """Let the counters show the same value until ``thaw``; the machine goes on."""
        with self._lock:
            self._advance()
            self._frozen = True

    def thaw(self) -> None:
        """Let the counters catch up."""
        with self._lock:
            self._advance()
            self._frozen = False

    def vanish(self, reason: str = "vanished") -> None:
        """Let every read fail until ``appear``; the counters go on."""
        self._vanished = reason

    def appear(self) -> None:
        """Let reads work again."""
        self._vanished = ""

    def lag(self, seconds: float) -> None:
        """Let every read take this long: one of more than 5 ms fails as "late", like those of a real meter."""
        self._lag_seconds = seconds

    def _cell(self, domain: Domain | str | None) -> _Cell:
        if domain is None:
            return next(iter(self._cells.values()))
        name = domain.id if isinstance(domain, Domain) else domain
        if name not in self._cells:
            raise ValueError(f"no domain {name!r}; there are {', '.join(self._cells)}")
        return self._cells[name]

    def _advance(self) -> float:
        """Use up the energy of the time since the last look and show what the counters would show now."""
        now = self._clock.now()
        seconds = now - self._instant
        ran = self._running()
        if seconds > 0.0:
            cores = max(0.0, ran - self._ran_seconds) / seconds
            edge = self._last_edge(now)
            if edge > self._instant:
                self._use(self._instant, edge, cores)
                self._show()
                self._use(edge, now, cores)
            else:
                self._use(self._instant, now, cores)
            self._instant, self._ran_seconds = now, ran
        if not self._period_seconds:
            self._show()
        return now

    def _last_edge(self, now: float) -> float:
        """Return when the counters last changed; a hair of tolerance, so that 3 steps of 0.1 s are 0.3 s."""
        if not self._period_seconds:
            return self._start
        return self._start + math.floor((now - self._start) / self._period_seconds + 1e-9) * self._period_seconds

    def _use(self, start: float, end: float, cores: float) -> None:
        for cell in self._cells.values():
            cell.true_joules += _integrate(cell.power, start, end, cores)

    def _show(self) -> None:
        if not self._frozen:
            for cell in self._cells.values():
                cell.shown_joules = cell.true_joules


class _Cell:
    """One domain: what it used, what its counter shows, and the guard that unwraps it."""

    __slots__ = ("counter", "domain", "power", "shown_joules", "true_joules", "zero_joules")

    def __init__(self, domain: Domain, power: Power, counter: Counter) -> None:
        self.domain = domain
        self.power = power
        self.counter = counter
        self.true_joules = self.shown_joules = self.zero_joules = 0.0

    def read(self, instant: float, range_joules: float | None) -> Reading:
        raw = self.shown_joules - self.zero_joules
        joules, fault, guess = self.counter.advance(raw % range_joules if range_joules else raw, instant)
        return Reading(self.domain, joules, instant, fault, guess)


def _guard(range_joules: float | None, max_watts: float | None, period_seconds: float) -> Counter:
    if max_watts is None and range_joules is None:
        return Counter(None, 1000.0, _ANY_JOULES)
    watts = 1000.0 if max_watts is None else max_watts
    return Counter(range_joules, watts, watts * max(period_seconds, _BURST_SECONDS))


def _integrate(power: Power, start: float, end: float, cores: float) -> float:
    """Return joules from start to end, exact for a power that is constant inside each step of the clock."""
    if not callable(power):
        return power * (end - start)
    first, last = math.floor(start / _STEP_SECONDS), math.ceil(end / _STEP_SECONDS)
    pieces = []
    for step in range(first, last):
        seconds = min(end, (step + 1) * _STEP_SECONDS) - max(start, step * _STEP_SECONDS)
        pieces.append(power((step + 0.5) * _STEP_SECONDS, cores) * seconds)
    return math.fsum(pieces)
