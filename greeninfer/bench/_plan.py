"""What a run has to measure and what it can keep: the study held against what its folder holds already.

Everything is checked before the first cell: the folder, every model's options, every data set whole. Nothing that was
measured is thrown away: what a changed study replaces is set aside as a results folder of its own, ``earlier/1``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greeninfer.bench import _fingerprint as fingerprint
from greeninfer.bench._folder import (
    CELLS,
    ENVIRONMENT,
    ITEMS,
    RUNS,
    STUDY,
    gather,
    measured,
    read,
    read_environment,
)
from greeninfer.bench._optional import need
from greeninfer.bench._records import Run
from greeninfer.bench._splits import draw
from greeninfer.bench._study import Cell, Study, cells
from greeninfer.bench._texts import Labelled, load
from greeninfer.bench.models import read_options
from greeninfer.errors import ResultsError, StudyError

EARLIER = "earlier"

_log = logging.getLogger("greeninfer")


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do.

    Args:
        todo: cells to measure, in order.
        kept: runs of the same cells, measured before.
        replaced: ids of runs in the folder that are not those of this study any more.
        lost: whether predictions were made in one of those, which are worth setting aside.
        fingerprints: by cell id.
        labels: sorted labels by data set.
        notes: what a person has to know of the data sets.
        environment: what the folder says of the machine that measured it; None if it is new.
    """

    todo: tuple[Cell, ...]
    kept: tuple[Run, ...]
    replaced: frozenset[str]
    lost: bool
    fingerprints: Mapping[str, str]
    labels: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    environment: Mapping[str, Any] | None


def make_plan(study: Study, folder: Path, *, base: Path, resume: bool) -> Plan:
    """Check everything that a run needs and say what it has to do; change nothing.

    Raises:
        StudyError: if a model or a data set of the study cannot be run.
        ResultsError: if the folder holds results and is not to be resumed, or cannot be.
    """
    started = (folder / ENVIRONMENT).exists()
    if (started or (folder / RUNS).exists()) and not resume:
        raise ResultsError(
            f"{folder} holds results already; remedy: --resume to measure what is missing, or another folder"
        )
    environment = read_environment(folder) if started else None
    loaded = _load_all(study, base)
    texts = {name: fingerprint.of_texts(each.texts, each.labels) for name, each in loaded.items()}
    models = _check_models(study, base)
    protocol = fingerprint.of_protocol(study)
    prints = {
        cell.id: fingerprint.of_cell(
            study, cell, protocol=protocol, texts=texts[cell.dataset], model=models[cell.model]
        )
        for cell in cells(study)
    }
    held = measured(folder) if started else {}
    whole = _whole(folder, held)
    kept = {name: run for name, run in whole.items() if prints.get(name) == run.fingerprint}
    return Plan(
        todo=tuple(cell for cell in cells(study) if cell.id not in kept),
        kept=tuple(kept.values()),
        replaced=frozenset(name for name, run in held.items() if prints.get(name) != run.fingerprint),
        lost=any(name not in kept for name in whole),
        fingerprints=prints,
        labels={name: tuple(sorted(set(each.labels))) for name, each in loaded.items()},
        notes=tuple(f"{name}: {note}" for name, each in loaded.items() for note in each.notes),
        environment=environment,
    )


def drop_damaged(folder: Path) -> None:
    """Remove the files of cells that cannot be read to their end; those cells are measured again."""
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    for path in sorted((folder / CELLS).glob("*.parquet")):
        try:
            parquet.read_table(path)
        except (OSError, arrow.ArrowException) as error:
            _log.warning("greeninfer.bench.cell_damaged path=%s error=%s", path, error)
            path.unlink()


def set_aside(plan: Plan, folder: Path) -> Path | None:
    """Take out of the folder what the study replaces; return where that can be read from now on.

    Raises:
        ResultsError: if it cannot be written; then everything is where it was.
    """
    if not plan.replaced:
        return None
    place = None
    with unwritten(folder):
        gather(folder)
        if plan.lost:
            place = _copy(folder)
        gather(folder, drop=plan.replaced)
    return place


@contextmanager
def unwritten(folder: Path) -> Iterator[None]:
    """Turn what keeps a file from being written into ``ResultsError``."""
    try:
        yield
    except OSError as error:
        raise ResultsError(
            f"{folder} cannot be written ({error}); what was measured before stays and can be read; "
            "remedy: make room, then run again with --resume"
        ) from error


def _check_models(study: Study, base: Path) -> dict[str, str]:
    """Return the fingerprint of each model, once its options are known to be right."""
    found = {}
    for index, model in enumerate(study.models):
        try:
            read_options(model.kind, model.options)
            found[model.name] = fingerprint.of_model(model, base)
        except StudyError as error:
            path = ("models", index, *error.path)
            raise StudyError(f"model {model.name}: {error.what}", error.allowed, error.remedy, path) from error
        except OSError as error:
            remedy = "give it to the user who runs the study"
            raise StudyError(
                f"model {model.name}: {error}", "files that can be read", remedy, ("models", index)
            ) from error
    return found


def _load_all(study: Study, base: Path) -> dict[str, Labelled]:
    """Return every data set by name; each is split once, to see that it can be."""
    loaded = {}
    for index, dataset in enumerate(study.datasets):
        try:
            loaded[dataset.name] = load(dataset, base)
            draw(loaded[dataset.name], study.splits, 0)
        except StudyError as error:
            path = error.path if error.path[:1] in (("datasets",), ("splits",)) else ("datasets", index, *error.path)
            raise StudyError(error.what, error.allowed, error.remedy, path) from error
    return loaded


def _whole(folder: Path, held: Mapping[str, Run]) -> dict[str, Run]:
    """Return the runs that went well and whose predictions are there."""
    if not held:
        return {}
    items = read(folder).items
    return {name: run for name, run in held.items() if run.status == "ok" and name in items}


def _copy(folder: Path) -> Path:
    number = 1
    while (place := folder / EARLIER / str(number)).exists():
        number += 1
    beside = folder / EARLIER / ".beside"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name in (STUDY, ENVIRONMENT, RUNS, ITEMS):
        shutil.copy2(folder / name, beside / name)
    return beside.rename(place)
