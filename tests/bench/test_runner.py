"""A run: every cell once, in its own process, one at a time; what went wrong is said, what went well is kept."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from greeninfer.bench import models
from greeninfer.bench._folder import read
from greeninfer.bench._prepare import main as prepare_main
from greeninfer.bench._process import GRACE_SECONDS
from greeninfer.bench._records import FORMAT, Run
from greeninfer.bench._runner import Summary, run
from greeninfer.bench._study import Cell, Dataset, ModelSpec, Protocol, Splits, Study
from greeninfer.bench._study_file import render_study
from greeninfer.bench.models import Kind
from greeninfer.errors import ResultsError, StudyError

from .runner_builders import MACHINE, QUICK, World, counts


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def measure(world: World, study: Study, *, resume: bool = False, **launch: object) -> Summary:
    return run(study, world.folder, base=world.root, resume=resume, launch=world.launch(**launch))  # type: ignore[arg-type]


@dataclass
class Recorder:
    tick_seconds: float | None = 0.05
    heard: list[tuple[object, ...]] = field(default_factory=list)
    remaining: list[float | None] = field(default_factory=list)

    def begin(self, total: int, kept: int) -> None:
        self.heard.append(("begin", total, kept))

    def say(self, text: str) -> None:
        self.heard.append(("say", text))

    def start(self, cell: Cell) -> None:
        self.heard.append(("start", cell.id))

    def tick(self, remaining_seconds: float | None) -> None:
        self.remaining.append(remaining_seconds)

    def done(self, run: Run, seconds: float, remaining_seconds: float | None) -> None:
        self.heard.append(("done", run.cell.id, run.status))

    def end(self) -> None:
        self.heard.append(("end",))


def outcomes(world: World) -> dict[str, str]:
    """Return reason by cell, "" for those that went well."""
    return {each.cell.id: each.reason if each.status == "failed" else "" for each in read(world.folder).runs}


# What a run does


def test_every_cell_is_measured_once_in_order_and_alone(world: World) -> None:
    study = world.make_ready(world.study("a", "b"))
    summary = measure(world, study)
    assert summary == Summary(4, 0, 0, 0, world.folder)
    notes = world.notes("begin", "end")
    in_turn = ["texts.a.b1.cpu.s0", "texts.b.b1.cpu.s0", "texts.a.b1.cpu.s1", "texts.b.b1.cpu.s1"]
    assert [(each["what"], each["cell"]) for each in notes] == [
        (what, cell) for cell in in_turn for what in ("begin", "end")
    ]
    assert len({each["pid"] for each in notes}) == 4, "each in a process of its own"
    results = read(world.folder)
    assert [each.cell.id for each in results.runs] == in_turn
    assert results.runs[0].joules_per_item == pytest.approx(0.25)  # 2 W for 0.5 s, 4 texts
    assert results.study == study
    assert results.labels == {"texts": ("even", "odd")}
    assert results.environment["machine"] == MACHINE


def test_a_finished_folder_holds_results_and_nothing_else(world: World) -> None:
    measure(world, world.make_ready(world.study("a")))
    held = sorted(str(path.relative_to(world.folder)) for path in world.folder.rglob("*"))
    assert held == ["cells", "environment.json", "items.parquet", "logs", "runs.parquet", "study.yaml"]


def test_the_machine_is_described_before_anything_else_runs(world: World) -> None:
    study = world.make_ready(world.study("a"))
    measure(world, replace(study, protocol=replace(QUICK, idle_seconds=0.25)))
    first = world.notes()[0]
    assert first["what"] == "environment"
    assert first["idle_seconds"] == 0.25


def test_a_cell_is_told_all_that_it_needs(world: World) -> None:
    study = world.make_ready(world.study("a", splits=Splits(count=1, train=4, test=4)))
    measure(world, study)
    job = world.notes("begin")[0]["job"]
    assert job == {
        "folder": str(world.folder.resolve()),
        "base": str(world.root.resolve()),
        "cell": {"dataset": "texts", "model": "a", "batch_size": 1, "device": "cpu", "split": 0},
        "fingerprint": read(world.folder).runs[0].fingerprint,
        "idle_watts": {"cpu/0/package": 2.5},
    }


def test_what_makes_runs_differ_is_pinned_and_settings_pass(world: World) -> None:
    measure(world, world.make_ready(world.study("a")))
    for note in world.notes("begin", "environment"):
        environ = note["environ"]
        assert isinstance(environ, dict)
        for name in ("OMP", "OPENBLAS", "MKL", "RAYON"):
            assert environ[f"{name}_NUM_THREADS"] == "3"
        assert environ["TOKENIZERS_PARALLELISM"] == "false"
        assert environ["PYTHONHASHSEED"] == "7"
        assert environ["PYTHONUNBUFFERED"] == environ["PYTHONFAULTHANDLER"] == "1", "what it said last is kept"
        assert environ["GREENINFER_METERS"] == "simulated"
        assert environ["PYTHONPATH"].split(os.pathsep)[0] == str(world.root.resolve())


@dataclass(frozen=True)
class NeedsPreparing(Kind):
    prepare: Callable[[object], None] = lambda options: None


def with_preparing(monkeypatch: pytest.MonkeyPatch, prepare: Callable[[object], None] = lambda options: None) -> None:
    plain = models.KINDS["majority"]
    slow_starter = NeedsPreparing(plain.options, plain.open, plain.summary, prepare)
    monkeypatch.setattr(models, "KINDS", {**models.KINDS, "slow-starter": slow_starter})


def test_what_models_need_once_is_done_after_the_machine_was_at_rest_and_before_the_first_cell(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_preparing(monkeypatch)
    both = (ModelSpec("a", "majority"), ModelSpec("b", "slow-starter"), ModelSpec("hopeless", "slow-starter"))
    study = world.make_ready(replace(world.study("a"), models=both, splits=Splits(count=1, train=4, test=4)))
    progress = Recorder()
    summary = run(study, world.folder, base=world.root, launch=world.launch(), progress=progress)
    order = [(each["what"], each.get("cell", "")) for each in world.notes() if each["what"] != "end"]
    assert order[:3] == [("environment", ""), ("prepare", "b"), ("prepare", "hopeless")]
    assert [what for what, _ in order[3:]] == ["begin"] * 3
    assert ("say", "hopeless could not be prepared: it ended with exit status 1; it last said: no room for it") in (
        progress.heard
    )
    assert summary.done == 3, "whether it can be run without is for its cells to say"
    assert [path.name for path in (world.folder / "logs").iterdir()] == ["prepare.hopeless.log"]
    world.begun()
    run(study, world.folder, base=world.root, launch=world.launch(), resume=True)
    assert world.notes() == [], "nothing to measure, nothing to prepare"


def test_a_model_is_prepared_with_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, prepared = World(tmp_path), list[object]()
    with_preparing(monkeypatch, prepared.append)
    both = (ModelSpec("a", "majority"), ModelSpec("b", "slow-starter"))
    path = tmp_path / "study.yaml"
    path.write_text(render_study(replace(world.study("a"), models=both)), encoding="utf-8")
    assert prepare_main([str(path), "b"]) == 0
    assert prepare_main([str(path), "a"]) == 0
    assert prepared == [models.KINDS["majority"].options()]


# What goes wrong in a cell


def test_a_cell_that_goes_wrong_fails_with_its_reason_and_the_rest_goes_on(world: World) -> None:
    names = ("crash", "killed", "raises", "quiet", "garbage", "late", "fine")
    study = world.make_ready(world.study(*names, splits=Splits(count=1, train=4, test=4)))
    summary = measure(world, study)
    assert counts(summary) == (2, 0, 5, 0)
    reasons = {name.split(".")[1]: reason for name, reason in outcomes(world).items()}
    assert reasons["fine"] == ""
    assert reasons["late"] == "", "it was measured before its process went wrong"
    assert "SIGSEGV" in reasons["crash"]
    assert "SIGKILL" in reasons["killed"]
    assert "memory" in reasons["killed"]
    assert "exit status 1" in reasons["raises"]
    assert reasons["raises"].endswith("RuntimeError: no such weights")
    assert "left no result" in reasons["quiet"]
    assert "left no result" in reasons["garbage"]
    failed = next(each for each in read(world.folder).runs if each.cell.model == "crash")
    assert failed.machine == MACHINE
    assert failed.threads == 3
    assert failed.fingerprint


def test_the_log_of_a_failed_cell_is_kept_and_of_no_other(world: World) -> None:
    study = world.make_ready(world.study("raises", "fine", splits=Splits(count=1, train=4, test=4)))
    measure(world, study)
    (log,) = (world.folder / "logs").iterdir()
    assert log.name == "texts.raises.b1.cpu.s0.log"
    text = log.read_text(encoding="utf-8")
    assert text.startswith("said by texts.raises")
    assert "Traceback" in text


def test_a_cell_that_takes_too_long_is_ended(world: World) -> None:
    once = Splits(count=1, train=4, test=4)
    study = world.make_ready(world.study("hang", "fine", splits=once, protocol=replace(QUICK, time_limit_seconds=0.8)))
    began = time.monotonic()
    summary = measure(world, study)
    assert time.monotonic() - began < 20.0
    assert (summary.failed, summary.done) == (1, 1)
    reason = outcomes(world)["texts.hang.b1.cpu.s0"]
    assert reason.startswith("took longer than time_limit_seconds=0.8; it last said: said by texts")
    pid = world.notes("begin")[0]["pid"]
    assert not Path(f"/proc/{pid}").exists()


# Going on


def test_results_are_not_overwritten(world: World) -> None:
    study = world.make_ready(world.study("a"))
    measure(world, study)
    world.begun()
    with pytest.raises(ResultsError, match="holds results already; remedy: --resume"):
        measure(world, study)
    assert world.notes() == []
    assert len(read(world.folder).runs) == 2


def test_resuming_measures_what_failed_and_keeps_the_rest(world: World) -> None:
    study = world.make_ready(world.study("raises", "fine"))
    assert counts(measure(world, study)) == (2, 0, 2, 0)
    world.begun()
    world.mend()
    assert counts(measure(world, study, resume=True)) == (2, 2, 0, 0)
    assert world.begun() == ["texts.raises.b1.cpu.s0", "texts.raises.b1.cpu.s1"]
    assert set(outcomes(world).values()) == {""}
    assert len(read(world.folder).items) == 4
    assert list((world.folder / "logs").iterdir()) == []


def test_resuming_what_is_finished_starts_nothing(world: World) -> None:
    study = world.make_ready(world.study("a"))
    measure(world, study)
    before = (world.folder / "environment.json").read_text(encoding="utf-8")
    world.begun()
    assert counts(measure(world, study, resume=True)) == (0, 2, 0, 0)
    assert world.notes() == []
    assert (world.folder / "environment.json").read_text(encoding="utf-8") == before


def test_resuming_a_folder_that_is_not_there_begins_it(world: World) -> None:
    assert counts(measure(world, world.make_ready(world.study("a")), resume=True)) == (2, 0, 0, 0)


def test_earlier_words_on_the_machine_are_kept_with_what_it_measured(world: World) -> None:
    study = world.make_ready(world.study("raises", "fine"))
    measure(world, study)
    world.mend()
    later = json.dumps({"machine": MACHINE, "idle_watts": {"cpu/0/package": 3.5}})
    measure(world, study, resume=True, described=later)
    environment = read(world.folder).environment
    assert environment["idle_watts"] == {"cpu/0/package": 3.5}
    assert [each["idle_watts"] for each in environment["earlier"]] == [{"cpu/0/package": 2.5}]


MORE = Splits(count=3, train=4, test=4)


@pytest.mark.parametrize(
    ("change", "begun"),
    [
        ({"splits": MORE}, {"a.s2", "b.s2"}),
        ({"protocol": replace(QUICK, time_limit_seconds=60.0)}, set()),
        ({"protocol": replace(QUICK, min_seconds=0.1)}, {"a.s0", "a.s1", "b.s0", "b.s1"}),
        ({"splits": Splits(count=2, train=4, test=4, seed=1)}, {"a.s0", "a.s1", "b.s0", "b.s1"}),
        ({"models": (ModelSpec("a", "majority", test_items=3), ModelSpec("b", "majority"))}, {"a.s0", "a.s1"}),
        ({"models": (ModelSpec("b", "majority"), ModelSpec("c", "majority"))}, {"c.s0", "c.s1"}),
        ({"models": (ModelSpec("b", "majority"),)}, set()),
        ({"models": (ModelSpec("a", "majority"), ModelSpec("b", "majority", splits=1))}, set()),
        (
            {"datasets": (Dataset("texts", "texts.csv", descriptions={"odd": "not even"}),)},
            {"a.s0", "a.s1", "b.s0", "b.s1"},
        ),
    ],
)
def test_of_a_changed_study_only_what_changed_is_measured(
    world: World, change: dict[str, object], begun: set[str]
) -> None:
    study = world.make_ready(world.study("a", "b"))
    measure(world, study)
    world.begun()
    changed = world.make_ready(replace(study, **change), watts=6.0)  # type: ignore[arg-type]
    summary = measure(world, changed, resume=True)
    again = world.begun()
    assert {name.removeprefix("texts.").replace(".b1.cpu", "") for name in again} == begun
    assert summary.done == len(begun)
    results = read(world.folder)
    assert results.study == changed
    for each in results.runs:  # 6 W for 0.5 s and 4 texts are 0.75 J each
        assert each.joules_per_item == pytest.approx(0.75 if each.cell.id in again else 0.25)
    assert len(results.runs) == len(results.items) == summary.done + summary.kept


def test_what_a_changed_study_replaces_is_set_aside(world: World) -> None:
    study = world.make_ready(world.study("a", "b"))
    measure(world, study)
    for number, watts in ((1, 6.0), (2, 10.0)):
        changed = replace(study, protocol=replace(QUICK, min_ticks=QUICK.min_ticks + number))
        measure(world, world.make_ready(changed, watts), resume=True)
    first, second = read(world.folder / "earlier" / "1"), read(world.folder / "earlier" / "2")
    assert first.study == study
    assert [each.joules_per_item for each in first.runs] == [pytest.approx(0.25)] * 4
    assert [each.joules_per_item for each in second.runs] == [pytest.approx(0.75)] * 4
    assert [each.joules_per_item for each in read(world.folder).runs] == [pytest.approx(1.25)] * 4


def test_failures_are_not_worth_setting_aside(world: World) -> None:
    study = world.make_ready(world.study("raises"))
    measure(world, study)
    changed = world.make_ready(replace(study, protocol=replace(QUICK, min_ticks=33)))
    assert counts(measure(world, changed, resume=True)) == (0, 0, 2, 0)
    assert not (world.folder / "earlier").exists()


def test_what_was_replaced_never_passes_for_the_new_study(world: World) -> None:
    """A run that is interrupted before it has measured anything again must not leave the old figures as its own."""
    study = world.make_ready(world.study("a", "full"))
    world.mend()
    measure(world, study)
    (world.ready / "mended").unlink()
    changed = world.make_ready(replace(study, protocol=replace(QUICK, min_ticks=33)), watts=6.0)
    with pytest.raises(ResultsError):
        measure(world, changed, resume=True)
    held = read(world.folder)
    assert {each.cell.id: each.joules_per_item for each in held.runs} == {"texts.a.b1.cpu.s0": pytest.approx(0.75)}


def test_other_texts_under_the_same_name_are_measured_again(world: World) -> None:
    study = world.make_ready(world.study("a"))
    measure(world, study)
    world.begun()
    texts = world.root / "texts.csv"
    texts.write_text(texts.read_text(encoding="utf-8").replace("text number 3", "text number three"), encoding="utf-8")
    world.make_ready(study)
    assert counts(measure(world, study, resume=True)) == (2, 0, 0, 0)


def test_a_study_that_moved_is_still_the_same(world: World) -> None:
    study = world.make_ready(world.study("a"))
    measure(world, study)
    (world.root / "data").mkdir()
    (world.root / "texts.csv").rename(world.root / "data" / "moved.csv")
    moved = replace(study, datasets=(Dataset("texts", "data/moved.csv"),))
    assert counts(measure(world, moved, resume=True)) == (0, 2, 0, 0)


# Damage


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_damaged_cell_is_measured_again(world: World, damage: str) -> None:
    study = world.make_ready(world.study("a", "full"))
    with pytest.raises(ResultsError):
        measure(world, study)
    world.begun()
    world.mend()
    path = world.folder / "cells" / "texts.a.b1.cpu.s0.parquet"
    data = path.read_bytes()
    middle = bytearray(data)
    middle[4:200] = bytes(196)  # the pages, not the footer that says where they are
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "flipped": bytes(middle)}[damage])
    assert counts(measure(world, study, resume=True)) == (4, 0, 0, 0)
    assert set(outcomes(world).values()) == {""}


def test_the_result_of_an_earlier_attempt_does_not_pass_for_one_of_this(world: World) -> None:
    study = world.make_ready(world.study("raises", "full"))
    with pytest.raises(ResultsError):
        measure(world, study)
    assert list((world.folder / "cells").iterdir()), "a failed cell, not gathered"
    world.hush()
    measure(world, study, resume=True)
    assert all("left no result" in reason for reason in outcomes(world).values())


def test_a_cell_without_its_predictions_is_measured_again(world: World) -> None:
    study = world.make_ready(world.study("a"))
    measure(world, study)
    world.begun()
    (world.folder / "items.parquet").unlink()
    assert counts(measure(world, study, resume=True)) == (2, 0, 0, 0)
    assert len(read(world.folder).items) == 2


@pytest.mark.parametrize("name", ["runs.parquet", "items.parquet", "environment.json", "study.yaml"])
def test_a_damaged_file_is_named_with_what_to_do(world: World, name: str) -> None:
    study = world.make_ready(world.study("a"))
    measure(world, study)
    path = world.folder / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ResultsError, match=name):
        measure(world, study, resume=True)


def test_results_of_another_version_are_refused(world: World) -> None:
    study = world.make_ready(world.study("a"))
    measure(world, study)
    path = world.folder / "environment.json"
    path.write_text(path.read_text(encoding="utf-8").replace(f'"format": {FORMAT}', '"format": 99'), encoding="utf-8")
    with pytest.raises(ResultsError, match="format 99"):
        measure(world, study, resume=True)


def test_results_of_another_machine_are_not_mixed_in(world: World) -> None:
    study = world.make_ready(world.study("a", "raises"))
    measure(world, study)
    with pytest.raises(ResultsError, match=f"holds results of {MACHINE}, this machine is other; remedy: a folder"):
        measure(world, study, resume=True, machine="other")
    assert len(read(world.folder).runs) == 4


# Bad input is told before the first cell


def test_a_wrong_option_is_told_with_its_place_in_the_study(world: World) -> None:
    study = world.study("a")
    broken = replace(study, models=(*study.models, ModelSpec("b", "majority", {"depth": 3})))
    with pytest.raises(StudyError, match="model b: majority has no option 'depth'") as caught:
        measure(world, broken)
    assert caught.value.path == ("models", 1, "options", "depth")
    assert world.notes() == []


def test_a_data_set_that_is_not_there_is_told_before_anything_runs(world: World) -> None:
    study = world.study("a")
    broken = replace(study, datasets=(*study.datasets, Dataset("others", "others.csv")))
    with pytest.raises(StudyError, match=r"others\.csv") as caught:
        measure(world, broken)
    assert caught.value.path[:2] == ("datasets", 1)
    assert world.notes() == []


def test_splits_that_the_texts_do_not_allow_are_told_before_anything_runs(world: World) -> None:
    with pytest.raises(StudyError, match="12"):
        measure(world, world.study("a", splits=Splits(count=1, train=10, test=10)))
    assert world.notes() == []


def test_an_unknown_engine_is_told_with_those_there_are(world: World) -> None:
    with pytest.raises(StudyError, match="engine='dask' is not known; allowed: local, submitit, ray"):
        run(world.study("a"), world.folder, engine="dask")


def test_a_machine_that_cannot_be_described_is_not_measured(world: World) -> None:
    with pytest.raises(ResultsError, match=r"could not be described: .*no meter was found"):
        measure(world, world.make_ready(world.study("a")), described="broken")
    assert world.begun() == []


# The end that nobody wanted


@pytest.mark.parametrize("model", ["full", "crowded"])
def test_a_full_disk_stops_the_run_and_loses_nothing(world: World, model: str) -> None:
    study = world.make_ready(world.study("a", model, "b"))
    with pytest.raises(ResultsError, match="No space left on device; remedy: make room"):
        measure(world, study)
    assert outcomes(world) == {"texts.a.b1.cpu.s0": ""}
    assert len(read(world.folder).items["texts.a.b1.cpu.s0"]) == 4
    world.mend()
    assert counts(measure(world, study, resume=True)) == (5, 1, 0, 0)


PROGRAM = """
import pickle, resource, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts this in the background has it ignored
from pathlib import Path
from greeninfer.bench._runner import run
with open(sys.argv[1], "rb") as file:
    study, folder, base, launch, bytes_allowed = pickle.load(file)
