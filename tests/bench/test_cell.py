"""One cell: what it says of a model that goes well or wrong, and that its joules are true."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from live import environment

from greeninfer._energy import Quality
from greeninfer.bench._cell import Texts, choose_texts, main, measure
from greeninfer.bench._folder import read, write_head
from greeninfer.bench._job import Job, write_job
from greeninfer.bench._launch import CANNOT_KEEP
from greeninfer.bench._model import Place, Prediction, Task
from greeninfer.bench._records import Items, Run
from greeninfer.bench._splits import draw
from greeninfer.bench._study import Cell, Dataset, ModelSpec, Protocol, Splits, Study
from greeninfer.bench._texts import Labelled

from . import known_node
from .known_node import Measured, shown
from .made_up_machine import Machine, Meter, measuring

LABELLED = Labelled("made-up", tuple(f"text {row}" for row in range(30)), tuple("aab"[row % 3] for row in range(30)))
STUDY = Study(
    "cells",
    (Dataset("made-up", "made-up.csv", descriptions={"a": "the first letter"}),),
    (ModelSpec("made-up", "majority", {}, test_items=6),),
    (1, 4),
    splits=Splits(2, 10, 12),
    protocol=Protocol(min_seconds=2.0, min_ticks=20, warmup_seconds=0.25, threads=3, seed=11),
)
JOB = Job("nowhere", Cell("made-up", "made-up", 4, "cpu", 1), fingerprint="f00d", idle_watts={"rapl/0/part": 10.0})


@dataclass
class Model:
    """Takes its seconds on a made-up machine, and fails where it is told to."""

    machine: Machine
    fails_at: str = ""
    answer: Callable[[str], Prediction] = lambda text: Prediction("a", 0.5)
    fitted: tuple[Sequence[str], Sequence[str]] = ((), ())
    asked: list[list[str]] = field(default_factory=list)
    is_closed: bool = False

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        self._go("fit", 0.5)
        self.fitted = texts, labels

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        self._go("steady" if texts[0] not in self.fitted[0] else "warmup", 0.02 * len(texts))
        self.asked.append(list(texts))
        return [self.answer(text) for text in texts]

    def close(self) -> None:
        self._go("close", 0.0)
        self.is_closed = True

    def _go(self, at: str, seconds: float) -> None:
        self.machine.work(seconds)
        if self.fails_at == at:
            raise RuntimeError(f"no luck with {at}")


class Served(Model):
    """Tells joules of its own: a quarter of a joule for each text; they are not known after so many calls."""

    unknown_after = 10**9

    def joules(self) -> float | None:
        known = len(self.asked) <= self.unknown_after
        return 1000.0 + 0.25 * sum(map(len, self.asked)) if known else None

    def quality(self) -> Quality | None:
        return "shared"


def texts_of(job: Job = JOB, study: Study = STUDY) -> Texts:
    return choose_texts(study, job, LABELLED)


def go(model: Model, job: Job = JOB, study: Study = STUDY) -> tuple[Run, Items | None]:
    def opened(spec: ModelSpec, task: Task, place: Place) -> Model:
        assert spec == study.models[0]
        assert task == Task("made-up", ("a", "b"), {"a": "the first letter"})
        assert place == Place("cpu", 3, 11)
        model._go("load", 0.25)
        return model

    with measuring(model.machine, dict(job.idle_watts), model.machine.busy_seconds) as phases:
        return measure(study, job, texts_of(job, study), phases, opened)


def metered(**changes: Any) -> Machine:
    machine = Machine(**changes)
    Meter(machine, 10.0, 20.0)
    return machine


def test_every_phase_has_its_seconds_and_joules() -> None:
    model = Model(metered())
    run, items = go(model)
    assert (run.status, run.reason) == ("ok", "")
    assert list(run.phases) == ["load", "fit", "warmup", "steady"]
    for name, seconds in (("load", 0.25), ("fit", 0.5), ("warmup", 0.28), ("steady", 2.0)):
        phase = run.phases[name]
        assert phase.seconds == pytest.approx(seconds, rel=1e-3)
        assert phase.cpu_seconds == pytest.approx(seconds, rel=1e-3)
        assert phase.joules == pytest.approx(30.0 * seconds, rel=0.01)
        assert phase.net_joules == pytest.approx(20.0 * seconds, rel=0.01)
    assert model.is_closed
    assert items is not None
    assert len(items) == run.test_items == 6
    assert run.joules_per_item == pytest.approx(30.0 * 0.02, rel=0.01)
    assert run.net_joules_per_item == pytest.approx(20.0 * 0.02, rel=0.01)
    assert run.seconds_per_item == pytest.approx(0.02, rel=1e-3)
    assert run.first_call_seconds == pytest.approx(0.08, rel=1e-3)


def test_the_run_says_what_was_measured_and_how() -> None:
    model = Model(metered())
    run, _ = go(model)
    assert (run.cell, run.fingerprint, run.threads) == (JOB.cell, "f00d", 3)
    assert (run.train_items, run.test_items) == (10, 6)
    assert (run.meters, run.quality, run.gain) == (("rapl",), "measured", (0.97, 1.03))
    assert run.joules_by_domain == {"rapl/0/part": run.phases["steady"].joules}
    assert (run.below_resolution, run.other_share, run.notes) == (False, 0.0, ())
    assert run.items == sum(len(call) for call in model.asked if call[0] not in model.fitted[0])
    assert run.passes == run.items // 6
    assert sum(run.block_items) == run.items
    assert len(run.block_items) == len(run.block_seconds) == len(run.block_joules) >= 8
    assert sum(run.block_joules) == pytest.approx(run.phases["steady"].joules, rel=0.01)
    assert sum(run.block_seconds) == pytest.approx(run.phases["steady"].seconds, rel=0.01)


def test_a_model_learns_and_answers_the_texts_of_its_split() -> None:
    model = Model(metered())
    _, items = go(model)
    split = draw(LABELLED, STUDY.splits, 1)
    test = [LABELLED.texts[row] for row in split.test[:6]]
    assert model.fitted == (
        [LABELLED.texts[row] for row in split.train],
        [LABELLED.labels[row] for row in split.train],
    )
    steady = [call for call in model.asked if call[0] not in model.fitted[0]]
    assert steady[:2] == [test[:4], test[4:]]
    assert items is not None
    assert items.item.tolist() == split.test[:6].tolist()
    right = [LABELLED.labels[row] for row in split.test[:6]]
    assert items.label.tolist() == ["ab".index(label) for label in right]
    assert items.predicted.tolist() == [0] * 6


def test_the_bar_to_clear_is_the_commonest_label_of_the_texts_learnt_from() -> None:
    some = texts_of()
    assert replace(some, train_labels=list("abb"), test_labels=list("aaab")).majority == 0.25
    assert replace(some, train_labels=list("baab"), test_labels=list("aaab")).majority == 0.75  # of equals the first


def test_an_answer_that_is_none_of_the_labels_is_unparsable() -> None:
    model = Model(metered(), answer=lambda text: Prediction("B" if text.endswith("1") else None))
    run, items = go(model)
    assert run.status == "ok"
    assert items is not None
    assert items.predicted.tolist() == [-1] * 6


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        ("load", []),
        ("fit", ["load"]),
        ("warmup", ["load", "fit"]),
        ("steady", ["load", "fit", "warmup"]),
    ],
)
def test_a_model_that_fails_keeps_the_phases_before_and_tells_why(at: str, kept: list[str]) -> None:
    model = Model(metered(), fails_at=at)
    run, items = go(model)
    assert (run.status, run.reason) == ("failed", f"{at}: RuntimeError: no luck with {at}")
    assert list(run.phases) == kept
    assert items is None
    assert (run.items, run.joules_per_item, run.block_joules) == (0, None, ())
    assert model.is_closed == (at != "load")
    for name in kept:
        assert run.phases[name].joules is not None  # type: ignore[index]


def test_a_model_that_cannot_be_closed_spoils_nothing() -> None:
    run, items = go(Model(metered(), fails_at="close"))
    assert run.status == "ok"
    assert items is not None
    assert run.notes == ("close: RuntimeError: no luck with close",)


def test_a_wrong_number_of_answers_fails_with_its_reason() -> None:
    class Short(Model):
        def predict(self, texts: Sequence[str]) -> list[Prediction]:
            return super().predict(texts)[1:]

    run, items = go(Short(metered()))
    assert run.reason == "warmup: WrongLength: 3 predictions for 4 texts"
    assert items is None


def test_without_a_meter_there_are_answers_and_seconds_but_no_joules() -> None:
    run, items = go(Model(Machine()))
    assert items is not None
    assert (run.status, run.quality, run.meters, run.below_resolution) == ("ok", None, (), False)
    assert (run.joules_per_item, run.block_joules, run.joules_by_domain) == (None, (), {})
    assert run.seconds_per_item == pytest.approx(0.02, rel=1e-3)
    assert run.block_seconds


def test_a_slow_meter_makes_the_steady_phase_longer() -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0, period_seconds=0.25)
    run, _ = go(Model(machine))
    assert run.phases["steady"].seconds >= 20 * 0.25
    assert run.phases["steady"].ticks >= 20
    assert not run.below_resolution
    assert run.joules_per_item == pytest.approx(0.6, rel=0.01)


def test_phases_shorter_than_the_meter_can_tell_are_kept_and_told() -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0, period_seconds=0.2)
    run, _ = go(Model(machine))
    assert run.phases["load"].joules is not None
    (note,) = run.notes
    assert note.startswith("load, warmup: over before the meters moved twice")


def test_joules_of_a_service_are_those_that_it_tells() -> None:
    run, items = go(Served(metered()))
    assert items is not None
    steady, warmup = run.phases["steady"], run.phases["warmup"]
    assert steady.joules == pytest.approx(0.25 * run.items)
    assert run.joules_per_item == pytest.approx(0.25)
    assert warmup.joules is not None
    assert warmup.joules == 0.25 * (4 + 4 + 2 + 4)
    assert (steady.net_joules, steady.other_joules, run.quality) == (None, None, "shared")
    assert run.joules_by_domain == {"served": steady.joules}
    assert run.block_joules == ()
    assert len(run.block_seconds) == len(run.block_items)
    assert run.notes == ("joules are those that the service charged; this machine's are not in them",)


def test_joules_that_a_service_does_not_tell_are_not_replaced_by_ours() -> None:
    model = Served(metered())
    model.unknown_after = 12
    run, _ = go(model)
    assert (run.joules_per_item, run.quality, run.joules_by_domain) == (None, None, {})
    assert run.phases["load"].joules is not None
    assert run.phases["warmup"].joules is not None
    assert run.notes[-1] == "steady: the service told no joules; this machine's are not in them"


def test_a_reset_in_the_steady_phase_leaves_no_joules_there() -> None:
    machine = metered()

    class Resets(Model):
        def predict(self, texts: Sequence[str]) -> list[Prediction]:
            if len(self.asked) == 12:
                machine.meters[0].fault = "reset"
            return super().predict(texts)

    run, items = go(Resets(machine))
    assert items is not None
    assert (run.status, run.joules_per_item, run.quality, run.block_joules) == ("ok", None, None, ())
    assert run.phases["fit"].joules is not None
    assert run.notes == ("rapl/0/part was reset or lost: joules are not known",)


def _job(tmp_path: Path, **options: Any) -> Path:
    """Write a study of the majority on a few texts, and the job of its one cell."""
    rows = "".join(f"text {row},{'aab'[row % 3]}\n" for row in range(30))
    (tmp_path / "texts.csv").write_text("text,label\n" + rows, encoding="utf-8")
    study = replace(
        STUDY,
        datasets=(Dataset("made-up", "texts.csv"),),
        protocol=Protocol(min_seconds=0.05, min_ticks=1, warmup_seconds=0.0),
    )
    write_head(tmp_path / "results", study, {"machine": "here"}, {"made-up": ("a", "b")})
    write_job(replace(JOB, folder=str(tmp_path / "results"), base=str(tmp_path)), tmp_path / "job.json")
    return tmp_path / "job.json"


def test_a_result_that_cannot_be_kept_has_an_exit_status_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GREENINFER_METERS", "simulated")
    job = _job(tmp_path)
    assert main([str(job)]) == 0
    (run,) = read(tmp_path / "results").runs
    assert (run.status, run.meters) == ("ok", ("simulated",))
    (kept,) = (tmp_path / "results/cells").iterdir()
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("no folder")
    assert main([str(job)]) == CANNOT_KEEP
    assert "remedy: make room" in capsys.readouterr().err


def test_memory_is_that_of_the_cell_and_not_of_who_started_it() -> None:
    """The kernel keeps the largest memory of a process over execve(2), where it still was its parent's."""
    cell = "from greeninfer.bench._cell import _peak_bytes; print(_peak_bytes())"
    script = (
        "import subprocess, sys\n"
        "held = b'x' * 300_000_000\n"
        f"sys.exit(subprocess.run([sys.executable, '-c', {cell!r}]).returncode)"
    )
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=60).stdout
    assert 10e6 < int(told) < 250e6


