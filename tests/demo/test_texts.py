from __future__ import annotations

import re
from hashlib import sha256
from importlib.resources import files

import pytest

from greeninfer.demo._texts import load_tasks

DATA = files("greeninfer.bench") / "data"


def test_every_task_has_a_shipped_set() -> None:
    assert [task.data for task in load_tasks()] == ["banking77-10", "tomatoes"]


@pytest.mark.parametrize("task", load_tasks(), ids=lambda task: task.data)
def test_texts_are_what_their_source_says(task) -> None:  # type: ignore[no-untyped-def]
    source = (DATA / task.data / "SOURCE.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in source
    for half in ("train", "test"):
        content = (DATA / task.data / f"{half}.csv").read_bytes()
        assert f"sha256 {half}.csv {sha256(content).hexdigest()}" in source
    majority = re.search(r"commonest label \| right on ([\d.]+)", source)
    assert majority and task.majority == pytest.approx(float(majority[1]))


@pytest.mark.parametrize("task", load_tasks(), ids=lambda task: task.data)
def test_test_texts_were_never_seen(task) -> None:  # type: ignore[no-untyped-def]
    for half in (task.train, task.test):
        assert len(half.texts) == len(half.labels) == 200
        assert set(half.labels) == set(task.labels)
        assert all(half.texts)
    assert not set(task.train.texts) & set(task.test.texts)
    assert len(set(task.test.texts)) == 200
