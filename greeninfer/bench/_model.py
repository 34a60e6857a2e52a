"""What every model of the bench looks like from outside, whatever it is inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from greeninfer._energy import Quality


@dataclass(frozen=True, slots=True)
class Task:
    """What a model is asked to do.

    Args:
        dataset: name of the data set.
        labels: all labels, sorted; every answer is one of them.
        descriptions: what a label means, for models that read it; labels without one speak for themselves.
    """

    dataset: str
    labels: tuple[str, ...]
    descriptions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how a model runs.

    Args:
        device: "cpu", "cuda", "cuda:1".
        threads: of native libraries; the caller has pinned them already, an engine with a knob of its own sets it.
        seed: for whatever the model draws.
    """

    device: str = "cpu"
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one text; what is not known is None, never 0.

    Args:
        label: one of the task's labels, or None for an answer that could not be read as one.
        confidence: 0 to 1, higher where the model is surer; comparable within a model only.
        input_tokens, output_tokens, reasoning_tokens: of language models; output without reasoning.
    """

    label: str | None
    confidence: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


class Model(Protocol):
    """One candidate, loaded. It answers on the calling thread or on threads that end before it returns."""

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Learn from labelled texts; a zero-shot model may use the texts to calibrate, or do nothing."""
        ...

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return one prediction for each text, in order; ``len(texts)`` is the batch."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class MeasuresItself(Protocol):
    """What a model has besides if it runs out of reach of this machine's meters, and counts its joules there.

    Whoever measures asks for the methods by ``hasattr`` and takes the difference of two answers.
    """

    def joules(self) -> float | None:
        """Return the joules that it was charged since it started, all requests together; None if not known now."""
        ...

    def quality(self) -> Quality | None:
        """Return the worst quality among these joules; None if not known."""
        ...
