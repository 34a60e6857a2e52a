"""Settlements to OpenTelemetry: metrics, an event for each traced request, exemplars. The program owns the SDK.

Only the API is used (docs/opentelemetry.md says how to set up an SDK, and what arrives). All is done in ``export``, in
the sampler thread: an SDK's reader collects and sends in a thread of its own, so an endpoint that is slow, broken or
away is its matter, and neither requests nor ticks wait for it.

Counters follow the integers of the books and are observed; per request there are two or three records in histograms,
and an event if its trace is sampled. What an SDK raises there is counted as a failure of this exporter; its counters
are up to date by then.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from greeninfer._energy import Measurement
from greeninfer._records import NANO, MeterInfo, Settlement
from greeninfer.errors import SettingsError
from greeninfer.exporters._labels import Labels
from greeninfer.exporters._otel_instruments import Attributes, attributes, instruments_of
from greeninfer.exporters._otel_machine import Machine
from greeninfer.exporters._otel_requests import Events, GenAi, GenAiAttributes, Traces, recordable

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider

MAX_ROUTES: Final = 400
"""(name, model) pairs that become attributes: an SDK drops all attributes beyond 2000 sets of them per instrument, and
``greeninfer.energy`` has one per pair, domain and quality."""

UNCOLLECTED_SECONDS: Final = 180.0
"""After so long without a reader, of which the usual one comes every minute, there is something to be said."""

_log = logging.getLogger("greeninfer")


class OtelExporter:
    """Keep OpenTelemetry's metrics up to date and emit the events.

    Args:
        meter_provider: gets the metrics; default: the program's global one, also if that is set later.
        logger_provider: gets the events, likewise.
        max_routes: distinct (name, model) pairs that become attributes; joules of further ones go to "(overflow)".
        stale_seconds: how long a domain's power is shown without a new figure.

    Raises:
        SettingsError: if the package opentelemetry-api is missing.
    """

    name = "otel"

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        *,
        max_routes: int = MAX_ROUTES,
        stale_seconds: float = 30.0,
    ) -> None:
        try:
            self._instruments = instruments_of(meter_provider)
            self._events = Events(logger_provider)
        except ImportError as error:
            raise SettingsError(
                f"exporters='otel' is not possible ({error}); allowed: with the package opentelemetry-api; "
                "remedy: pip install 'opentelemetry-api>=1.38'"
            ) from error
        self._gen_ai = GenAi(self._instruments)
        self._traces = Traces()
        self._totals = self._instruments.begin()
        self._machine = Machine(self._totals, stale_seconds)
        self._max_routes = max_routes
        self._routes: dict[tuple[str, str], _Route] = {}
        self._meters: tuple[MeterInfo, ...] = ()
        self._began: float | None = None

    def export(self, settlement: Settlement) -> None:
        """Add a settlement to the metrics, and emit the events of its requests."""
        sums, ceilings = self._totals.sums, self._instruments.ceilings
        for line in settlement.lines:
            name, model = line.name, line.model
            if line.state == "attributed":
                name, model = ceilings.route(name, model, self._max_routes)
            sums["greeninfer.energy"].add(
                (line.state, name, model, line.domain, line.quality, line.reason), line.nanojoules
            )
        for failure in settlement.failures:
            sums["greeninfer.meter.failures"].add((failure.meter, failure.reason), failure.count)
        sums["greeninfer.overhead.cpu"].add((), round(settlement.overhead_cpu_seconds * NANO))
        self._machine.add(settlement)
        self._know(settlement)
        routed = [(each, self._route(each.key)) for each in settlement.measurements]
        for each, route in routed:
            self._count(each, route.labels)
        self._totals.publish()
        self._mind_readers(settlement.instant)
        self._record(routed)

    def close(self) -> None:
        """Take back what nobody keeps up to date any more; the counters stay, as they are still true."""
        self._machine.end()
        self._instruments.end(self._totals)

    def _know(self, settlement: Settlement) -> None:
        in_flight: defaultdict[Labels, int] = defaultdict(int)
        for name, count in settlement.in_flight.items():
            in_flight[self._instruments.ceilings.name(name, self._max_routes),] += count
        self._totals.now["greeninfer.requests_in_flight"] = in_flight
        if settlement.meters != self._meters:
            self._meters = settlement.meters
            self._totals.now["greeninfer.meter.info"] = {
                (meter.name, domain.id, meter.quality, f"{meter.period_seconds:g}"): 1
                for meter in settlement.meters
                for domain in meter.domains
            }

    def _count(self, each: Measurement, route: tuple[str, str]) -> None:
        sums = self._totals.sums
        static = each.static_joules
        if static is not None:
            sums["greeninfer.static_energy"].add(route, min(round(static * NANO), each.nanojoules))
        for kind, count in each.tokens.items():
            if count:
                sums["greeninfer.tokens"].add((*route, kind), count)
        for direction, count in each.messages.items():
            if count:
                sums["greeninfer.messages"].add((*route, direction), count)
        if each.escalated:
            sums["greeninfer.escalations"].add(route, 1)
        for phase, nanojoules in each.phases.items():
            sums["greeninfer.phase.energy"].add((*route, self._instruments.ceilings.phase(phase)), nanojoules)

    def _record(self, routed: Sequence[tuple[Measurement, _Route]]) -> None:
        energy, duration = self._instruments.energy, self._instruments.duration
        traced: list[tuple[Measurement, Context]] = []
        for each, route in routed:
            context = self._traces.context(each.trace_id, each.trace_span_id) if each.trace_id else None
            if context is not None:
                traced.append((each, context))
            if recordable(each.seconds):
                duration.record(each.seconds, route.outcomes[each.outcome], context)
            if each.quality is not None and each.nanojoules >= 0:
                energy.record(each.nanojoules / NANO, route.qualities[each.quality], context)
            if each.first_byte_seconds is not None and recordable(each.first_byte_seconds):
                self._instruments.first_byte.record(each.first_byte_seconds, route.own, context)
            if any(each.tokens.values()):
                self._gen_ai.record(each, route.gen_ai, context)
        if traced and self._events.wanted():
            for each, context in traced:
                self._events.emit(each, context)

    def _route(self, key: tuple[str, str]) -> _Route:
        route = self._routes.get(key)
        if route is None:
            labels = self._instruments.ceilings.route(*key, self._max_routes)
            route = self._routes.get(labels) or self._routes.setdefault(labels, _Route(labels))
        return route

    def _mind_readers(self, instant: float) -> None:
        """Say once that all this goes nowhere, if nobody collects."""
        if self._began is None:
            self._began = instant
        elif not self._instruments.collected and instant - self._began > UNCOLLECTED_SECONDS:
            self._began = float("inf")
            _log.warning(
                "greeninfer.otel_not_collected seconds=%d remedy=%r",
                UNCOLLECTED_SECONDS,
                "set up the OpenTelemetry SDK with a metric reader, docs/opentelemetry.md",
            )


class _Route:
    """The attributes of one (name, model), made once: making them costs as much as recording."""

    __slots__ = ("gen_ai", "labels", "outcomes", "own", "qualities")

    def __init__(self, labels: tuple[str, str]) -> None:
        name, model = labels
        self.labels = labels
        self.own: Attributes = attributes(name=name, model=model)
        self.outcomes: Mapping[str, Attributes] = _each(name, model, "outcome", ("ok", "error", "cancelled"))
        self.qualities: Mapping[str, Attributes] = _each(name, model, "quality", ("measured", "shared", "estimated"))
        self.gen_ai = GenAiAttributes(name, model)


def _each(name: str, model: str, label: str, values: Iterable[str]) -> dict[str, Attributes]:
    return {value: attributes(name=name, model=model, **{label: value}) for value in values}
