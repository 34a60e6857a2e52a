"""What does it cost a model to be measured by the bench? Its steady loop against a bare loop over the same texts.

    python benchmarks/bench_harness.py [--rounds 9] [--seconds 2] [--quick] [--check]

Both loops run in fresh processes of the same kind: the same model, the same texts, one text a call. The measured one is
the cell that ``greeninfer bench run`` starts, with its monitor, its thread, its marks and all; what it says of itself
is taken, with what it took off for other processes, which the bare loop's joules hold, too. The bare one is ``while:
model.predict([text])``, with the meter read right before and right after it. The rounds are interleaved and change
sides; a ratio is that of one round, and figures are medians over rounds.

The model hashes a text so often that one takes 1, 5 or 20 ms: the same work for both, not the same time. Which meter
reads is this machine's own matter (``greeninfer doctor``); both sides read the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _report import Report

from greeninfer._clock import SystemClock
from greeninfer._settings import Settings
from greeninfer.bench._folder import read, write_head
from greeninfer.bench._job import Job, write_job
from greeninfer.bench._launch import pinned
from greeninfer.bench._model import Place, Task
from greeninfer.bench._study import Cell, Dataset, ModelSpec, Protocol, Splits, Study
from greeninfer.bench.models import open_model
from greeninfer.meters import open_meters

MILLISECONDS = (1.0, 5.0, 20.0)
TEXTS = 50
BLOCK = b"x" * 65_536
LIMIT = 0.02
CLEARLY = 0.05

Took = tuple[float, float | None]
"""Seconds and joules per text."""

MODEL = """
import hashlib
BLOCK = b"x" * 65536

def classify(texts):
    for _ in texts:
        for _ in range({times}):
            hashlib.sha256(BLOCK)
    return ["a"] * len(texts)
"""


def times_of(milliseconds: float) -> int:
    """Return how often a block has to be hashed to take so long here, once for all rounds."""
    begun, times = time.thread_time(), 0
    while time.thread_time() - begun < 0.3:
        hashlib.sha256(BLOCK)
        times += 1
    return max(1, round(times * milliseconds / 1e3 / (time.thread_time() - begun)))


def study(seconds: float) -> Study:
    """Return a study of one model on one split."""
    spec = ModelSpec("hashes", "callable", {"target": "hashes:classify"})
    protocol = Protocol(min_seconds=seconds, warmup_seconds=0.2)
    return Study("harness", (Dataset("texts", "texts.csv"),), (spec,), splits=Splits(1, 10, TEXTS), protocol=protocol)


def prepare(folder: Path, times: int, seconds: float) -> dict[str, str]:
    """Write down what both sides need; return the environment of their processes."""
    (folder / "hashes.py").write_text(MODEL.format(times=times), encoding="utf-8")
    rows = "".join(f"text {row},{'ab'[row % 2]}\n" for row in range(TEXTS + 20))
    (folder / "texts.csv").write_text("text,label\n" + rows, encoding="utf-8")
    write_head(folder / "results", study(seconds), {"machine": "here"}, {"texts": ("a", "b")})
    job = Job(str(folder / "results"), Cell("texts", "hashes", 1, "cpu", 0), str(folder))
    write_job(job, folder / "job.json")
    return pinned(os.environ, Protocol(), folder)


def measured(folder: Path, environ: dict[str, str]) -> Took:
    """Return seconds and gross joules per text as the bench tells them."""
    command = [sys.executable, "-m", "greeninfer.bench._cell", str(folder / "job.json")]
    subprocess.run(command, env=environ, check=True)
    (run,) = read(folder / "results").runs
    if run.status != "ok" or run.seconds_per_item is None:
        sys.exit(run.reason)
    steady = run.phases["steady"]
    joules = None if steady.joules is None else (steady.joules + (steady.other_joules or 0.0)) / run.items
    return run.seconds_per_item, joules


def bare(folder: Path, environ: dict[str, str], seconds: float) -> Took:
    """Return seconds and joules per text of a loop in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--bare", str(folder), "--seconds", str(seconds)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    per_text, joules = json.loads(done.stdout.splitlines()[-1])
    return per_text, joules


