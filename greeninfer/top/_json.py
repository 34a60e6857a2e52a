"""A report as JSON; a figure that is not known is null.

"Lately" is between the two looks, and null at the first one and after a restart.

======================  =======================================================================================
key                     value
======================  =======================================================================================
schema                  "greeninfer-top/1"
url, unix_seconds       which page, and when it was looked at
interval_seconds        between the two looks
restarted               whether the service has started anew between them
routes                  for each name and model: name, model, requests (so far), requests_per_second (lately),
                        joules_per_request (own, lately), joules_per_request_overall, watts (attributed, lately),
                        share_of_attributed (0 to 1, lately), latency_p50 and latency_p95 (lately: seconds, and
                        beyond: whether the true one is larger; interpolated inside a bucket), errors, cancelled
                        (so far), errors_lately, cancelled_lately, in_flight (of the name), tokens (so far, by
                        kind), tokens_per_second (lately), joules_per_generated_token (lately), quality (the worst),
                        qualities
books                   for each of the four lines: state, watts, share (lately), joules (so far)
unattributed            reason, joules (so far), watts (lately)
power_watts             by domain, now
meters                  meter, quality, period_seconds, domains
failures                meter, reason, count (so far), lately
overhead                cpu_seconds (so far), cores (lately), cpu_seconds_per_request (lately)
qualities               of all joules
======================  =======================================================================================
"""

from __future__ import annotations

from greeninfer.top._latency import Quantile
from greeninfer.top._report import Report, sort
from greeninfer.top._rows import Row


def as_json(report: Report, *, url: str, unix_seconds: float, by: str) -> dict[str, object]:
    """Return the report as ``greeninfer top --json`` prints it."""
    return {
        "schema": "greeninfer-top/1",
        "url": url,
        "unix_seconds": round(unix_seconds, 3),
        "interval_seconds": report.seconds,
        "restarted": report.restarted,
        "routes": [_row(row) for row in sort(report.rows, by)],
        "books": [
            {"state": each.state, "watts": each.watts, "share": each.share, "joules": each.joules}
            for each in report.lines
        ],
        "unattributed": [
            {"reason": each.reason, "joules": each.joules, "watts": each.watts} for each in report.reasons
        ],
        "power_watts": dict(report.power),
        "meters": [
            {
                "meter": each.meter,
                "quality": each.quality,
                "period_seconds": each.period_seconds,
                "domains": list(each.domains),
            }
            for each in report.meters
        ],
        "failures": [
            {"meter": each.meter, "reason": each.reason, "count": each.count, "lately": each.lately}
            for each in report.failures
        ],
        "overhead": {
            "cpu_seconds": report.overhead_cpu_seconds,
            "cores": report.overhead_cores,
            "cpu_seconds_per_request": report.overhead_per_request,
        },
        "qualities": sorted(report.qualities),
    }


def _row(row: Row) -> dict[str, object]:
    return {
        "name": row.name,
        "model": row.model,
        "requests": row.requests,
        "requests_per_second": row.requests_per_second,
        "joules_per_request": row.joules,
        "joules_per_request_overall": row.joules_overall,
        "watts": row.watts,
        "share_of_attributed": row.share,
        "latency_p50": _quantile(row.p50),
        "latency_p95": _quantile(row.p95),
        "errors": row.errors,
        "cancelled": row.cancelled,
        "errors_lately": row.errors_lately,
        "cancelled_lately": row.cancelled_lately,
        "in_flight": row.in_flight,
        "tokens": dict(row.tokens),
        "tokens_per_second": row.tokens_per_second,
        "joules_per_generated_token": row.joules_per_token,
        "quality": row.quality,
        "qualities": sorted(row.qualities),
    }


def _quantile(quantile: Quantile | None) -> dict[str, object] | None:
    return None if quantile is None else {"seconds": quantile.seconds, "beyond": quantile.beyond}