needs_clocks = pytest.mark.skipif(sys.platform != "linux", reason="the CPU clocks of other processes are Linux's")
heavy = pytest.mark.heavy


def _far_off(found: float | None, truth: float) -> float:
    assert found is not None
    return abs(found / truth - 1.0)


def _check(found: Measured) -> None:
    run, truth, count = found.run, found.truth, len(found.truth.calls) * found.run.cell.batch_size
    assert run.status == "ok", run.reason
    assert run.items == count
    assert _far_off(run.joules_per_item, truth.joules / count) < 0.02, shown(run)
    assert _far_off(run.net_joules_per_item, truth.net_joules / count) < 0.02, shown(run)
    assert _far_off(run.seconds_per_item, truth.seconds / count) < 0.02, shown(run)
    assert (run.quality, run.below_resolution) == ("measured", False)


@needs_clocks
@pytest.mark.parametrize(
    ("item_seconds", "texts"),
    [
        (0.0001, 200),
        (0.001, 200),
        pytest.param(0.01, 50, marks=heavy),
        pytest.param(0.1, 10, marks=heavy),
        pytest.param(1.0, 3, marks=heavy),
    ],
)
def test_joules_per_item_are_true(tmp_path: Path, item_seconds: float, texts: int) -> None:
    _check(known_node.measure(tmp_path, item_seconds, texts=texts))


