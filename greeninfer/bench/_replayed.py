"""Cascades gone through text by text, each with the thresholds that were chosen without it: their figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from greeninfer.bench._aligned import Answers, Flags, Numbers, Reals, Table
from greeninfer.bench._candidates import Candidate, CandidateKey, CascadeResult, Caveat, CaveatCode, Figure
from greeninfer.bench._resampled import count, marks, mean, moves, per_request, places, share_figure
from greeninfer.bench._scores import Mark
from greeninfer.bench._thresholds import Chosen, Levels, Surface, cuts

FEW_TEXTS: Final = 100
"""On fewer different texts a threshold is a guess."""

CROWDED: Final = 1.0 - 1e-4
"""A threshold above this tells confidences apart by less than numerical noise may move them."""

HANDED_DOWN: Final[tuple[CaveatCode, ...]] = (
    "estimated", "shared", "unstable", "below_resolution", "busy_machine", "few_splits", "no_energy",
)  # fmt: skip
"""What is true of a cascade as soon as it is true of one of its stages."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A model with the levels of its predictions; without thresholds where it gave no confidences to go by."""

    answers: Answers
    joules: Figure
    thresholds: Reals
    levels: Levels

    @property
    def key(self) -> CandidateKey:
        """Return whose they are."""
        return self.answers.candidate.key


@dataclass(frozen=True, slots=True)
class Found:
    """One cascade before it is scored in full: the rows that all its stages answered, and the cuts chosen there."""

    stages: tuple[Stage, ...]
    rows: slice | Numbers
    surface: Surface
    chosen: Chosen
    accuracy: float
    joules: float


@dataclass(frozen=True, slots=True)
class _Replayed:
    """A cascade as it would have gone, each text with the thresholds chosen without it.

    Args:
        right: whether the answer would have been right.
        depth: number of stages after the first that each text would have reached.
        seconds: how long all calls on its way took.
    """

    right: Flags
    depth: Levels
    seconds: Reals


def _replay(found: Found, fold: Numbers) -> _Replayed:
    rows, by_fold = found.rows, cuts(found.surface, found.chosen.by_fold)
    first = found.stages[0].answers
    right, seconds = first.right[rows].copy(), first.seconds[rows].astype(np.float64)
    depth, here = np.zeros(len(right), np.uint8), np.ones(len(right), np.bool_)
    for before, cut, stage in zip(found.stages[:-1], by_fold, found.stages[1:], strict=True):
        here &= before.levels[rows] < cut.astype(np.uint8)[fold[rows]]
        depth += here
        np.copyto(right, stage.answers.right[rows], where=here)
        np.add(seconds, stage.answers.seconds[rows], out=seconds, where=here)
    return _Replayed(right, depth, seconds)


def scored(found: Sequence[Found], table: Table, fold: Numbers, seed: int) -> Iterator[CascadeResult]:
    """Yield the cascades of a table with their intervals; all are drawn on the same texts and splits."""
    place, shape = places(table.text, table.split, seed)
    columns, seconds, words = [], [], []
    for each in found:
        went, stages = _replay(each, fold), len(each.stages)
        counted = count(place[each.rows], shape, went.depth * np.uint8(2) + went.right, 2 * stages)
        columns.append(marks(counted, range(1, 2 * stages, 2)))
        columns += [marks(counted, range(2 * depth, 2 * stages)) for depth in range(stages)]
        seconds.append(float(np.quantile(went.seconds, 0.95)))
        texts = int(np.count_nonzero(np.bincount(table.text[each.rows])))
        words.append(tuple(_caveats(each.stages, texts, len(went.right))))
    if not found:
        return
    moved = moves(columns, shape[0], seed)
    start = 0
    for each, p95_seconds, caveats in zip(found, seconds, words, strict=True):
        end = start + 1 + len(each.stages)
        yield _result(each, columns[start:end], moved[:, start:end], p95_seconds, caveats)
        start = end


def _result(
    found: Found, columns: Sequence[Mapping[int, Mark]], moved: Reals, p95_seconds: float, caveats: tuple[Caveat, ...]
) -> CascadeResult:
    """Put one cascade together; columns are the share of right answers, then of texts that reach each stage."""
    reach = tuple(mean(each) for each in columns[1:])
    models = [each.answers.candidate for each in found.stages]
    net = [each.net_joules for each in models if each.net_joules is not None]
    on_all = cuts(found.surface, found.chosen.on_all)
    thresholds = tuple(
        float(stage.thresholds[int(cut) - 1]) for stage, cut in zip(found.stages[:-1], on_all, strict=True)
    )
    return CascadeResult(
        stages=tuple(each.key for each in models),
        thresholds=thresholds,
        accuracy=share_figure(mean(columns[0]), moved[:, 0]),
        joules=per_request([each.joules for each in found.stages], reach, moved[:, 1:]),
        net_joules=per_request(net, reach, moved[:, 1:]) if len(net) == len(models) else None,
        seconds=per_request([each.seconds for each in models], reach, moved[:, 1:]),
        p95_seconds=p95_seconds,
        reach=reach,
        caveats=(*caveats, *_crowded(models, thresholds)),
    )


def _crowded(models: Sequence[Candidate], thresholds: Sequence[float]) -> Iterator[Caveat]:
    for model, threshold in zip(models, thresholds, strict=False):
        if threshold > CROWDED:
            words = (
                f"threshold {threshold!r}: the confidences of {model.key.model} crowd at 1, so that another precision"
            )
            yield Caveat("note", f"{words} or version of it may hand on other texts")


def _caveats(stages: Sequence[Stage], texts: int, predictions: int) -> Iterator[Caveat]:
    for stage in stages:
        for caveat in stage.answers.candidate.caveats:
            if caveat.code in HANDED_DOWN:
                yield Caveat(caveat.code, f"{stage.key.model}: {caveat.words}")
    if texts < FEW_TEXTS:
        yield Caveat("small_test_set", f"thresholds and score rest on {texts} texts that all stages answered")
    most = max(stage.answers.candidate.test_items for stage in stages)
    if predictions < most:
        words = f"scored on the {predictions} predictions that all its stages made; one of them made {most} in all"
        yield Caveat("note", words)
    size = stages[0].key.batch_size
    if size > 1:
        words = (
            f"measured in batches of {size}: what is handed on fills fewer batches, and a text that is handed on "
            "waits for a batch at each stage"
        )
        yield Caveat("note", words)
