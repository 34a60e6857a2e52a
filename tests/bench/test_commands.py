"""``greeninfer bench`` as a person types it: what it prints, writes and exits with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greeninfer.bench._folder import read
from greeninfer.cli import main

STUDY = """\
name: tiny
datasets: [tomatoes]
models: [majority, bow-lr]
splits: {count: 2, train: 40, test: 40}
protocol: {min_seconds: 0.05, min_ticks: 1, warmup_seconds: 0.0, idle_seconds: 0.0}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a small study left behind, run once through the command line."""
    base = tmp_path_factory.mktemp("study")
    (base / "study.yaml").write_text(STUDY, encoding="utf-8")
    done = bench("run", "study.yaml", cwd=base)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 cells measured, 0 kept, 0 failed, 0 left" in done.stdout
    assert "bow-lr" in done.stdout
    return base / "results/tiny"


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "greeninfer", "bench", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120, check=False)


def environment() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GREENINFER_")}
    return ours | {"PYTHONPATH": str(Path(__file__).parents[2]), "GREENINFER_METERS": "estimate"}


def test_init_writes_a_study_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    assert main(["bench", "init", str(path)]) == 0
    before = path.read_text(encoding="utf-8")
    path.write_text(before + "# mine\n", encoding="utf-8")
    assert main(["bench", "init", str(path)]) == 2
    assert path.read_text(encoding="utf-8").endswith("# mine\n")
    assert "is there already" in capsys.readouterr().err


def test_a_run_leaves_what_was_measured(folder: Path) -> None:
    results = read(folder)
    assert [run.status for run in results.runs] == ["ok"] * 4
    assert {run.quality for run in results.runs} == {"estimated"}
    for run in results.runs:
        steady = run.phases["steady"]
        assert steady.joules is not None
        assert steady.joules > 0.0
        assert len(results.items[run.cell.id]) == run.test_items == 40
    majority = [run for run in results.runs if run.cell.model == "majority"]
    for run in majority:
        right = results.items[run.cell.id].right
        assert right.mean() == run.majority


def test_a_folder_with_results_is_not_written_over(folder: Path) -> None:
    before = (folder / "runs.parquet").read_bytes()
    refused = bench("run", "study.yaml", cwd=folder.parents[1])
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    kept = bench("run", "study.yaml", "--resume", cwd=folder.parents[1])
    assert kept.returncode == 0
    assert "0 cells measured, 4 kept" in kept.stdout
    assert (folder / "runs.parquet").read_bytes() == before


def test_a_report_is_written_beside_the_results(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "report", str(folder), "--into", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for name in ("report.html", "report.md", "candidates.csv", "cells.csv"):
        assert f"wrote {tmp_path / name}" in out
        assert (tmp_path / name).stat().st_size > 0
    assert "estimated" in out


def test_choose_says_what_it_takes_in_a_year(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "--min-accuracy",
        "0.1",
        "--max-p95",
        "5s",
        "--requests-per-day",
        "2e6",
        "--grid",
        "350",
        "--price",
        "0.25",
    ]
    assert main(["bench", "choose", str(folder), *asked]) == 0
    out = capsys.readouterr().out
    assert "**majority (cpu, batch 1)** takes the least energy" in out
    assert "gCO2e a year" in out


def test_choose_that_finds_nothing_says_so_and_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "choose", str(folder), "--min-accuracy", "1.0"]) == 1
    assert "1" in capsys.readouterr().out


def test_a_proxy_of_estimates_is_not_saved(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "proxy", str(folder), "--save", str(tmp_path / "power.json")]) == 2
    printed = capsys.readouterr()
    assert "bow-lr" in printed.out
    assert "estimated" in printed.err
    assert not (tmp_path / "power.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml"),
        (["report", "nowhere"], "no results folder"),
        (["choose", "nowhere"], "no results folder"),
        (["choose", "RESULTS", "--grid", "300"], "--requests-per-day"),
        (["choose", "RESULTS", "--min-accuracy", "80"], "min_accuracy=80.0"),
        (["run", "study.yaml", "--engine-option", "x"], "NAME=VALUE"),
    ],
)
def test_what_cannot_be_done_is_said(
    folder: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parents[1])
    asked = [str(folder) if each == "RESULTS" else each for each in arguments]
    assert main(["bench", *asked]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("quantity", ["--max-p95=fast", "--max-p95=5h", "--max-energy=3kWh"])
def test_an_odd_quantity_names_its_units(quantity: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "choose", "x", quantity])
    assert "a number with one of" in capsys.readouterr().err


def test_wrong_data_is_told_with_the_line_of_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.csv").write_text("text,label\ngood,yes\nbad,no\n", encoding="utf-8")
    (tmp_path / "study.yaml").write_text(
        "name: x\ndatasets:\n  - {source: texts.csv, label: answer}\nmodels: [majority]\n", encoding="utf-8"
    )
    assert main(["bench", "run", str(tmp_path / "study.yaml"), "--into", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "study.yaml:3" in err
    assert "answer" in err


def test_interrupted_it_keeps_what_is_done(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("count: 2", "count: 30"), encoding="utf-8")
    command = [sys.executable, "-m", "greeninfer", "bench", "run", "study.yaml"]
    running = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    cells = tmp_path / "results/tiny/cells"
    deadline = time.monotonic() + 60.0
    while not list(cells.glob("*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, out + err
    assert "nothing measured is lost" in out
    assert len(read(tmp_path / "results/tiny").runs) >= 1
    assert json.loads((tmp_path / "results/tiny/environment.json").read_text())["machine"]
