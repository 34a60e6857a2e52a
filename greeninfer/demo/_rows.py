"""The rows of the demo's tables, as plain data: the books of a classifier beside its right answers, and of a route."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greeninfer._energy import Quality
from greeninfer.demo._books import RouteTotals, Totals
from greeninfer.demo._load import Score
from greeninfer.demo._routes import TITLES, Route
from greeninfer.demo._texts import Task

NORMAL_95 = 1.96
"""Half width of a 95 % interval of a normal mean, in standard errors."""


@dataclass(frozen=True, slots=True)
class Row:
    """One classifier on one task; a figure that is not known is None.

    Args:
        name, model: its labels.
        requests: texts that it was asked about, settled so far; a streaming request has several.
        metered: those of them whose joules are known.
        seen: distinct test texts answered.
        accuracy: share of them with the right label.
        accuracy_half_width: of a 95 % interval (Wilson).
        joules: mean of a request.
        half_width_joules: of its 95 % interval, without the gain of the meter.
        times: joules over those of the cheapest row of the task.
        p50_seconds, p95_seconds: latency.
        cpu_seconds: mean of a request.
        quality: of the joules.
    """

    name: str
    model: str
    requests: int
    metered: int
    seen: int
    accuracy: float | None
    accuracy_half_width: float | None
    joules: float | None
    half_width_joules: float | None
    times: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    cpu_seconds: float | None
    quality: Quality | None


@dataclass(frozen=True, slots=True)
class ServingRow:
    """What the requests of one route of the service took beside the classifiers: routing, checks, JSON, thread pool.

    Args:
        name: the route.
        title: what a person should know of it.
        requests: settled so far.
        metered: those of them whose joules are known.
        joules: mean of a request, without the classifiers that it called.
        half_width_joules: of its 95 % interval, without the gain of the meter.
        p50_seconds, p95_seconds: latency of the whole request, classifiers included.
        cpu_seconds: mean of a request, without the classifiers.
        quality: of the joules.
    """

    name: str
    title: str
    requests: int
    metered: int
    joules: float | None
    half_width_joules: float | None
    p50_seconds: float
    p95_seconds: float
    cpu_seconds: float
    quality: Quality | None


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one task, the cheapest to use first, and what a person has to know about it."""

    name: str
    title: str
    labels: int
    texts: int
    majority: float
    rows: tuple[Row, ...]


def group_rows(
    tasks: Sequence[Task], routes: Sequence[Route], totals: Totals, scores: Mapping[Route, Score]
) -> tuple[Group, ...]:
    """Put books and scores together, a group of rows for each task."""
    return tuple(_group(task, [route for route in routes if route[0] == task.name], totals, scores) for task in tasks)


def _group(task: Task, routes: Sequence[Route], totals: Totals, scores: Mapping[Route, Score]) -> Group:
    settled = [totals.routes.get(route) for route in routes]
    least = min((each.joules for each in settled if each is not None and each.joules), default=None)
    rows = tuple(
        _row(route, each, scores.get(route, Score()), least) for route, each in zip(routes, settled, strict=True)
    )
    return Group(task.name, task.title, len(task.labels), len(task.test.texts), task.majority, rows)


def _row(route: Route, totals: RouteTotals | None, score: Score, least: float | None) -> Row:
    seen = len(score.seen)
    joules = totals.joules if totals else None
    return Row(
        *route,
        requests=totals.requests if totals else 0,
        metered=totals.metered if totals else 0,
        seen=seen,
        accuracy=len(score.right) / seen if seen else None,
        accuracy_half_width=wilson_half_width(len(score.right), seen) if seen else None,
        joules=joules,
        half_width_joules=totals.half_width_joules if totals else None,
        times=joules / least if joules is not None and least else None,
        p50_seconds=totals.p50_seconds if totals else None,
        p95_seconds=totals.p95_seconds if totals else None,
        cpu_seconds=totals.cpu_seconds / totals.requests if totals else None,
        quality=totals.quality if totals else None,
    )


def serving_rows(routes: Sequence[Route], totals: Totals) -> tuple[ServingRow, ...]:
    """Return what the service itself took, by route; ``routes`` are the classifiers, which are not in it."""
    return tuple(
        ServingRow(
            each.name,
            TITLES.get(each.name, ""),
            each.requests,
            each.metered,
            each.joules,
            each.half_width_joules,
            each.p50_seconds,
            each.p95_seconds,
            each.cpu_seconds / each.requests,
            each.quality,
        )
        for key, each in sorted(totals.routes.items())
        if key not in routes
    )


def mean_joules(rows: Sequence[Row | ServingRow]) -> float | None:
    """Return the mean joules of the requests of these rows together, or None where none is known."""
    known = [(row.joules, row.metered) for row in rows if row.joules is not None]
    metered = sum(count for _, count in known)
    return sum(joules * count for joules, count in known) / metered if metered else None


def wilson_half_width(right: int, seen: int) -> float:
    """Return half the width of Wilson's 95 % interval of a share (Wilson 1927): honest near 0 and 1 as well."""
    share, z = right / seen, NORMAL_95
    return z * math.sqrt(share * (1 - share) / seen + z * z / (4 * seen * seen)) / (1 + z * z / seen)
