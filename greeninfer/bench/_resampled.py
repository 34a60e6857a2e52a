"""Intervals of a cascade: from the texts and splits that it was scored on, and from what its stages cost.

Shares (right answers, texts handed on) are drawn anew as those of single models are, in `_bootstrap.py`; what a stage
costs has the interval that it has as a model. A cascade's cost is the sum of products of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from greeninfer.bench._aligned import Numbers, Reals
from greeninfer.bench._bootstrap import deal, differences, split_weights
from greeninfer.bench._candidates import Figure
from greeninfer.bench._intervals import Z
from greeninfer.bench._scores import Mark

GROUPS = 1_000
"""Groups of texts that are drawn in place of single ones; a thousand tell a standard deviation to 2 %."""


def places(text: Numbers, split: Numbers, seed: int) -> tuple[Numbers, tuple[int, int]]:
    """Return the place of each row among splits and groups of texts, and how many there are of both."""
    group = deal(int(text.max()) + 1, seed, GROUPS)
    shape = int(split.max()) + 1, int(group.max()) + 1
    place = split * np.int32(shape[1]) + group[text]
    return place.astype(np.int32), shape


def count(place: Numbers, shape: tuple[int, int], kind: npt.NDArray[np.uint8], kinds: int) -> npt.NDArray[np.int64]:
    """Return the number of rows by split, group of texts and kind."""
    found = np.bincount(place * np.int32(kinds) + kind, minlength=shape[0] * shape[1] * kinds)
    return found.reshape(*shape, kinds)


def marks(counted: npt.NDArray[np.int64], kinds: Sequence[int]) -> dict[int, Mark]:
    """Return the share of rows that are of some kinds, split by split; splits without rows are left out."""
    rows, chosen = counted.sum(axis=2), counted[:, :, list(kinds)].sum(axis=2)
    found = {}
    for split in np.flatnonzero(rows.sum(axis=1)):
        total = int(rows[split].sum())
        share = float(chosen[split].sum() / total)
        parts = (chosen[split] - share * rows[split]) / total
        found[int(split)] = Mark(share, parts.astype(np.float32), share * (1.0 - share) / total)
    return found


def mean(column: Mapping[int, Mark]) -> float:
    """Return the mean over splits."""
    return float(np.mean([each.value for each in column.values()]))


def moves(columns: Sequence[Mapping[int, Mark]], splits: int, seed: int) -> Reals:
    """Return by how much each column's mean over splits moves when texts and splits are drawn anew."""
    return differences(columns, split_weights(splits, seed), seed)


def share_figure(value: float, moved: Reals) -> Figure:
    """Return a share with the interval in which it, measured again, would lie: a repeat has noise of its own."""
    half = Z * math.sqrt(2.0) * float(np.std(moved))
    return Figure(value, max(0.0, value - half), min(1.0, value + half))


def per_request(costs: Sequence[Figure], reach: Sequence[float], moved: Reals) -> Figure:
    """Return what a request costs on its way through stages: what each costs times how many reach it.

    The noise of the stages and that of the texts are apart from each other, so their squares add up.

    Args:
        costs: of each stage.
        reach: share of texts that reach each stage.
        moved: by how much these shares move, a column a stage.
    """
    value = sum(each.value * share for each, share in zip(costs, reach, strict=True))
    halves = [_half(each) for each in costs]
    known = [half for half in halves if half is not None]
    if len(known) < len(costs):
        return Figure(value)
    by_reach = Z * math.sqrt(2.0) * float(np.std(moved @ np.array([each.value for each in costs])))
    half = math.hypot(by_reach, *(each * share for each, share in zip(known, reach, strict=True)))
    if value > 0.0 and all(each.low is not None and each.low > 0.0 for each in costs):
        return Figure(value, value * math.exp(-half / value), value * math.exp(half / value))
    return Figure(value, value - half, value + half)


def _half(figure: Figure) -> float | None:
    """Return the half width of a figure's interval, on the log scale where it has one."""
    if figure.low is None or figure.high is None:
        return None
    if figure.low > 0.0:
        return figure.value * math.log(figure.high / figure.low) / 2.0
    return (figure.high - figure.low) / 2.0
