"""The steady phase: all test texts in batches, again and again until there is enough to measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from greeninfer.bench._model import Model, Prediction
from greeninfer.bench._phases import Mark
from greeninfer.bench._records import Items

BLOCKS = 10
"""The steady phase is cut into about so many, for its spread."""

BLOCK_PERIODS = 5.0
"""A block lasts at least so many periods of the slowest counter: it is cut where that was read, up to one late."""


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


class Marks(Protocol):
    """What cuts the time; see ``Phases``."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    @property
    def period_seconds(self) -> float:
        """Return how often the slowest counter changes."""
        ...

    def mark(self) -> Mark:
        """Mark where the phase begins or ends."""
        ...

    def cut(self) -> Mark:
        """Mark where a block ends and the next begins, without rest."""
        ...


def loop(
    model: Model,
    texts: Sequence[str],
    batch_size: int,
    least_seconds: float,
    marks_of: Marks,
) -> Steady:
    """Go through the texts at least once and for so long; stop between batches once both are done.

    Blocks are of about equal length: a tenth of all, which during a long first pass is guessed from how far it is.

    Args:
        model: fitted and warm.
        texts: one and more.
        batch_size: of a call; the last batch of a pass may be smaller.
        least_seconds: how long at least.
        marks_of: cuts intervals.
    """
    least_block = BLOCK_PERIODS * marks_of.period_seconds
    batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    predictions: list[Prediction] = []
    seconds: list[float] = []
    clock = marks_of.now
    marks, counts = [marks_of.mark()], [0]
    begun = block = marks[0].after.instant
    done, whole = 0, least_seconds
    for batch in cycle(batches):
        before = clock()
        answers = ask(model, batch)
        now = clock()
        done += len(batch)
        counts[-1] += len(batch)
        if done <= len(texts):  # the first pass
            predictions.extend(answers)
            seconds.extend([now - before] * len(batch))
            whole = max(least_seconds, (now - begun) * len(texts) / done)
        if done >= len(texts) and now - begun >= least_seconds:
            break
        long = max(whole / BLOCKS, least_block)
        if now - block >= long and begun + whole - now > 0.5 * long:
            marks.append(marks_of.cut())
            counts.append(0)
            block = marks[-1].after.instant
    marks.append(marks_of.mark())
    return Steady(tuple(predictions), tuple(seconds), tuple(marks), tuple(counts), done // len(texts))


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