@needs_clocks
@heavy
def test_joules_per_item_are_true_in_batches(tmp_path: Path) -> None:
    _check(known_node.measure(tmp_path, 0.0005, texts=64, batch_size=16))


@needs_clocks
@heavy
def test_native_work_on_two_threads_is_charged_for_both(tmp_path: Path) -> None:
    found = known_node.measure(tmp_path, 0.05, texts=10, threads=2)
    _check(found)
    per_item = found.run.net_joules_per_item
    assert per_item is not None
    assert per_item >= 2 * 0.05 * known_node.CORE_WATTS


@needs_clocks
@heavy
@pytest.mark.parametrize("neighbours", [1, 2])
def test_what_a_neighbour_burns_is_not_charged_to_the_model(tmp_path: Path, neighbours: int) -> None:
    found = known_node.measure(
        tmp_path, 0.002, texts=100, busy_neighbours=neighbours, protocol=Protocol(min_seconds=4.0)
    )
    run, truth = found.run, found.truth
    steady = run.phases["steady"]
    assert steady.other_joules is not None
    # /proc/stat counts in hundredths of a second for each of two cores, which are not taken for others
    late = known_node.CORES * 0.01
    assert truth.other_cpu_seconds > 1.0
    assert run.other_share == pytest.approx(
        truth.other_cpu_seconds / (truth.other_cpu_seconds + truth.cpu_seconds), abs=2.0 * late / truth.cpu_seconds
    )
    assert steady.other_joules == pytest.approx(known_node.CORE_WATTS * truth.other_cpu_seconds, rel=0.03)
    assert _far_off(run.net_joules_per_item, truth.net_joules / run.items) < 0.03, shown(run)
    assert _far_off(run.joules_per_item, truth.joules / run.items) < 0.03, shown(run)
