"""A study on this machine: its cells one after the other, each in a process of its own, nothing else of ours running.

Whatever ends a run early (Ctrl-C, a full disk, a lost machine), each finished cell is a file of its own already, and
``resume`` goes on from there.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greeninfer.bench._folder import CELLS, ENVIRONMENT, STUDY, gather, write_cell, write_head
from greeninfer.bench._host_lock import host_to_ourselves
from greeninfer.bench._job import Job, write_job
from greeninfer.bench._launch import CANNOT_KEEP, Launch, pinned
from greeninfer.bench._optional import need
from greeninfer.bench._plan import Plan, drop_damaged, make_plan, set_aside, unwritten
from greeninfer.bench._prepare import needs_preparing
from greeninfer.bench._process import Ended, finish
from greeninfer.bench._progress import Progress, Remaining
from greeninfer.bench._records import Run
from greeninfer.bench._rows import from_row
from greeninfer.bench._study import Cell, Study
from greeninfer.errors import ResultsError

LOGS = "logs"

# What it takes to ask a machine what it is, beside the seconds at rest; sensors on slow buses answer late.
_DESCRIBE_SECONDS = 120.0

_NOT_KEPT = "could not be kept"  # as ``write_cell`` says it, whatever status the process ended with

_log = logging.getLogger("greeninfer")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    Args:
        done: cells measured in it that went well.
        kept: cells that were measured before.
        failed: cells that failed in it; their runs say why.
        left: cells that are still to be measured, because it was interrupted.
        folder: where the results are.
        interrupted: it was ended before its last cell.
        notes: of several machines, why one of them is missing.
    """

    done: int
    kept: int
    failed: int
    left: int
    folder: Path
    interrupted: bool = False
    notes: tuple[str, ...] = ()


def measure_here(
    study: Study, folder: Path, *, base: Path, resume: bool, progress: Progress, launch: Launch
) -> Summary:
    """Measure a study on this machine; see ``greeninfer.bench._runner.run``."""
    with host_to_ourselves(launch.lock) as keep_open:
        with unwritten(folder):
            (folder / CELLS).mkdir(parents=True, exist_ok=True)
            (folder / LOGS).mkdir(exist_ok=True)
        if resume:
            drop_damaged(folder)
        plan = make_plan(study, folder, base=base, resume=resume)
        return _Session(study, folder.resolve(), base.resolve(), plan, progress, launch, keep_open).run()


