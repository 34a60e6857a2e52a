from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from greeninfer.demo._classifiers import Classifier, Classify
from greeninfer.demo._load import Load
from greeninfer.demo._texts import Task, Texts

pytest.importorskip("threadpoolctl")

TEXTS = tuple(f"text {number}" for number in range(7))
LABELS = ("even", "odd", "even", "odd", "even", "odd", "even")
TASK = Task("parity", "parity", "", ("even", "odd"), Texts(TEXTS, LABELS), Texts(TEXTS, LABELS))
ENOUGH = 60


class Calls:
    """What was called, and the moment at which it was enough."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []
        self.enough = threading.Event()

    def measure(self, name: str, model: str, classify: Classify) -> Classify:
        def call(text: str) -> str:
            self.seen.append((name, model, text))
            if len(self.seen) >= ENOUGH:
                self.enough.set()
            return classify(text)

        return call


def run(answers: dict[str, Callable[[str], str]], workers: int) -> tuple[Load, Calls]:
    calls = Calls()
    classifiers = [Classifier(TASK, model, classify) for model, classify in answers.items()]
    load = Load(classifiers, calls.measure, workers, think_seconds=1e-6)
    load.start()
    try:
        assert calls.enough.wait(30)
    finally:
        load.stop()
    return load, calls


def test_all_classifiers_and_texts_come_equally_often() -> None:
    workers = 3
    _, calls = run({"always": lambda _: "even", "never": lambda _: "", "clock": lambda _: "odd"}, workers)
    by_model = Counter(model for _, model, _ in calls.seen)
    assert max(by_model.values()) - min(by_model.values()) <= workers
    for model in by_model:
        by_text = Counter(text for _, each, text in calls.seen if each == model)
        assert set(by_text) == set(TEXTS)
        assert max(by_text.values()) - min(by_text.values()) <= workers


def test_classifiers_of_a_task_have_answered_the_same_texts() -> None:
    _, calls = run({"one": lambda _: "even", "two": lambda _: "odd"}, workers=1)
    one, two = ([text for _, model, text in calls.seen if model == each] for each in ("one", "two"))
    common = min(len(one), len(two))
    assert common >= 20
    assert one[:common] == two[:common]


def test_scores_count_each_text_once() -> None:
    load, _ = run({"always even": lambda _: "even"}, workers=2)
    score = load.scores()["parity", "always even"]
    assert score.seen == frozenset(range(7))
    assert score.right == frozenset({0, 2, 4, 6})


def test_a_client_that_breaks_is_not_lost() -> None:
    def broken(text: str) -> str:
        raise ZeroDivisionError(text)

    load = Load([Classifier(TASK, "broken", broken)], lambda name, model, classify: classify, 2, think_seconds=1e-6)
    load.start()
    assert not load.wait(30)
    with pytest.raises(ZeroDivisionError):
        load.stop()


def test_no_client_stays_behind() -> None:
    run({"always": lambda _: "even"}, workers=2)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("client")]
