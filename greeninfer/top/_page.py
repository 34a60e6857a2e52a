"""A metrics page as plain data: what of it is ours, by family and labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

ENERGY: Final = "greeninfer_energy_joules_total"
REQUEST_JOULES: Final = "greeninfer_request_energy_joules_sum"
REQUESTS_METERED: Final = "greeninfer_request_energy_joules_count"
REQUESTS: Final = "greeninfer_request_duration_seconds_count"
DURATIONS: Final = "greeninfer_request_duration_seconds_bucket"
TOKENS: Final = "greeninfer_tokens_total"
FAILURES: Final = "greeninfer_meter_failures_total"
OVERHEAD: Final = "greeninfer_overhead_cpu_seconds_total"
POWER: Final = "greeninfer_power_watts"
IN_FLIGHT: Final = "greeninfer_requests_in_flight"
INFO: Final = "greeninfer_meter_info"

_COUNTERS: Final = (ENERGY, REQUEST_JOULES, REQUESTS_METERED, REQUESTS, DURATIONS, TOKENS, FAILURES, OVERHEAD)
_GAUGES: Final = (POWER, IN_FLIGHT, INFO)
_STARTED: Final = "process_start_time_seconds"
_WANTED: Final = (*_COUNTERS, *_GAUGES, _STARTED)
_OURS: Final = ("greeninfer_", "# TYPE greeninfer_", "# HELP greeninfer_")

Labels = tuple[tuple[str, str], ...]
Family = Mapping[Labels, float]


class PageError(Exception):
    """There is no page of ours; the message says what there is instead, and the remedy."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Our part of a metrics page.

    Args:
        instant: monotonic seconds at which it was made.
        counters: by sample name and labels; every one is finite and not negative.
        gauges: likewise; NaN is what the service does not know.
        started: when the service's process was started, if the page tells of one process.
    """

    instant: float
    counters: Mapping[str, Family]
    gauges: Mapping[str, Family]
    started: float | None = None


def parse(text: str, instant: float) -> Snapshot:
    """Parse a page in the text format of Prometheus, or in that of OpenMetrics, of which it reads as much as it needs.

    Raises:
        PageError: if none of our families is on the page, or one of their samples is not possible.
    """
    lines = text.split("\n")
    if not any(line.startswith(_OURS) for line in lines):
        raise PageError(
            f"no metric of greeninfer is on this page ({_looks(text)}); remedy: greeninfer.instrument(app) in the "
            "service, or mount greeninfer.MetricsApp() there, or name the page: greeninfer top http://HOST:PORT/PATH"
        )
    samples: dict[str, dict[Labels, float]] = {}
    for name, labels, value in _samples([line for line in lines if line.startswith(_WANTED)]):
        if name in _COUNTERS and not 0.0 <= value < math.inf:
            raise PageError(f"a counter on this page is {value}: {name}{_brief(str(dict(labels)))}")
        if name == DURATIONS and not _is_bound(dict(labels).get("le", "")):
            raise PageError(f"a bucket on this page has no bound: {name}{_brief(str(dict(labels)))}")
        samples.setdefault(name, {})[labels] = value
    starts = tuple(samples.get(_STARTED, {}).values())
    return Snapshot(
        instant,
        {name: samples[name] for name in _COUNTERS if name in samples},
        {name: samples[name] for name in _GAUGES if name in samples},
        starts[0] if len(starts) == 1 else None,
    )


def _samples(lines: list[str]) -> Iterable[tuple[str, Labels, float]]:
    try:
        families = list(text_string_to_metric_families("\n".join(lines)))
    except (ValueError, IndexError) as error:
        raise PageError(f"a line of this page is no metric: {_brief(_first_malformed(lines))}") from error
    for family in families:
        for sample in family.samples:
            yield sample.name, tuple(sorted(sample.labels.items())), _float(sample.value)


def _first_malformed(lines: list[str]) -> str:
    for line in lines:
        try:
            list(text_string_to_metric_families(line))
        except (ValueError, IndexError):
            return line
    return ""


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # the parser reads whole numbers of any length
        return math.inf


def _is_bound(le: str) -> bool:
    try:
        return not math.isnan(float(le))
    except ValueError:
        return False


def _looks(text: str) -> str:
    start = text.lstrip()[:200].lower()
    if not start:
        return "it is empty"
    if start.startswith(("<!doctype", "<html", "<?xml")):
        return "it is a web page"
    if start.startswith(("{", "[")):
        return "it looks like JSON"
    return f"it begins with {_brief(text.lstrip())}"


def _brief(text: str) -> str:
    return ascii(text[:80])
