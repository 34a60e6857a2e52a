"""What ``greeninfer top`` shows, as plain data. A figure that is not known is None, never 0."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from greeninfer.top._change import Change
from greeninfer.top._page import ENERGY, FAILURES, INFO, OVERHEAD, POWER, REQUESTS, Family
from greeninfer.top._rows import Row, rows
from greeninfer.top._sums import known, rate, ratio, sums

STATES: Final = ("attributed", "idle", "other", "unattributed")


@dataclass(frozen=True, slots=True)
class Line:
    """One of the four lines that add up to the meters: watts and share lately, joules since the service began."""

    state: str
    watts: float | None
    share: float | None
    joules: float


@dataclass(frozen=True, slots=True)
class Reason:
    """Why joules are unattributed, and how many: since the service began, and watts lately."""

    reason: str
    joules: float
    watts: float | None


@dataclass(frozen=True, slots=True)
class MeterRow:
    """A meter that is read now."""

    meter: str
    quality: str
    period_seconds: str
    domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailureRow:
    """What went wrong, and how often: since the service began, and since the look before."""

    meter: str
    reason: str
    count: float
    lately: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown.

    Args:
        seconds: between the two looks, or None if there is nothing to compare with.
        restarted: the service has started anew since the look before.
        rows: by name and model.
        lines: the four; empty where the page tells of no joules.
        reasons: why joules are unattributed.
        power: watts by domain now; None where the service does not know them.
        meters, failures: as they are on the page.
        overhead_cpu_seconds: what measuring has cost since the service began.
        overhead_cores: what it costs lately, in CPU seconds per second.
        overhead_per_request: what it costs lately, in CPU seconds per settled request.
        qualities: of all joules.
    """

    seconds: float | None
    restarted: bool
    rows: tuple[Row, ...]
    lines: tuple[Line, ...]
    reasons: tuple[Reason, ...]
    power: Mapping[str, float | None]
    meters: tuple[MeterRow, ...]
    failures: tuple[FailureRow, ...]
    overhead_cpu_seconds: float | None
    overhead_cores: float | None
    overhead_per_request: float | None
    qualities: frozenset[str]


def report(change: Change) -> Report:
    """Make figures of two looks."""
    counters, grown, seconds = change.now.counters, change.grown, change.seconds
    overhead = sums(grown.get(OVERHEAD)).get(())
    return Report(
        seconds=seconds,
        restarted=change.restarted,
        rows=rows(change),
        lines=_lines(change),
        reasons=_reasons(change),
        power={
            domain: known(watts) for (domain,), watts in sorted(sums(change.now.gauges.get(POWER), "domain").items())
        },
        meters=_meters(change.now.gauges.get(INFO)),
        failures=_failures(change),
        overhead_cpu_seconds=sums(counters.get(OVERHEAD)).get(()),
        overhead_cores=rate(overhead, seconds),
        overhead_per_request=ratio(overhead, sums(grown.get(REQUESTS)).get(())),
        qualities=frozenset(quality for (quality,) in sums(counters.get(ENERGY), "quality")),
    )


_KEYS: Final[Mapping[str, Callable[[Row], float | None]]] = {
    "watts": lambda row: row.watts,
    "joules": lambda row: row.joules if row.joules is not None else row.joules_overall,
    "requests": lambda row: row.requests_per_second,
    "p95": lambda row: None if row.p95 is None else row.p95.seconds,
    "failed": lambda row: row.errors + row.cancelled,
    "tokens": lambda row: row.tokens_per_second,
}


def sort(rows: tuple[Row, ...], by: str) -> tuple[Row, ...]:
    """Return rows sorted by one of ``SORTS``: the largest first, those without that figure last, else by name."""
    key = _KEYS.get(by)
    if key is None:
        return rows

    def place(row: Row) -> float:
        value = key(row)
        return math.inf if value is None else -value

    return tuple(sorted(rows, key=place))


def _lines(change: Change) -> tuple[Line, ...]:
    totals = sums(change.now.counters.get(ENERGY), "state")
    grown = sums(change.grown.get(ENERGY), "state")
    whole = math.fsum(grown.values())
    lines = []
    for state in STATES if totals else ():
        joules = grown.get((state,), 0.0) if whole else None
        lines.append(Line(state, rate(joules, change.seconds), ratio(joules, whole), totals.get((state,), 0.0)))
    return tuple(lines)


def _reasons(change: Change) -> tuple[Reason, ...]:
    grown = sums(change.grown.get(ENERGY), "state", "reason")
    whole = math.fsum(grown.values())
    return tuple(
        Reason(reason, joules, rate(grown.get((state, reason), 0.0) if whole else None, change.seconds))
        for (state, reason), joules in sorted(sums(change.now.counters.get(ENERGY), "state", "reason").items())
        if state == "unattributed" and joules > 0.0
    )


def _meters(info: Family | None) -> tuple[MeterRow, ...]:
    domains: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for (meter, quality, period, domain), read in sums(info, "meter", "quality", "period_seconds", "domain").items():
        if read > 0.0:
            domains[meter, quality, period].add(domain)
    return tuple(MeterRow(*meter, tuple(sorted(each))) for meter, each in sorted(domains.items()))


def _failures(change: Change) -> tuple[FailureRow, ...]:
    grown = sums(change.grown.get(FAILURES), "meter", "reason")
    return tuple(
        FailureRow(meter, reason, count, grown.get((meter, reason), 0.0) if change.seconds is not None else None)
        for (meter, reason), count in sorted(sums(change.now.counters.get(FAILURES), "meter", "reason").items())
        if count > 0.0
    )
