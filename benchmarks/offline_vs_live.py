"""Does the bench's figure hold in production? The same model, the same texts, the same batch size, measured both ways.

    python benchmarks/offline_vs_live.py [--rounds 5] [--quick] [--check]

Offline is a study of one split, as ``greeninfer bench run`` measures it. Live is a process that learns from the same
texts and then answers requests of one text each, one after the other, through an ASGI application with
``EnergyMiddleware`` whose predict function is measured by the decorator: both figures are taken from what an exporter
gets. The rounds are interleaved; a ratio is that of one round, and figures are medians over rounds.

Which meter reads is this machine's own matter (``greeninfer doctor``); both sides read the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from _report import Report

import greeninfer
from greeninfer import Monitor
from greeninfer._records import NANO, Settlement
from greeninfer.bench._folder import read
from greeninfer.bench._model import Place, Task
from greeninfer.bench._runner import run
from greeninfer.bench._splits import draw
from greeninfer.bench._study import Dataset, ModelSpec, Protocol, Splits, Study
from greeninfer.bench._texts import load
from greeninfer.bench.models import CATALOGUE, open_model

MODELS = ("wordllama-lr", "tfidf-char-lr", "tfidf-char-boosting", "e5-lr")
DATASET = Dataset("tomatoes", "tomatoes")
LIMIT = 0.10
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def study(model: str, seed: int, seconds: float) -> Study:
    """Return a study of one model on one split."""
    spec = ModelSpec(model, *CATALOGUE[model])
    protocol = Protocol(min_seconds=seconds, idle_seconds=0.5)
    return Study(f"{model}-{seed}", (DATASET,), (spec,), splits=Splits(1, seed=seed), protocol=protocol)


def offline(model: str, seed: int, seconds: float) -> float | None:
    """Return joules per text as the bench measures them."""
    with tempfile.TemporaryDirectory() as folder:
        run(study(model, seed, seconds), Path(folder) / "results")
        (cell,) = read(Path(folder) / "results").runs
        if cell.status != "ok":
            sys.exit(f"{model}: {cell.reason}")
        return cell.joules_per_item


def live(model: str, seed: int, seconds: float) -> dict[str, float | None]:
    """Return joules per request of the decorator and of the middleware, from a process of its own."""
    pinned = dict.fromkeys(THREADS, "1") | {"TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, __file__, "--serve", model, "--seed", str(seed), "--seconds", str(seconds)]
    done = subprocess.run(command, env=os.environ | pinned, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{model}: {done.stderr}")
    figures: dict[str, float | None] = json.loads(done.stdout.splitlines()[-1])
    return figures


class Sums:
    """An exporter that adds the joules of settled requests up."""

    name = "sums"

    def __init__(self) -> None:
        self.counting = False
        self.joules: defaultdict[str, float] = defaultdict(float)
        self.requests: defaultdict[str, int] = defaultdict(int)

    def export(self, settlement: Settlement) -> None:
        """Add them up by the name of the span."""
        for each in settlement.measurements if self.counting else ():
            if each.quality is not None:
                self.joules[each.key[0]] += each.nanojoules / NANO
                self.requests[each.key[0]] += 1

    def close(self) -> None:
        """Do nothing."""


def serve(name: str, seed: int, seconds: float) -> None:
    """Answer requests for a while; print joules per request."""
    labelled = load(DATASET, Path())
    half = draw(labelled, Splits(1, seed=seed), 0)
    texts = [labelled.texts[number] for number in half.test]
    spec = ModelSpec(name, *CATALOGUE[name])
    model = open_model(spec, Task(DATASET.name, tuple(sorted(set(labelled.labels)))), Place())
    model.fit([labelled.texts[number] for number in half.train], [labelled.labels[number] for number in half.train])

    @greeninfer.measure("classify", model=name)
    def classify(text: str) -> str | None:
        return model.predict([text])[0].label

    async def app(scope, receive, send) -> None:
        body = (await receive())["body"]
        label = classify(body.decode())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(label).encode()})

    sums = Sums()
    with Monitor(exporters=[sums]) as monitor:
        asyncio.run(ask(greeninfer.EnergyMiddleware(app, name="request"), texts, 0.5))
        monitor.flush()
        sums.counting = True
        asyncio.run(ask(greeninfer.EnergyMiddleware(app, name="request"), texts, seconds))
        monitor.flush()
    classified, requests = sums.requests["classify"], sums.requests["request"]
    decorator = sums.joules["classify"] / classified if classified else None
    whole = (sums.joules["classify"] + sums.joules["request"]) / requests if requests else None
    print(json.dumps({"decorator": decorator, "middleware": whole}))


async def ask(app, texts: list[str], seconds: float) -> None:
    """Send one text after the other for so long, and all of them at least once."""
    until, number = time.perf_counter() + seconds, 0
    while number < len(texts) or time.perf_counter() < until:
        body = texts[number % len(texts)].encode()
        number += 1

        async def receive(body: bytes = body):
            return {"type": "http.request", "body": body}

        async def send(message) -> None:
            pass

        await app({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)


def compare(rounds: int, seconds: float, models: tuple[str, ...]) -> Report:
    report = Report()
    found: dict[str, list[tuple[float, float, float]]] = {model: [] for model in models}
    for seed in range(rounds):
        for model in models:
            bench, served = offline(model, seed, seconds), live(model, seed, seconds)
            if bench is None or served["decorator"] is None or served["middleware"] is None:
                report.unknown("offline against live", "no meter gives joules here: greeninfer doctor says why")
                return report
            found[model].append((bench, served["decorator"], served["middleware"]))
    rows, ratios = [], {}
    for model, each in found.items():
        bench = statistics.median(one[0] for one in each)
        decorator = [one[1] / one[0] for one in each]
        middleware = [one[2] / one[0] for one in each]
        ratios[model] = statistics.median(decorator)
        rows.append([
            model, f"{bench * 1e3:.3g}", f"{ratios[model]:.3f}", f"{min(decorator):.3f} to {max(decorator):.3f}",
            f"{statistics.median(middleware):.3f}",
        ])  # fmt: skip
    head = ["model", "bench mJ/text", "decorator / bench", "over rounds", "middleware / bench"]
    report.table(f"Joules per text, offline and live, batch size 1, {rounds} rounds of {seconds:g} s", head, rows)
    worst = max(ratios, key=lambda model: abs(ratios[model] - 1.0))
    off = abs(ratios[worst] - 1.0)
    report.target(
        f"live within {LIMIT:.0%} of the bench", f"{off:.1%} at worst ({worst})", off <= LIMIT, counts=off > 2.0 * LIMIT
    )
    print("Middleware: with what ASGI, decoding and the answer take, which the bench does not run.")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="two rounds of two models")
    parser.add_argument("--check", action="store_true", help="exit 1 where it is off by more than twice the limit")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.seed, arguments.seconds)
        return 0
    models = MODELS[1:3] if arguments.quick else MODELS
    report = compare(2 if arguments.quick else arguments.rounds, arguments.seconds, models)
    status = report.end()
    return status if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
