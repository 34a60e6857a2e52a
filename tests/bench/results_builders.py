"""Results with known properties, made up in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from greeninfer.bench._records import Items, Phase, Results, Run
from greeninfer.bench._study import Cell, Dataset, ModelSpec, Splits, Study


def items(
    label: Sequence[int],
    predicted: Sequence[int],
    item: Sequence[int] | None = None,
    seconds: Sequence[float] | float = 0.001,
    **tokens: int,
) -> Items:
    count = len(label)
    counts = {kind: np.full(count, tokens.get(kind, -1), np.int32) for kind in ("input", "output", "reasoning")}
    return Items(
        item=np.asarray(range(count) if item is None else item, np.int32),
        label=np.asarray(label, np.int16),
        predicted=np.asarray(predicted, np.int16),
        confidence=np.full(count, np.nan, np.float32),
        seconds=np.broadcast_to(np.asarray(seconds, np.float32), count).copy(),
        input_tokens=counts["input"],
        output_tokens=counts["output"],
        reasoning_tokens=counts["reasoning"],
    )


def graded(right: Sequence[bool] | np.ndarray[Any, Any], item: Sequence[int] | None = None, **more: Any) -> Items:
    """Two labels, the texts take turns; right where told."""
    label = np.arange(len(right)) % 2 if item is None else np.asarray(item) % 2
    return items(label, np.where(right, label, 1 - label), item, **more)


def run(
    model: str = "a",
    split: int = 0,
    joules: float | None = 1.0,
    seconds: float = 0.01,
    *,
    dataset: str = "d",
    batch_size: int = 1,
    device: str = "cpu",
    net: float | None = None,
    cpu_seconds: float | None = None,
    count: int = 100,
    machine: str = "host",
    **more: Any,
) -> Run:
    """One good cell; joules and seconds are per request."""
    steady = Phase(
        seconds * count,
        (seconds if cpu_seconds is None else cpu_seconds) * count,
        None if joules is None else joules * count,
        None if net is None else net * count,
        ticks=100,
    )
    values: dict[str, Any] = {
        "cell": Cell(dataset, model, batch_size, device, split),
        "machine": machine,
        "status": "ok",
        "phases": {"steady": steady},
        "items": count,
        "majority": 0.5,
        "quality": None if joules is None else "measured",
    }
    return Run(**(values | more))


def failed(model: str = "a", split: int = 0, reason: str = "it broke", **more: Any) -> Run:
    return Run(Cell(more.pop("dataset", "d"), model, 1, "cpu", split), more.pop("machine", "host"), "failed", reason)


def results(
    pairs: Sequence[tuple[Run, Items | None]],
    labels: Mapping[str, tuple[str, ...]] | None = None,
    kinds: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, object]] | None = None,
    folder: str = "results",
) -> Results:
    """Return a folder's results, its study made to fit."""
    runs = [each for each, _ in pairs]
    models = dict.fromkeys(each.cell.model for each in runs)
    datasets = dict.fromkeys(each.cell.dataset for each in runs)
    study = Study(
        "made up",
        tuple(Dataset(name, "made.csv") for name in datasets),
        tuple(ModelSpec(name, (kinds or {}).get(name, "features"), (options or {}).get(name, {})) for name in models),
        splits=Splits(count=1 + max(each.cell.split for each in runs)),
    )
    return Results(
        study,
        {"machine": "host"},
        tuple(runs),
        {each.cell.id: held for each, held in pairs if held is not None},
        labels if labels is not None else dict.fromkeys(datasets, ("no", "yes")),
        folder,
    )
