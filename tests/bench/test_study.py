from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from greeninfer.bench._study import Cell, Dataset, ModelSpec, Protocol, Splits, Study, cells
from greeninfer.errors import StudyError

DATA = (Dataset("d", "tomatoes"), Dataset("e", "snips7"))
MODELS = (ModelSpec("a", "majority"), ModelSpec("b", "majority"))


def study(**more: Any) -> Study:
    return Study(**({"name": "s", "datasets": DATA, "models": MODELS, "splits": Splits(count=2)} | more))


def test_cells_are_everything_crossed_split_by_split() -> None:
    found = cells(study(batch_sizes=(1, 8), devices=("cpu", "cuda:1")))
    assert len(found) == len({cell.id for cell in found}) == 2 * 2 * 2 * 2 * 2
    assert [cell.split for cell in found] == [0] * 16 + [1] * 16
    assert found[0] == Cell("d", "a", 1, "cpu", 0)
    assert "d.a.b8.cuda1.s0" in {cell.id for cell in found}


def test_a_model_may_have_fewer_splits_and_its_own_sizes_and_devices() -> None:
    own = ModelSpec("c", "majority", splits=1, batch_sizes=(4,), devices=("cuda",))
    found = [cell for cell in cells(study(models=(*MODELS, own))) if cell.model == "c"]
    assert found == [Cell("d", "c", 4, "cuda", 0), Cell("e", "c", 4, "cuda", 0)]


def test_by_name() -> None:
    assert study().dataset("e").source == "snips7"
    assert study().model("b") is MODELS[1]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"datasets": ()}, ("datasets",)),
        ({"models": ()}, ("models",)),
        ({"models": (MODELS[0], MODELS[0])}, ("models", 1, "name")),
        ({"datasets": (DATA[0], dataclasses.replace(DATA[1], name="d"))}, ("datasets", 1, "name")),
        *(({"models": (ModelSpec(name, "majority"),)}, ("models", 0, "name")) for name in ("", "../a", "a/b", "a..b")),
        ({"models": (ModelSpec("a", "majority", splits=0),)}, ("models", 0, "splits")),
        ({"models": (ModelSpec("a", "majority", test_items=0),)}, ("models", 0, "test_items")),
        ({"models": (ModelSpec("a", "majority", batch_sizes=()),)}, ("models", 0, "batch_sizes")),
        ({"models": (ModelSpec("a", "majority", devices=("gpu",)),)}, ("models", 0, "devices")),
        ({"batch_sizes": (1, 1)}, ("batch_sizes",)),
        ({"batch_sizes": (0,)}, ("batch_sizes",)),
        ({"devices": ()}, ("devices",)),
        ({"devices": ("cpu", "cpu")}, ("devices",)),
        ({"splits": Splits(count=0)}, ("splits", "count")),
        *(({"splits": Splits(train=size)}, ("splits", "train")) for size in (0, 1, -5, 2.5, math.nan)),
        ({"splits": Splits(test=1.0)}, ("splits", "test")),
        ({"splits": Splits(train=0.7, test=0.4)}, ("splits", "train")),
        ({"protocol": Protocol(min_seconds=-1)}, ("protocol", "min_seconds")),
        ({"protocol": Protocol(idle_seconds=math.inf)}, ("protocol", "idle_seconds")),
        ({"protocol": Protocol(time_limit_seconds=0)}, ("protocol", "time_limit_seconds")),
        ({"protocol": Protocol(threads=0)}, ("protocol", "threads")),
        ({"protocol": Protocol(min_ticks=0)}, ("protocol", "min_ticks")),
    ],
)
def test_what_is_out_of_range_is_refused(values: dict[str, Any], path: tuple[str | int, ...]) -> None:
    with pytest.raises(StudyError) as caught:
        study(**values)
    assert caught.value.path == path
    assert caught.value.allowed
