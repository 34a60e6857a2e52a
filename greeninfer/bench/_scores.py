"""What one cell's predictions say: how many are right, and how much each text moves that.

The last is what resampling needs. Accuracy is a mean, so leaving a text out, or taking it twice, moves it by that
text's own part; macro-F1 is a smooth function of counts, and moves by its derivative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greeninfer.bench._records import Items

Reals = npt.NDArray[np.float64]

TOKENS = ("input", "output", "reasoning")


@dataclass(frozen=True, slots=True)
class Mark:
    """A figure of one split, and what its texts have to do with it.

    Args:
        value: the figure.
        parts: by group of texts, what they move it by if they count once more; they sum to 0.
        noise: variance of the figure that comes from which texts were drawn.
    """

    value: float
    parts: npt.NDArray[np.float32]
    noise: float


@dataclass(frozen=True, slots=True)
class Score:
    """One cell, scored.

    Args:
        texts: how many were asked.
        accuracy, macro_f1: unparsable answers count as wrong; F1 over the labels that occur in the test texts.
        unparsable: share of answers that could not be read.
        labels, answers: how many different labels the texts have, and the readable answers.
        p95_seconds: of single calls.
        tokens: mean per text by kind, where known.
    """

    texts: int
    accuracy: Mark
    macro_f1: Mark
    unparsable: float
    labels: int
    answers: int
    p95_seconds: float
    tokens: Mapping[str, float]


def score(items: Items, labels: int, groups: npt.NDArray[np.int32]) -> Score:
    """Score the predictions of one cell.

    Args:
        items: the predictions, one and more.
        labels: how many labels the data set has.
        groups: group of each text of the data set, by its number.
    """
    right = items.right
    group, size = groups[items.item], int(groups.max()) + 1
    true = np.bincount(items.label, minlength=labels)
    read = items.predicted >= 0
    answered = np.bincount(items.predicted[read], minlength=labels)
    return Score(
        texts=len(items),
        accuracy=mark(float(right.mean()), (right - right.mean()) / len(items), group, size),
        macro_f1=_macro_f1(items, true, answered, right, group, size),
        unparsable=1.0 - float(read.mean()),
        labels=int(np.count_nonzero(true)),
        answers=int(np.count_nonzero(answered)),
        p95_seconds=float(np.quantile(items.seconds, 0.95)),
        tokens=_tokens(items),
    )


def mark(value: float, parts: Reals, group: npt.NDArray[np.int32], size: int) -> Mark:
    """Return a figure with its texts' parts in it summed up by group."""
    summed = np.bincount(group, weights=parts, minlength=size).astype(np.float32)
    return Mark(value, summed, float(parts @ parts))


def _macro_f1(
    items: Items,
    true: npt.NDArray[np.int64],
    answered: npt.NDArray[np.int64],
    right: npt.NDArray[np.bool_],
    group: npt.NDArray[np.int32],
    size: int,
) -> Mark:
    """F1 of a label is 2 TP / d with d = texts that have it + answers that name it; its derivative is
    (2 dTP - F1 dd) / d. A label that no test text has takes no part in the mean.
    """
    hits = np.bincount(items.label[right], minlength=len(true))
    occurs = true > 0
    whole = np.where(occurs, true + answered, 1)
    f1 = np.where(occurs, 2 * hits / whole, 0.0)
    count = int(np.count_nonzero(occurs))
    slope = np.append(f1 / whole, 0.0)  # the last is where -1, an unparsable answer, looks
    parts = (np.where(right, 2 / whole[items.label], 0.0) - slope[items.label] - slope[items.predicted]) / count
    return mark(float(f1.sum() / count), parts, group, size)


def _tokens(items: Items) -> dict[str, float]:
    found = {}
    for kind in TOKENS:
        counts = getattr(items, f"{kind}_tokens")
        known = counts >= 0
        if known.any():
            found[kind] = float(counts[known].mean())
    return found
