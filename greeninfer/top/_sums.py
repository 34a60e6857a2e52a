"""Adding up samples by their labels, and dividing what is known by what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping

from greeninfer.top._page import Family

Sums = Mapping[tuple[str, ...], float]
Route = tuple[str, str]


def sums(family: Family | None, *by: str) -> dict[tuple[str, ...], float]:
    """Return the sums of a family's samples by some of its labels; nothing without a family."""
    found: dict[tuple[str, ...], float] = {}
    for labels, value in (family or {}).items():
        values = dict(labels)
        key = tuple(values.get(label, "") for label in by)
        found[key] = found.get(key, 0.0) + value
    return found


def by_route(family: Family | None, label: str) -> dict[Route, dict[str, float]]:
    """Return the sums of a family's samples by (name, model), and for each of these by another label."""
    found: dict[Route, dict[str, float]] = {}
    for (name, model, value), number in sums(family, "name", "model", label).items():
        found.setdefault((name, model), {})[value] = number
    return found


def rate(grown: float | None, seconds: float | None) -> float | None:
    """Return what was counted per second, or None if either is not known."""
    return None if grown is None or seconds is None else grown / seconds


def ratio(part: float | None, whole: float | None) -> float | None:
    """Return a part of a whole, or None if either is not known or the whole is nothing."""
    return None if part is None or not whole else part / whole


def known(value: float | None) -> float | None:
    """Return a gauge's value, or None for what its service does not know."""
    return value if value is not None and math.isfinite(value) else None
