"""The Prometheus families of the metric contract, one set for each registry, and what keeps them true and bounded."""

from __future__ import annotations

import collections
import math
import threading
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from greeninfer._records import NANO
from greeninfer.exporters._buckets import DURATION_BUCKETS_SECONDS, ENERGY_BUCKETS_JOULES
from greeninfer.exporters._labels import Ceilings, Labels, encodable

Child = TypeVar("Child")
Family = Counter | Gauge | Histogram
_ENDINGS = ("_total", "_count", "_sum", "_bucket")


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

    __slots__ = ("_histogram", "_pending", "observe", "observe_all")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._pending: list[float] = []
        self.observe = self._pending.append
        self.observe_all = self._pending.extend

    def observe_with(self, amount: float, exemplar: dict[str, str]) -> None:
        """Observe at once, with an exemplar."""
        self._histogram.observe(amount, exemplar)

    def add_up(self) -> None:
        """Move the histogram by what was observed since the last time."""
        if not self._pending:
            return
        place = partial(bisect_left, self._histogram._upper_bounds)
        for number, count in collections.Counter(map(place, self._pending)).items():
            self._histogram._buckets[number].inc(count)
        self._histogram._sum.inc(math.fsum(self._pending))
        self._pending.clear()


class Row:
    """Where the requests of one route are observed that ended alike: one look-up for each of them.

    Args:
        route: (name, model), as the labels say it.
        seconds, joules: where to observe these; no joules where no meter gave any.
    """

    __slots__ = ("joules", "route", "seconds", "static_nanojoules")

    def __init__(self, route: tuple[str, str], seconds: Observations, joules: Observations | None) -> None:
        self.route = route
        self.seconds = seconds
        self.joules = joules
        self.static_nanojoules = 0  # of this settlement


class Children(Generic[Child]):
    """Children by label values: ``.labels()`` costs more than an observation, so it is paid once per label set."""

    __slots__ = ("_make", "known")

    def __init__(self, make: Callable[..., Child]) -> None:
        self._make = make
        self.known: dict[Labels, Child] = {}

    def __getitem__(self, labels: Labels) -> Child:
        child = self.known.get(labels)
        if child is None:
            child = self.known[labels] = self._make(*map(encodable, labels))
        return child


