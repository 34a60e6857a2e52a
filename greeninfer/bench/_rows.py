"""Runs and predictions as rows of Parquet tables, and back. What is not known is null in the file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from greeninfer.bench._optional import need
from greeninfer.bench._records import PHASES, Items, Phase, Run
from greeninfer.bench._study import Cell

_PHASE_FIELDS = tuple(each.name for each in dataclasses.fields(Phase))
_JSON_FIELDS = ("joules_by_domain",)
_SEPARATE = {"cell", "phases", "gain"}


def to_row(run: Run) -> dict[str, Any]:
    """Return a run as one flat row: the cell's parts, each phase's figures as ``load_joules`` and so on."""
    row: dict[str, Any] = {"cell": run.cell.id, **dataclasses.asdict(run.cell)}
    for each in dataclasses.fields(Run):
        if each.name not in _SEPARATE:
            value = getattr(run, each.name)
            row[each.name] = json.dumps(dict(value), sort_keys=True) if each.name in _JSON_FIELDS else value
    row["gain_low"], row["gain_high"] = run.gain
    for name in PHASES:
        phase = run.phases.get(name)
        for part in _PHASE_FIELDS:
            row[f"{name}_{part}"] = None if phase is None else getattr(phase, part)
    return row


def from_row(row: Mapping[str, Any]) -> Run:
    """Return the run that ``to_row`` made a row of."""
    values: dict[str, Any] = {}
    for each in dataclasses.fields(Run):
        if each.name in _SEPARATE:
            continue
        value = row[each.name]
        if each.name in _JSON_FIELDS:
            value = json.loads(value)
        values[each.name] = tuple(value) if isinstance(value, list) else value
    phases = {
        name: Phase(**{part: row[f"{name}_{part}"] for part in _PHASE_FIELDS})
        for name in PHASES
        if row[f"{name}_seconds"] is not None
    }
    cell = Cell(**{each.name: row[each.name] for each in dataclasses.fields(Cell)})
    return Run(cell=cell, phases=phases, gain=(row["gain_low"], row["gain_high"]), **values)


def runs_table(runs: Sequence[Run]) -> Any:
    """Return runs as an Arrow table."""
    arrow = need("pyarrow")
    return arrow.Table.from_pylist([to_row(run) for run in runs], schema=_run_schema())


def items_table(cell: str, items: Items, labels: Sequence[str]) -> Any:
    """Return the predictions of one cell as an Arrow table, labels as words."""
    arrow = need("pyarrow")
    words = arrow.array(list(labels), arrow.string())

    def word(codes: Any) -> Any:
        indices = arrow.array(codes, arrow.int32(), mask=codes < 0)
        return arrow.DictionaryArray.from_arrays(indices, words)

    def count(values: Any) -> Any:
        return arrow.array(values, arrow.int32(), mask=values < 0)

    columns = {
        "cell": arrow.DictionaryArray.from_arrays(
            arrow.array(np.zeros(len(items), np.int32)), arrow.array([cell], arrow.string())
        ),
        "item": arrow.array(items.item, arrow.int32()),
        "label": word(items.label.astype(np.int32)),
        "predicted": word(items.predicted.astype(np.int32)),
        "confidence": arrow.array(items.confidence, arrow.float32(), mask=np.isnan(items.confidence)),
        "seconds": arrow.array(items.seconds, arrow.float32()),
        **{name: count(getattr(items, name)) for name in ("input_tokens", "output_tokens", "reasoning_tokens")},
    }
    return arrow.table(columns)


def items_of(table: Any, labels: Sequence[str]) -> Items:
    """Return the predictions in a table of one cell."""
    arrow = need("pyarrow")
    numbers = {word: number for number, word in enumerate(labels)}

    def codes(name: str) -> Any:
        column = table.column(name).combine_chunks()
        if not isinstance(column, arrow.DictionaryArray):
            column = column.dictionary_encode()
        of_word = np.array([numbers[word] for word in column.dictionary.to_pylist()] or [0], np.int16)
        indices = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.where(indices < 0, np.int16(-1), of_word[indices])

    def counts(name: str) -> Any:
        return table.column(name).fill_null(-1).to_numpy().astype(np.int32)

    return Items(
        item=table.column("item").to_numpy(),
        label=codes("label"),
        predicted=codes("predicted"),
        confidence=table.column("confidence").fill_null(float("nan")).to_numpy(),
        seconds=table.column("seconds").to_numpy(),
        input_tokens=counts("input_tokens"),
        output_tokens=counts("output_tokens"),
        reasoning_tokens=counts("reasoning_tokens"),
    )


def _run_schema() -> Any:
    arrow = need("pyarrow")
    text, whole, real = arrow.string(), arrow.int64(), arrow.float64()
    kinds = {
        "cell": text, "dataset": text, "model": text, "batch_size": whole, "device": text, "split": whole,
        "machine": text, "status": text, "reason": text, "fingerprint": text, "items": whole, "passes": whole,
        "train_items": whole, "test_items": whole, "majority": real, "first_call_seconds": real,
        "block_seconds": arrow.list_(real), "block_items": arrow.list_(whole), "block_joules": arrow.list_(real),
        "quality": text, "meters": arrow.list_(text), "joules_by_domain": text, "below_resolution": arrow.bool_(),
        "other_share": real, "peak_bytes": whole, "threads": whole, "started_unix_seconds": real,
        "notes": arrow.list_(text), "gain_low": real, "gain_high": real,
    }  # fmt: skip
    for name in PHASES:
        kinds |= {f"{name}_{part}": whole if part == "ticks" else real for part in _PHASE_FIELDS}
    return arrow.schema(list(kinds.items()))
