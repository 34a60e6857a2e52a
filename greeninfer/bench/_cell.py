"""Measures one cell in a process of its own: ``python -m greeninfer.bench._cell JOB.json``."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from greeninfer._energy import Quality
from greeninfer._monitor import Monitor
from greeninfer._settings import Settings
from greeninfer.bench._cpu_time import machine_cpu
from greeninfer.bench._folder import STUDY, write_cell
from greeninfer.bench._job import Job, read_job
from greeninfer.bench._launch import CANNOT_KEEP
from greeninfer.bench._model import Model, Place, Task
from greeninfer.bench._phases import Mark, Phases, Recorder, Taken
from greeninfer.bench._records import Items, PhaseName, Run
from greeninfer.bench._splits import Split, draw
from greeninfer.bench._steady import Steady, ask, items_of, loop
from greeninfer.bench._study import ModelSpec, Study
from greeninfer.bench._study_file import parse_recorded
from greeninfer.bench._texts import Labelled, load
from greeninfer.bench.models import open_model
from greeninfer.errors import ResultsError

_FEW_TICKS = 2


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one cell.

    Args:
        labels: of the data set, sorted.
        split: rows to learn from and rows to ask.
        train, train_labels, test, test_labels: what stands there.
    """

    labels: tuple[str, ...]
    split: Split
    train: list[str]
    train_labels: list[str]
    test: list[str]
    test_labels: list[str]

    @property
    def majority(self) -> float:
        """Return the accuracy of always answering the commonest label of the training half."""
        commonest = min(Counter(self.train_labels).items(), key=lambda each: (-each[1], each[0]))[0]
        return self.test_labels.count(commonest) / len(self.test_labels)


@dataclass(slots=True)
class Progressed:
    """How far a cell has come; what is there stays if the model fails."""

    at: PhaseName = "load"
    taken: dict[PhaseName, Taken] = field(default_factory=dict)
    quality: Quality | None = None
    first_call_seconds: float | None = None
    steady: Steady | None = None
    blocks: tuple[Taken, ...] = ()
    notes: tuple[str, ...] = ()


def main(arguments: Sequence[str]) -> int:
    """Measure the cell of a job file and write it; a model that fails is a result, too."""
    job = read_job(Path(arguments[0]))
    study = parse_recorded((Path(job.folder) / STUDY).read_text(encoding="utf-8"))
    settings = replace(Settings.from_env(os.environ), exporters=())
    labelled = load(study.dataset(job.cell.dataset), Path(job.base))
    texts = choose_texts(study, job, labelled)
    recorder = Recorder()
    with Monitor(settings, exporters=[recorder]) as monitor:
        monitor.tick(force=True)
        phases = Phases(monitor, recorder, job.idle_watts, *machine_cpu(settings))
        run, items = measure(study, job, texts, phases)
    try:
        write_cell(Path(job.folder), run, items, texts.labels)
    except ResultsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever started this process
        return CANNOT_KEEP
    return 0


def choose_texts(study: Study, job: Job, labelled: Labelled) -> Texts:
    """Return the texts of a cell's split, the test half no longer than its model is to be asked."""
    split = draw(labelled, study.splits, job.cell.split)
    split = replace(split, test=split.test[: study.model(job.cell.model).test_items])
    halves = [
        [column[row] for row in rows]
        for rows in (split.train, split.test)
        for column in (labelled.texts, labelled.labels)
    ]
    return Texts(tuple(sorted(set(labelled.labels))), split, *halves)


def measure(
    study: Study, job: Job, texts: Texts, phases: Phases, opened: Callable[[ModelSpec, Task, Place], Model] = open_model
) -> tuple[Run, Items | None]:
    """Return a cell's run and its predictions; None of these if the model failed."""
    began, far = time.time(), Progressed()
    reason = ""
    try:
        _go_through(study, job, texts, phases, far, opened)
    except Exception as error:  # noqa: BLE001 - the border to the models' foreign code
        reason = f"{far.at}: {type(error).__name__}: {error}"
    notes = [*texts.split.notes, *far.notes, *(note for taken in far.taken.values() for note in taken.notes)]
    notes += _short(far.taken)
    run = Run(
        job.cell,
        platform.node(),
        "failed" if reason else "ok",
        reason,
        job.fingerprint,
        {name: taken.phase for name, taken in far.taken.items()},
        train_items=len(texts.train),
        test_items=len(texts.test),
        majority=texts.majority,
        first_call_seconds=far.first_call_seconds,
        gain=phases.gain,
        meters=tuple(meter.name for meter in phases.meters),
        peak_bytes=_peak_bytes(),
        threads=study.protocol.threads,
        started_unix_seconds=began,
        notes=tuple(dict.fromkeys(notes)),
    )
    if reason or far.steady is None:
        return run, None
    items = items_of(far.steady, texts.split.test, texts.test_labels, texts.labels)
    return _with_steady(run, far, far.steady, study.protocol.min_ticks), items


