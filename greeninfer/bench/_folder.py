"""The results folder: written cell by cell, so that nothing measured is ever lost, and read back whole.

    study.yaml         the study as it was run
    environment.json   host, hardware, meters, versions
    runs.parquet       a row for each cell
    items.parquet      a row for each prediction, cell after cell
    cells/ID.parquet   while it runs: one finished cell each; ``gather`` puts them into the two files above

Every file is written beside its place and moved there, so what is there is whole. What is not known is null.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from greeninfer.bench._optional import need
from greeninfer.bench._records import FORMAT, Items, Results, Run
from greeninfer.bench._rows import from_row, items_of, items_table, runs_table, to_row
from greeninfer.bench._study import Study, cells
from greeninfer.bench._study_file import parse_recorded, render_study
from greeninfer.errors import ResultsError, StudyError

STUDY, ENVIRONMENT, RUNS, ITEMS, CELLS = "study.yaml", "environment.json", "runs.parquet", "items.parquet", "cells"

_log = logging.getLogger("greeninfer")


def write_head(folder: Path, study: Study, environment: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> None:
    """Write what is known before the first cell: the study, the environment and the labels of each data set."""
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    with whole(folder / STUDY) as path:
        path.write_text(render_study(study), encoding="utf-8")
    head = {"format": FORMAT, **environment, "labels": {name: list(each) for name, each in labels.items()}}
    with whole(folder / ENVIRONMENT) as path:
        path.write_text(json.dumps(head, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_cell(folder: Path, run: Run, items: Items | None, labels: Sequence[str]) -> None:
    """Keep one finished cell; a failed one without predictions.

    Raises:
        ResultsError: if it cannot be written (disk full, no right); what was there before stays.
    """
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    table = items_table(run.cell.id, items if items is not None else _no_items(), labels)
    table = table.replace_schema_metadata({"run": json.dumps(to_row(run)), "format": str(FORMAT)})
    try:
        with whole(folder / CELLS / f"{run.cell.id}.parquet") as path:
            parquet.write_table(table, path)
    except (OSError, arrow.ArrowException) as error:
        raise ResultsError(f"cell {run.cell.id} could not be kept in {folder}: {error}; remedy: make room") from error


def measured(folder: Path) -> dict[str, Run]:
    """Return the runs that a folder holds, by cell id, gathered or not; a damaged cell counts as not measured."""
    held: dict[str, Run] = {}
    if (folder / RUNS).exists():
        held = {run.cell.id: run for run in _read_runs(folder / RUNS)}
    return held | {run.cell.id: run for run, _ in _loose(folder)}


def gather(folder: Path, drop: Collection[str] = ()) -> None:
    """Put finished cells into ``runs.parquet`` and ``items.parquet``, in the study's order; then drop their files.

    Cells that the study does not have any more are left out, and those whose ids are in ``drop``.
    """
    parquet = need("pyarrow.parquet")
    order = {cell.id: number for number, cell in enumerate(cells(_read_study(folder)))}
    runs = {name: run for name, run in measured(folder).items() if name in order and name not in drop}
    ordered = sorted(runs, key=order.__getitem__)
    tables = _tables(folder)
    schema = items_table("", _no_items(), ()).schema
    with whole(folder / ITEMS) as path, parquet.ParquetWriter(path, schema) as writer:
        for name in ordered:
            if name in tables and tables[name].num_rows:
                writer.write_table(tables[name].cast(schema))
    with whole(folder / RUNS) as path:
        parquet.write_table(runs_table([runs[name] for name in ordered]), path)
    for path in (folder / CELLS).glob("*.parquet"):
        path.unlink()


def read(folder: Path | str) -> Results:
    """Read a results folder, finished or not.

    Raises:
        ResultsError: if there is none, it is of another version, or a file in it is damaged.
    """
    folder = Path(folder)
    environment = read_environment(folder)
    study = _read_study(folder)
    order = {cell.id: number for number, cell in enumerate(cells(study))}
    runs = {name: run for name, run in measured(folder).items() if name in order}
    if not runs:
        raise ResultsError(f"{folder} holds no finished cell yet; remedy: greeninfer bench run --resume")
    labels = {name: tuple(each) for name, each in environment["labels"].items()}
    items = {
        name: items_of(table, labels[runs[name].cell.dataset])
        for name, table in _tables(folder).items()
        if name in runs and table.num_rows
    }
    ordered = tuple(runs[name] for name in sorted(runs, key=order.__getitem__))
    return Results(study, environment, ordered, items, labels, str(folder))


def read_environment(folder: Path) -> dict[str, Any]:
    """Return what ``environment.json`` says, once it is of our version."""
    path = folder / ENVIRONMENT
    if not path.exists():
        raise ResultsError(f"{folder} is no results folder: it has no {ENVIRONMENT}; remedy: greeninfer bench run")
    with _damaged(path):
        environment = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(environment, dict) or environment.get("format") != FORMAT:
        found = environment.get("format") if isinstance(environment, dict) else None
        raise ResultsError(
            f"{folder} has results of format {found!r}, this version reads {FORMAT}; "
            "remedy: read them with the greeninfer that wrote them, or measure again"
        )
    return environment


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to, moved to its place when all is written, dropped if not."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    arrow = need("pyarrow")
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, arrow.ArrowException) as error:
        raise ResultsError(f"{path} is damaged ({error}); remedy: remove it and run again with --resume") from error


def _read_study(folder: Path) -> Study:
    with _damaged(folder / STUDY):
        text = (folder / STUDY).read_text(encoding="utf-8")
        try:
            return parse_recorded(text)
        except StudyError as error:
            raise ResultsError(f"{folder / STUDY} is not a study: {error}") from error


def _read_runs(path: Path) -> list[Run]:
    with _damaged(path):
        return [from_row(row) for row in need("pyarrow.parquet").read_table(path).to_pylist()]


def _loose(folder: Path) -> Iterator[tuple[Run, Path]]:
    parquet = need("pyarrow.parquet")
    for path in sorted((folder / CELLS).glob("*.parquet")):
        try:
            with _damaged(path):
                row = json.loads(parquet.read_schema(path).metadata[b"run"])
                yield from_row(row), path
        except ResultsError as error:
            _log.warning("greeninfer.bench.cell_damaged path=%s error=%s", path, error)


def _tables(folder: Path) -> dict[str, Any]:
    """Return the predictions of every cell, gathered or not, as Arrow tables."""
    parquet, path = need("pyarrow.parquet"), folder / ITEMS
    gathered: dict[str, Any] = {}
    if path.exists():
        with _damaged(path):
            gathered = _by_cell(parquet.read_table(path))
    loose = {run.cell.id: parquet.read_table(path).replace_schema_metadata(None) for run, path in _loose(folder)}
    return gathered | loose


def _by_cell(table: Any) -> dict[str, Any]:
    """Return slices of a table by cell; a cell's rows stand together."""
    column = table.column("cell").combine_chunks()
    if len(column) == 0:
        return {}
    codes = column.indices.to_numpy()
    names = column.dictionary.to_pylist()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = np.append(starts[1:], len(codes))
    return {
        names[codes[start]]: table.slice(int(start), int(end - start)) for start, end in zip(starts, ends, strict=True)
    }


def _no_items() -> Items:
    whole_numbers, real = np.zeros(0, np.int32), np.zeros(0, np.float32)
    short = np.zeros(0, np.int16)
    return Items(whole_numbers, short, short, real, real, whole_numbers, whole_numbers, whole_numbers)
