"""The predictions of several models side by side: one row for each text of each split, the same row for all models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greeninfer.bench._candidates import Candidate, CandidateKey
from greeninfer.bench._columns import columns_of
from greeninfer.bench._records import Items, Results

Reals = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """What one candidate said, row by row.

    Args:
        candidate: whose answers.
        present: rows that it answered; the arrays below mean nothing elsewhere.
        right: whether the answer was right.
        confidence: NaN where it gave none or its answer was unparsable: not to be relied on whatever the threshold.
        seconds: how long the call took.
    """

    candidate: Candidate
    present: Flags
    right: Flags
    confidence: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Table:
    """Candidates of one machine, data set, device and batch size.

    Args:
        text: number of the text in each row; the same text has the same number in all splits.
        split: number of the split in each row.
        answers: of each candidate.
    """

    text: Numbers
    split: Numbers
    answers: tuple[Answers, ...]


def align(results: Sequence[Results], candidates: Sequence[Candidate]) -> Iterator[Table]:
    """Yield candidates that can be compared text by text: a table for each machine, data set, device and batch size.

    A text to which the first candidate found another label is another text: who saw it so lacks it.
    """
    known = {each.key: each for each in candidates}
    groups: dict[tuple[str, str, str, int], dict[CandidateKey, dict[int, Items]]] = {}
    for column in columns_of(results):
        key = column.key
        if key in known and column.runs:
            cells = {run.cell.split: items for run, items in zip(column.runs, column.items, strict=True)}
            groups.setdefault((key.machine, key.dataset, key.device, key.batch_size), {})[key] = cells
    for group in groups.values():
        yield _table(group, known)


def _table(group: dict[CandidateKey, dict[int, Items]], known: dict[CandidateKey, Candidate]) -> Table:
    splits = sorted({split for cells in group.values() for split in cells})
    texts = [_union([cells[split].item for cells in group.values() if split in cells]) for split in splits]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in texts])])
    labels = np.full(int(starts[-1]), -1, np.int32)
    answers = []
    for key, cells in group.items():
        mine = _nothing(known[key], len(labels))
        for number, split in enumerate(splits):
            if split in cells:
                rows = np.searchsorted(texts[number], cells[split].item) + starts[number]
                _fill(mine, rows, cells[split], labels)
        answers.append(mine)
    _, text = np.unique(np.concatenate(texts), return_inverse=True)
    of_row = np.repeat(np.arange(len(splits)), [len(each) for each in texts])
    return Table(text.astype(np.int32), of_row.astype(np.int32), tuple(answers))


def _union(parts: Sequence[Numbers]) -> Numbers:
    first = parts[0]
    if all(np.array_equal(each, first) for each in parts):
        parts = parts[:1]
    found: Numbers = np.unique(np.concatenate(parts))
    return found


def _nothing(candidate: Candidate, rows: int) -> Answers:
    return Answers(
        candidate=candidate,
        present=np.zeros(rows, np.bool_),
        right=np.zeros(rows, np.bool_),
        confidence=np.full(rows, np.nan, np.float32),
        seconds=np.zeros(rows, np.float32),
    )


def _fill(answers: Answers, rows: npt.NDArray[np.int64], items: Items, labels: Numbers) -> None:
    unknown = labels[rows] < 0
    labels[rows[unknown]] = items.label[unknown]
    answers.present[rows] = labels[rows] == items.label
    answers.right[rows] = items.right
    answers.confidence[rows] = np.where(items.predicted >= 0, items.confidence, np.float32(np.nan))
    answers.seconds[rows] = items.seconds
