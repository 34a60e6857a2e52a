"""Settlements to Prometheus metrics, natively through prometheus_client. The names and labels are the contract.

Which figures agree. ``greeninfer_energy_joules_total`` grows with every tick and follows the integers of the books to
the last places of a float. ``greeninfer_request_energy_joules`` observes a request once, when it is settled. So, per
``name`` and ``model``, the sum of ``_sum`` over ``quality`` equals ``state="attributed"`` summed over ``domain`` and
``quality`` as soon as no span is open, within the rounding of prometheus_client's additions. Per ``quality`` they
agree only where all domains that the requests ran on have the same one, all the time. A request over a measured and an
estimated domain is observed whole under the worse of the two, for its joules are no better than that, while the
counter books each domain's joules under the domain's own quality. Without any meter a request has a duration and no
energy: nothing is observed, which is not the same as 0 J.

Several processes on one machine export lines that add up to the machine's once: each its own attributed joules, and a
part of what is nobody's. Power is told by the one process that speaks for the machine. ``PROMETHEUS_MULTIPROC_DIR``
sums counters and histograms over workers, requests in flight over live workers, and shows the most recent power.
Exemplars are lost there, and prometheus_client's Info does not work, which is why the meter info is a gauge; it is 0
for what is not read any more, so join on ``greeninfer_meter_info == 1``.

``greeninfer_static_energy_joules_total`` is a part of the attributed joules of settled requests, so it never exceeds
them but for the last places of a float.

Gauges are set, not added: of two monitors on one registry the last one shows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry

from greeninfer._energy import Columns, Measurement, Measurements, Outcome, Quality
from greeninfer._records import NANO, Failure, Line, MeterInfo, Settlement
from greeninfer.exporters._labels import OVERFLOW, Labels
from greeninfer.exporters._prometheus_metrics import Observations, Row, families_of

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
            for child in self._families.observations():
                child.add_up()
            self._add_failures(settlement.failures)
            self._set_power(settlement)
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

    def _observe(self, measurements: Sequence[Measurement]) -> None:
        if isinstance(measurements, Measurements):
            self._observe_columns(measurements.columns)
            measurements = measurements.single
        families, sums = self._families, _Sums()
        rows, first_bytes = families.rows, families.observe_first_byte
        for each in measurements:
            row = rows.get((each.key, each.outcome, each.quality)) or self._row(each.key, each.outcome, each.quality)
            nanojoules, first_byte_seconds, trace_id = each.nanojoules, each.first_byte_seconds, each.trace_id
            if trace_id:
                exemplar = _exemplar(trace_id)
                _observe(row.seconds, each.seconds, exemplar)
                if row.joules is not None:
                    _observe(row.joules, nanojoules / NANO, exemplar)
                if first_byte_seconds is not None:
                    _observe(families.observe_first_byte[row.route], first_byte_seconds, exemplar)
            else:
                row.seconds.observe(each.seconds)
                if row.joules is not None:
                    row.joules.observe(nanojoules / NANO)
                if first_byte_seconds is not None:
                    first_bytes[row.route].observe(first_byte_seconds)
            static = each.static_joules
            if static is not None:
                rounded = round(static * NANO)
                row.static_nanojoules += rounded if rounded < nanojoules else nanojoules
            if each.tokens or each.messages or each.phases or each.escalated:
                sums.add_parts(each)
        for row in families.rows.values():
            if row.static_nanojoules:
                families.static[row.route].add(row.static_nanojoules)
                row.static_nanojoules = 0
        self._add_sums(sums)

    def _observe_columns(self, columns: Columns) -> None:
        """Observe measurements kind by kind, so that each figure is looked at in plain loops only."""
        numbers: defaultdict[tuple[tuple[str, str], Outcome], list[int]] = defaultdict(list)
        for number, kind in enumerate(zip(columns.keys, columns.outcomes, strict=True)):
            numbers[kind].append(number)
        seconds, first_bytes = columns.seconds, columns.first_bytes
        nanojoules, static, quality = columns.nanojoules, columns.static_nanojoules, columns.quality
        for (key, outcome), of in numbers.items():
            row = self._families.rows.get((key, outcome, quality)) or self._row(key, outcome, quality)
            row.seconds.observe_all([seconds[number] for number in of])
            if row.joules is not None:  # never None here: they have a quality
                row.joules.observe_all([nanojoules[number] / NANO for number in of])
            sent = [each for number in of if (each := first_bytes[number]) is not None]
            if sent:
                self._families.observe_first_byte[row.route].observe_all(sent)
            row.static_nanojoules += sum(static[number] for number in of)

    def _row(self, key: tuple[str, str], outcome: Outcome, quality: Quality | None) -> Row:
        """Return where a kind of request is observed; what is beyond the ceiling is not remembered one by one."""
        families, route = self._families, self._route(*key)
        joules = None if quality is None else families.observe_joules[*route, quality]
        row = Row(route, families.observe_seconds[*route, outcome], joules)
        known = route if route[0] == OVERFLOW else key
        return families.rows.setdefault((known, outcome, quality), row)

    def _add_sums(self, sums: _Sums) -> None:
        for (name, model, kind), count in sums.tokens.items():
            self._families.tokens[*self._route(name, model), kind].inc(count)
        for (name, model, direction), count in sums.messages.items():
            self._families.messages[*self._route(name, model), direction].inc(count)
        for (name, model), count in sums.escalations.items():
            self._families.escalations[self._route(name, model)].inc(count)
        for (name, model, phase), nanojoules in sums.phases.items():
            self._families.phases[*self._route(name, model), self._families.ceilings.phase(phase)].add(nanojoules)

    def _add_failures(self, failures: Iterable[Failure]) -> None:
        for failure in failures:
            self._families.failures[failure.meter, failure.reason].inc(failure.count)

    def _set_power(self, settlement: Settlement) -> None:
        """Show the machine's power, if it is for this process to tell; with two that do, sums would show it twice."""
        instant, told = settlement.instant, settlement.speaks_for_machine
        for domain, figure in settlement.watts.items() if told else ():
            self._families.power[domain,].set(figure)
            self._power_instants[domain] = instant
        # The last figure of a lost sensor would stay on the page for ever and pass for the truth.
        stale = self._stale_seconds
        for domain in [each for each, last in self._power_instants.items() if not told or instant - last > stale]:
            self._families.power[domain,].set(math.nan)
            del self._power_instants[domain]

    def _set_in_flight(self, in_flight: Mapping[str, int]) -> None:
        counts: defaultdict[str, int] = defaultdict(int)
        for name, count in in_flight.items():
            counts[self._families.ceilings.name(name, self._max_routes)] += count
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
        return self._families.ceilings.route(name, model, self._max_routes)


class _Sums:
    """What the requests of one settlement add to counters: added up first, since one ``inc`` costs a third of all."""

    __slots__ = ("escalations", "messages", "phases", "tokens")

    def __init__(self) -> None:
        self.tokens: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.messages: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.phases: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.escalations: defaultdict[tuple[str, str], int] = defaultdict(int)

    def add_parts(self, each: Measurement) -> None:
        name, model = each.key
        for kind, count in each.tokens.items():
            if count:
                self.tokens[name, model, kind] += count
        for direction, count in each.messages.items():
            if count:
                self.messages[name, model, direction] += count
        for phase, nanojoules in each.phases.items():
            self.phases[name, model, phase] += nanojoules
        if each.escalated:
            self.escalations[each.key] += 1


def _observe(child: Observations, amount: float, exemplar: dict[str, str] | None) -> None:
    if exemplar is None:
        child.observe(amount)
    else:
        child.observe_with(amount, exemplar)


def _exemplar(trace_id: str) -> dict[str, str] | None:
    fits = len("trace_id") + len(trace_id) <= MAX_EXEMPLAR_RUNES
    return {"trace_id": trace_id} if fits and trace_id.isascii() else None