def loop(folder: Path, seconds: float) -> None:
    """Ask for so long, and print what one text took."""
    texts = [line.partition(",")[0] for line in (folder / "texts.csv").read_text().splitlines()[1:]]
    spec = study(seconds).models[0]
    model = open_model(spec, Task("texts", ("a", "b")), Place())
    predict, clock = model.predict, time.perf_counter
    meters = open_meters(Settings.from_env(os.environ), SystemClock()).meters

    def joules() -> float:
        return sum(reading.joules for meter in meters for reading in meter.read())

    until = clock() + 0.2
    while clock() < until:
        predict(texts[:1])
    counted, count, before, begun = clock() + seconds, 0, joules(), clock()
    while clock() < counted:
        predict(texts[count % TEXTS : count % TEXTS + 1])
        count += 1
    took, used = clock() - begun, joules() - before
    for meter in meters:
        meter.close()
    print(json.dumps([took / count, used / count if meters else None]))


def compare(rounds: int, seconds: float) -> Report:
    report = Report()
    found: dict[float, list[tuple[Took, Took]]] = {milliseconds: [] for milliseconds in MILLISECONDS}
    times = {milliseconds: times_of(milliseconds) for milliseconds in MILLISECONDS}
    for number in range(rounds):
        for milliseconds, sides in found.items():
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                environ = prepare(folder, times[milliseconds], seconds)
                if number % 2:
                    ours = measured(folder, environ)
                    sides.append((ours, bare(folder, environ, seconds)))
                else:
                    theirs = bare(folder, environ, seconds)
                    sides.append((measured(folder, environ), theirs))
    for part, what in enumerate(("time", "energy")):
        show(report, part, what, found, f"{rounds} rounds of {seconds:g} s")
    return report


def show(report: Report, part: int, what: str, found: dict[float, list[tuple[Took, Took]]], how: str) -> None:
    """Print what both sides took, and whether that is near enough."""
    rows, off, clearly, unsure = [], [], [], []
    for milliseconds, sides in found.items():
        pairs = [(ours[part], theirs[part]) for ours, theirs in sides]
        known = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs]
        if not known:
            report.unknown(f"{what} within {LIMIT:.0%}", "no meter gives joules here: greeninfer doctor says why")
            return
        ratios = [ours / theirs for ours, theirs in known]
        middle, fastest = statistics.median(ratios), min(each[0] for each in known) / min(each[1] for each in known)
        off.append(abs(middle - 1.0))
        quarters = statistics.quantiles(ratios, n=4)
        unsure.append((quarters[2] - quarters[0]) / 2.0)
        clearly.append(min(abs(middle - 1.0), abs(fastest - 1.0)))
        least = f"{min(each[0] for each in known) * 1e3:.3f}"
        between = f"{min(ratios):.4f} to {max(ratios):.4f}"
        rows.append([f"{milliseconds:g} ms", least, f"{middle:.4f}", between, f"{fastest:.4f}"])
    unit = "ms" if part == 0 else "mJ"
    head = ["item", f"least {unit} per text", "measured / bare, median", "over rounds", "least / least"]
    report.table(f"{what.capitalize()} of the measured loop against the bare one, {how}", head, rows)
    if max(unsure) > LIMIT:
        why = f"half of the rounds are {max(unsure):.1%} and more off their middle; let nothing else run"
        report.unknown(f"{what} within {LIMIT:.0%} of the bare loop", why)
        return
    figure = f"{max(off):.2%} at worst, items of {min(MILLISECONDS):g} ms and more"
    # Where neither the median nor the best rounds are near, it is not the machine's other work.
    counts = max(clearly) > CLEARLY
    report.target(f"{what} within {LIMIT:.0%} of the bare loop", figure, max(off) <= LIMIT, counts=counts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each loop")
    parser.add_argument("--quick", action="store_true", help="three rounds of one second")
    parser.add_argument("--check", action="store_true", help=f"exit 1 where it is off by more than {CLEARLY:.0%}")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        loop(arguments.bare, arguments.seconds)
        return 0
    rounds, seconds = (3, 1.0) if arguments.quick else (max(2, arguments.rounds), arguments.seconds)
    status = compare(rounds, seconds).end()
    return status if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
