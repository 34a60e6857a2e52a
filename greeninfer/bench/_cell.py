"""Measure one cell in a process of its own: ``python -m greeninfer.bench._cell JOB.json``."""

from __future__ import annotations

import gc
import os
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from greeninfer._monitor import Monitor
from greeninfer._settings import Settings
from greeninfer.bench import models
from greeninfer.bench._folder import STUDY, write_cell
from greeninfer.bench._job import Job, read_job
from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._phases import Borders, Collected, Cut
from greeninfer.bench._records import Items, Phase, PhaseName, Run
from greeninfer.bench._splits import draw
from greeninfer.bench._steady import Steady, ask, repeat
from greeninfer.bench._study import Study
from greeninfer.bench._study_file import parse_recorded
from greeninfer.bench._texts import load


def main(arguments: Sequence[str]) -> int:
    """Measure the cell of a job file and write it; a model that fails is a result, too."""
    job = read_job(Path(arguments[0]))
    settings = replace(Settings.from_env(os.environ), exporters=())
    study = parse_recorded((Path(job.folder) / STUDY).read_text(encoding="utf-8"))
    collected = Collected()
    with Monitor(settings, exporters=[collected]) as monitor:
        monitor.tick(force=True)
        run, items, labels = measure(job, study, monitor, collected)
    write_cell(Path(job.folder), run, items, labels)
    return 0


def measure(
    job: Job, study: Study, monitor: Monitor, collected: Collected
) -> tuple[Run, Items | None, tuple[str, ...]]:
    """Return the run, its predictions (None if it failed) and the sorted labels of its data set."""
    cell, protocol, spec = job.cell, study.protocol, study.model(job.cell.model)
    dataset = study.dataset(cell.dataset)
    labelled = load(dataset, Path(job.base))
    labels = tuple(sorted(set(labelled.labels)))
    split = draw(labelled, study.splits, cell.split)
    test = split.test if spec.test_items is None else split.test[: spec.test_items]
    train_texts, train_labels = [[part[row] for row in split.train] for part in (labelled.texts, labelled.labels)]
    texts, wanted = [[part[row] for row in test] for part in (labelled.texts, labelled.labels)]
    commonest = min(Counter(train_labels).items(), key=lambda each: (-each[1], each[0]))[0]
    run = Run(
        cell, platform.node(), "ok", fingerprint=job.fingerprint, train_items=len(train_texts), test_items=len(texts),
        majority=wanted.count(commonest) / len(wanted), meters=tuple(info.name for info in monitor.meters),
        gain=(min((info.gain[0] for info in monitor.meters), default=1.0),
              max((info.gain[1] for info in monitor.meters), default=1.0)),
        threads=protocol.threads, started_unix_seconds=time.time(), notes=split.notes,
    )  # fmt: skip
    borders = Borders(monitor, collected, job.idle_watts, os.cpu_count() or 1)
    done: dict[PhaseName, Cut] = {}
    name: PhaseName = "load"
    model: Model | None = None
    first_call = None
    try:
        task = Task(dataset.name, labels, dataset.descriptions)
        model = models.open_model(spec, task, Place(cell.device, protocol.threads, protocol.seed))
        done[name] = borders.cut()
        name = "fit"
        model.fit(train_texts, train_labels)
        done[name] = borders.cut()
        name = "warmup"
        served = _served(model)
        first_call = _warm_up(model, train_texts, cell.batch_size, protocol.warmup_seconds)
        done[name] = _as_served(borders.cut(), model, served)
        name = "steady"
        gc.collect()
        borders.begin()
        served = _served(model)
        floor = max(protocol.min_seconds, protocol.min_ticks * borders.period_seconds)
        steady = repeat(model, texts, cell.batch_size, floor, borders.cut)
        done[name] = _as_served(_whole(steady.blocks), model, served)
    except Exception as error:  # noqa: BLE001 - the border to the models' foreign code
        reason = f"{name}: {type(error).__name__}: {error}"
        failed = replace(
            run, status="failed", reason=reason, phases={key: cut.phase for key, cut in done.items()},
            first_call_seconds=first_call, peak_bytes=_peak_bytes(),
        )  # fmt: skip
        return failed, None, labels
    finally:
        if model is not None:
            model.close()
    run = replace(_told(run, steady, done, protocol.min_ticks), first_call_seconds=first_call)
    return run, _items(test, wanted, labels, steady), labels