class _Session:
    """One run, from the machine at rest to the gathered results."""

    def __init__(
        self,
        study: Study,
        folder: Path,
        base: Path,
        plan: Plan,
        progress: Progress,
        launch: Launch,
        keep_open: tuple[int, ...],
    ) -> None:
        self._study, self._folder, self._base, self._plan = study, folder, base, plan
        self._progress, self._launch, self._keep_open = progress, launch, keep_open
        self._environ = pinned(launch.environ, study.protocol, base)
        self._remaining = Remaining()
        self._environment: Mapping[str, Any] = plan.environment or {}
        self._ended: list[Run] = []

    def run(self) -> Summary:
        """Measure what the plan says and gather it, also when interrupted."""
        interrupted = False
        try:
            self._begin()
            self._prepare()
            for number in range(len(self._plan.todo)):
                self._measure(number)
        except KeyboardInterrupt:
            interrupted = True
            _log.warning("greeninfer.bench.interrupted cells=%d", len(self._ended))
        finally:
            self._progress.end()
        if (self._folder / ENVIRONMENT).exists():
            with unwritten(self._folder):
                gather(self._folder)
        failed = sum(run.status == "failed" for run in self._ended)
        left = len(self._plan.todo) - len(self._ended)
        return Summary(len(self._ended) - failed, len(self._plan.kept), failed, left, self._folder, interrupted)

    def _begin(self) -> None:
        """Describe the machine while it is at rest, then write the head of the folder."""
        plan = self._plan
        self._progress.begin(len(plan.todo) + len(plan.kept), len(plan.kept))
        for note in plan.notes:
            self._progress.say(note)
        for run in plan.kept:
            self._remaining.add(run.cell, sum(phase.seconds for phase in run.phases.values()))
        if plan.todo:
            self._environment = self._describe()
        place = set_aside(plan, self._folder)
        if place is not None:
            self._progress.say(f"The study has changed: what it replaces is a results folder of its own now, {place}")
        with unwritten(self._folder):
            write_head(self._folder, self._study, self._environment, plan.labels)

    def _prepare(self) -> None:
        """Have done what models need done once; where that fails, their cells say why."""
        waiting = {cell.model for cell in self._plan.todo}
        for model in self._study.models:
            if model.name not in waiting or not needs_preparing(model.kind):
                continue
            self._progress.say(f"Preparing {model.name}")
            log = self._folder / LOGS / f"prepare.{model.name}.log"
            command = [*self._launch.prepare, str(self._folder / STUDY), model.name]
            ended = self._finish(command, log, self._study.protocol.time_limit_seconds)
            if ended.reason():
                _log.warning("greeninfer.bench.prepare_failed model=%s reason=%s", model.name, ended.reason())
                self._progress.say(f"{model.name} could not be prepared: it {ended.reason()}")
            else:
                log.unlink()

    def _describe(self) -> dict[str, Any]:
        """Return what the machine says of itself, and what it said to the cells that are kept.

        Raises:
            ResultsError: if it cannot be asked, or it is not the machine that measured them.
        """
        self._progress.say("Measuring the machine at rest")
        idle_seconds = self._study.protocol.idle_seconds
        out, log = self._folder / ".environment.json", self._folder / LOGS / "environment.log"
        command = [*self._launch.environment, str(out), str(idle_seconds)]
        ended = self._finish(command, log, idle_seconds + _DESCRIBE_SECONDS)
        if ended.reason() or not out.exists():
            raise ResultsError(
                f"the machine could not be described: the process {ended.reason() or 'left no description'}; see {log}"
            )
        environment: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        out.unlink()
        log.unlink()
        earlier = self._plan.environment
        if earlier is None or not self._plan.kept:
            return environment
        if earlier.get("machine") != environment.get("machine"):
            raise ResultsError(
                f"{self._folder} holds results of {earlier.get('machine')}, this machine is "
                f"{environment.get('machine')}; remedy: a folder of its own for each machine"
            )
        history = [*earlier.get("earlier", ()), {k: v for k, v in earlier.items() if k not in ("earlier", "labels")}]
        return environment | {"earlier": history}

    def _measure(self, number: int) -> None:
        """Measure one cell in a process of its own; what goes wrong in it makes it a failed cell.

        Raises:
            ResultsError: if its result cannot be kept: then there is no sense in going on.
        """
        left = self._plan.todo[number:]
        cell, protocol = left[0], self._study.protocol
        self._progress.start(cell)
        path, log = self._folder / CELLS / f"{cell.id}.parquet", self._folder / LOGS / f"{cell.id}.log"
        job = self._folder / ".job.json"
        with unwritten(self._folder):
            path.unlink(missing_ok=True)
            write_job(self._job(cell), job)
        began = time.time()
        try:
            ended = self._finish([*self._launch.cell, str(job)], log, protocol.time_limit_seconds, left)
        finally:
            job.unlink(missing_ok=True)
        run = _written(path)
        if run is None:
            if ended.code == CANNOT_KEEP or (ended.code and _NOT_KEPT in ended.said):
                raise ResultsError(ended.said or f"cell {cell.id} could not be kept in {self._folder}")
            run = self._failed(cell, ended, began)
            write_cell(self._folder, run, None, self._plan.labels[cell.dataset])
        if run.status == "failed":
            _log.warning("greeninfer.bench.cell_failed cell=%s reason=%s", cell.id, run.reason)
        else:
            log.unlink()
        self._ended.append(run)
        self._remaining.add(cell, ended.seconds)
        self._progress.done(run, ended.seconds, self._remaining.seconds(left[1:]))

    def _failed(self, cell: Cell, ended: Ended, began_unix_seconds: float) -> Run:
        machine = self._environment.get("machine")
        limit = f"time_limit_seconds={self._study.protocol.time_limit_seconds:g}"
        return Run(
            cell,
            machine=machine if isinstance(machine, str) else platform.node(),
            status="failed",
            reason=ended.reason(limit) or "its process ended well and left no result",
            fingerprint=self._plan.fingerprints[cell.id],
            threads=self._study.protocol.threads,
            started_unix_seconds=began_unix_seconds,
        )

    def _job(self, cell: Cell) -> Job:
        return Job(
            folder=str(self._folder),
            cell=cell,
            base=str(self._base),
            fingerprint=self._plan.fingerprints[cell.id],
            idle_watts=self._environment.get("idle_watts") or {},
        )

    def _finish(self, command: list[str], log: Path, limit_seconds: float, left: Sequence[Cell] = ()) -> Ended:
        began = time.monotonic()
        with unwritten(self._folder):
            return finish(
                command,
                environ=self._environ,
                log=log,
                limit_seconds=limit_seconds,
                tick=lambda: self._progress.tick(self._remaining.seconds(left, time.monotonic() - began)),
                tick_seconds=self._progress.tick_seconds if left else None,
                keep_open=self._keep_open,
                grace_seconds=self._launch.grace_seconds,
            )


def _written(path: Path) -> Run | None:
    """Return the run in a cell's file, None if there is no such file or it is no good."""
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    try:
        return from_row(json.loads(parquet.read_schema(path).metadata[b"run"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, arrow.ArrowException) as error:
        _log.warning("greeninfer.bench.cell_damaged path=%s error=%s", path, error)
        return None
