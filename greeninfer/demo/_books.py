"""The books of a run: an exporter that adds up settlements, exactly and in bounded memory."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from greeninfer._energy import Measurement, Quality
from greeninfer._records import NANO, MeterInfo, Settlement

# Largest lasting error of a route's mean joules that simulations with known truth showed once the weights were
# learned. It does not shrink with more requests, so it is added to what does.
BIAS = 0.07
# Half width of a 95 % interval of a normal mean, in standard errors.
_NORMAL_95 = 1.96
# Neighbouring latency buckets differ by this factor, so a quantile read from them is right within 1 %.
_BUCKET = math.log(1.02)
_WORST: tuple[Quality, ...] = ("measured", "shared", "estimated")


@dataclass(frozen=True, slots=True)
class RouteTotals:
    """What the requests of one (name, model) added up to.

    A figure that is not known is None, never 0.

    Args:
        name, model: which route.
        requests: all that are settled.
        metered: those of them whose joules are known.
        nanojoules: of the metered requests together.
        half_width_joules: of a 95 % interval round the mean joules of a request: spread of the requests,
            uncertainty of dividing, and ``BIAS``; without the gain of the meter. None below two requests.
        p50_seconds, p95_seconds: latency, within 1 %.
        cpu_seconds: CPU time of the requests together.
        quality: the worst among the requests.
    """

    name: str
    model: str
    requests: int
    metered: int
    nanojoules: int
    half_width_joules: float | None
    p50_seconds: float
    p95_seconds: float
    cpu_seconds: float
    quality: Quality | None

    @property
    def joules(self) -> float | None:
        """Return the mean joules of a request."""
        return self.nanojoules / self.metered / NANO if self.metered else None


@dataclass(frozen=True, slots=True)
class Totals:
    """All that the settlements so far added up to, in integer nanojoules.

    Args:
        states: attributed, idle, other, unattributed.
        reasons: the unattributed nanojoules by reason.
        metered: what the meters counted: the sum of the deltas of all intervals.
        domains: by domain id: (sum of its four lines, sum of its deltas).
        attributed: by (name, model), from the lines.
        routes: by (name, model), from the requests.
        meters: what was read.
        failures: by (meter, reason).
        overhead_cpu_seconds: CPU time that the measuring itself used.
    """

    states: Mapping[str, int]
    reasons: Mapping[str, int]
    metered: int
    domains: Mapping[str, tuple[int, int]]
    attributed: Mapping[tuple[str, str], int]
    routes: Mapping[tuple[str, str], RouteTotals]
    meters: tuple[MeterInfo, ...]
    failures: Mapping[tuple[str, str], int]
    overhead_cpu_seconds: float

    @property
    def settled(self) -> int:
        """Return the sum of the four lines."""
        return sum(self.states.values())

    @property
    def closed(self) -> bool:
        """Return whether the four lines add up to the meters, for every domain, to the last nanojoule.

        Nothing counted means nothing to close: False.
        """
        return bool(self.domains) and all(lines == deltas for lines, deltas in self.domains.values())


@dataclass(slots=True)
class _Route:
    """Running sums of one route; Welford's recurrence for the spread."""

    requests: int = 0
    metered: int = 0
    nanojoules: int = 0
    mean: float = 0.0
    squares: float = 0.0
    uncertainty_squares: float | None = 0.0
    cpu_seconds: float = 0.0
    quality: Quality | None = None
    latencies: Counter[int] = field(default_factory=Counter)

    def add(self, measurement: Measurement) -> None:
        self.requests += 1
        self.cpu_seconds += measurement.cpu_seconds
        self.latencies[math.floor(math.log(max(measurement.seconds, 1e-9)) / _BUCKET)] += 1
        energy = measurement.energy()
        if energy.joules is None:
            return
        self.metered += 1
        self.nanojoules += measurement.nanojoules
        step = energy.joules - self.mean
        self.mean += step / self.metered
        self.squares += step * (energy.joules - self.mean)
        if energy.uncertainty_joules is None or self.uncertainty_squares is None:
            self.uncertainty_squares = None
        else:
            self.uncertainty_squares += energy.uncertainty_joules**2
        if energy.quality is not None:
            self.quality = max(self.quality or energy.quality, energy.quality, key=_WORST.index)

    def half_width(self) -> float | None:
        if self.metered < 2 or self.uncertainty_squares is None:
            return None
        count = self.metered
        sampling = _NORMAL_95 * math.sqrt(self.squares / (count - 1) / count)
        return math.hypot(sampling, math.sqrt(self.uncertainty_squares) / count) + BIAS * self.mean

    def quantile(self, share: float) -> float:
        wanted = share * self.requests
        reached = 0
        for bucket in sorted(self.latencies):
            reached += self.latencies[bucket]
            if reached >= wanted:
                return math.exp((bucket + 0.5) * _BUCKET)
        raise ValueError("no requests")

    def totals(self, name: str, model: str) -> RouteTotals:
        return RouteTotals(
            name,
            model,
            self.requests,
            self.metered,
            self.nanojoules,
            self.half_width(),
            self.quantile(0.50),
            self.quantile(0.95),
            self.cpu_seconds,
            self.quality,
        )


class Books:
    """An exporter that keeps the totals of a run; ``totals`` may be called from any thread."""

    name = "books"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: Counter[str] = Counter({"attributed": 0, "idle": 0, "other": 0, "unattributed": 0})
        self._reasons: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._deltas: Counter[str] = Counter()
        self._attributed: Counter[tuple[str, str]] = Counter()
        self._routes: dict[tuple[str, str], _Route] = {}
        self._meters: tuple[MeterInfo, ...] = ()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._overhead_cpu_seconds = 0.0

    def export(self, settlement: Settlement) -> None:
        """Add one settlement."""
        with self._lock:
            self._add(settlement)

    def _add(self, settlement: Settlement) -> None:
        self._meters = settlement.meters or self._meters
        self._overhead_cpu_seconds += settlement.overhead_cpu_seconds
        for interval in settlement.intervals:
            for delta in interval.deltas:
                self._deltas[delta.domain.id] += delta.nanojoules
        for line in settlement.lines:
            self._states[line.state] += line.nanojoules
            self._lines[line.domain] += line.nanojoules
            if line.state == "attributed":
                self._attributed[line.name, line.model] += line.nanojoules
            elif line.state == "unattributed":
                self._reasons[line.reason] += line.nanojoules
        for measurement in settlement.measurements:
            self._routes.setdefault(measurement.key, _Route()).add(measurement)
        for failure in settlement.failures:
            self._failures[failure.meter, failure.reason] += failure.count

    def totals(self) -> Totals:
        """Return what the settlements so far added up to."""
        with self._lock:
            domains = sorted({*self._lines, *self._deltas})
            return Totals(
                states=dict(self._states),
                reasons=dict(self._reasons),
                metered=sum(self._deltas.values()),
                domains={each: (self._lines[each], self._deltas[each]) for each in domains},
                attributed=dict(self._attributed),
                routes={key: route.totals(*key) for key, route in self._routes.items()},
                meters=self._meters,
                failures=dict(self._failures),
                overhead_cpu_seconds=self._overhead_cpu_seconds,
            )

    def close(self) -> None:
        """Do nothing: the totals stay readable."""