def _go_through(
    study: Study, job: Job, texts: Texts, phases: Phases, far: Progressed, opened: Callable[..., Model]
) -> None:
    """Load, fit, warm up and repeat; leave what was found in ``far``, up to where the model fails."""
    protocol, cell, dataset = study.protocol, job.cell, study.dataset(job.cell.dataset)
    task = Task(dataset.name, texts.labels, dataset.descriptions)
    place = Place(cell.device, protocol.threads, protocol.seed)
    begin = phases.mark()
    with contextlib.ExitStack() as held:
        model = opened(study.model(cell.model), task, place)
        held.callback(_close, model, far)
        begin = _end("load", begin, phases, far)
        far.at = "fit"
        model.fit(texts.train, texts.train_labels)
        begin = _end("fit", begin, phases, far)
        far.at = "warmup"
        counter = _served(model)
        far.first_call_seconds = _warm_up(model, texts.train, cell.batch_size, protocol.warmup_seconds, phases.now)
        begin = _end("warmup", begin, phases, far)
        _count_served("warmup", model, counter, far)
        far.at = "steady"
        gc.collect()
        counter = _served(model)
        floor = max(protocol.min_seconds, protocol.min_ticks * phases.period_seconds)
        far.steady = loop(model, texts.test, cell.batch_size, floor, phases)
        marks = far.steady.marks
        far.taken["steady"] = phases.between(marks[0], marks[-1])
        far.blocks = phases.blocks(marks)
        far.quality = phases.quality
        far.notes = (*far.notes, *getattr(model, "notes", ()))
        _count_served("steady", model, counter, far)


def _end(name: PhaseName, begin: Mark, phases: Phases, far: Progressed) -> Mark:
    """Keep what a phase took; return where the next one begins."""
    end = phases.mark()
    far.taken[name] = phases.between(begin, end)
    return end


def _warm_up(model: Model, texts: Sequence[str], batch_size: int, seconds: float, now: Callable[[], float]) -> float:
    """Ask for so long, once at least; return how long the first call took."""
    first, number = None, 0
    begun = now()
    while first is None or now() - begun < seconds:
        ask(model, texts[number : number + batch_size])
        first = now() - begun if first is None else first
        number = number + batch_size if number + batch_size < len(texts) else 0
    return first


def _with_steady(run: Run, far: Progressed, steady: Steady, min_ticks: int) -> Run:
    taken = far.taken["steady"]
    known = taken.phase.joules is not None
    blocks = [block.phase.joules for block in far.blocks]
    return replace(
        run,
        items=sum(steady.counts),
        passes=steady.passes,
        block_seconds=tuple(block.phase.seconds for block in far.blocks),
        block_items=steady.counts,
        block_joules=tuple(each for each in blocks if each is not None) if known and None not in blocks else (),
        quality=far.quality if known else None,
        joules_by_domain=taken.by_domain,
        below_resolution=bool(run.meters) and taken.phase.ticks < min_ticks,
        other_share=taken.other_share,
    )


def _served(model: Any) -> float | None:
    """Return the joules that a service says it has charged so far; None where the model is none or does not say."""
    joules: float | None = model.joules() if hasattr(model, "joules") else None
    return joules


def _count_served(name: PhaseName, model: Any, before: float | None, far: Progressed) -> None:
    """Put the service's own joules in the place of ours, which are the client's."""
    if not hasattr(model, "joules"):
        return
    after = _served(model)
    joules = None if before is None or after is None else after - before
    taken = far.taken[name]
    phase = replace(taken.phase, joules=joules, net_joules=None, other_joules=None)
    far.taken[name] = replace(taken, phase=phase, by_domain={} if joules is None else {"served": joules})
    far.quality = None if joules is None else model.quality()
    far.blocks = tuple(replace(block, phase=replace(block.phase, joules=None)) for block in far.blocks)
    told = "joules are those that the service charged" if joules is not None else f"{name}: the service told no joules"
    far.notes = (*far.notes, f"{told}; this machine's are not in them")


def _close(model: Model, far: Progressed) -> None:
    """Close a model; what goes wrong then is told and spoils nothing."""
    try:
        model.close()
    except Exception as error:  # noqa: BLE001 - the border to the models' foreign code
        far.notes = (*far.notes, f"close: {type(error).__name__}: {error}")


def _short(taken: Mapping[PhaseName, Taken]) -> list[str]:
    """Return what is to be said of phases too short for the counter; the steady phase has a mark of its own."""
    phases = {name: each.phase for name, each in taken.items() if name != "steady"}
    short = [name for name, phase in phases.items() if phase.joules is not None and phase.ticks < _FEW_TICKS]
    return [f"{', '.join(short)}: over before the meters moved twice; joules of so short a time are rough"] * bool(
        short
    )


def _peak_bytes() -> int:
    """Return the largest resident memory since this program began."""
    with contextlib.suppress(OSError):  # getrusage(2) knows of the parent's, too, which was there before execve(2)
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
