"""All that the demo shows, as plain data, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greeninfer._records import MeterInfo
from greeninfer.demo._books import Totals
from greeninfer.demo._rows import Group, Row, ServingRow


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown.

    Args:
        groups: by task.
        serving: what the service itself took, by route.
        totals: the books.
        sentences: what a stranger should take away.
        seconds: of load so far.
        workers: clients.
        left_out: models that this machine cannot run, with the reason.
        refused: meters that this machine does not have, with the reason.
        process_cpu_seconds: CPU time of the whole process under load; None while it runs.
    """

    groups: tuple[Group, ...]
    serving: tuple[ServingRow, ...]
    totals: Totals
    sentences: tuple[str, ...]
    seconds: float
    workers: int
    left_out: Mapping[str, str]
    refused: Sequence[str]
    process_cpu_seconds: float | None


def as_json(report: Report) -> dict[str, object]:
    """Return the report as ``greeninfer demo --json`` prints it; a figure that is not known is null.

    ======================  =======================================================================================
    key                     value
    ======================  =======================================================================================
    schema                  "greeninfer-demo/1"
    seconds, workers        how long the load lasted, and how many clients it had
    http_requests           settled in all
    requests                texts that classifiers were asked about; a streaming HTTP request has several
    routes                  for each classifier and task: name, model, requests, metered_requests (their joules are
                            known), texts_seen, accuracy, accuracy_half_width_95, joules_per_request (mean),
                            joules_per_request_half_width_95 (without the meter's gain), joules_per_1000_requests,
                            times_cheapest (of the task), latency_p50_seconds, latency_p95_seconds,
                            cpu_seconds_per_request, quality
    serving                 for each route of the service what its requests took beside the classifiers: the same
                            keys as far as they have a meaning; latencies are of the whole request
    books                   integers: attributed_nanojoules, idle_nanojoules, other_nanojoules,
                            unattributed_nanojoules, unattributed_nanojoules_by_reason, sum_nanojoules (of the four),
                            metered_nanojoules (counted by the meters); closed: whether these agree in every domain
    meters                  name, quality, gain_low, gain_high (the truth lies between these times the joules),
                            period_seconds, domains, source
    meter_failures          meter, reason, count
    requests_cpu_seconds    CPU time of the requests, classifiers included
    process_cpu_seconds     CPU time of the whole process under load; the clients are another process
    overhead_cpu_seconds    CPU time of the measuring
    left_out                models that this machine cannot run, with the reason
    meters_refused          meters that this machine does not have, with the reason
    sentences               for people
    ======================  =======================================================================================
    """
    totals = report.totals
    routes = [row for group in report.groups for row in group.rows]
    return {
        "schema": "greeninfer-demo/1",
        "seconds": round(report.seconds, 3),
        "workers": report.workers,
        "http_requests": sum(row.requests for row in report.serving),
        "requests": sum(row.requests for row in routes),
        "routes": [_row_json(row) for row in routes],
        "serving": [_serving_json(row) for row in report.serving],
        "books": {
            **{f"{state}_nanojoules": nanojoules for state, nanojoules in totals.states.items()},
            "unattributed_nanojoules_by_reason": dict(totals.reasons),
            "sum_nanojoules": totals.settled,
            "metered_nanojoules": totals.metered,
            "closed": totals.closed,
        },
        "meters": [_meter_json(each) for each in totals.meters],
        "meter_failures": [
            {"meter": meter, "reason": reason, "count": count} for (meter, reason), count in totals.failures.items()
        ],
        "requests_cpu_seconds": sum(each.cpu_seconds for each in totals.routes.values()),
        "process_cpu_seconds": report.process_cpu_seconds,
        "overhead_cpu_seconds": totals.overhead_cpu_seconds,
        "left_out": dict(report.left_out),
        "meters_refused": list(report.refused),
        "sentences": list(report.sentences),
    }


def _meter_json(meter: MeterInfo) -> dict[str, object]:
    return {
        "name": meter.name,
        "quality": meter.quality,
        "gain_low": meter.gain[0],
        "gain_high": meter.gain[1],
        "period_seconds": meter.period_seconds,
        "domains": [domain.id for domain in meter.domains],
        "source": meter.source,
    }


def _row_json(row: Row) -> dict[str, object]:
    return {
        "name": row.name,
        "model": row.model,
        "requests": row.requests,
        "metered_requests": row.metered,
        "texts_seen": row.seen,
        "accuracy": row.accuracy,
        "accuracy_half_width_95": row.accuracy_half_width,
        "joules_per_request": row.joules,
        "joules_per_request_half_width_95": row.half_width_joules,
        "joules_per_1000_requests": None if row.joules is None else 1000 * row.joules,
        "times_cheapest": row.times,
        "latency_p50_seconds": row.p50_seconds,
        "latency_p95_seconds": row.p95_seconds,
        "cpu_seconds_per_request": row.cpu_seconds,
        "quality": row.quality,
    }


def _serving_json(row: ServingRow) -> dict[str, object]:
    return {
        "name": row.name,
        "requests": row.requests,
        "metered_requests": row.metered,
        "joules_per_request": row.joules,
        "joules_per_request_half_width_95": row.half_width_joules,
        "joules_per_1000_requests": None if row.joules is None else 1000 * row.joules,
        "latency_p50_seconds": row.p50_seconds,
        "latency_p95_seconds": row.p95_seconds,
        "cpu_seconds_per_request": row.cpu_seconds,
        "quality": row.quality,
    }
