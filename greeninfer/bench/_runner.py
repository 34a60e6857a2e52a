"""Run a study: on this machine, or on several through an engine that brings the work there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from greeninfer._settings import PREFIX
from greeninfer.bench._launch import Launch
from greeninfer.bench._progress import Progress, Silence
from greeninfer.bench._serial import Summary, measure_here
from greeninfer.bench._study import Study
from greeninfer.bench.engines import Sweep, open_engine, refuse_results

__all__ = ["Launch", "Summary", "run"]


def run(
    study: Study,
    folder: Path,
    *,
    base: Path = Path(),
    resume: bool = False,
    engine: str = "local",
    engine_options: Mapping[str, object] | None = None,
    progress: Progress | None = None,
    launch: Launch | None = None,
) -> Summary:
    """Measure every cell of a study, each in a process of its own, one at a time; write the results folder.

    A cell that fails (its model crashes, hangs, answers nonsense) is kept with its reason and the rest goes on. Ctrl-C
    ends the running cell and keeps what is done.

    Args:
        study: what to measure.
        folder: where the results go; made if it is not there. Of engines other than "local", each machine's own
            results go to ``folder/MACHINE``.
        base: folder that relative paths in the study start from.
        resume: go on in a folder that has results: cells that are still the same are kept, what is missing, failed or
            has changed is measured. What a changed study replaces is set aside in ``folder/earlier/N``.
        engine: "local" here, one cell after the other; "submitit" on nodes of a Slurm cluster; "ray" on the nodes of a
            Ray cluster. There, each machine measures the whole study: hardware side by side.
        engine_options: what the engine takes; see ``greeninfer.bench.engines``.
        progress: where to say how far it is; nowhere by default.
        launch: how processes are started; by default as this process was, with its environment.

    Raises:
        StudyError: if a model or a data set cannot be run; before anything is measured.
        ResultsError: if the folder holds results and ``resume`` is not set, is of another version or machine or
            damaged, if it cannot be written (disk full: what is done stays), or if another benchmark runs on this host.
        ImportError: if the engine's package, or pyarrow, is not installed.
    """
    progress = Silence() if progress is None else progress
    if engine == "local":
        launch = Launch(dict(os.environ)) if launch is None else launch
        return measure_here(study, folder, base=base, resume=resume, progress=progress, launch=launch)
    measure = open_engine(engine, engine_options or {})
    if not resume:
        refuse_results(folder)
    settings = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    return measure(Sweep(study, folder.resolve(), base.resolve(), settings, launch), progress)
