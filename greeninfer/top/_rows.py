"""The rows of the table: what the requests of each name and model use."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from greeninfer.top._change import Change
from greeninfer.top._latency import Quantile, quantile
from greeninfer.top._page import (
    DURATIONS,
    ENERGY,
    IN_FLIGHT,
    REQUEST_JOULES,
    REQUESTS,
    REQUESTS_METERED,
    TOKENS,
    Family,
)
from greeninfer.top._sums import by_route, known, rate, ratio, sums

_GENERATED: Final = ("output", "reasoning")
_WORST_LAST: Final = ("measured", "shared", "estimated")


@dataclass(frozen=True, slots=True)
class Row:
    """One name and model. "Lately" is since the look before; a figure that is not known is None.

    Args:
        name, model: its labels.
        requests: settled since the service began.
        requests_per_second: lately.
        joules: of a request, the mean lately; its own, without measured parts inside it.
        joules_overall: the same since the service began.
        watts: attributed lately.
        share: of all attributed joules lately, 0 to 1.
        p50, p95: how long requests took lately.
        errors, cancelled: since the service began.
        errors_lately, cancelled_lately: since the look before.
        in_flight: open now, of this name with any model.
        tokens: since the service began, by kind.
        tokens_per_second: lately, all kinds.
        joules_per_token: lately, for each token generated (output and reasoning).
        qualities: of its joules.
    """

    name: str
    model: str
    requests: float
    requests_per_second: float | None
    joules: float | None
    joules_overall: float | None
    watts: float | None
    share: float | None
    p50: Quantile | None
    p95: Quantile | None
    errors: float
    cancelled: float
    errors_lately: float | None
    cancelled_lately: float | None
    in_flight: float | None
    tokens: Mapping[str, float]
    tokens_per_second: float | None
    joules_per_token: float | None
    qualities: frozenset[str]

    @property
    def quality(self) -> str | None:
        """Return the worst of its qualities."""
        return worst(self.qualities)


def worst(qualities: Collection[str]) -> str | None:
    """Return the worst quality, or None without any; one that nobody knows is worse than all."""
    return max(
        qualities, key=lambda each: _WORST_LAST.index(each) if each in _WORST_LAST else len(_WORST_LAST), default=None
    )


def rows(change: Change) -> tuple[Row, ...]:
    """Return a row for each name and model, in their order."""
    now = change.now
    attributed = attributed_only(now.counters.get(ENERGY))
    routes = {*sums(now.counters.get(REQUESTS), "name", "model"), *sums(attributed, "name", "model")}
    in_flight = sums(now.gauges.get(IN_FLIGHT), "name")
    seen = {name for name, _ in routes}
    # A name whose first request is still open has no model yet.
    routes.update((name, "") for (name,), count in in_flight.items() if name not in seen and count > 0.0)
    figures = _Figures(change)
    return tuple(figures.row(name, model, in_flight.get((name,))) for name, model in sorted(routes))


def attributed_only(energy: Family | None) -> Family:
    """Return the samples of attributed joules."""
    return {labels: joules for labels, joules in (energy or {}).items() if ("state", "attributed") in labels}


class _Figures:
    """The sums that rows are made of, each added up once."""

    def __init__(self, change: Change) -> None:
        totals, grown = change.now.counters, change.grown
        self.seconds = change.seconds
        self.requests = by_route(totals.get(REQUESTS), "outcome")
        self.requests_lately = by_route(grown.get(REQUESTS), "outcome")
        self.joules = sums(totals.get(REQUEST_JOULES), "name", "model")
        self.joules_lately = sums(grown.get(REQUEST_JOULES), "name", "model")
        self.metered = sums(totals.get(REQUESTS_METERED), "name", "model")
        self.metered_lately = sums(grown.get(REQUESTS_METERED), "name", "model")
        # Where the meters counted nothing at all, what was attributed is not 0, it is not known.
        self.counted = math.fsum(grown.get(ENERGY, {}).values()) > 0.0
        self.attributed = sums(attributed_only(grown.get(ENERGY)), "name", "model")
        self.all_attributed = math.fsum(self.attributed.values())
        self.tokens = by_route(totals.get(TOKENS), "kind")
        self.tokens_lately = by_route(grown.get(TOKENS), "kind")
        self.buckets = by_route(grown.get(DURATIONS), "le")
        self.qualities = by_route(attributed_only(totals.get(ENERGY)), "quality")

    def row(self, name: str, model: str, in_flight: float | None) -> Row:
        route, seconds = (name, model), self.seconds
        requests, lately = self.requests.get(route, {}), self.requests_lately.get(route, {})
        known_joules = self.counted and route in self.qualities
        attributed = self.attributed.get(route, 0.0) if known_joules else None
        tokens, tokens_lately = self.tokens.get(route, {}), self.tokens_lately.get(route, {})
        generated = sum(tokens_lately.get(kind, 0.0) for kind in _GENERATED)
        buckets = {float(le): reached for le, reached in self.buckets.get(route, {}).items()}
        return Row(
            name=name,
            model=model,
            requests=sum(requests.values()),
            requests_per_second=rate(sum(lately.values()), seconds),
            joules=ratio(self.joules_lately.get(route), self.metered_lately.get(route)),
            joules_overall=ratio(self.joules.get(route), self.metered.get(route)),
            watts=rate(attributed, seconds),
            share=ratio(attributed, self.all_attributed),
            p50=quantile(0.50, buckets),
            p95=quantile(0.95, buckets),
            errors=requests.get("error", 0.0),
            cancelled=requests.get("cancelled", 0.0),
            errors_lately=lately.get("error", 0.0) if seconds is not None else None,
            cancelled_lately=lately.get("cancelled", 0.0) if seconds is not None else None,
            in_flight=known(in_flight),
            tokens={kind: number for kind, number in tokens.items() if number > 0.0},
            tokens_per_second=rate(sum(tokens_lately.values()), seconds) if any(tokens.values()) else None,
            joules_per_token=ratio(self.joules_lately.get(route), generated),
            qualities=frozenset(self.qualities.get(route, {})),
        )
