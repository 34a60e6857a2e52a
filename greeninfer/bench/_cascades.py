"""Cascades: a small model answers and hands on to a larger one what it is not sure of.

Nothing is run: the recorded predictions and confidences say what every cascade would have answered, and what it would
have cost. Thresholds are chosen on some texts and scored on others, turn by turn (cross-validation); a text is on the
same side in all splits. What is reported beside that score are the thresholds chosen on all texts, which is what a
service should run with; their own score is not shown, as it would look better than it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from greeninfer.bench._aligned import Numbers, Table, align
from greeninfer.bench._candidates import Candidate, CandidateKey, CascadeResult
from greeninfer.bench._front import front
from greeninfer.bench._records import Results
from greeninfer.bench._replayed import Found, Stage, scored
from greeninfer.bench._statistics import candidates as candidates_of
from greeninfer.bench._thresholds import choose, grid, levels, score, survey

GAINS = (0.0001, 0.02, 0.06, 0.15, 0.3)
"""What handing on to the last stage has to gain in right answers to be worth its joules: one cascade for each."""

NEVER = 0.005
"""A last stage that fewer of the texts reach makes no cascade."""

MOST = 8
"""Cascades that come out for one machine and data set: more than that nobody compares."""


def search(
    results: Results | Sequence[Results],
    *,
    max_stages: int = 3,
    folds: int = 5,
    seed: int = 0,
    keys: Sequence[CandidateKey] | None = None,
    candidates: Sequence[Candidate] | None = None,
) -> tuple[CascadeResult, ...]:
    """Return the cascades worth a look, machine by machine and data set by data set, the most frugal first.

    Models combine that answered the same texts on one machine and device, at one batch size; from small to large in
    joules. For each pair a few cascades come out, from frugal to accurate. Left out is what a single model or a shorter
    cascade does at no more joules and no fewer right answers on the same texts; of three stages only the best stay.
    Always answering the commonest label is no stage. Off the front, what gains no more over a mixture of its stages
    than its interval is wide stays out as well; of the rest come the ``MOST`` that gain most.

    Args:
        results: one or more results folders.
        max_stages: 2 or 3.
        folds: parts that the texts are cut into; each is scored with thresholds chosen on the others.
        seed: of what is drawn: the parts, the intervals.
        keys: only these models; None for all.
        candidates: what ``_statistics.candidates`` said of these results, where somebody has it already.

    Raises:
        ValueError: for a number of stages or folds that is not possible.
    """
    if max_stages not in (2, 3):
        raise ValueError(f"max_stages={max_stages!r} is not possible; allowed: 2, 3")
    if folds < 2:
        raise ValueError(f"folds={folds!r} is not possible; allowed: 2 or more; remedy: 5 is the default")
    folders = [results] if isinstance(results, Results) else list(results)
    singles = candidates_of(folders, seed) if candidates is None else candidates
    chosen = [each for each in singles if keys is None or each.key in keys]
    found: list[CascadeResult] = []
    for table in align(folders, chosen):
        order = np.random.default_rng((seed, 4)).permutation(int(table.text.max()) + 1)
        fold = (order[table.text] % folds).astype(np.int32)
        found += scored(list(_worthwhile(_stages(table), fold, folds, max_stages)), table, fold, seed)
    placed = mark_front(singles, _few(singles, mark_front(singles, found)[1]))[1]
    return tuple(sorted(placed, key=lambda each: (each.stages[0].machine, each.stages[0].dataset, each.joules.value)))


def mark_front(
    candidates: Sequence[Candidate], cascades: Sequence[CascadeResult]
) -> tuple[tuple[Candidate, ...], tuple[CascadeResult, ...]]:
    """Return both with ``on_front`` set anew: they stand on one front for each machine and data set.

    Where nobody has joules there are no cascades, and candidates stay as they are.
    """
    everything: list[Candidate | CascadeResult] = [*candidates, *cascades]
    rooms: dict[tuple[str, str], list[int]] = {}
    for number, each in enumerate(everything):
        key = each.key if isinstance(each, Candidate) else each.stages[0]
        rooms.setdefault((key.machine, key.dataset), []).append(number)
    marked = dict(enumerate(everything))
    for numbers in rooms.values():
        here = [everything[number] for number in numbers]
        if all(each.joules is None for each in here):
            continue
        on = front([each.accuracy.value for each in here], [_joules(each) for each in here])
        marked |= {number: replace(each, on_front=is_on) for number, each, is_on in zip(numbers, here, on, strict=True)}
    return (
        tuple(each for each in marked.values() if isinstance(each, Candidate)),
        tuple(each for each in marked.values() if isinstance(each, CascadeResult)),
    )


def gain_over(cascade: CascadeResult, singles: Sequence[Candidate]) -> float:
    """Return by how much a cascade is more accurate than the best mixture of single models at its joules.

    A mixture sends each request to one of two models by a coin: it lies on the line between both.
    """
    spent = cascade.joules.value
    alone = [(each.joules.value, each.accuracy.value) for each in singles if each.joules is not None]
    below = [each for each in alone if each[0] <= spent]
    above = [each for each in alone if each[0] > spent]
    reached = [accuracy for _, accuracy in below]
    for (low, worse), (high, better) in itertools.product(below, above):
        reached.append(worse + (better - worse) * (spent - low) / (high - low))
    return cascade.accuracy.value - max(reached, default=0.0)


def _few(singles: Sequence[Candidate], found: Sequence[CascadeResult]) -> list[CascadeResult]:
    """Return the cascades of each machine and data set that bring most, those on the front first."""
    by_key = {each.key: each for each in singles}
    rooms: dict[tuple[str, str], list[tuple[bool, float, CascadeResult]]] = {}
    for each in found:
        gain = gain_over(each, [by_key[key] for key in each.stages])
        low, high = each.accuracy.low, each.accuracy.high
        told_apart = low is not None and high is not None and gain > (high - low) / 2
        if each.on_front or told_apart:
            room = rooms.setdefault((each.stages[0].machine, each.stages[0].dataset), [])
            room.append((not each.on_front, -gain, each))
    return [each for room in rooms.values() for _, _, each in sorted(room, key=lambda one: one[:2])[:MOST]]


def _joules(each: Candidate | CascadeResult) -> float | None:
    return None if each.joules is None else each.joules.value


def _stages(table: Table) -> list[Stage]:
    """Return the models that have joules, from small to large."""
    stages = []
    for answers in table.answers:
        if answers.candidate.joules is None or answers.candidate.kind == "majority":
            continue
        known = answers.confidence[~np.isnan(answers.confidence)]
        usable = len(known) > 0 and float(known.min()) >= 0.0 and float(known.max()) <= 1.0
        thresholds = grid(answers.confidence) if usable else np.zeros(0)
        ranks = levels(answers.confidence, thresholds)
        stages.append(Stage(answers, answers.candidate.joules, thresholds, ranks))
    return sorted(stages, key=lambda each: (each.joules.value, str(each.key)))


def _worthwhile(stages: Sequence[Stage], fold: Numbers, folds: int, max_stages: int) -> Iterator[Found]:
    """Yield the cascades that nothing simpler on the same texts does as well."""
    simpler: dict[bytes, list[tuple[float, float]]] = {}
    for length in range(2, max_stages + 1):
        passed: list[tuple[bytes, Found]] = []
        for chain in itertools.combinations(stages, length):
            present = np.logical_and.reduce([each.answers.present for each in chain])
            rows = slice(None) if present.all() else np.flatnonzero(present).astype(np.int32)
            in_all = np.bincount(fold[rows], minlength=folds).all()
            if not in_all or any(not len(each.thresholds) for each in chain[:-1]):
                continue
            same = np.packbits(present).tobytes()
            if same not in simpler:
                simpler[same] = _alone(stages, rows)
            passed += [
                (same, found)
                for found in _of_chain(chain, rows, fold[rows], folds)
                if not any(_at_least(each, (found.joules, found.accuracy)) for each in simpler[same])
            ]
        for same in dict.fromkeys(same for same, _ in passed):
            here = [found for each, found in passed if each == same]
            kept = here if length == 2 else _best(here)  # longer chains are many, and hard to explain
            simpler[same] += [(found.joules, found.accuracy) for found in kept]
            yield from kept


def _alone(stages: Sequence[Stage], rows: slice | Numbers) -> list[tuple[float, float]]:
    """Return (joules, accuracy) of each model that answered these rows."""
    return [
        (each.joules.value, float(each.answers.right[rows].mean()))
        for each in stages
        if each.answers.present[rows].all()
    ]


def _at_least(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether one, as (joules, accuracy), is as good as the other in both."""
    return one[0] <= other[0] and one[1] >= other[1]


def _of_chain(chain: tuple[Stage, ...], rows: slice | Numbers, fold: Numbers, folds: int) -> list[Found]:
    """Return the cascades of one chain, none of them as good as another in both."""
    handing = chain[:-1]
    surface = survey(
        fold,
        folds,
        [each.levels[rows] for each in handing],
        [len(each.thresholds) for each in handing],
        [each.answers.right[rows] for each in chain],
    )
    joules = [each.joules.value for each in chain]
    kept: dict[int, Found] = {}
    for chosen in choose(surface, joules, [gain / joules[-1] for gain in GAINS]):
        accuracy, reach = score(surface, chosen)
        if chosen.on_all not in kept and reach[-1] >= NEVER:
            spent = sum(each * reached for each, reached in zip(joules, reach, strict=True))
            kept[chosen.on_all] = Found(chain, rows, surface, chosen, accuracy, spent)
    return _best(list(kept.values()))


def _best(found: Sequence[Found]) -> list[Found]:
    """Return those to which no other is as good in both and better in one."""
    on = front([each.accuracy for each in found], [each.joules for each in found])
    return [each for each, is_on in zip(found, on, strict=True) if is_on]
