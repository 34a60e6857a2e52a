"""What a person chooses from: a model as it ran on one machine, its figures with their intervals and its caveats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from greeninfer._energy import Quality
from greeninfer.bench._records import Phase, PhaseName

CaveatCode = Literal[
    "estimated", "shared", "unstable", "small_test_set", "below_resolution", "one_class_only", "below_majority",
    "unparsable", "few_splits", "failed_cells", "busy_machine", "no_energy", "note",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with the interval in which it, measured again, would lie with 95 % probability.

    ``low`` and ``high`` are None where there is not enough to tell.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Caveat:
    """Something that a reader of a figure has to know, as a code for programs and in words for people."""

    code: CaveatCode
    words: str


@dataclass(frozen=True, slots=True)
class CandidateKey:
    """What tells candidates apart."""

    machine: str
    dataset: str
    model: str
    device: str
    batch_size: int

    def __str__(self) -> str:
        """Return model, device and batch size, as a person reads them."""
        return f"{self.model} ({self.device}, batch {self.batch_size})"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model at one batch size on one device of one machine, over all its splits.

    Args:
        key: which.
        kind: the adaptor that ran it.
        splits: cells that went well; ``failed``: those that did not.
        test_items: predictions that its accuracy rests on, over all splits.
        accuracy, macro_f1: mean over splits; unparsable answers count as wrong.
        majority: accuracy of always answering the commonest label, mean over splits.
        unparsable: share of answers that could not be read.
        joules, net_joules: per request, gross and idle-subtracted; None where no meter gave any.
        seconds, cpu_seconds: per request in the steady phase.
        p50_seconds, p95_seconds: of single calls; a text in a batch waits for its batch.
        phases: mean of each phase over splits.
        tokens: mean per request by kind: input, output, reasoning; empty for models without.
        reasoning_budget: what the study allowed, None for models without.
        quality, gain: see ``Run``.
        caveats: what a reader has to know.
        on_front: nobody on the same machine and data set is both at least as accurate and at least as frugal.
    """

    key: CandidateKey
    kind: str
    splits: int
    failed: int
    test_items: int
    accuracy: Figure
    macro_f1: Figure
    majority: float
    unparsable: float
    joules: Figure | None
    net_joules: Figure | None
    seconds: Figure
    cpu_seconds: float
    p50_seconds: float
    p95_seconds: float
    phases: Mapping[PhaseName, Phase] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    reasoning_budget: int | None = None
    quality: Quality | None = None
    gain: tuple[float, float] = (1.0, 1.0)
    caveats: tuple[Caveat, ...] = ()
    on_front: bool = False


@dataclass(frozen=True, slots=True)
class CascadeResult:
    """A small model that hands on to a larger one what it is not sure of, as the recorded predictions say it would do.

    Args:
        stages: candidates from small to large, on one machine and data set.
        thresholds: one less than stages: below this confidence a stage hands on.
        accuracy, joules, net_joules, seconds: per request, scored on texts that the thresholds were not chosen on.
        p95_seconds: a request that is handed on takes the sum of its stages.
        reach: share of requests that reach each stage; the first is 1.
        on_front: see ``Candidate``; candidates and cascades stand on one front.
        caveats: what a reader has to know.
    """

    stages: tuple[CandidateKey, ...]
    thresholds: tuple[float, ...]
    accuracy: Figure
    joules: Figure
    net_joules: Figure | None
    seconds: Figure
    p95_seconds: float
    reach: tuple[float, ...]
    caveats: tuple[Caveat, ...] = ()
    on_front: bool = False
