"""The steady phase: pass after pass over the test texts, until it is long enough, cut into blocks at batch borders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from greeninfer.bench._model import Model, Prediction
from greeninfer.bench._phases import Cut

_BLOCKS = 10


class WrongLength(ValueError):
    """A model returned another number of predictions than it was asked for."""


@dataclass(slots=True)
class Steady:
    """What the loop did.

    Args:
        predictions, seconds: of the first pass, one for each text; seconds of the call that answered it.
        blocks, block_items: the phase cut into blocks.
        items, passes: predictions made, whole passes.
    """

    predictions: list[Prediction] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    blocks: list[Cut] = field(default_factory=list)
    block_items: list[int] = field(default_factory=list)
    items: int = 0
    passes: int = 0


def ask(model: Model, texts: Sequence[str]) -> Sequence[Prediction]:
    """Return predictions, one a text, or raise ``WrongLength``."""
    answers = model.predict(texts)
    if len(answers) != len(texts):
        raise WrongLength(f"{len(texts)} text(s) were asked, {len(answers)} prediction(s) came back")
    return answers


def repeat(model: Model, texts: Sequence[str], batch_size: int, floor_seconds: float, cut: Callable[[], Cut]) -> Steady:
    """Classify texts for at least so long and once at least, and call ``cut`` at the end of each block."""
    steady = Steady()
    batches = [texts[first : first + batch_size] for first in range(0, len(texts), batch_size)]
    began = block_began = perf_counter()
    counted = 0
    while True:
        for batch in batches:
            before = perf_counter()
            answers = ask(model, batch)
            now = perf_counter()
            steady.items += len(batch)
            if not steady.passes:
                steady.predictions.extend(answers)
                steady.seconds.extend([now - before] * len(batch))
            enough = now - began >= floor_seconds and (steady.passes or steady.items == len(texts))
            if enough or now - block_began >= max(floor_seconds / _BLOCKS, 0.001):
                steady.blocks.append(cut())
                steady.block_items.append(steady.items - counted)
                counted, block_began = steady.items, perf_counter()
            if enough:
                steady.passes = steady.items // len(texts)
                return steady
        steady.passes += 1
