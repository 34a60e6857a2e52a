"""Choose: the least energy that keeps the bounds, or the most accurate within a budget, and how sure that is.

How sure: the same rule is applied to every draw of the bootstrap (other texts, other splits; joules go with the
splits), and the probability of a choice is the share of draws that end with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from greeninfer.bench._candidates import Candidate, Figure
from greeninfer.bench._choice import Basis, Choice, Needs, Other
from greeninfer.bench._choice_words import amount, render
from greeninfer.bench._columns import LeftOut
from greeninfer.bench._cost import Scale, yearly
from greeninfer.bench._intervals import ratio, repeat_half
from greeninfer.bench._records import Results
from greeninfer.bench._scores import Reals
from greeninfer.bench._statistics import Measured, Survey, survey
from greeninfer.errors import StudyError

__all__ = ["Choice", "Needs", "Other", "Scale", "choose", "render"]


@dataclass(frozen=True, slots=True)
class _Field:
    """The candidates that a choice is made among, in one order; arrays have them in their last axis."""

    measured: tuple[Measured, ...]
    basis: Basis
    needs: Needs
    accuracy: Reals
    cost: Reals
    p95_seconds: Reals

    def choices(self) -> tuple[int, Sequence[int]]:
        """Return the place of the choice by the figures, and by every draw; -1 where nothing keeps the bounds."""
        candidates = [each.candidate for each in self.measured]
        points = (
            np.array([[each.accuracy.value for each in candidates]]),
            np.array([[_cost(each, self.basis) for each in candidates]]),
            np.array([[each.p95_seconds for each in candidates]]),
        )
        chosen = int(_pick(*points, self.needs)[0])
        return chosen, [int(each) for each in _pick(self.accuracy, self.cost, self.p95_seconds, self.needs)]


def choose(results: Sequence[Results] | Survey, needs: Needs, scale: Scale | None = None, seed: int = 0) -> Choice:
    """Return the candidate that needs the least and gives what is asked for.

    With a bound on accuracy: the least gross joules. Without: the most accurate within the other bounds. Where no
    candidate has joules, seconds stand in for them, and the answer says so.

    Args:
        results: folders that were read, or what ``survey`` made of them.
        needs: the bounds.
        scale: how much the model will be used, for figures by the year.
        seed: of the bootstrap; the same seed gives the same answer.

    Raises:
        StudyError: if nothing is left to choose from, several data sets are there and none is named, or a budget in
            joules is set where there are none; the message names what there is.
    """
    surveyed = results if isinstance(results, Survey) else survey(results, seed)
    field, left_out = _field(surveyed, needs)
    place, again = field.choices()
    others = [_other(field, number, place, again) for number in range(len(field.measured)) if number != place]
    kept = sorted((each for each in others if not each.reasons), key=lambda each: _rank(each.candidate, field))
    missed = sorted((each for each in others if each.reasons), key=lambda each: _shortfall(each.candidate, field))
    choice = Choice(
        needs=needs,
        scale=scale,
        basis=field.basis,
        dataset=field.measured[0].candidate.key.dataset,
        chosen=None,
        probability=None,
        others=(*kept, *missed),
        nearest=missed[0] if place < 0 else None,
        left_out=left_out,
        machines=len({each.candidate.key.machine for each in field.measured}),
    )
    if place < 0:
        return choice
    chosen = field.measured[place].candidate
    better = _better(chosen, others, field)
    return replace(
        choice,
        chosen=chosen,
        probability=sum(each == place for each in again) / len(again),
        better=better,
        yearly=yearly(chosen.joules.value, scale) if scale and chosen.joules else None,
        extra=yearly(better.candidate.joules.value - chosen.joules.value, scale)
        if scale and better and better.candidate.joules and chosen.joules
        else None,
    )


def _field(surveyed: Survey, needs: Needs) -> tuple[_Field, tuple[LeftOut, ...]]:
    measured, left_out = surveyed.measured, surveyed.left_out
    if not measured:
        reasons = "; ".join(f"{each.key}: {each.reason}" for each in left_out) or "they are empty"
        raise StudyError(f"these results hold no good cell ({reasons})", remedy="greeninfer bench run --resume")
    datasets = list(dict.fromkeys(each.candidate.key.dataset for each in measured))
    if needs.dataset is None and len(datasets) > 1:
        raise StudyError("several data sets are there and none is named", ", ".join(datasets), path=("dataset",))
    needs = needs if needs.dataset else replace(needs, dataset=datasets[0])
    for name in ("dataset", "machine", "device", "batch_size"):
        wanted = getattr(needs, name)
        if wanted is None:
            continue
        there = list(dict.fromkeys(getattr(each.candidate.key, name) for each in measured))
        measured = tuple(each for each in measured if getattr(each.candidate.key, name) == wanted)
        left_out = tuple(each for each in left_out if getattr(each.key, name) == wanted)
        if not measured:
            raise StudyError(f"{name}={wanted!r} is not in these results", ", ".join(map(str, there)), path=(name,))
    basis: Basis = "joules" if any(each.joules for each in measured) else "seconds"
    if basis == "seconds" and needs.max_joules is not None:
        raise StudyError(
            f"max_joules={needs.max_joules!r}, and no candidate has joules",
            "a bound on accuracy or p95",
            "measure where a meter works: greeninfer doctor",
            ("max_joules",),
        )
    draws = surveyed.draws[measured[0].candidate.key.dataset]
    places = [draws.keys.index(each.candidate.key) for each in measured]
    cost = draws.joules if basis == "joules" else draws.seconds
    return (
        _Field(measured, basis, needs, draws.accuracy[:, places], cost[:, places], draws.p95_seconds[:, places]),
        left_out,
    )


def _pick(accuracy: Reals, cost: Reals, p95_seconds: Reals, needs: Needs) -> Reals:
    """Return the place of the choice in each row, -1 where nobody keeps the bounds; equals fall to the other figure,
    then to the first.
    """
    kept = np.isfinite(cost)
    if needs.min_accuracy is not None:
        kept = kept & (accuracy >= needs.min_accuracy)
    if needs.max_p95_seconds is not None:
        kept = kept & (p95_seconds <= needs.max_p95_seconds)
    if needs.max_joules is not None:
        kept = kept & (cost <= needs.max_joules)
    first, second = (cost, -accuracy) if needs.aim == "frugal" else (-accuracy, cost)
    first = np.where(kept, first, np.inf)
    equal = kept & (first == first.min(axis=1, keepdims=True))
    return np.asarray(np.where(kept.any(axis=1), np.argmin(np.where(equal, second, np.inf), axis=1), -1))


def _other(field: _Field, number: int, place: int, again: Sequence[int]) -> Other:
    measured = field.measured[number]
    other = Other(
        measured.candidate,
        _reasons(measured.candidate, field),
        probability=sum(each == number for each in again) / len(again),
    )
    if place < 0:
        return other
    chosen = field.measured[place]
    value = measured.candidate.accuracy.value - chosen.candidate.accuracy.value
    half = repeat_half(field.accuracy[:, number] - field.accuracy[:, place])
    return replace(other, times=_times(measured, chosen, field.basis), ahead=Figure(value, value - half, value + half))


def _times(measured: Measured, chosen: Measured, basis: Basis) -> Figure | None:
    over = measured.candidate.joules if basis == "joules" else measured.candidate.seconds
    under = chosen.candidate.joules if basis == "joules" else chosen.candidate.seconds
    if over is None or under is None or under.value <= 0.0:
        return None
    splits = (measured.joules, chosen.joules) if basis == "joules" else (measured.seconds, chosen.seconds)
    return ratio(*splits, over.value / under.value, (over, under))


def _reasons(candidate: Candidate, field: _Field) -> tuple[str, ...]:
    """Return which bounds a candidate misses, in words with both numbers."""
    needs, reasons = field.needs, []
    if needs.min_accuracy is not None and candidate.accuracy.value < needs.min_accuracy:
        reasons.append(f"accuracy {_below(candidate.accuracy.value, needs.min_accuracy)}")
    if needs.max_p95_seconds is not None and not candidate.p95_seconds <= needs.max_p95_seconds:
        reasons.append(f"p95 {amount(candidate.p95_seconds, 's')} > {amount(needs.max_p95_seconds, 's')}")
    if field.basis == "joules":
        if candidate.joules is None:
            reasons.append("its joules are not known")
        elif needs.max_joules is not None and candidate.joules.value > needs.max_joules:
            reasons.append(f"energy {amount(candidate.joules.value, 'J')} > {amount(needs.max_joules, 'J')}")
    return tuple(reasons)


def _below(value: float, bound: float) -> str:
    digits = next((each for each in (2, 3, 4) if f"{value:.{each}f}" != f"{bound:.{each}f}"), 6)
    return f"{value:.{digits}f} < {bound:.{digits}f}"


def _rank(candidate: Candidate, field: _Field) -> tuple[float, float]:
    cost, accuracy = _cost(candidate, field.basis), -candidate.accuracy.value
    return (cost, accuracy) if field.needs.aim == "frugal" else (accuracy, cost)


def _shortfall(candidate: Candidate, field: _Field) -> tuple[float, float]:
    """Return by what factor a candidate misses the bound that it misses most, as a logarithm, and all together."""
    needs, cost = field.needs, _cost(candidate, field.basis)
    misses = [0.0 if math.isfinite(cost) else math.inf]
    if needs.min_accuracy:
        right = candidate.accuracy.value
        misses.append(math.log(needs.min_accuracy / right) if right > 0.0 else math.inf)
    if needs.max_p95_seconds is not None and candidate.p95_seconds > 0.0:
        misses.append(math.log(candidate.p95_seconds / needs.max_p95_seconds))
    if needs.max_joules is not None and 0.0 < cost < math.inf:
        misses.append(math.log(cost / needs.max_joules))
    return max(misses), sum(each for each in misses if each > 0.0)


def _better(chosen: Candidate, others: Sequence[Other], field: _Field) -> Other | None:
    """Return the cheapest of those that are more accurate and as fast as was asked."""
    limit = field.needs.max_p95_seconds
    ahead = [
        each
        for each in others
        if each.candidate.accuracy.value > chosen.accuracy.value
        and math.isfinite(_cost(each.candidate, field.basis))
        and (limit is None or each.candidate.p95_seconds <= limit)
    ]
    return min(ahead, key=lambda each: _cost(each.candidate, field.basis), default=None)


def _cost(candidate: Candidate, basis: Basis) -> float:
    figure = candidate.joules if basis == "joules" else candidate.seconds
    return math.inf if figure is None else figure.value
