"""Everything that a report tells, gathered once; the renderers only put it into words and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from greeninfer.bench._candidates import Candidate, CascadeResult, Figure
from greeninfer.bench._cascades import gain_over, search
from greeninfer.bench._front import front
from greeninfer.bench._proxy import Proxy, cores_of, fit
from greeninfer.bench._records import Results
from greeninfer.bench._statistics import candidates

BASELINE = "majority"
_WIDE = 0.2  # an interval of accuracy
"""The kind that always answers the commonest label: the bar, not a competitor."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the renderers start from: results and what was computed from them."""

    results: tuple[Results, ...]
    candidates: tuple[Candidate, ...]
    cascades: tuple[CascadeResult, ...] = ()
    proxies: tuple[Proxy, ...] = ()

    @property
    def title(self) -> str:
        """Return the names of the studies."""
        return ", ".join(dict.fromkeys(each.study.name for each in self.results)) or "benchmark"

    @property
    def groups(self) -> tuple[Group, ...]:
        """Return candidates and cascades by data set and machine, in the order of the studies."""
        places = dict.fromkeys((each.key.dataset, each.key.machine) for each in self.candidates)
        return tuple(self._group(dataset, machine) for dataset, machine in places)

    def _group(self, dataset: str, machine: str) -> Group:
        inside = [each for each in self.candidates if (each.key.dataset, each.key.machine) == (dataset, machine)]
        chains = [each for each in self.cascades if (each.stages[0].dataset, each.stages[0].machine)
                  == (dataset, machine)]  # fmt: skip
        both: list[Candidate | CascadeResult] = [*inside, *chains]
        ranked = front(
            [each.accuracy.value for each in both],
            [each.joules.value if each.joules else None for each in both],
        )
        inside = [replace(each, on_front=on) for each, on in zip(inside, ranked, strict=False)]
        chains = [replace(each, on_front=on) for each, on in zip(chains, ranked[len(inside) :], strict=True)]
        return Group(
            dataset,
            machine,
            tuple(sorted(inside, key=lambda each: (each.joules is None, each.joules.value if each.joules else 0.0))),
            tuple(sorted(chains, key=lambda each: each.joules.value)),
        )


@dataclass(frozen=True, slots=True)
class Group:
    """What competes with each other: one data set on one machine, the most frugal first, without joules last."""

    dataset: str
    machine: str
    candidates: tuple[Candidate, ...]
    cascades: tuple[CascadeResult, ...]

    @property
    def title(self) -> str:
        """Return data set and machine, as a person reads them."""
        return f"{self.dataset} on {self.machine}"

    @property
    def models(self) -> tuple[Candidate, ...]:
        """Return the candidates without the baseline."""
        return tuple(each for each in self.candidates if each.kind != BASELINE)

    def number(self, chain: CascadeResult) -> str:
        """Return the name of a cascade in charts and tables, such as C1."""
        return f"C{self.cascades.index(chain) + 1}"

    def best_cascades(self, most: int) -> tuple[CascadeResult, ...]:
        """Return so many cascades on the front that gain most over single models, the most frugal first.

        Those whose accuracy is hardly known, as their stages have few texts in common, are not among the best.
        """
        singles = self.models or self.candidates
        on = [each for each in self.cascades if each.on_front and _is_known(each.accuracy)]
        best = sorted(on, key=lambda each: -gain_over(each, singles))[:most]
        return tuple(sorted(best, key=lambda each: each.joules.value))

    @property
    def least_joules(self) -> float | None:
        """Return the joules per request of the most frugal model, the baseline apart; None if not known."""
        models = [each for each in self.candidates if each.kind != BASELINE] or self.candidates
        known = [each.joules.value for each in models if each.joules and each.joules.value > 0.0]
        return min(known, default=None)


def _is_known(accuracy: Figure) -> bool:
    return accuracy.low is not None and accuracy.high is not None and accuracy.high - accuracy.low <= _WIDE


def gather(results: Sequence[Results]) -> Facts:
    """Compute what there is to report.

    Raises:
        ResultsError: if folders mean different labels by one name of a data set.
    """
    found = candidates(results)
    return Facts(tuple(results), found, search(results, candidates=found), fit(found, cores_of(results)))
