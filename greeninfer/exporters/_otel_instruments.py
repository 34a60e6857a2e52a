"""The OpenTelemetry instruments of the metric contract, one set for each meter provider.

The names are those of Prometheus with dots and without suffixes, so that a bridge makes the same names of them. What
adds up is observed when somebody collects and costs a request next to nothing; only histograms are recorded one by one,
for the API has no other way.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final, Literal

from greeninfer._records import NANO
from greeninfer.exporters._buckets import DURATION_BUCKETS_SECONDS, ENERGY_BUCKETS_JOULES
from greeninfer.exporters._labels import Ceilings, Labels, encodable
from greeninfer.exporters._otel_totals import Totals, counted, known

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation
    from opentelemetry.metrics import Meter as OtelMeter

Attributes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Observed:
    """An instrument that is asked for its figures when somebody collects.

    Args:
        name, unit, description: as OpenTelemetry has them.
        labels: names of its attributes; one whose value is "" is left out.
        kind: what adding over processes means: sums of a counter or an updown counter, nothing for a gauge.
        scale: how many of what is counted are one unit.
    """

    name: str
    unit: str
    description: str
    labels: Labels
    kind: Literal["counter", "updown", "gauge"] = "counter"
    scale: int = 1


OBSERVED: Final = (
    Observed(
        "greeninfer.energy",
        "J",
        "Joules that the meters counted, divided; all states of a domain add up to its meter.",
        ("state", "name", "model", "domain", "quality", "reason"),
        scale=NANO,
    ),
    Observed(
        "greeninfer.static_energy",
        "J",
        "Own joules of settled requests that are their share of idle and activation power, a part of attributed.",
        ("name", "model"),
        scale=NANO,
    ),
    Observed(
        "greeninfer.phase.energy",
        "J",
        "Own joules of settled requests by phase, a part of their attributed joules.",
        ("name", "model", "phase"),
        scale=NANO,
    ),
    Observed("greeninfer.tokens", "{token}", "Tokens of settled requests.", ("name", "model", "kind")),
    Observed(
        "greeninfer.messages", "{message}", "Websocket messages of settled requests.", ("name", "model", "direction")
    ),
    Observed(
        "greeninfer.escalations",
        "{request}",
        "Settled requests that a stage of a cascade handed on to the next; model is the stage.",
        ("name", "model"),
    ),
    Observed("greeninfer.power", "W", "Mean power of about a second.", ("domain",), "gauge"),
    Observed("greeninfer.requests_in_flight", "{request}", "Open requests.", ("name",), "updown"),
    Observed("greeninfer.meter.failures", "{failure}", "What went wrong with a meter.", ("meter", "reason")),
    Observed(
        "greeninfer.meter.info",
        "",
        "1 for each domain that is being read.",
        ("meter", "domain", "quality", "period_seconds"),
        "gauge",
    ),
    Observed("greeninfer.overhead.cpu", "s", "CPU time that the library itself used.", (), scale=NANO),
    # https://opentelemetry.io/docs/specs/semconv/hardware/common/ (status: development)
    Observed("hw.energy", "J", "Energy consumed by the component.", ("hw.id", "hw.type"), scale=NANO),
    Observed("hw.power", "W", "Instantaneous power consumed by the component.", ("hw.id", "hw.type"), "gauge"),
)
"""Everything but the histograms."""

COUNTERS: Final = tuple(each.name for each in OBSERVED if each.kind == "counter")


class Instruments:
    """Our instruments on one meter provider, and the exporters whose totals they show.

    A provider keeps the callbacks of an instrument's first creation for ever and drops those of a second one without a
    word, so there is one set, and exporters come and go.

    Attributes:
        collected: whether anybody has collected yet.
    """

    def __init__(self, provider: MeterProvider) -> None:
        from opentelemetry.metrics import Observation

        self.ceilings = Ceilings()
        self.collected = False
        self._observation = Observation
        self._retired = Totals(COUNTERS)
        self._sources: tuple[Totals, ...] = (self._retired,)
        self._changing = threading.Lock()
        self.meter = provider.get_meter("greeninfer", own_version())
        for each in OBSERVED:
            self._create(self.meter, each)
        self.energy = self.histogram(
            "greeninfer.request.energy",
            "J",
            "Own joules of settled requests, without those of their child spans.",
            ENERGY_BUCKETS_JOULES,
        )
        self.duration = self.histogram(
            "greeninfer.request.duration",
            "s",
            "Seconds from open to close of settled requests.",
            DURATION_BUCKETS_SECONDS,
        )
        self.first_byte = self.histogram(
            "greeninfer.request.first_byte",
            "s",
            "Seconds from open to the first byte of the answer, of settled requests that sent one.",
            DURATION_BUCKETS_SECONDS,
        )

    def histogram(self, name: str, unit: str, description: str, buckets: tuple[float, ...]) -> Histogram:
        """Create a histogram with buckets of our choice; a View of the program's goes before them."""
        return self.meter.create_histogram(
            name, unit=unit, description=description, explicit_bucket_boundaries_advisory=buckets
        )

    def begin(self) -> Totals:
        """Return totals for one more exporter."""
        totals = Totals(COUNTERS)
        with self._changing:
            self._sources = (*self._sources, totals)
        return totals

    def end(self, totals: Totals) -> None:
        """Keep what an exporter has counted, for that stays true, and forget the rest; a second call does nothing."""
        with self._changing:
            if totals in self._sources:
                self._sources = tuple(each for each in self._sources if each is not totals)
                self._retired.absorb(totals)

    def _create(self, meter: OtelMeter, each: Observed) -> None:
        create = {
            "counter": meter.create_observable_counter,
            "updown": meter.create_observable_up_down_counter,
            "gauge": meter.create_observable_gauge,
        }[each.kind]
        create(each.name, callbacks=[self._callback(each)], unit=each.unit, description=each.description)

    def _callback(self, instrument: Observed) -> Callable[[CallbackOptions], list[Observation]]:
        name, scale = instrument.name, instrument.scale

        def observe(options: CallbackOptions) -> list[Observation]:
            self.collected = True
            figures: Mapping[Labels, float]
            if instrument.kind == "counter":
                figures = counted(self._sources, name)
            else:
                figures = known(self._sources, name, adds_up=instrument.kind == "updown")
            return [
                self._observation(
                    figure if scale == 1 else figure / scale,
                    attributes(**dict(zip(instrument.labels, labels, strict=True))),
                )
                for labels, figure in figures.items()
            ]

        return observe


