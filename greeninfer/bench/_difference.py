"""How much more accurate one candidate is than another, on the texts that both were asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from greeninfer.bench._bootstrap import deal, differences, freedom, split_weights
from greeninfer.bench._candidates import CandidateKey, Figure
from greeninfer.bench._columns import columns_of
from greeninfer.bench._intervals import repeat_half
from greeninfer.bench._records import Items, Results
from greeninfer.bench._scores import Reals, mark
from greeninfer.errors import ResultsError


def difference(results: Sequence[Results], one: CandidateKey, other: CandidateKey, seed: int = 0) -> Figure:
    """Return by how much more accurate one candidate is than another on the texts that both were asked.

    Paired, so that what is hard for both takes nothing away from telling them apart. The interval is where the
    difference would lie in a repeat with other texts and splits; if it has 0 in it, a repeat may turn it round.

    Raises:
        ResultsError: if one of them is not in the results, or they share no text.
    """
    columns = {column.key: column for column in columns_of(results) if column.runs}
    for key in (one, other):
        if key not in columns:
            raise ResultsError(f"{key} is not in these results; there are: {', '.join(map(str, columns))}")
    if one.dataset != other.dataset:
        raise ResultsError(f"{one} and {other} answered different data sets: {one.dataset}, {other.dataset}")
    first, second = (
        {run.cell.split: items for run, items in zip(column.runs, column.items, strict=True)}
        for column in (columns[one], columns[other])
    )
    pairs = {split: _pair(first[split], second[split]) for split in sorted(first.keys() & second.keys())}
    pairs = {split: pair for split, pair in pairs.items() if len(pair[0])}
    if not pairs:
        raise ResultsError(f"{one} and {other} were asked no text in common")
    groups = deal(1 + max(int(item.max()) for item, _ in pairs.values()), seed)
    size = int(groups.max()) + 1
    marks = {
        split: mark(float(away.mean()), (away - away.mean()) / len(away), groups[item], size)
        for split, (item, away) in pairs.items()
    }
    value = float(np.mean([each.value for each in marks.values()]))
    moved = differences([marks], split_weights(max(marks) + 1, seed), seed)
    half = repeat_half(moved[:, 0], freedom(marks, float(np.var(moved))))
    return Figure(value, max(-1.0, value - half), min(1.0, value + half))


def _pair(one: Items, other: Items) -> tuple[npt.NDArray[np.int32], Reals]:
    """Return the texts that both were asked, and what the first is ahead on each: 1, 0 or -1."""
    texts, first, second = np.intersect1d(one.item, other.item, assume_unique=True, return_indices=True)
    return texts, one.right[first].astype(float) - other.right[second]