class Families:
    """Every metric family of the contract, with the state that all exporters on one registry share.

    Raises:
        ValueError: if somebody else holds one of the names.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        energy, static, phases, tokens, messages, escalations, failures, overhead = _counters()
        joules, seconds, first_bytes = _histograms()
        power, in_flight, info = _gauges()
        self._all = (
            *(energy, static, joules, seconds, first_bytes, phases, tokens, messages, escalations),
            *(power, in_flight, failures, info, overhead),
        )
        self.put_into(registry)

        self.lock = threading.Lock()  # held during an export: two monitors may share a registry, and so these totals
        self.ceilings = Ceilings()
        self.energy = Children(lambda *labels: Joules(energy.labels(*labels)))
        self.static = Children(lambda *labels: Joules(static.labels(*labels)))
        self.phases = Children(lambda *labels: Joules(phases.labels(*labels)))
        self.observe_joules = Children(lambda *labels: Observations(joules.labels(*labels)))
        self.observe_seconds = Children(lambda *labels: Observations(seconds.labels(*labels)))
        self.observe_first_byte = Children(lambda *labels: Observations(first_bytes.labels(*labels)))
        self.rows: dict[tuple[tuple[str, str], str, str | None], Row] = {}
        self.tokens = Children(tokens.labels)
        self.messages = Children(messages.labels)
        self.escalations = Children(escalations.labels)
        self.failures = Children(failures.labels)
        self.power = Children(power.labels)
        self.in_flight = Children(in_flight.labels)
        self.info = Children(info.labels)
        self.overhead = overhead

    def observations(self) -> Iterator[Observations]:
        """Yield all children of the histograms."""
        for children in (self.observe_seconds, self.observe_joules, self.observe_first_byte):
            yield from children.known.values()

    def put_into(self, registry: CollectorRegistry) -> None:
        """Register what is not there: all of it at first, and again after somebody emptied the registry between tests.

        Raises:
            ValueError: if somebody else holds one of the names; the registry is left as it was.
        """
        ours = getattr(registry, "_collector_to_names", {})
        done: list[Family] = []
        taken: list[Family] = []
        for family in self._all:
            if family in ours:
                continue
            try:
                registry.register(family)
                done.append(family)
            except ValueError:
                taken.append(family)
        if not taken:
            return
        for family in done:
            registry.unregister(family)
        raise ValueError(
            f"the Prometheus registry already holds {', '.join(_clash(registry, family) for family in taken)}; another "
            "version of greeninfer or other code put that there; remedy: load one version only or unregister those, or "
            "pass a registry of its own, PrometheusExporter(registry=CollectorRegistry())"
        )


def _clash(registry: CollectorRegistry, family: Family) -> str:
    """Return what a person needs to find a metric of our name: its type and labels beside ours."""
    names: dict[str, Any] = getattr(registry, "_names_to_collectors", {})
    held = next(
        (names[each] for each in (family._name, *(family._name + end for end in _ENDINGS)) if each in names), None
    )
    labels = getattr(held, "_labelnames", None)
    theirs = "" if labels is None else f", with labels {_listed(labels)} where ours has {_listed(family._labelnames)}"
    return f"{family._name} ({type(held).__name__}{theirs})"


def _listed(labels: Labels) -> str:
    return "+".join(labels) or "none"


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
            families.put_into(registry)
        return families


# A registry refuses a second registration and has no way to ask for the first, so that must be remembered here:
# frameworks instantiate their middlewares several times. Weakly, so that the families go when the registry goes.
_made: weakref.WeakKeyDictionary[CollectorRegistry, Families] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def _counters() -> tuple[Counter, Counter, Counter, Counter, Counter, Counter, Counter, Counter]:
    return (
        _counter(
            "greeninfer_energy_joules_total",
            "Joules that the meters counted, divided; all lines of a domain add up to its meter.",
            *("state", "name", "model", "domain", "quality", "reason"),
        ),
        _counter(
            "greeninfer_static_energy_joules_total",
            "Own joules of settled requests that are their share of idle and activation power, a part of attributed.",
            *("name", "model"),
        ),
        _counter(
            "greeninfer_phase_energy_joules_total",
            "Own joules of settled requests by phase, a part of their attributed joules.",
            *("name", "model", "phase"),
        ),
        _counter("greeninfer_tokens_total", "Tokens of settled requests.", "name", "model", "kind"),
        _counter(
            "greeninfer_messages_total", "Websocket messages of settled requests.", *("name", "model", "direction")
        ),
        _counter(
            "greeninfer_escalations_total",
            "Settled requests that a stage of a cascade handed on to the next; model is the stage.",
            *("name", "model"),
        ),
        _counter("greeninfer_meter_failures_total", "What went wrong with a meter.", "meter", "reason"),
        _counter("greeninfer_overhead_cpu_seconds_total", "CPU time that the library itself used."),
    )


def _histograms() -> tuple[Histogram, Histogram, Histogram]:
    return (
        _histogram(
            "greeninfer_request_energy_joules",
            "Own joules of settled requests, without those of their child spans.",
            "quality",
            ENERGY_BUCKETS_JOULES,
        ),
        _histogram(
            "greeninfer_request_duration_seconds",
            "Seconds from open to close of settled requests.",
            "outcome",
            DURATION_BUCKETS_SECONDS,
        ),
        _histogram(
            "greeninfer_request_first_byte_seconds",
            "Seconds from open to the first byte of the answer, of settled requests that sent one.",
            "",
            DURATION_BUCKETS_SECONDS,
        ),
    )


def _gauges() -> tuple[Gauge, Gauge, Gauge]:
    return (
        _gauge("greeninfer_power_watts", "Mean power of about a second; NaN: not known.", "livemostrecent", "domain"),
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


def _histogram(name: str, documentation: str, label: str, buckets: Sequence[float]) -> Histogram:
    labels = ("name", "model", label) if label else ("name", "model")
    return Histogram(name, documentation, labels, buckets=buckets, registry=None)


def _gauge(name: str, documentation: str, mode: Literal["livemostrecent", "livesum", "livemax"], *labels: str) -> Gauge:
    return Gauge(name, documentation, labels, registry=None, multiprocess_mode=mode)
