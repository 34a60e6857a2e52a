"""Report on a large study: 100,000 texts, 10 models, 10 splits, so 10,000,000 predictions.

    python benchmarks/bench_size.py [--quick] [--check] [--folder DIR]

A results folder of that size is written first (not timed: measuring it for real takes days). Then a process of its own
reads it, makes the candidates with their intervals, chooses, and writes the report. Memory is the largest resident
size of that process. ``--quick`` takes 10,000 texts; the targets are those of the full size.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _report import Report

MODELS, SPLITS, LABELS = 10, 10, ("billing", "delivery", "other", "return")
SECONDS_LIMIT, GIB_LIMIT = 60.0, 2.0


def write(folder: Path, texts: int) -> None:
    """Write a results folder: models from 55 % to 91 % right, each about three times as dear as the one before."""
    from greeninfer.bench._folder import gather, write_cell, write_head
    from greeninfer.bench._records import Items, Phase, Run
    from greeninfer.bench._study import Dataset, ModelSpec, Splits, Study, cells

    models = tuple(ModelSpec(f"model{number}", "majority") for number in range(MODELS))
    study = Study("size", (Dataset("tickets", "tickets.csv"),), models, splits=Splits(SPLITS, texts, texts))
    write_head(folder, study, {"machine": "made-up"}, {"tickets": LABELS})
    random = np.random.default_rng(0)
    truth = random.integers(0, len(LABELS), 2 * texts).astype(np.int16)
    hard = random.normal(size=2 * texts)
    asked = [np.sort(random.permutation(2 * texts)[:texts]).astype(np.int32) for _ in range(SPLITS)]
    unknown = np.full(texts, -1, np.int32)
    for cell in cells(study):
        number, item = int(cell.model.removeprefix("model")), asked[cell.split]
        right = random.random(texts) < 1 / (1 + np.exp(-(0.2 + 0.3 * number - hard[item])))
        label = truth[item]
        predicted = np.where(right, label, (label + 1 + random.integers(0, 3, texts)) % len(LABELS)).astype(np.int16)
        seconds = 1e-4 * 3.0**number * random.lognormal(0.0, 0.3, texts)
        total, joules = float(seconds.sum()), float(seconds.sum()) * 30.0 * random.lognormal(0.0, 0.03)
        confidence = random.random(texts).astype(np.float32)
        items = Items(item, label, predicted, confidence, seconds.astype(np.float32), unknown, unknown, unknown)
        steady = Phase(total, total, joules, 0.6 * joules, 0.0, 1000)
        run = Run(
            cell, "made-up", "ok", phases={"load": steady, "fit": steady, "steady": steady}, items=texts, passes=1,
            train_items=texts, test_items=texts, majority=0.25, quality="measured", meters=("rapl",),
            block_seconds=(total / 4,) * 4, block_items=(texts // 4,) * 4, block_joules=(joules / 4,) * 4,
        )  # fmt: skip
        write_cell(folder, run, items, LABELS)
    gather(folder)


def measure(folder: Path) -> dict[str, Any]:
    """Return the seconds of each step, and the largest memory so far after it, in this process."""
    from greeninfer.bench._choose import Needs, Scale, choose, render
    from greeninfer.bench._folder import read
    from greeninfer.bench._statistics import survey

    steps: list[tuple[str, float, float]] = []

    def step(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        done = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        steps.append((name, time.perf_counter() - start, peak))
        return done

    results = step("read", lambda: read(folder))
    surveyed = step("candidates", lambda: survey([results]))
    choice = step("choose", lambda: choose(surveyed, Needs(min_accuracy=0.8), Scale(2e6, 350.0, 0.25, "EUR")))
    render(choice)
    try:
        report = importlib.import_module("greeninfer.bench.report")
    except ImportError as error:
        return {"steps": steps, "report": str(error)}
    with tempfile.TemporaryDirectory() as place:
        step("report", lambda: report.write([results], Path(place)))
    return {"steps": steps, "report": ""}


def show(found: dict[str, Any], texts: int) -> int:
    """Print the table and the targets; return the exit status."""
    report, steps = Report(), found["steps"]
    rows = [[name, f"{seconds:.1f}", f"{gib:.2f}"] for name, seconds, gib in steps]
    title = f"{texts:,} texts x {MODELS} models x {SPLITS} splits"
    report.table(title, ["step", "seconds", "largest GiB so far"], rows)
    if found["report"]:
        report.unknown("the report itself", found["report"])
    seconds, gib = sum(each[1] for each in steps), max(each[2] for each in steps)
    report.target(f"under {SECONDS_LIMIT:.0f} s", f"{seconds:.1f} s", seconds < SECONDS_LIMIT)
    report.target(f"under {GIB_LIMIT:.0f} GiB", f"{gib:.2f} GiB", gib < GIB_LIMIT)
    return report.end()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10,000 texts")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is not reached")
    parser.add_argument("--folder", type=Path, help="keep the made-up results here, and take them if they are there")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return 0
    texts = 10_000 if arguments.quick else 100_000
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.folder or Path(place) / "results"
        if not (folder / "items.parquet").exists():
            write(folder, texts)
        command = [sys.executable, __file__, "--measure", str(folder)]
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800).stdout
    status = show(json.loads(told.splitlines()[-1]), texts)
    return status if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
