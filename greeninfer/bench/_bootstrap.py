"""What the figures might have been with other texts and other splits: a bootstrap over both.

Texts are drawn with replacement from all texts of a data set, not split by split: with 10 splits of 400 texts every
text is asked several times, and asking it again tells little that is new. Splits are drawn by weights (Rubin's
bootstrap: exponential weights, so that a model with one split always has it). Both draws are the same for all models
of a data set, so that they are compared on the same texts.

What splits differ in is partly that their texts differ, which the draw of texts has already; so only the rest of the
spread over splits is drawn: shrink^2 = 1 - (variance that texts make) / (variance seen). Without it the noise of the
texts would count twice (Owen, Annals of Applied Statistics 2007, on resampling rows and columns).

Two or three splits hardly show what splits do: a repeat then lies within the intervals some 90 times of 100, not 95.

Above 10,000 texts, random groups of them are drawn in place of single ones: the sum over a random group has just the
variance of its texts, and 10,000 groups tell a standard deviation to 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greeninfer.bench._candidates import CandidateKey
from greeninfer.bench._scores import Mark, Reals

GROUPS = 10_000
DRAWS = 1_000
_AT_ONCE = 100
_MANY = 10_000


@dataclass(frozen=True, slots=True)
class Draws:
    """Figures of all candidates of one data set as they might have been; a row for each draw, a column for each key.

    NaN where a candidate has no such figure.
    """

    keys: tuple[CandidateKey, ...]
    accuracy: Reals
    macro_f1: Reals
    joules: Reals
    seconds: Reals
    p95_seconds: Reals


def deal(texts: int, seed: int, groups: int = GROUPS) -> npt.NDArray[np.int32]:
    """Return a group for each text of a data set: its own up to so many texts, a random one beyond."""
    if texts <= groups:
        return np.arange(texts, dtype=np.int32)
    return np.random.default_rng((seed, 1)).integers(0, groups, texts, dtype=np.int32)


def split_weights(splits: int, seed: int, draws: int = DRAWS) -> Reals:
    """Return how much each split counts in each draw."""
    return np.random.default_rng((seed, 2)).exponential(size=(draws, splits))


def redraw_marks(columns: Sequence[Mapping[int, Mark]], weights: Reals, seed: int) -> Reals:
    """Return the mean of each column over its splits in every draw of texts and splits, within 0 and 1.

    Args:
        columns: marks by split, one mapping for each candidate.
        weights: of ``split_weights``.
        seed: of the draw of texts; the same seed draws the same texts.
    """
    value = np.array([np.mean([each.value for each in column.values()]) for column in columns])
    return np.clip(value + differences(columns, weights, seed), 0.0, 1.0)


def differences(columns: Sequence[Mapping[int, Mark]], weights: Reals, seed: int) -> Reals:
    """Return by how much the mean of each column over its splits moves in every draw."""
    parts = np.stack([np.mean([each.parts for each in column.values()], axis=0) for column in columns], axis=1)
    moved = _redraw_texts(parts, len(weights), seed)
    for number, column in enumerate(columns):
        values = {split: each.value for split, each in column.items()}
        moved[:, number] += _shrink(column) * _redraw_splits(values, weights)
    return moved


def redraw_amounts(values: Mapping[int, float], weights: Reals, spread: float = 0.0, seed: int = 0) -> Reals:
    """Return the mean of positive values over splits in every draw of splits, on the log scale.

    Args:
        values: by split.
        weights: of ``split_weights``.
        spread: standard deviation of the logarithm where there is one split only, which weights cannot vary.
        seed: of that, one for each candidate.
    """
    mean = float(np.mean(list(values.values())))
    if len(values) == 1:
        return np.asarray(mean * np.exp(spread * np.random.default_rng((seed, 4)).normal(size=len(weights))))
    if min(values.values()) <= 0.0:
        return np.full(len(weights), mean)
    logs = {split: math.log(each) for split, each in values.items()}
    return np.asarray(mean * np.exp(_redraw_splits(logs, weights)))


def freedom(column: Mapping[int, Mark], variance: float) -> int:
    """Return how many degrees of freedom the variance of a mean over splits has.

    The part of the texts is known well; that of k splits has k - 1 (Satterthwaite, Biometrics 1946).
    """
    count = len(column)
    part = _shrink(column) ** 2 * float(np.var([each.value for each in column.values()])) / max(1, count - 1)
    if part == 0.0:
        return _MANY
    return min(_MANY, math.floor((count - 1) * max(1.0, variance / part) ** 2))


def _redraw_texts(parts: npt.NDArray[np.float32], draws: int, seed: int) -> Reals:
    """Return the sum of parts over texts drawn with replacement, for each draw; the parts of groups without texts
    are 0, and such groups are not drawn.
    """
    held = np.ascontiguousarray(parts[np.any(parts != 0.0, axis=1)])
    count = len(held)
    if not count:
        return np.zeros((draws, parts.shape[1]))
    random = np.random.default_rng((seed, 3))
    done = []
    for start in range(0, draws, _AT_ONCE):
        rows = min(_AT_ONCE, draws - start)
        drawn = random.integers(0, count, (rows, count))
        drawn += np.arange(rows)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        done.append(times.astype(np.float32) @ held)
    return np.concatenate(done).astype(np.float64)


def _redraw_splits(values: Mapping[int, float], weights: Reals) -> Reals:
    """Return by how much a weighted mean over splits differs from the plain one.

    The variance of such a mean is sum((x - mean)^2) / (k (k + 1)), a little less than the s^2 / k of a mean of k.
    """
    count = len(values)
    if count < 2:
        return np.zeros(len(weights))
    own = weights[:, list(values)]
    seen = np.array(list(values.values()))
    away: Reals = own @ (seen - seen.mean()) / own.sum(axis=1)
    return away * math.sqrt((count + 1) / (count - 1))


def _shrink(column: Mapping[int, Mark]) -> float:
    seen = float(np.var([each.value for each in column.values()], ddof=1)) if len(column) > 1 else 0.0
    if seen == 0.0:
        return 0.0
    return math.sqrt(max(0.0, 1.0 - float(np.mean([each.noise for each in column.values()])) / seen))
