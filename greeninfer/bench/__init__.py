"""The offline benchmark: which model gives the accuracy that is needed for the least energy, on this machine.

    study = bench.Study(
        "tickets",
        datasets=(bench.Dataset("tickets", "tickets.csv", text="body", label="queue"),),
        models=(bench.model("tfidf-lr"), bench.model("e5-lr")),
    )
    bench.run(study, Path("results/tickets"))
    results = bench.read("results/tickets")
    print(bench.render(bench.choose([results], bench.Needs(min_accuracy=0.8))))

``greeninfer bench`` does the same from a study file.
"""

from __future__ import annotations

from greeninfer.bench._candidates import Candidate, CascadeResult, Figure
from greeninfer.bench._cascades import search as cascades
from greeninfer.bench._choice import Choice, Needs
from greeninfer.bench._choice_words import render
from greeninfer.bench._choose import choose
from greeninfer.bench._cost import Scale
from greeninfer.bench._difference import difference
from greeninfer.bench._folder import read
from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._proxy import fit as fit_proxies
from greeninfer.bench._proxy import write_power_model
from greeninfer.bench._records import Items, Results, Run
from greeninfer.bench._runner import run
from greeninfer.bench._serial import Summary
from greeninfer.bench._statistics import candidates
from greeninfer.bench._study import Dataset, ModelSpec, Protocol, Splits, Study
from greeninfer.bench._study_file import read_study
from greeninfer.bench.models import catalogued as model
from greeninfer.bench.report import write as write_report

__all__ = [
    "Candidate",
    "CascadeResult",
    "Choice",
    "Dataset",
    "Figure",
    "Items",
    "Model",
    "ModelSpec",
    "Needs",
    "Place",
    "Prediction",
    "Protocol",
    "Results",
    "Run",
    "Scale",
    "Splits",
    "Study",
    "Summary",
    "Task",
    "candidates",
    "cascades",
    "choose",
    "difference",
    "fit_proxies",
    "model",
    "read",
    "read_study",
    "render",
    "run",
    "write_power_model",
    "write_report",
]