if bytes_allowed:
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_allowed, resource.RLIM_INFINITY))
try:
    summary = run(study, folder, base=base, launch=launch)
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(summary.done, summary.kept, summary.failed, summary.left, summary.interrupted)
"""


@contextmanager
def started(world: World, study: Study, bytes_allowed: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Run a study in a process of its own."""
    told = world.root / "told.pickle"
    told.write_bytes(pickle.dumps((study, world.folder, world.root, world.launch(), bytes_allowed)))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(told)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(world: World, process: subprocess.Popen[str], what: str, cell: str) -> None:
    deadline = time.monotonic() + 30.0
    while not any(each["cell"] == cell for each in world.notes(what)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_ends_the_running_cell_and_keeps_what_is_done(world: World) -> None:
    study = world.make_ready(world.study("a", "stubborn", "b"))
    with started(world, study) as process:
        wait_for(world, process, "deaf", "texts.stubborn.b1.cpu.s0")
        os.killpg(process.pid, signal.SIGINT)
        said, complaints = process.communicate(timeout=30.0)
    assert "Traceback" not in complaints
    assert said.split() == ["1", "0", "0", "5", "True"]
    pid = world.notes("begin")[-1]["pid"]
    assert not Path(f"/proc/{pid}").exists()
    assert (world.folder / "runs.parquet").exists(), "gathered"
    assert list((world.folder / "cells").iterdir()) == []
    world.begun()
    world.mend()
    assert counts(measure(world, study, resume=True)) == (5, 1, 0, 0)
    assert world.begun()[0] == "texts.stubborn.b1.cpu.s0"
    assert len(read(world.folder).runs) == 6


class Impatient(Recorder):
    """Presses Ctrl-C as soon as it hears something."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def say(self, text: str) -> None:
        if self._at == "say":
            raise KeyboardInterrupt

    def done(self, run: Run, seconds: float, remaining_seconds: float | None) -> None:
        if self._at == "done":
            raise KeyboardInterrupt


@pytest.mark.parametrize(("at", "done", "left"), [("say", 0, 2), ("done", 1, 1)])
def test_a_run_may_be_interrupted_at_any_time(world: World, at: str, done: int, left: int) -> None:
    study = world.make_ready(world.study("a"))
    told = {"base": world.root, "launch": world.launch()}
    summary = run(study, world.folder, progress=Impatient(at), **told)  # type: ignore[arg-type]
    assert summary == Summary(done, 0, 0, left, world.folder, interrupted=True)
    assert counts(measure(world, study, resume=True)) == (left, done, 0, 0)


def test_results_that_cannot_be_gathered_stay_where_they_are(world: World) -> None:
    names = [f"model-{number}" for number in range(12)]
    study = world.make_ready(world.study(*names))
    largest = max(path.stat().st_size for path in (world.ready / "cells").iterdir())
    with started(world, study, bytes_allowed=largest + 200) as process:
        said, complaints = process.communicate(timeout=60.0)
    assert complaints.startswith("ResultsError:"), (said, complaints)
    assert process.returncode == 1
    assert "cannot be written" in complaints
    assert len(read(world.folder).runs) == 24
    assert len(read(world.folder).items) == 24
    assert counts(measure(world, study, resume=True)) == (0, 24, 0, 0)
    assert (world.folder / "runs.parquet").exists()


def test_two_runs_at_once_are_refused_also_when_the_first_was_killed(world: World) -> None:
    study = world.make_ready(world.study("gated", splits=Splits(count=1, train=4, test=4)))
    try:
        with started(world, study) as process:
            wait_for(world, process, "begin", "texts.gated.b1.cpu.s0")
            with pytest.raises(ResultsError, match="another benchmark is being measured on this host"):
                run(study, world.root / "other", base=world.root, launch=world.launch())
        with pytest.raises(ResultsError, match="another benchmark is being measured on this host"):
            measure(world, study, resume=True)
    finally:
        world.open_gate()
    group = world.notes("begin")[0]["pid"]
    assert isinstance(group, int)
    deadline = time.monotonic() + 10.0
    while _in_group(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert counts(measure(world, study, resume=True)) == (0, 1, 0, 0), "the orphan's result was kept as well"


def test_nothing_of_a_cell_is_left_running_beside_the_next(world: World) -> None:
    once = Splits(count=1, train=4, test=4)
    measure(world, world.make_ready(world.study("leaves", splits=once)))
    group = world.notes("begin")[0]["pid"]
    assert isinstance(group, int)
    deadline = time.monotonic() + 5.0
    while _in_group(group) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _in_group(group) == []


def _in_group(group: int) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, leader = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(leader) == group and state != "Z":
            found.append(path.parent.name)
    return found


# How far it is


def test_progress_hears_of_every_cell(world: World) -> None:
    study = world.make_ready(world.study("slow", "raises", splits=Splits(count=1, train=4, test=4)))
    progress = Recorder()
    run(study, world.folder, base=world.root, launch=world.launch(), progress=progress)
    slow, raises = "texts.slow.b1.cpu.s0", "texts.raises.b1.cpu.s0"
    assert [each for each in progress.heard if each[0] != "say"] == [
        ("begin", 2, 0), ("start", slow), ("done", slow, "ok"), ("start", raises), ("done", raises, "failed"), ("end",),
    ]  # fmt: skip
    assert len(progress.remaining) >= 3, "half a second of ticks every 0.05 s"
    assert progress.remaining[0] is None, "nobody knows yet"


def test_what_is_odd_about_the_data_is_told(world: World) -> None:
    study = world.study("a")
    with (world.root / "texts.csv").open("a", encoding="utf-8") as file:
        file.write("text number 1,odd\n")
    progress = Recorder()
    run(world.make_ready(study), world.folder, base=world.root, launch=world.launch(), progress=progress)
    said = [str(each[1]) for each in progress.heard if each[0] == "say"]
    assert any(text.startswith("texts: ") and "1" in text for text in said), said


def test_progress_ends_whatever_happens(world: World) -> None:
    progress = Recorder()
    with pytest.raises(ResultsError):
        study = world.make_ready(world.study("full"))
        run(study, world.folder, base=world.root, launch=world.launch(), progress=progress)
    assert progress.heard[-1] == ("end",)


def test_the_default_grace_lets_a_model_let_go_of_its_device() -> None:
    assert 1.0 <= GRACE_SECONDS <= 30.0
    assert Protocol().time_limit_seconds > GRACE_SECONDS
