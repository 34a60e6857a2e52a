"""Random halves of a data set: which texts are learnt from and which are asked, the same for every model.

The k-th split depends on the data set's size (and labels, if stratified), the sizes and ``seed + k`` alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greeninfer.bench._study import Splits
from greeninfer.bench._texts import Labelled
from greeninfer.errors import StudyError

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Split:
    """One pair of halves.

    Args:
        train, test: rows of the data set, in random order, none in both.
        notes: what a reader of the results should know, in words.
    """

    train: Rows
    test: Rows
    notes: tuple[str, ...] = ()


def draw(labelled: Labelled, splits: Splits, number: int) -> Split:
    """Return the split of that number; the same arguments always give the same.

    Raises:
        StudyError: if there are too few texts, or all that are learnt from have one label.
    """
    rows = len(labelled.texts)
    train_size, test_size = _sizes(labelled, splits)
    seed = splits.seed + number
    if seed < 0:
        raise StudyError(f"seed={splits.seed!r}", "0 or more", path=("splits", "seed"))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(rows)
    if splits.stratify:
        train, test = _stratified(labelled.labels, order, train_size, test_size)
    else:
        # Tests come first: they stay the same when only the number of training texts changes.
        test, train = order[:test_size], order[test_size : test_size + train_size]
    return Split(train, test, _notes(labelled, splits, train, test))


def _sizes(labelled: Labelled, splits: Splits) -> tuple[int, int]:
    rows = len(labelled.texts)
    sizes = {"train": splits.train, "test": splits.test}
    # The billionth mends shares such as 0.29 of 100, which is 28.999999999999996 in floating point.
    counts = {half: int(size) if size >= 1 else math.floor(size * rows + 1e-9) for half, size in sizes.items()}
    for name, count in counts.items():
        if count < 1:
            what = f"{name}={sizes[name]} of the {rows} texts of {labelled.name} is none"
            raise StudyError(what, "a share that is one text or more", "a larger share", ("splits", name))
    if sum(counts.values()) > rows:
        what = (
            f"{labelled.name} has {rows} texts that can be used; "
            f"train={splits.train:g} and test={splits.test:g} need {sum(counts.values())}"
        )
        half = rows // 2
        remedy = f"splits: {{train: {half}, test: {half}}}, or more texts" if half > 1 else "more texts"
        raise StudyError(what, f"{rows} in sum", remedy, ("splits", "train"))
    return counts["train"], counts["test"]


def _stratified(labels: tuple[str, ...], order: Rows, train_size: int, test_size: int) -> tuple[Rows, Rows]:
    """Return halves in which every label has its share, to the nearest text; rare labels go to training first."""
    numbers = {label: number for number, label in enumerate(sorted(set(labels)))}
    code = np.array([numbers[label] for label in labels])
    there = np.bincount(code, minlength=len(numbers))
    train_count = largest_remainder(there, train_size, there)
    test_count = largest_remainder(there, test_size, there - train_count)
    drawn = code[order]
    grouped = np.argsort(drawn, kind="stable")
    first = np.concatenate([[0], np.cumsum(there)[:-1]])
    rank = np.empty(len(order), np.int64)
    rank[grouped] = np.arange(len(order)) - first[drawn[grouped]]
    in_train = rank < train_count[drawn]
    in_test = ~in_train & (rank < (train_count + test_count)[drawn])
    return order[in_train], order[in_test]


def largest_remainder(there: Rows, total: int, most: Rows) -> Rows:
    """Divide a total in proportion to what is there: whole parts first, then one each to the largest remainders.

    Hamilton's method of apportionment; of equal remainders the rarest comes first. No part is larger than its
    ``most``, which together have to be the total or more.
    """
    exact = there * total
    parts: Rows = np.minimum(exact // there.sum(), most)
    wanting = np.lexsort((there, -(exact % there.sum())))
    while (left := total - int(parts.sum())) > 0:
        open_to_more = wanting[parts[wanting] < most[wanting]][:left]
        parts[open_to_more] += 1
    return parts


def _notes(labelled: Labelled, splits: Splits, train: Rows, test: Rows) -> tuple[str, ...]:
    learnt = {labelled.labels[row] for row in train}
    if len(learnt) < 2:
        remedy = "more training texts" if splits.stratify else "splits: {stratify: true}, or more training texts"
        what = f"all {len(train)} training texts of {labelled.name} have the label {learnt.pop()!r}"
        raise StudyError(what, "two labels or more", remedy, ("splits", "train"))
    unseen: dict[str, int] = {}
    for row in test:
        label = labelled.labels[row]
        if label not in learnt:
            unseen[label] = unseen.get(label, 0) + 1
    if not unseen:
        return ()
    listed = ", ".join(f"{label} ({count})" for label, count in sorted(unseen.items()))
    return (
        f"{labelled.name}: {sum(unseen.values())} of {len(test)} test texts have a label that no training text has: "
        f"{listed}; what learns from these training texts must get them wrong",
    )
