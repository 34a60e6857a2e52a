"""What a person asks for when choosing a model, and the answer as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from greeninfer.bench._candidates import Candidate, Figure
from greeninfer.bench._columns import LeftOut
from greeninfer.bench._cost import Scale, Yearly
from greeninfer.errors import StudyError

Basis = Literal["joules", "seconds"]
Aim = Literal["frugal", "accurate"]


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model has to do; what is None does not matter.

    Args:
        min_accuracy: at least so many of the answers are right, 0 to 1.
        max_p95_seconds: 95 % of the calls take no longer.
        max_joules: gross joules per request, at most.
        dataset: on which data set; needed where results have several.
        machine, device, batch_size: only candidates that ran so.

    Raises:
        StudyError: if a bound is out of its range.
    """

    min_accuracy: float | None = None
    max_p95_seconds: float | None = None
    max_joules: float | None = None
    dataset: str | None = None
    machine: str | None = None
    device: str | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.min_accuracy is not None and not 0.0 <= self.min_accuracy <= 1.0:
            raise StudyError(
                f"min_accuracy={self.min_accuracy!r}", "a share from 0 to 1", "0.8 is 80 %", ("min_accuracy",)
            )
        for name in ("max_p95_seconds", "max_joules"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise StudyError(f"{name}={value!r}", "a finite number above 0", path=(name,))

    @property
    def aim(self) -> Aim:
        """Return what is sought within the bounds.

        The least energy where an accuracy is asked for; else the most accurate.
        """
        return "accurate" if self.min_accuracy is None else "frugal"


@dataclass(frozen=True, slots=True)
class Other:
    """A candidate that was not chosen.

    Args:
        candidate: which.
        reasons: bounds that it misses, in words; empty for those that keep them all.
        times: how many times the cost of the chosen one it takes, with the interval of a repeat.
        ahead: its accuracy less that of the chosen one, with the interval of a repeat, on the same texts.
        probability: that a repeat would choose it.
    """

    candidate: Candidate
    reasons: tuple[str, ...]
    times: Figure | None = None
    ahead: Figure | None = None
    probability: float = 0.0

    @property
    def cost_apart(self) -> bool:
        """Tell whether a repeat would find the same one of the two cheaper."""
        return self.times is not None and _without(self.times, 1.0)

    @property
    def accuracy_apart(self) -> bool:
        """Tell whether a repeat would find the same one of the two more accurate."""
        return self.ahead is not None and _without(self.ahead, 0.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer.

    Args:
        needs, scale: what was asked.
        basis: what cost means: gross joules, or seconds as a stand-in where there are no joules at all.
        dataset: what it was chosen on.
        chosen: the candidate, None where nothing keeps the bounds.
        probability: that the same one would be chosen again, with other texts and other splits; None without one.
        others: the rest: those that keep the bounds first, the next best first.
        nearest: where nothing keeps the bounds, the one that misses them least.
        better: the cheapest one that is more accurate than the chosen one, and as fast as was asked.
        yearly: of the chosen one.
        extra: what ``better`` would cost more in a year.
        left_out: candidates all whose cells failed.
        machines: how many the candidates ran on.
    """

    needs: Needs
    scale: Scale | None
    basis: Basis
    dataset: str
    chosen: Candidate | None
    probability: float | None
    others: tuple[Other, ...]
    nearest: Other | None = None
    better: Other | None = None
    yearly: Yearly | None = None
    extra: Yearly | None = None
    left_out: tuple[LeftOut, ...] = ()
    machines: int = 1

    @property
    def tied(self) -> tuple[Other, ...]:
        """Return those that keep the bounds and that a repeat may find better in what was sought."""
        kept = [each for each in self.others if not each.reasons]
        if self.needs.aim == "frugal":
            return tuple(each for each in kept if not each.cost_apart)
        return tuple(each for each in kept if not each.accuracy_apart)


def _without(figure: Figure, point: float) -> bool:
    return figure.low is not None and figure.high is not None and not figure.low <= point <= figure.high
