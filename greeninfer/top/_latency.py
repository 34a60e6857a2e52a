"""Quantiles from the buckets of a histogram: as good as its bounds are dense, and it says where they end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile in seconds.

    Args:
        seconds: interpolated inside its bucket; or, where it lies beyond the last bound, that bound.
        beyond: the true one is larger, by how much is not known.
    """

    seconds: float
    beyond: bool = False


def quantile(share: float, buckets: Mapping[float, float]) -> Quantile | None:
    """Return the value below which this share of the observations lies, or None without any.

    Observations are taken to lie evenly inside their bucket, as Prometheus' ``histogram_quantile`` takes them.

    Args:
        share: 0.5 for the median.
        buckets: observations up to each bound, infinity among them.
    """
    bounds = sorted(buckets)
    if not bounds or bounds[-1] != math.inf or not buckets[math.inf] > 0.0:
        return None
    rank = share * buckets[math.inf]
    below, reached = 0.0, 0.0
    for bound in bounds[:-1]:
        count = max(reached, buckets[bound])
        if count >= rank:
            return Quantile(below + (bound - below) * (rank - reached) / (count - reached))
        below, reached = bound, count
    return Quantile(below, beyond=True) if len(bounds) > 1 else None
