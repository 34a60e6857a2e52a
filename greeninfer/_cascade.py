"""Cascades in production: a small model answers and hands on to a larger one what it is not sure of.

Each call is a span with the cascade's name; each stage that it reaches is a span inside it with the same name and the
stage's model, so joules, seconds and requests per stage stand side by side in every exporter. A stage that hands on
says so on its span, which is counted as ``greeninfer_escalations_total``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from greeninfer._measure import current, measure

if TYPE_CHECKING:
    from greeninfer.bench._candidates import CascadeResult

_ROUNDING = 1e-6
"""A probability may exceed 1 by this: the sum of a softmax in single precision does."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One model of a cascade.

    Args:
        model: its name in metrics.
        predict: takes a text (or whatever the cascade is called with) and returns (label, confidence) or an object
            with both as attributes; plain or async. A label of None, or a confidence of None or NaN, is handed on.
        threshold: it keeps an answer of this confidence and above; None for the last stage, which keeps every one.

    Raises:
        TypeError: for a predict that cannot be called, or a model that is not a string.
        ValueError: for an empty model, or a threshold outside 0 to 1.
    """

    model: str
    predict: Callable[[Any], Any]
    threshold: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str):
            raise TypeError(f"model={self.model!r} is not possible; allowed: a string")
        if not self.model:
            raise ValueError("model='' is not possible; allowed: a name; remedy: call it what the metrics shall show")
        if not callable(self.predict):
            raise TypeError(f"predict={self.predict!r} of {self.model} cannot be called; allowed: a function")
        if self.threshold is None:
            return
        if not isinstance(self.threshold, Real) or isinstance(self.threshold, bool):
            raise TypeError(f"threshold={self.threshold!r} of {self.model} is not possible; allowed: a number, or None")
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold={self.threshold!r} of {self.model} is not possible; allowed: 0 to 1, or None")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a cascade answers.

    Args:
        label: of the stage that kept its answer.
        confidence: of that stage; None where it gave none.
        model: which stage that was.
    """

    label: Any
    confidence: float | None
    model: str


class Cascade:
    """Ask models one after the other until one is sure enough.

    Call it with a text: it returns an ``Answer``, or a coroutine of one where any stage's predict is async. It holds
    no state, so threads and tasks may share it. What a stage raises goes to the caller as it is.

    Args:
        stages: from small to large; all but the last have a threshold.
        name: of its spans, a metric label.

    Raises:
        TypeError: for something that is not a ``Stage``.
        ValueError: for no stages, a threshold too many or too few, two stages of one model, or an empty name.
        SettingsError: while a ``GREENINFER_*`` variable is wrong.
    """

    def __init__(self, stages: Sequence[Stage], *, name: str = "cascade") -> None:
        self.stages = tuple(stages)
        self.name = name
        _check(self.stages, name)
        self.is_async = any(_is_async(stage.predict) for stage in self.stages)
        measured = [measure(name, model=stage.model) for stage in self.stages]
        walk: _Walk | _AsyncWalk
        if self.is_async:
            walk = _AsyncWalk(
                [each(_AsyncStep(stage, name).ask) for each, stage in zip(measured, self.stages, strict=True)]
            )
        else:
            walk = _Walk([each(_Step(stage, name).ask) for each, stage in zip(measured, self.stages, strict=True)])
        self._run: Callable[[Any], Any] = measure(name)(walk.ask)

    @classmethod
    def from_result(
        cls, result: CascadeResult, predictors: Mapping[str, Callable[[Any], Any]], *, name: str = "cascade"
    ) -> Cascade:
        """Return the cascade that the benchmark found, with its thresholds.

        Args:
            result: what the benchmark found.
            predictors: what runs each of its models, by the model's name in the study.
            name: of its spans.

        Raises:
            ValueError: if one of its models has no predictor.
        """
        models = [key.model for key in result.stages]
        missing = [model for model in models if model not in predictors]
        if missing:
            raise ValueError(
                f"predictors lack {', '.join(map(repr, missing))}; needed: {', '.join(models)}; "
                f"given: {', '.join(map(repr, predictors)) or 'none'}"
            )
        thresholds = (*result.thresholds, None)
        return cls(
            [Stage(model, predictors[model], each) for model, each in zip(models, thresholds, strict=True)], name=name
        )

    def __call__(self, text: Any, /) -> Any:
        """Return an ``Answer``, or a coroutine of one where any stage is async.

        Raises:
            TypeError: if a stage returns neither (label, confidence) nor an object with both.
            ValueError: if a stage returns a confidence outside 0 to 1.
        """
        return self._run(text)

    def __repr__(self) -> str:
        """Return its models with their thresholds."""
        parts = (
            stage.model if stage.threshold is None else f"{stage.model} (>= {stage.threshold})" for stage in self.stages
        )
        return f"Cascade({self.name!r}: {', '.join(parts)})"


