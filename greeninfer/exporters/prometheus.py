"""Settlements to Prometheus metrics, natively through prometheus_client. The names and labels are the contract.

Which figures agree. ``greeninfer_energy_joules_total`` grows with every tick and follows the integers of the books to
the last places of a float. ``greeninfer_request_energy_joules`` observes a request once, when it is settled. So, per
``name`` and ``model``, the sum of ``_sum`` over ``quality`` equals ``state="attributed"`` summed over ``domain`` and
``quality`` as soon as no span is open, within the rounding of prometheus_client's additions. Per ``quality`` they
agree only where all domains that the requests ran on have the same one, all the time. A request over a measured and an
estimated domain is observed whole under the worse of the two, for its joules are no better than that, while the
counter books each domain's joules under the domain's own quality. Without any meter a request has a duration and no
energy: nothing is observed, which is not the same as 0 J.

Several processes (``PROMETHEUS_MULTIPROC_DIR``). Attributed joules, requests, tokens and overhead add up over workers,
as they should, and requests in flight over live workers. Node-wide figures do not survive that addition: every worker
sees the whole machine, so ``idle``, ``other`` and ``unattributed`` joules are there once per worker. Power is the most
recent worker's. Exemplars are lost, and prometheus_client's Info does not work there, which is why the meter info is a
gauge; it is 0 for what is not read any more, so join on ``greeninfer_meter_info == 1``.

Gauges are set, not added: of two monitors on one registry the last one shows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry

from greeninfer._energy import Measurement
from greeninfer._records import NANO, Failure, Line, MeterInfo, Settlement
from greeninfer.exporters._prometheus_metrics import Labels, Observations, families_of

OVERFLOW: Final = "(overflow)"
"""The label of what is beyond a ceiling. Its joules are kept; only its name is not."""

MAX_PHASES: Final = 32
"""Distinct phase names that become labels. Phases are named in code: more of them are made up per request."""

MAX_EXEMPLAR_RUNES: Final = 128
"""Of an exemplar's label names and values together (OpenMetrics 1.0, "Exemplars"); prometheus_client raises above."""


class PrometheusExporter:
    """Keep the metrics of a Prometheus registry up to date. All work is done in ``export``.

    Args:
        registry: where the metrics are registered; exporters on the same registry share them.
        max_routes: distinct (name, model) pairs that become labels; joules of further ones go to "(overflow)".
        stale_seconds: how long a domain's power stays on the page without a new figure, before it is NaN.

    Raises:
        ValueError: if something else has registered one of the names there.
    """

    name = "prometheus"

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, *, max_routes: int = 1000, stale_seconds: float = 30.0
    ) -> None:
        self._families = families_of(registry)
        self._max_routes = max_routes
        self._stale_seconds = stale_seconds
        self._power_instants: dict[str, float] = {}
        self._in_flight: set[str] = set()
        self._meters: tuple[MeterInfo, ...] = ()
        self._info: list[Labels] = []

    def export(self, settlement: Settlement) -> None:
        """Add a settlement to the metrics."""
        with self._families.lock:
            self._add_lines(settlement.lines)
            self._observe(settlement.measurements)
            self._add_failures(settlement.failures)
            self._set_power(settlement.watts, settlement.instant)
            self._set_in_flight(settlement.in_flight)
            self._set_info(settlement.meters)
            if settlement.overhead_cpu_seconds > 0.0:
                self._families.overhead.inc(settlement.overhead_cpu_seconds)

    def close(self) -> None:
        """Take back what nobody keeps up to date any more; the counters stay, as they are still true."""
        with self._families.lock:
            self._set_info(())
            for domain in self._power_instants:
                self._families.power[domain,].set(math.nan)
            for name in self._in_flight:
                self._families.in_flight[name,].set(math.nan)
            self._power_instants.clear()
            self._in_flight.clear()

    def _add_lines(self, lines: Iterable[Line]) -> None:
        for line in lines:
            name, model = line.name, line.model
            if line.state == "attributed":
                name, model = self._route(name, model)
            self._families.energy[line.state, name, model, line.domain, line.quality, line.reason].add(line.nanojoules)

    def _observe(self, measurements: Iterable[Measurement]) -> None:
        seconds_of, joules_of = self._families.observe_seconds, self._families.observe_joules
        tokens: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        phases: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        for each in measurements:
            name, model = each.key
            quality = each.quality
            exemplar = _exemplar(each.trace_id) if each.trace_id else None
            # What is known under the raw name is below the ceiling, so this look-up is all that most requests need.
            child = seconds_of.known.get((name, model, each.outcome))
            if child is None:
                child = seconds_of[*self._route(name, model), each.outcome]
            _observe(child, each.seconds, exemplar)
            if quality is not None:
                child = joules_of.known.get((name, model, quality))
                if child is None:
                    child = joules_of[*self._route(name, model), quality]
                _observe(child, each.nanojoules / NANO, exemplar)
            for kind, count in each.tokens.items():
                if count:
                    tokens[name, model, kind] += count
            for phase, nanojoules in each.phases.items():
                phases[name, model, phase] += nanojoules
        for child in (*seconds_of.known.values(), *joules_of.known.values()):
            child.add_up()
        for (name, model, kind), count in tokens.items():
            self._families.tokens[*self._route(name, model), kind].inc(count)
        for (name, model, phase), nanojoules in phases.items():
            self._families.phases[*self._route(name, model), self._phase(phase)].add(nanojoules)

    def _add_failures(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._families.failures[failure.meter, failure.reason].inc(failure.count)

    def _set_power(self, watts: Mapping[str, float], instant: float) -> None:
        for domain, figure in watts.items():
            self._families.power[domain,].set(figure)
            self._power_instants[domain] = instant
        # The last figure of a lost sensor would stay on the page for ever and pass for the truth.
        for domain in [each for each, last in self._power_instants.items() if instant - last > self._stale_seconds]:
            self._families.power[domain,].set(math.nan)
            del self._power_instants[domain]

    def _set_in_flight(self, in_flight: Mapping[str, int]) -> None:
        counts: defaultdict[str, int] = defaultdict(int)
        for name, count in in_flight.items():
            counts[name if self._families.admits("name", (name,), self._max_routes) else OVERFLOW] += count
        for name, count in counts.items():
            self._families.in_flight[name,].set(count)
        self._in_flight.update(counts)

    def _set_info(self, meters: tuple[MeterInfo, ...]) -> None:
        if meters == self._meters:
            return
        self._meters = meters
        rows: list[Labels] = [
            (meter.name, domain.id, meter.quality, f"{meter.period_seconds:g}")
            for meter in meters
            for domain in meter.domains
        ]
        for row in self._info:
            self._families.info[row].set(0)
        for row in rows:
            self._families.info[row].set(1)
        self._info = rows

    def _route(self, name: str, model: str) -> tuple[str, str]:
        return (name, model) if self._families.admits("route", (name, model), self._max_routes) else (OVERFLOW, "")

    def _phase(self, phase: str) -> str:
        return phase if self._families.admits("phase", (phase,), MAX_PHASES) else OVERFLOW


def _observe(child: Observations, amount: float, exemplar: dict[str, str] | None) -> None:
    if exemplar is None:
        child.observe(amount)
    else:
        child.observe_with(amount, exemplar)


def _exemplar(trace_id: str) -> dict[str, str] | None:
    fits = len("trace_id") + len(trace_id) <= MAX_EXEMPLAR_RUNES
    return {"trace_id": trace_id} if fits and trace_id.isascii() else None
