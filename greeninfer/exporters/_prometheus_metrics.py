"""The Prometheus families of the metric contract, one set for each registry, and what keeps them true and bounded."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from greeninfer._records import NANO

ENERGY_BUCKETS_JOULES: Final = (*(float(f"{step}e{power}") for power in range(-3, 4) for step in (1, 2, 5)), 1e4)
"""1 mJ to 10 kJ, three bounds a decade: from a small model on a CPU to a long generation on several boards."""

DURATION_BUCKETS_SECONDS: Final = (*(float(f"{step}e{power}") for power in range(-3, 2) for step in (1, 2.5, 5)), 100.0)
"""1 ms to 100 s; holds most bounds that prometheus_client and OpenTelemetry take for HTTP, so that both compare."""

Labels = tuple[str, ...]
Child = TypeVar("Child")
_log = logging.getLogger("greeninfer")


class Joules:
    """One child of a counter of joules, with the books' integer beside its float.

    Were each line added to the float, it would lose what is below half a unit in its last place: from 16.8 MJ on,
    every single nanojoule. So the integer is summed, and the counter moves by what it lacks. After any number of
    lines it is within two units in the last place of the books: half a unit each for the division, the difference
    and the addition. A line below zero is held back until later ones make it up: a counter cannot go back.
    """

    __slots__ = ("_counter", "_nanojoules", "_shown")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._nanojoules = 0
        self._shown = 0.0

    def add(self, nanojoules: int) -> None:
        """Move the counter to the new total of the books."""
        self._nanojoules += nanojoules
        step = self._nanojoules / NANO - self._shown
        if step > 0.0:
            self._counter.inc(step)
            self._shown += step  # the counter made the same addition, so this is its value to the last bit


class Observations:
    """One child of a histogram: collects a tick's observations and adds them bucket by bucket.

    prometheus_client observes one by one, at a microsecond each, which was a third of what settling a request cost.
    The attributes used in its stead are private to it; a test holds the result against its own ``observe``.
    """

    __slots__ = ("_histogram", "_pending", "observe")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._pending: list[float] = []
        self.observe = self._pending.append

    def observe_with(self, amount: float, exemplar: dict[str, str]) -> None:
        """Observe at once, with an exemplar."""
        self._histogram.observe(amount, exemplar)

    def add_up(self) -> None:
        """Move the histogram by what was observed since the last time."""
        if not self._pending:
            return
        bounds, buckets = self._histogram._upper_bounds, self._histogram._buckets
        for bucket, count in Counts(bisect_left(bounds, amount) for amount in self._pending).items():
            buckets[bucket].inc(count)
        self._histogram._sum.inc(math.fsum(self._pending))
        self._pending.clear()


class Children(Generic[Child]):
    """Children by label values: ``.labels()`` costs more than an observation, so it is paid once per label set."""

    __slots__ = ("_make", "known")

    def __init__(self, make: Callable[..., Child]) -> None:
        self._make = make
        self.known: dict[Labels, Child] = {}

    def __getitem__(self, labels: Labels) -> Child:
        child = self.known.get(labels)
        if child is None:
            child = self.known[labels] = self._make(*map(_encodable, labels))
        return child


class Families:
    """Every metric family of the contract, with the state that all exporters on one registry share.

    Raises:
        ValueError: if somebody else holds one of the names.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        energy, phases, tokens, failures, overhead = _counters()
        joules, seconds = _histograms()
        power, in_flight, info = _gauges()
        self._all = (energy, joules, seconds, phases, tokens, power, in_flight, failures, info, overhead)
        self._register(registry)

        self.lock = threading.Lock()  # held during an export: two monitors may share a registry, and so these totals
        self.energy = Children(lambda *labels: Joules(energy.labels(*labels)))
        self.phases = Children(lambda *labels: Joules(phases.labels(*labels)))
        self.observe_joules = Children(lambda *labels: Observations(joules.labels(*labels)))
        self.observe_seconds = Children(lambda *labels: Observations(seconds.labels(*labels)))
        self.tokens = Children(tokens.labels)
        self.failures = Children(failures.labels)
        self.power = Children(power.labels)
        self.in_flight = Children(in_flight.labels)
        self.info = Children(info.labels)
        self.overhead = overhead
        self._admitted: dict[str, set[Labels]] = {}
        self._overflow_said = False

    def admits(self, kind: str, labels: Labels, limit: int) -> bool:
        """Tell whether these labels are among the first ``limit`` of their kind; the first refusal is logged."""
        admitted = self._admitted.setdefault(kind, set())
        if labels in admitted:
            return True
        if len(admitted) < limit:
            admitted.add(labels)
            return True
        if not self._overflow_said:
            self._overflow_said = True
            _log.warning("greeninfer.labels_overflow kind=%s limit=%d first=%r", kind, limit, labels)
        return False

    def put_back(self, registry: CollectorRegistry) -> None:
        """Register again what has been unregistered, as whoever empties a registry between two tests does."""
        for family in self._all:
            with suppress(ValueError):
                registry.register(family)

    def _register(self, registry: CollectorRegistry) -> None:
        done: list[Counter | Gauge | Histogram] = []
        try:
            for family in self._all:
                registry.register(family)
                done.append(family)
        except ValueError as error:
            for family in done:
                registry.unregister(family)
            raise ValueError(
                "the Prometheus registry already holds metrics of our names, and something other than greeninfer put "
                f"them there ({error}); remedy: unregister those, or pass a registry of its own, "
                "PrometheusExporter(registry=CollectorRegistry())"
            ) from error


