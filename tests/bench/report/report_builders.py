"""Facts with made-up figures of a realistic size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greeninfer.bench._candidates import Candidate, CandidateKey, CascadeResult, Caveat, Figure
from greeninfer.bench._front import front
from greeninfer.bench._proxy import fit
from greeninfer.bench._records import Phase, Results, Run
from greeninfer.bench._study import Cell, Dataset, ModelSpec, Study
from greeninfer.bench.report import Facts

MODELS = (  # name, kind, accuracy, joules per request, seconds per request, reasoning budget
    ("majority", "majority", 0.50, 0.000012, 0.0000009, None),
    ("bow-lr", "features", 0.682, 0.0021, 0.00014, None),
    ("tfidf-lr", "features", 0.691, 0.0019, 0.00013, None),
    ("tfidf-boosting", "features", 0.602, 0.0094, 0.00071, None),
    ("wordllama-lr", "features", 0.745, 0.0011, 0.00008, None),
    ("e5-lr", "features", 0.807, 0.118, 0.0079, None),
    ("minilm-lr", "features", 0.781, 0.163, 0.0104, None),
    ("smollm2-r0", "generation", 0.541, 5.9, 0.39, 0),
    ("smollm2-r64", "generation", 0.553, 31.0, 2.1, 64),
    ("smollm2-r256", "generation", 0.549, 118.0, 7.9, 256),
)


def candidate(model: str = "m", accuracy: float = 0.7, joules: float | None = 0.002, **more: Any) -> Candidate:
    seconds = more.pop("seconds", 0.001)
    place = {"machine": "node-a", "dataset": "tomatoes", "device": "cpu", "batch_size": 1}
    key = CandidateKey(**{name: more.pop(name, value) for name, value in place.items()}, model=model)
    values: dict[str, Any] = {
        "kind": "features", "splits": 10, "failed": 0, "test_items": 2000,
        "accuracy": Figure(accuracy, accuracy - 0.021, accuracy + 0.02), "macro_f1": Figure(accuracy - 0.01),
        "majority": 0.5, "unparsable": 0.0,
        "joules": None if joules is None else Figure(joules, joules * 0.93, joules * 1.08), "net_joules": None,
        "seconds": Figure(seconds), "cpu_seconds": seconds, "p50_seconds": seconds, "p95_seconds": seconds * 1.5,
        "phases": {"load": Phase(0.5, 0.5, 7.2), "fit": Phase(0.1, 0.1, 1.8), "warmup": Phase(0.2, 0.2, 3.0)},
        "quality": None if joules is None else "measured",
    }  # fmt: skip
    return Candidate(key, **(values | more))


def facts(
    machines: Sequence[str] = ("node-a",), datasets: Sequence[str] = ("tomatoes",), models: int = 10, copies: int = 1
) -> Facts:
    found: list[Candidate] = []
    for place, machine in enumerate(machines):
        for dataset in datasets:
            rows = [
                (f"{row[0]}{'' if n == 0 else f'-{n}'}", *row[1:]) for n in range(copies) for row in MODELS[:models]
            ]
            members = front([row[2] for row in rows], [row[3] for row in rows])
            for row, on_front in zip(rows, members, strict=True):
                noise = (Caveat("unparsable", "6.0% of the answers could not be read"),) if row[5] is not None else ()
                found.append(candidate(row[0], row[2], row[3] * (1 + place), seconds=row[4], kind=row[1],
                                       reasoning_budget=row[5], machine=machine, dataset=dataset, on_front=on_front,
                                       unparsable=0.06 if noise else 0.0, caveats=noise))  # fmt: skip
    chains = tuple(
        CascadeResult((_key(found, machine, dataset, 4), _key(found, machine, dataset, 5)), (0.7,),
                      Figure(0.79, 0.77, 0.81), Figure(0.04, 0.037, 0.043), None, Figure(0.003), 0.009, (1.0, 0.3))
        for machine in machines for dataset in datasets if models > 5
    )  # fmt: skip
    return Facts(tuple(results(name) for name in machines), tuple(found), chains, fit(found))


def results(machine: str = "node-a", models: Sequence[str] = ("tfidf-lr",)) -> Results:
    study = Study("texts", (Dataset("tomatoes", "tomatoes"),), tuple(ModelSpec(each, "features") for each in models))
    steady = Phase(2.0, 1.9, 30.0, 20.0, 1.0, 40)
    runs = (
        Run(Cell("tomatoes", models[0], 1, "cpu", 0), machine, "ok", phases={"steady": steady}, items=15000, passes=75,
            quality="measured", meters=("rapl",)),
        Run(Cell("tomatoes", models[0], 1, "cpu", 1), machine, "failed", "it broke"),
    )  # fmt: skip
    environment = {"machine": machine, "hardware": {"cpu": "a CPU"}, "idle_watts": {"rapl/0/package": 11.2}}
    return Results(study, environment, runs, {}, {"tomatoes": ("no", "yes")})


def _key(found: Sequence[Candidate], machine: str, dataset: str, number: int) -> CandidateKey:
    return [each.key for each in found if (each.key.machine, each.key.dataset) == (machine, dataset)][number]
