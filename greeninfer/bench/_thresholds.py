"""Thresholds of a cascade: which are tried, what each would have done, which is best. Nothing but counting.

A prediction's *level* is where its confidence stands among the thresholds that are tried: level 0 cannot be relied on
at all, level ``k`` is at or above the ``k``-th. A stage with cut ``k`` keeps what is at level ``k`` or above and hands
on the rest. So everything that any thresholds would do follows from how many predictions there are at each level:
they are counted once, and no threshold costs another pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greeninfer.bench._aligned import Flags, Numbers, Reals

STEPS = 50
"""Thresholds that are tried for a stage, at most: each lets another fiftieth of the texts pass."""

Levels = npt.NDArray[np.uint8]


def grid(confidence: npt.NDArray[np.float32]) -> Reals:
    """Return the thresholds to try, ascending; the first, 0, keeps every answer that has a confidence.

    They stand midway between neighbouring confidences: a model that runs with another precision than the recorded
    one stays on the same side. Labels play no part.
    """
    known = np.sort(confidence[~np.isnan(confidence)])
    if not len(known):
        return np.zeros(0)
    picked = np.unique(known[(np.arange(1, STEPS) * len(known)) // STEPS])
    before = np.searchsorted(known, picked, side="left")
    picked, before = picked[before > 0], before[before > 0]
    low, high = known[before - 1].astype(np.float64), picked.astype(np.float64)
    middle = (low + high) / 2.0
    short = np.round(middle, 6)
    return np.concatenate([[0.0], np.where((low < short) & (short < high), short, middle)])


def levels(confidence: npt.NDArray[np.float32], thresholds: Reals) -> Levels:
    """Return the level of each prediction."""
    found = np.searchsorted(thresholds, confidence, side="right")
    return np.where(np.isnan(confidence), 0, found).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Surface:
    """What every choice of cuts does, fold by fold: arrays by fold and by the cut of each stage but the last.

    Args:
        right: number of right answers.
        reached: number of texts that reach each stage, one array a stage; the first is all of them.
    """

    right: Reals
    reached: tuple[Reals, ...]


def survey(
    fold: Numbers, folds: int, ranks: Sequence[Levels], counts: Sequence[int], rights: Sequence[Flags]
) -> Surface:
    """Count once, and return what every choice of cuts does.

    Args:
        fold: of each row.
        folds: how many there are.
        ranks: level of each row at each stage but the last.
        counts: number of thresholds of each stage but the last; its cuts are 1 to that number.
        rights: whether each stage is right.
    """
    place = fold.astype(np.int32)
    for rank, count in zip(ranks, counts, strict=True):
        place = place * np.int32(count + 1) + rank
    for flags in rights:
        place = place * np.int32(2) + flags
    shape = (folds, *(count + 1 for count in counts), *(2 for _ in rights))
    counted = np.bincount(place, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)
    stages = len(rights)
    kinds = tuple(range(stages, 2 * stages))
    everything = counted.sum(axis=kinds)
    right: Any = 0.0
    reached = []
    for stage in range(stages):
        others = tuple(kind for kind in kinds if kind != stages + stage)
        good = np.take(counted.sum(axis=others), 1, axis=-1)
        reached.append(_passed_on(everything, stage))
        right = right + (_passed_on(good, stage) if stage == stages - 1 else _kept(good, stage))
    target = np.broadcast_shapes(*(each.shape for each in reached))
    return Surface(np.broadcast_to(right, target), tuple(np.broadcast_to(each, target) for each in reached))


def _passed_on(counted: Reals, stage: int) -> Reals:
    """Return how many all stages before this one hand on, by their cuts; other stages' levels are summed up."""
    for axis in range(1, counted.ndim):
        counted = _below(counted, axis) if axis <= stage else counted.sum(axis=axis, keepdims=True)
    return counted


def _kept(counted: Reals, stage: int) -> Reals:
    """Return how many reach this stage and stay there."""
    for axis in range(1, counted.ndim):
        if axis <= stage:
            counted = _below(counted, axis)
        elif axis == stage + 1:
            counted = counted.sum(axis=axis, keepdims=True) - _below(counted, axis)
        else:
            counted = counted.sum(axis=axis, keepdims=True)
    return counted


def _below(counted: Reals, axis: int) -> Reals:
    """Return for each cut the sum of what is below it: cut ``k`` stands at index ``k - 1``."""
    summed: Reals = np.cumsum(counted, axis=axis)
    return np.take(summed, np.arange(counted.shape[axis] - 1), axis=axis)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The best cuts for one price of a joule.

    Args:
        by_fold: index of the cuts chosen without each fold, counted over ``Surface.right`` without its first axis.
        on_all: index of the cuts chosen on everything.
    """

    by_fold: npt.NDArray[np.int64]
    on_all: int


def choose(surface: Surface, joules: Sequence[float], prices: Sequence[float]) -> list[Chosen]:
    """Return for each price the cuts with the most right answers less the price of their joules.

    Each fold's cuts are chosen on the other folds alone. Of equally good cuts the lowest stand: they hand on least.

    Args:
        surface: what every choice does.
        joules: of one request at each stage.
        prices: right answers that a joule has to gain.
    """
    right, spent = (
        _flat(surface.right),
        sum(each * _flat(reached) for each, reached in zip(joules, surface.reached, strict=True)),
    )
    found = []
    for price in prices:
        worth = right - price * spent
        total = worth.sum(axis=0)
        found.append(Chosen(np.argmax(total - worth, axis=1), int(np.argmax(total))))
    return found


def score(surface: Surface, chosen: Chosen) -> tuple[float, tuple[float, ...]]:
    """Return the shares of right answers and of texts that reach each stage; a fold has the cuts chosen without it."""
    folds = np.arange(len(chosen.by_fold))

    def total(counted: Reals) -> float:
        return float(_flat(counted)[folds, chosen.by_fold].sum())

    texts = total(surface.reached[0])
    return total(surface.right) / texts, tuple(total(each) / texts for each in surface.reached)


def cuts(surface: Surface, index: int | npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the cut of each stage but the last that an index stands for."""
    return tuple(each + 1 for each in np.unravel_index(index, surface.right.shape[1:]))


def _flat(counted: Reals) -> Reals:
    return counted.reshape(len(counted), -1)
