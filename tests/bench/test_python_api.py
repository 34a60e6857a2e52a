"""The bench from Python, as its own page shows it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from greeninfer import bench
from greeninfer.bench._launch import Launch
from greeninfer.errors import StudyError


def test_a_study_in_python_is_run_read_and_chosen_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tickets.csv").write_text(
        "body,queue\n"
        + "".join(f"the {word} number {number},{word}\n" for number in range(40) for word in ("a1", "b2")),
        encoding="utf-8",
    )
    study = bench.Study(
        "tickets",
        datasets=(bench.Dataset("tickets", "tickets.csv", text="body", label="queue"),),
        models=(bench.model("majority"), bench.model("bow-lr", splits=1)),
        splits=bench.Splits(2, 40, 40, stratify=True),
        protocol=bench.Protocol(min_seconds=0.05, min_ticks=1, warmup_seconds=0.0, idle_seconds=0.0),
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GREENINFER_")}
    launch = Launch(environ | {"GREENINFER_METERS": "estimate"}, lock=tmp_path / "lock")
    summary = bench.run(study, tmp_path / "results", base=tmp_path, launch=launch)
    assert (summary.done, summary.failed, summary.left) == (3, 0, 0)
    results = bench.read(tmp_path / "results")
    by_name = {each.key.model: each for each in bench.candidates([results])}
    assert by_name["bow-lr"].accuracy.value == 1.0
    assert by_name["majority"].accuracy.value == 0.5
    choice = bench.choose([results], bench.Needs(min_accuracy=0.9))
    assert choice.chosen is not None
    assert choice.chosen.key.model == "bow-lr"
    assert "bow-lr" in bench.render(choice)


def test_a_model_of_the_catalogue_takes_options_of_its_own() -> None:
    spec = bench.model("bow-lr", test_items=5, C=3.0)
    assert dataclasses.astuple(spec)[:3] == ("bow-lr", "features", {"features": "bow", "C": 3.0})
    assert spec.test_items == 5
    with pytest.raises(StudyError, match="no option 'D'"):
        bench.model("bow-lr", D=1)
    with pytest.raises(StudyError, match=r"model 'nope' is not known; allowed: majority, .*remedy"):
        bench.model("nope")
