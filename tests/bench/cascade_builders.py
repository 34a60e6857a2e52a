"""Made-up results for cascades: models whose confidences, right answers and joules follow known laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greeninfer._energy import Quality
from greeninfer.bench._records import Items, Phase, Results, Run
from greeninfer.bench._study import Cell, Dataset, ModelSpec, Splits, Study

CLASSES = ("no", "yes")


@dataclass(frozen=True)
class Answers:
    """What a model said to some texts.

    Args:
        item: the texts.
        right: whether it was right.
        confidence: how sure it was.
        unparsable: whether its answer could be read; None: all could.
        seconds: of each call.
    """

    item: npt.NDArray[np.int32]
    right: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.float64]
    unparsable: npt.NDArray[np.bool_] | None = None
    seconds: float = 0.001


@dataclass(frozen=True)
class Made:
    """A model: its answers split by split, and what one request takes.

    Args:
        joules: of a request, one for all splits or one each; None: no meter.
        net_joules: the same, idle-subtracted.
        seconds: of a request.
    """

    answers: Mapping[int, Answers]
    joules: float | Sequence[float] | None
    net_joules: float | None = None
    seconds: float = 0.001
    quality: Quality = "measured"
    below_resolution: bool = False


def results(
    models: Mapping[str, Made], *, splits: int, batch_size: int = 1, seed: int = 0, device: str = "cpu"
) -> Results:
    """Return a results folder as it would be read."""
    study = Study(
        "made",
        (Dataset("texts", "texts.csv"),),
        tuple(ModelSpec(name, "features") for name in models),
        (batch_size,),
        (device,),
        Splits(count=splits, seed=seed),
    )
    runs, items = [], {}
    for split in range(splits):
        for name, made in models.items():
            if split in made.answers:
                cell = Cell("texts", name, batch_size, device, split)
                runs.append(_run(cell, made, len(made.answers[split].item)))
                items[cell.id] = _items(made.answers[split])
    return Results(study, {}, tuple(runs), items, {"texts": CLASSES})


def _run(cell: Cell, made: Made, count: int) -> Run:
    joules = made.joules[cell.split] if isinstance(made.joules, Sequence) else made.joules
    steady = Phase(
        seconds=made.seconds * count,
        cpu_seconds=made.seconds * count,
        joules=None if joules is None else joules * count,
        net_joules=None if made.net_joules is None else made.net_joules * count,
    )
    return Run(
        cell, "node", "ok", phases={"steady": steady}, items=count, passes=1, test_items=count, majority=0.5,
        quality=None if joules is None else made.quality, below_resolution=made.below_resolution,
    )  # fmt: skip


def _items(answers: Answers) -> Items:
    count = len(answers.item)
    label = (answers.item % 2).astype(np.int16)
    predicted = np.where(answers.right, label, 1 - label).astype(np.int16)
    if answers.unparsable is not None:
        predicted[answers.unparsable] = -1
    none = np.full(count, -1, np.int32)
    return Items(
        answers.item.astype(np.int32), label, predicted, answers.confidence.astype(np.float32),
        np.full(count, answers.seconds, np.float32), none, none, none,
    )  # fmt: skip
