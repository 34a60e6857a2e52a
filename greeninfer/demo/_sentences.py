"""The sentences under the demo's table: which model costs how much more, what that buys, and what the numbers mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greeninfer._records import MeterInfo
from greeninfer.demo._books import Totals
from greeninfer.demo._load import Score
from greeninfer.demo._routes import Route
from greeninfer.demo._rows import NORMAL_95, Group, ServingRow, mean_joules


def sentences(
    groups: Sequence[Group], serving: Sequence[ServingRow], scores: Mapping[Route, Score], totals: Totals
) -> tuple[str, ...]:
    """Return what a stranger should take away: comparisons, then what the joules are and are not."""
    compared = (*(_compare(group, scores) for group in groups), _compare_serving(groups, serving))
    return (*filter(None, compared), *_meaning(totals.meters))


@dataclass(frozen=True, slots=True)
class Paired:
    """By how much one classifier is more often right than another on the texts that both answered.

    Args:
        difference: of their accuracies on those texts.
        half_width: of its 95 % interval.
        texts: how many both answered.
    """

    difference: float
    half_width: float
    texts: int


def paired_difference(one: Score, other: Score) -> Paired | None:
    """Compare ``other`` with ``one``; None if they answered no text in common.

    The texts are the same, so only those count on which the two disagree (McNemar's pairs, normal approximation).
    """
    common = one.seen & other.seen
    if not common:
        return None
    gained, lost = len((other.right - one.right) & common), len((one.right - other.right) & common)
    spread = max(0.0, gained + lost - (gained - lost) ** 2 / len(common))
    return Paired((gained - lost) / len(common), NORMAL_95 * math.sqrt(spread) / len(common), len(common))


def _compare(group: Group, scores: Mapping[Route, Score]) -> str:
    """Say what the most accurate classifier of a task costs and brings against the cheapest."""
    rows = [row for row in group.rows if row.joules is not None and row.accuracy is not None]
    if len(rows) < 2:
        return ""
    cheap = min(rows, key=lambda row: row.joules or 0.0)
    best = max(rows, key=lambda row: (row.accuracy or 0.0, -(row.joules or 0.0)))
    other = best if best is not cheap else max(rows, key=lambda row: row.joules or 0.0)
    paired = paired_difference(scores[cheap.name, cheap.model], scores[other.name, other.model])
    if paired is None:
        return ""
    difference, half_width, texts = 100 * paired.difference, 100 * paired.half_width, paired.texts
    lead = (
        f"{other.model} is right most often, but one request costs"
        if other is best
        else f"{cheap.model} is the cheapest and right most often; one request to {other.model} costs"
    )
    doubt = "" if abs(difference) > half_width else f": {texts} texts cannot tell that from chance"
    return (
        f"{group.title.capitalize()}: {lead} {number(other.times)} times the joules of {cheap.model} "
        f"({number(other.joules)} J against {number(cheap.joules)} J) for {difference:+.1f} ± {half_width:.1f} points "
        f"of accuracy{doubt}."
    )


def _compare_serving(groups: Sequence[Group], serving: Sequence[ServingRow]) -> str:
    """Say what serving itself costs against the cheapest and the dearest model."""
    own = mean_joules(serving)
    models = list(dict.fromkeys(row.model for group in groups for row in group.rows))
    means = {
        model: mean_joules([row for group in groups for row in group.rows if row.model == model]) for model in models
    }
    known = {model: joules for model, joules in means.items() if joules}
    if not own or len(known) < 2:
        return ""
    cheap, dear = min(known, key=lambda model: known[model]), max(known, key=lambda model: known[model])
    return (
        f"Serving itself (routing, checks, JSON, threads) costs {number(own)} J per HTTP request: as much as "
        f"{number(own / known[cheap])} answers of {cheap}, or {number(own / known[dear])} of {dear}."
    )


def _meaning(meters: Sequence[MeterInfo]) -> tuple[str, ...]:
    if not meters:
        return ("No meter: nothing is known about the joules.",)
    return (
        *(_source(meter) for meter in meters),
        "A request's joules are its own work and its part of the power that the machine draws anyway, while it ran. "
        "Not in them: training, the pauses between requests (idle), the clients, which are a process of their own, "
        "and what the HTTP server does outside the application (other), the network. ± holds about 95 %; it covers the "
        "spread of requests and the dividing, not the meter.",
    )


def _source(meter: MeterInfo) -> str:
    low, high = meter.gain
    if meter.quality == "estimated" and low == high:
        return f"All joules are ESTIMATED ({meter.name}: {meter.source})."
    if meter.quality == "estimated":
        return (
            f"All joules are ESTIMATED ({meter.name}: {meter.source}). The true ones lie between x{low:g} and "
            f"x{high:g} of these; the factor is common to all rows, so it hardly changes how many times more one costs."
        )
    return (
        f"Joules are measured ({meter.name}: {meter.source}). The sensor's own error is a factor x{low:g} to x{high:g}."
    )


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with some significant digits and without an exponent, or a dash."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