def _told(run: Run, steady: Steady, done: dict[PhaseName, Cut], min_ticks: int) -> Run:
    last = done["steady"]
    known = last.by_domain and all(block.phase.joules is not None for block in steady.blocks)
    return replace(
        run, phases={name: cut.phase for name, cut in done.items()}, items=steady.items, passes=steady.passes,
        block_seconds=tuple(block.phase.seconds for block in steady.blocks), block_items=tuple(steady.block_items),
        block_joules=tuple(block.phase.joules or 0.0 for block in steady.blocks) if known else (),
        quality=last.quality, joules_by_domain=last.by_domain,
        below_resolution=bool(run.meters) and last.phase.ticks < min_ticks,
        other_share=None if last.share is None else 1.0 - last.share, peak_bytes=_peak_bytes(),
        notes=(*run.notes, *dict.fromkeys(note for cut in done.values() for note in cut.notes)),
    )  # fmt: skip


def _warm_up(model: Model, texts: Sequence[str], batch_size: int, seconds: float) -> float:
    """Return how long the first call took."""
    began, first, at = time.perf_counter(), None, 0
    while first is None or time.perf_counter() - began < seconds:
        before = time.perf_counter()
        ask(model, texts[at : at + batch_size])
        first = time.perf_counter() - before if first is None else first
        at = at + batch_size if at + batch_size < len(texts) else 0
    return first


def _whole(blocks: Sequence[Cut]) -> Cut:
    """Return consecutive blocks as one."""
    parts = [block.phase for block in blocks]

    def total(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if None in values else sum(values)

    names = ("seconds", "cpu_seconds", "joules", "net_joules", "other_joules")
    seconds = total("seconds")
    shares = [block.share for block in blocks]
    shared = None if None in shares else sum(
        (block.share or 0.0) * block.phase.seconds for block in blocks) / seconds  # fmt: skip
    by_domain: dict[str, float] = {}
    for block in blocks:
        for domain, joules in block.by_domain.items():
            by_domain[domain] = by_domain.get(domain, 0.0) + joules
    phase = Phase(**{name: total(name) for name in names}, ticks=sum(part.ticks for part in parts))
    order = ("measured", "shared", "estimated")
    qualities = [block.quality for block in blocks if block.quality is not None]
    known = phase.joules is not None
    worst = max(qualities, key=order.index) if qualities and known else None
    notes = tuple(dict.fromkeys(note for block in blocks for note in block.notes))
    return Cut(phase, by_domain if known else {}, shared, worst, notes)


def _served(model: Any) -> float | None:
    return model.joules() if hasattr(model, "joules") else None


def _as_served(cut: Cut, model: Any, before: float | None) -> Cut:
    """Return a phase with the joules that the model itself counted, where it does."""
    if not hasattr(model, "joules"):
        return cut
    after = model.joules()
    joules = None if before is None or after is None else after - before
    phase = replace(cut.phase, joules=joules, net_joules=None, other_joules=None)
    note = "joules are those that the service charged to its requests; this machine's are not in them"
    by_domain = {} if joules is None else {"served": joules}
    return Cut(phase, by_domain, cut.share, None if joules is None else model.quality(), (*cut.notes, note))


def _items(test: Any, wanted: Sequence[str], labels: Sequence[str], steady: Steady) -> Items:
    codes = {label: number for number, label in enumerate(labels)}
    answers: Sequence[Prediction] = steady.predictions

    def counts(name: str) -> Any:
        return np.array([-1 if (n := getattr(each, name)) is None else n for each in answers], np.int32)

    return Items(
        item=np.asarray(test, np.int32),
        label=np.array([codes[label] for label in wanted], np.int16),
        predicted=np.array([codes.get(each.label or "", -1) for each in answers], np.int16),
        confidence=np.array([np.nan if each.confidence is None else each.confidence for each in answers], np.float32),
        seconds=np.array(steady.seconds, np.float32),
        **{name: counts(name) for name in ("input_tokens", "output_tokens", "reasoning_tokens")},
    )


def _peak_bytes() -> int:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
