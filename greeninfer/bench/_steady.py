"""The steady phase: all test texts in batches, again and again until there is enough to measure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greeninfer.bench._model import Model, Prediction
from greeninfer.bench._phases import Mark
from greeninfer.bench._records import Items

BLOCKS = 10
"""The steady phase is cut into about so many, for its spread."""


@dataclass(frozen=True, slots=True)
class Steady:
    """What the loop did.

    Args:
        predictions: of the first pass, in the order of the texts.
        seconds: of the call that answered each, the first time.
        marks: where blocks begin and end; the first is the begin of the phase, the last its end.
        counts: predictions made in each block.
        passes: whole passes.
    """

    predictions: tuple[Prediction, ...]
    seconds: tuple[float, ...]
    marks: tuple[Mark, ...]
    counts: tuple[int, ...]
    passes: int


class WrongLength(ValueError):
    """A model gave more or fewer answers than it was asked."""


def ask(model: Model, texts: Sequence[str]) -> Sequence[Prediction]:
    """Return a model's answers to one batch.

    Raises:
        WrongLength: if they are not as many as the texts.
    """
    answers = model.predict(texts)
    if len(answers) != len(texts):
        raise WrongLength(f"{len(answers)} predictions for {len(texts)} texts")
    return answers


def loop(model: Model, texts: Sequence[str], batch_size: int, least_seconds: float, mark: Callable[[], Mark]) -> Steady:
    """Go through the texts at least once and for so long; stop between batches once both are done.

    Args:
        model: fitted and warm.
        texts: one and more.
        batch_size: of a call; the last batch of a pass may be smaller.
        least_seconds: how long at least.
        mark: cuts intervals.
    """
    batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    predictions: list[Prediction] = []
    seconds: list[float] = []
    marks, counts = [mark()], [0]
    begun = block = marks[0].after.instant
    clock, passes = time.perf_counter, 0
    while True:
        for batch in batches:
            before = clock()
            answers = ask(model, batch)
            now = clock()
            counts[-1] += len(batch)
            if not passes:
                predictions.extend(answers)
                seconds.extend([now - before] * len(batch))
            elif now - begun >= least_seconds:
                break
            if now - block >= least_seconds / BLOCKS and now - begun < least_seconds:
                marks.append(mark())
                counts.append(0)
                block = marks[-1].after.instant
        else:
            passes += 1
            if clock() - begun < least_seconds:
                continue
        break
    marks.append(mark())
    return Steady(tuple(predictions), tuple(seconds), tuple(marks), tuple(counts), passes)


def items_of(steady: Steady, rows: npt.NDArray[np.integer[Any]], right: Sequence[str], labels: Sequence[str]) -> Items:
    """Return predictions as they are kept; a label that the task does not have counts as unparsable."""
    numbers: Mapping[str | None, int] = {label: number for number, label in enumerate(labels)}
    answers = steady.predictions

    def counts(name: str) -> npt.NDArray[np.int32]:
        values = (getattr(each, name) for each in answers)
        return np.array([-1 if value is None else value for value in values], np.int32)

    confidences = [float("nan") if each.confidence is None else each.confidence for each in answers]
    return Items(
        item=rows.astype(np.int32),
        label=np.array([numbers[label] for label in right], np.int16),
        predicted=np.array([numbers.get(each.label, -1) for each in answers], np.int16),
        confidence=np.array(confidences, np.float32),
        seconds=np.array(steady.seconds, np.float32),
        input_tokens=counts("input_tokens"),
        output_tokens=counts("output_tokens"),
        reasoning_tokens=counts("reasoning_tokens"),
    )