def families_of(registry: CollectorRegistry) -> Families:
    """Return the registry's families, made at the first call and shared by all exporters on it.

    Raises:
        ValueError: if somebody else holds one of the names.
    """
    with _making:
        families = _made.get(registry)
        if families is None:
            families = _made[registry] = Families(registry)
        else:
            families.put_back(registry)
        return families


# A registry refuses a second registration and has no way to ask for the first, so that must be remembered here:
# frameworks instantiate their middlewares several times. Weakly, so that the families go when the registry goes.
_made: weakref.WeakKeyDictionary[CollectorRegistry, Families] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def _counters() -> tuple[Counter, Counter, Counter, Counter, Counter]:
    return (
        _counter(
            "greeninfer_energy_joules_total",
            "Joules that the meters counted, divided; all lines of a domain add up to its meter.",
            *("state", "name", "model", "domain", "quality", "reason"),
        ),
        _counter(
            "greeninfer_phase_energy_joules_total",
            "Own joules of settled requests by phase, a part of their attributed joules.",
            *("name", "model", "phase"),
        ),
        _counter("greeninfer_tokens_total", "Tokens of settled requests.", "name", "model", "kind"),
        _counter("greeninfer_meter_failures_total", "What went wrong with a meter.", "meter", "reason"),
        _counter("greeninfer_overhead_cpu_seconds_total", "CPU time that the library itself used."),
    )


def _histograms() -> tuple[Histogram, Histogram]:
    return (
        Histogram(
            "greeninfer_request_energy_joules",
            "Own joules of settled requests, without those of their child spans.",
            ("name", "model", "quality"),
            buckets=ENERGY_BUCKETS_JOULES,
            registry=None,
        ),
        Histogram(
            "greeninfer_request_duration_seconds",
            "Seconds from open to close of settled requests.",
            ("name", "model", "outcome"),
            buckets=DURATION_BUCKETS_SECONDS,
            registry=None,
        ),
    )


def _gauges() -> tuple[Gauge, Gauge, Gauge]:
    return (
        _gauge(
            "greeninfer_power_watts", "Mean power of the last interval; NaN: not known.", "livemostrecent", "domain"
        ),
        _gauge("greeninfer_requests_in_flight", "Open requests.", "livesum", "name"),
        _gauge(
            "greeninfer_meter_info",
            "1 for each domain that is being read, 0 once it is not.",
            "livemax",
            *("meter", "domain", "quality", "period_seconds"),
        ),
    )


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return Counter(name, documentation, labels, registry=None)


def _gauge(name: str, documentation: str, mode: Literal["livemostrecent", "livesum", "livemax"], *labels: str) -> Gauge:
    return Gauge(name, documentation, labels, registry=None, multiprocess_mode=mode)


def _encodable(value: str) -> str:
    # A lone surrogate, as in a path that is not UTF-8, would fail every later scrape of the whole registry.
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
