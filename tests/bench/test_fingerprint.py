"""A fingerprint changes with what determines a cell, and with nothing else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from greeninfer.bench._fingerprint import of_cell, of_model, of_protocol, of_texts
from greeninfer.bench._study import Cell, Dataset, ModelSpec, Protocol, Splits, Study

STUDY = Study(
    "s",
    (Dataset("d", "d.csv", descriptions={"a": "first", "b": "second"}),),
    (ModelSpec("m", "majority", {"x": 1, "y": [1, 2]}),),
    splits=Splits(count=2, train=4, test=4),
)
CELL = Cell("d", "m", 1, "cpu", 0)


def cell_print(study: Study = STUDY, cell: Cell = CELL, texts: str = "t", model: str = "m") -> str:
    return of_cell(study, cell, protocol=of_protocol(study), texts=texts, model=model)


def test_the_same_is_the_same() -> None:
    same = replace(
        STUDY,
        name="another title",
        datasets=(Dataset("d", "d.csv", descriptions={"b": "second", "a": "first"}),),
        splits=Splits(count=2, train=4.0, test=4.0),
    )
    assert cell_print(same) == cell_print()
    assert len(cell_print()) == 64


@pytest.mark.parametrize(
    "same",
    [
        replace(STUDY, splits=replace(STUDY.splits, count=9)),
        replace(STUDY, batch_sizes=(1, 8)),
        replace(STUDY, devices=("cpu", "cuda")),
        replace(STUDY, protocol=Protocol(time_limit_seconds=7.0)),
        replace(STUDY, models=(*STUDY.models, ModelSpec("n", "majority"))),
        replace(STUDY, models=(replace(STUDY.models[0], splits=1),)),
        replace(STUDY, datasets=(replace(STUDY.datasets[0], source="moved.csv"),)),
    ],
)
def test_what_does_not_touch_the_cell_changes_nothing(same: Study) -> None:
    assert cell_print(same) == cell_print()


@pytest.mark.parametrize(
    "other",
    [
        replace(STUDY, splits=replace(STUDY.splits, seed=1)),
        replace(STUDY, splits=replace(STUDY.splits, train=5)),
        replace(STUDY, splits=replace(STUDY.splits, test=0.5)),
        replace(STUDY, splits=replace(STUDY.splits, stratify=True)),
        replace(STUDY, datasets=(replace(STUDY.datasets[0], descriptions={"a": "primary", "b": "second"}),)),
        replace(STUDY, models=(replace(STUDY.models[0], test_items=3),)),
        *(
            replace(STUDY, protocol=replace(STUDY.protocol, **{name: 99}))
            for name in ("min_seconds", "min_ticks", "warmup_seconds", "idle_seconds", "threads", "seed")
        ),
    ],
)
def test_what_determines_the_cell_changes_it(other: Study) -> None:
    assert cell_print(other) != cell_print()


def test_each_cell_has_its_own() -> None:
    others = [replace(CELL, batch_size=2), replace(CELL, device="cuda"), replace(CELL, split=1)]
    prints = [cell_print(cell=each) for each in (CELL, *others)]
    prints += [cell_print(texts="u"), cell_print(model="n")]
    assert len(set(prints)) == len(prints)


def test_texts_and_labels_count_with_their_order_and_their_edges() -> None:
    prints = [
        of_texts(("a", "b"), ("x", "y")), of_texts(("b", "a"), ("x", "y")), of_texts(("a", "b"), ("y", "x")),
        of_texts(("ab", ""), ("x", "y")), of_texts(("a",), ("b", "x", "y")), of_texts(("a", "bx"), ("", "y")),
        of_texts(("a", "\ud800"), ("x", "y")),
    ]  # fmt: skip
    assert len(set(prints)) == len(prints)
    assert of_texts(("a", "b"), ("x", "y")) == prints[0]


def spec(**options: object) -> ModelSpec:
    return ModelSpec("m", "majority", options)


def test_options_count_however_they_are_ordered_and_written(tmp_path: Path) -> None:
    assert of_model(spec(a=1, b=(1, 2.0)), tmp_path) == of_model(spec(b=[1, 2], a=1.0), tmp_path)
    prints = [of_model(each, tmp_path) for each in (spec(a=1), spec(a=2), spec(b=1), spec(a="1"), spec(a=True), spec())]
    assert len(set(prints)) == len(prints)
    assert of_model(replace(spec(a=1), name="n"), tmp_path) == prints[0]
    assert of_model(replace(spec(a=1), kind="other"), tmp_path) != prints[0]


def test_a_small_file_counts_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("one")
    before = of_model(spec(prompt="prompt.txt"), tmp_path)
    os.utime(path, (1.0, 1.0))
    assert of_model(spec(prompt="prompt.txt"), tmp_path) == before
    path.write_text("two")
    assert of_model(spec(prompt="prompt.txt"), tmp_path) != before


def test_a_folder_counts_with_every_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "model" / "inner").mkdir(parents=True)
    weights = tmp_path / "model" / "inner" / "model.safetensors"
    weights.write_bytes(bytes(2_000_000))
    seen = {of_model(spec(path="model"), tmp_path)}
    os.utime(weights, ns=(1, 1))
    seen.add(of_model(spec(path="model"), tmp_path))
    (tmp_path / "model" / "config.json").write_text("{}")
    seen.add(of_model(spec(path="model"), tmp_path))
    (tmp_path / "model" / "config.json").rename(tmp_path / "model" / "confine.json")  # sorted the same
    seen.add(of_model(spec(path="model"), tmp_path))
    assert len(seen) == 4
    assert of_model(spec(path="model"), tmp_path) in seen
    assert of_model(spec(path=str(tmp_path / "model")), tmp_path / "elsewhere") not in seen


@pytest.mark.parametrize(("target", "file"), [("mine:f", "mine.py"), ("mine.deep:f", "mine/deep.py")])
def test_the_source_of_a_function_counts(tmp_path: Path, target: str, file: str) -> None:
    absent = of_model(spec(target=target), tmp_path)
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("f = 1")
    first = of_model(spec(target=target), tmp_path)
    path.write_text("f = 2")
    assert len({absent, first, of_model(spec(target=target), tmp_path)}) == 3


def test_a_package_counts_without_what_python_compiles_into_it(tmp_path: Path) -> None:
    (tmp_path / "mine" / "__pycache__").mkdir(parents=True)
    (tmp_path / "mine" / "__init__.py").write_text("f = 1")
    before = of_model(spec(target="mine:f"), tmp_path)
    (tmp_path / "mine" / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert of_model(spec(target="mine:f"), tmp_path) == before
    (tmp_path / "mine" / "__init__.py").write_text("f = 2")
    assert of_model(spec(target="mine:f"), tmp_path) != before


@pytest.mark.parametrize(
    "text", ["a prompt\n" * 5000, "nul \0 byte", "~nobody-by-that-name/x", "hf:org/model", ":", ""]
)
def test_a_text_that_is_no_path_is_a_text(tmp_path: Path, text: str) -> None:
    assert of_model(spec(prompt=text), tmp_path) != of_model(spec(prompt="other"), tmp_path)
