"""From rows to figures: what every model was worth and what it took, with intervals and caveats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from greeninfer._energy import Quality
from greeninfer.bench import _caveats
from greeninfer.bench._bootstrap import Draws, deal, freedom, redraw_amounts, redraw_marks, split_weights
from greeninfer.bench._candidates import Candidate, CandidateKey, Caveat, Figure
from greeninfer.bench._columns import Column, LeftOut, check_labels, columns_of, left_out_of
from greeninfer.bench._front import front
from greeninfer.bench._intervals import Z, block_rates, log_spread, over_blocks, over_splits, repeat_half
from greeninfer.bench._records import PHASES, Items, Phase, PhaseName, Results, Run
from greeninfer.bench._scores import Mark, Reals, Score, score

_RARE = 5
"""Fewer texts right, or fewer wrong, than this, and resampling them says too little."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One candidate with what each split said, for whoever compares."""

    candidate: Candidate
    joules: Mapping[int, float]
    seconds: Mapping[int, float]
    p95_seconds: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that results say.

    Args:
        measured: candidates in the order of the studies.
        draws: by data set, what their figures might have been.
        left_out: candidates without a single good cell.
    """

    measured: tuple[Measured, ...]
    draws: Mapping[str, Draws]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class _Scored:
    column: Column
    scores: tuple[Score, ...]
    texts: int
    p50_seconds: float
    p95_seconds: float
    joules: Mapping[int, float]
    seconds: Mapping[int, float]
    joules_figure: Figure | None
    seconds_figure: Figure | None


def candidates(results: Sequence[Results], seed: int = 0) -> tuple[Candidate, ...]:
    """Return every candidate that has a good cell, with intervals and caveats, in the order of the studies.

    Args:
        results: one folder, or several from one machine or many.
        seed: of the bootstrap; the same seed gives the same figures.

    Raises:
        ResultsError: if folders mean different labels by one name of a data set.
    """
    return tuple(each.candidate for each in survey(results, seed).measured)


def survey(results: Sequence[Results], seed: int = 0) -> Survey:
    """Return the candidates, what they might have been, and what is missing; raises as ``candidates`` does."""
    check_labels(results)
    columns = columns_of(results)
    good = [column for column in columns if column.runs]
    measured: dict[CandidateKey, Measured] = {}
    draws: dict[str, Draws] = {}
    for dataset in dict.fromkeys(column.key.dataset for column in good):
        of_dataset = [column for column in good if column.key.dataset == dataset]
        groups = deal(1 + max(int(items.item.max()) for column in of_dataset for items in column.items), seed)
        scored = [_score(column, groups) for column in of_dataset]
        draws[dataset] = _draw(scored, seed)
        measured |= {each.column.key: _measure(each, draws[dataset], n) for n, each in enumerate(scored)}
    left_out = tuple(left_out_of(columns))
    return Survey(_with_fronts([measured[column.key] for column in good]), draws, left_out)


def _score(column: Column, groups: npt.NDArray[np.int32]) -> _Scored:
    labels, runs = len(column.results.labels[column.key.dataset]), column.runs
    joules = _by_split((run, run.joules_per_item) for run in runs)
    per_item = _by_split((run, run.seconds_per_item) for run in runs)
    seconds = np.concatenate([items.seconds for items in column.items])
    p50, p95 = (float(each) for each in np.quantile(seconds, (0.5, 0.95)))
    return _Scored(
        column=column,
        scores=tuple(score(items, labels, groups) for items in column.items),
        texts=_distinct(column.items, len(groups)),
        p50_seconds=p50,
        p95_seconds=p95,
        joules=joules,
        seconds=per_item,
        joules_figure=_figure(runs, joules, [run.block_joules for run in runs]),
        seconds_figure=_figure(runs, per_item, [run.block_seconds for run in runs]),
    )


def _distinct(items: Sequence[Items], texts: int) -> int:
    seen = np.zeros(texts, bool)
    for each in items:
        seen[each.item] = True
    return int(np.count_nonzero(seen))


def _by_split(values: Iterable[tuple[Run, float | None]]) -> dict[int, float]:
    return {run.cell.split: value for run, value in values if value is not None}


def _draw(scored: Sequence[_Scored], seed: int) -> Draws:
    splits = 1 + max(run.cell.split for each in scored for run in each.column.runs)
    weights = split_weights(splits, seed)
    empty = np.full(len(weights), np.nan)

    def amounts(values: Sequence[Mapping[int, float]], figures: Sequence[Figure | None]) -> Reals:
        drawn = (
            redraw_amounts(each, weights, log_spread(figure), seed + number) if each else empty
            for number, (each, figure) in enumerate(zip(values, figures, strict=True))
        )
        return np.stack(list(drawn), axis=1)

    return Draws(
        keys=tuple(each.column.key for each in scored),
        accuracy=redraw_marks([_marks(each, "accuracy") for each in scored], weights, seed),
        macro_f1=redraw_marks([_marks(each, "macro_f1") for each in scored], weights, seed),
        joules=amounts([each.joules for each in scored], [each.joules_figure for each in scored]),
        seconds=amounts([each.seconds for each in scored], [each.seconds_figure for each in scored]),
        p95_seconds=amounts([_p95(each) for each in scored], [each.seconds_figure for each in scored]),
    )


def _marks(scored: _Scored, name: str) -> dict[int, Mark]:
    return {run.cell.split: getattr(one, name) for run, one in zip(scored.column.runs, scored.scores, strict=True)}


def _p95(scored: _Scored) -> dict[int, float]:
    return {run.cell.split: one.p95_seconds for run, one in zip(scored.column.runs, scored.scores, strict=True)}


def _measure(scored: _Scored, draws: Draws, number: int) -> Measured:
    runs, scores, key = scored.column.runs, scored.scores, scored.column.key
    spec = scored.column.results.study.model(key.model)
    budget = spec.options.get("reasoning_tokens")
    accuracy = _share(_marks(scored, "accuracy"), draws.accuracy[:, number], scored.texts)
    joules = scored.joules_figure
    quality, gain = _quality(runs)
    majority = float(np.mean([_majority(*each) for each in zip(runs, scored.column.items, strict=True)]))
    caveats: tuple[Caveat, ...] = (
        *_caveats.of_energy(runs, quality, gain, joules),
        *_caveats.of_spread(runs, joules),
        *_caveats.of_accuracy(spec.kind, scores, accuracy, majority, scored.texts),
        *_caveats.of_runs(runs, scored.column.failed),
    )
    candidate = Candidate(
        key=key,
        kind=spec.kind,
        splits=len(runs),
        failed=len(scored.column.failed),
        test_items=sum(each.texts for each in scores),
        accuracy=accuracy,
        macro_f1=_share(_marks(scored, "macro_f1"), draws.macro_f1[:, number], scored.texts),
        majority=majority,
        unparsable=float(np.average([one.unparsable for one in scores], weights=[one.texts for one in scores])),
        joules=joules,
        net_joules=_figure(runs, _by_split((run, run.net_joules_per_item) for run in runs), ()),
        seconds=scored.seconds_figure or Figure(math.nan),
        cpu_seconds=float(np.mean([run.phases["steady"].cpu_seconds / run.items for run in runs])),
        p50_seconds=scored.p50_seconds,
        p95_seconds=scored.p95_seconds,
        phases=_phases(runs),
        tokens=_tokens(scores),
        reasoning_budget=budget if isinstance(budget, int) and not isinstance(budget, bool) else None,
        quality=quality,
        gain=gain,
        caveats=caveats,
    )
    return Measured(candidate, scored.joules, scored.seconds, _p95(scored))


def _majority(run: Run, items: Items) -> float:
    """Return what the run says, or the share of the commonest label in its test texts, which is no lower."""
    return float(np.bincount(items.label).max() / len(items)) if run.majority is None else run.majority


def _share(marks: Mapping[int, Mark], drawn: Reals, texts: int) -> Figure:
    """Return a mean share with its interval; where hardly a text is right, or wrong, no narrower than Wilson's.

    Wilson's score interval (JASA 1927) with twice the variance, because a repeat has noise of its own.
    """
    value = float(np.mean([each.value for each in marks.values()]))
    half = repeat_half(drawn, freedom(marks, float(np.var(drawn))))
    low, high = max(0.0, value - half), min(1.0, value + half)
    if min(value, 1.0 - value) * texts < _RARE:
        z2 = 2 * Z**2
        centre = (value + z2 / (2 * texts)) / (1 + z2 / texts)
        around = math.sqrt(z2 * (value * (1 - value) / texts + z2 / (4 * texts**2))) / (1 + z2 / texts)
        low, high = min(low, max(0.0, centre - around)), max(high, min(1.0, centre + around))
    return Figure(value, min(value, low), max(value, high))


def _figure(runs: Sequence[Run], values: Mapping[int, float], amounts: Sequence[Sequence[float]]) -> Figure | None:
    """Return a mean over splits with its interval, from the blocks of the run where there is only one."""
    if not values:
        return None
    if len(values) > 1 or not amounts:
        return over_splits(list(values.values()))
    ((split, value),) = values.items()
    number = next(n for n, run in enumerate(runs) if run.cell.split == split)
    return over_blocks(value, block_rates(runs[number], amounts[number]))


def _quality(runs: Sequence[Run]) -> tuple[Quality | None, tuple[float, float]]:
    order: tuple[Quality, ...] = ("measured", "shared", "estimated")
    found = [run for run in runs if run.joules_per_item is not None]
    known = [run.quality for run in found if run.quality is not None]
    gain = min((run.gain[0] for run in found), default=1.0), max((run.gain[1] for run in found), default=1.0)
    return (max(known, key=order.index) if known else None), gain


def _phases(runs: Sequence[Run]) -> dict[PhaseName, Phase]:
    found: dict[PhaseName, Phase] = {}
    for name in PHASES:
        reached = [run.phases[name] for run in runs if name in run.phases]
        if reached:
            found[name] = Phase(
                seconds=float(np.mean([each.seconds for each in reached])),
                cpu_seconds=float(np.mean([each.cpu_seconds for each in reached])),
                joules=_mean([each.joules for each in reached]),
                net_joules=_mean([each.net_joules for each in reached]),
                other_joules=_mean([each.other_joules for each in reached]),
                ticks=round(float(np.mean([each.ticks for each in reached]))),
            )
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return float(np.mean(known)) if known else None


def _tokens(scores: Sequence[Score]) -> dict[str, float]:
    kinds = dict.fromkeys(kind for each in scores for kind in each.tokens)
    return {kind: float(np.mean([each.tokens[kind] for each in scores if kind in each.tokens])) for kind in kinds}


def _with_fronts(measured: Sequence[Measured]) -> tuple[Measured, ...]:
    """Mark the front of each machine and data set; by seconds where nobody has joules, which is said."""
    done = {each.candidate.key: each for each in measured}
    rooms = dict.fromkeys((each.candidate.key.machine, each.candidate.key.dataset) for each in measured)
    for machine, dataset in rooms:
        here = [each.candidate for each in measured
                if (each.candidate.key.machine, each.candidate.key.dataset) == (machine, dataset)]  # fmt: skip
        by_joules = any(each.joules is not None for each in here)
        cost = [(each.joules.value if each.joules else None) if by_joules else each.seconds.value for each in here]
        extra = () if by_joules else (Caveat("no_energy", "no energy here: the front is by seconds per request"),)
        for each, on_front in zip(here, front([each.accuracy.value for each in here], cost), strict=True):
            changed = replace(each, on_front=on_front, caveats=(*each.caveats, *extra))
            done[each.key] = replace(done[each.key], candidate=changed)
    return tuple(done[each.candidate.key] for each in measured)