# What is measured are methods of objects and not closures, so that a cascade of picklable predictors can be pickled.


@dataclass(frozen=True, slots=True)
class _Step:
    """One stage, asked; measured as a span of its own."""

    stage: Stage
    name: str

    def ask(self, text: Any) -> tuple[Answer, bool]:
        """Return its answer, and whether it keeps it."""
        return _judge(self.stage, self.name, self.stage.predict(text))


@dataclass(frozen=True, slots=True)
class _AsyncStep:
    """The same, awaited where there is something to await."""

    stage: Stage
    name: str

    async def ask(self, text: Any) -> tuple[Answer, bool]:
        """Return its answer, and whether it keeps it."""
        said = self.stage.predict(text)
        return _judge(self.stage, self.name, await said if inspect.isawaitable(said) else said)


@dataclass(frozen=True, slots=True)
class _Walk:
    """The stages, one after the other."""

    steps: Sequence[Callable[[Any], tuple[Answer, bool]]]

    def ask(self, text: Any) -> Answer:
        """Return the first answer that is kept; the last stage keeps every one."""
        for step in self.steps:
            answer, keeps = step(text)
            if keeps:
                break
        return answer


@dataclass(frozen=True, slots=True)
class _AsyncWalk:
    """The same, awaited."""

    steps: Sequence[Callable[[Any], Coroutine[Any, Any, tuple[Answer, bool]]]]

    async def ask(self, text: Any) -> Answer:
        """Return the first answer that is kept; the last stage keeps every one."""
        for step in self.steps:
            answer, keeps = await step(text)
            if keeps:
                break
        return answer


def _judge(stage: Stage, name: str, said: Any) -> tuple[Answer, bool]:
    """Return a stage's answer and whether it keeps it; note on its span, which is open here, if not."""
    answer = _read(stage, said)
    # Not "below": a confidence of NaN is neither, and is no reason to keep an answer.
    keeps = stage.threshold is None or (
        answer.label is not None and answer.confidence is not None and answer.confidence >= stage.threshold
    )
    if not keeps:
        span = current()
        if span is not None and span.key == (name, stage.model):  # it is another's where nothing is measured
            span.escalated = True
    return answer, keeps


def _check(stages: tuple[Stage, ...], name: str) -> None:
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r} is not possible; allowed: a string that is not empty")
    if not stages:
        raise ValueError("a cascade without stages answers nothing; needed: one or more")
    for stage in stages:
        if not isinstance(stage, Stage):
            raise TypeError(f"{stage!r} is no stage; needed: greeninfer.Stage(model, predict, threshold)")
    for stage in stages[:-1]:
        if stage.threshold is None:
            raise ValueError(f"stage {stage.model!r} has no threshold; needed: one for every stage but the last")
    if stages[-1].threshold is not None:
        last = stages[-1]
        raise ValueError(
            f"the last stage, {last.model!r}, has a threshold ({last.threshold}) and nobody to hand on to; "
            "remedy: leave it out"
        )
    models = [stage.model for stage in stages]
    if len(set(models)) < len(models):
        raise ValueError(f"two stages of one model in {models}: their figures would be one; remedy: rename one")


def _is_async(predict: Callable[[Any], Any]) -> bool:
    return inspect.iscoroutinefunction(predict) or inspect.iscoroutinefunction(getattr(predict, "__call__", None))  # noqa: B004


def _read(stage: Stage, said: Any) -> Answer:
    if isinstance(said, tuple) and len(said) == 2:
        label, confidence = said
    elif not isinstance(said, tuple) and hasattr(said, "label") and hasattr(said, "confidence"):
        label, confidence = said.label, said.confidence
    else:
        if inspect.iscoroutine(said):
            said.close()
            raise TypeError(f"stage {stage.model!r} returned a coroutine; remedy: make its predict an async function")
        raise _garbage(stage, said)
    if confidence is None:
        return Answer(label, None, stage.model)
    try:
        known = float(confidence)
    except (TypeError, ValueError):
        raise _garbage(stage, said) from None
    if not (math.isnan(known) or -_ROUNDING <= known <= 1.0 + _ROUNDING):
        raise ValueError(
            f"stage {stage.model!r} returned a confidence of {known!r}; allowed: 0 to 1; remedy: return a probability "
            "as in the benchmark, not a logit or a percentage"
        )
    return Answer(label, known, stage.model)


def _garbage(stage: Stage, said: Any) -> TypeError:
    return TypeError(
        f"stage {stage.model!r} returned {said!r:.200}; needed: (label, confidence), or an object that has both"
    )