def attributes(**labels: str) -> Attributes:
    """Return labels as attributes: in the order in which an SDK sorts them, and none that is empty."""
    return {name: encodable(labels[name]) for name in sorted(labels) if labels[name]}


def instruments_of(provider: MeterProvider | None) -> Instruments:
    """Return the instruments on a provider, made at the first call; None: on the program's global one."""
    from opentelemetry.metrics import get_meter_provider

    chosen = get_meter_provider() if provider is None else provider
    with _making:
        made = _made.get(chosen)
        if made is None and chosen is get_meter_provider():
            # Instruments made before the program set its provider have been moved there since.
            made = next((each for before, each in _made.items() if _stands_in(before)), None)
        if made is None:
            made = _made[chosen] = Instruments(chosen)
        return made


def _stands_in(provider: MeterProvider) -> bool:
    """Return whether this is the API's own provider, which passes all on to the one that the program sets later."""
    return type(provider).__module__.startswith("opentelemetry.metrics")


# A provider has no way to ask for the instruments that it has, nor to end a callback, so they must be remembered here.
# Weakly, so that they go when the provider goes.
_made: weakref.WeakKeyDictionary[MeterProvider, Instruments] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def own_version() -> str:
    """Return the version that stands beside our name as the scope of all figures, or ""."""
    try:
        return version("greeninfer")
    except PackageNotFoundError:  # run from a source tree
        return ""
