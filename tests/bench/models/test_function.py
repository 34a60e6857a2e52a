from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._study import ModelSpec
from greeninfer.bench.models import open_model
from greeninfer.errors import StudyError

TASK = Task("shouts", ("loud", "quiet"))
TEXTS = ["HELLO", "psst", "HEY"]
RIGHT = [Prediction("loud"), Prediction("quiet"), Prediction("loud")]
Opened = Callable[..., Model]

MODULE = """
from greeninfer.bench._model import Prediction
calls = []

def one(text):
    calls.append(text)
    return "loud" if text.isupper() else "quiet"

def all_of_them(texts):
    calls.append(list(texts))
    assert type(texts) is list
    return [one(text) for text in texts]

def pairs(texts): return [(one(text), 0.75) for text in texts]
def generated(texts): yield from all_of_them(texts)
def one_too_few(texts): return all_of_them(texts)[1:]
def one_too_many(texts): return ["loud", *all_of_them(texts)]
def word(texts): return "loud"
def nothing(texts): pass
def mapping(texts): return {text: one(text) for text in texts}
def flags(texts): return [text.isupper() for text in texts]
def fails(texts): raise ZeroDivisionError("mine")
async def later(texts): return all_of_them(texts)
number = 7

def learn(texts, labels): calls.append(("learn", list(texts), list(labels)))

class Learner:
    closed = fitted = False
    def fit(self, texts, labels):
        self.fitted = dict(zip(texts, labels))
    def predict(self, texts):
        return [self.fitted[text] for text in texts]
    def close(self): type(self).closed = True

class Demanding:
    def __init__(self, path): pass
    def predict(self, texts): return texts

class Caller:
    def __call__(self, texts): return all_of_them(texts)

learner = Learner()
"""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    (tmp_path / "persons_own.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "lacking.py").write_text("import a_package_that_is_not_there", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    def opened(name: str, **options: object) -> Model:
        target = name if ":" in name else f"persons_own:{name}"
        return open_model(ModelSpec("own", "callable", {"target": target, **options}), TASK, Place())

    yield opened
    for name in ("persons_own", "lacking"):
        sys.modules.pop(name, None)


def calls() -> list[object]:
    found: list[object] = sys.modules["persons_own"].calls
    return found


@pytest.mark.parametrize("name", ["all_of_them", "generated", "Caller"])
def test_a_function_gets_the_whole_batch_as_a_list(opened: Opened, name: str) -> None:
    model = opened(name)
    model.fit(TEXTS, ["loud", "quiet", "loud"])
    assert list(model.predict(tuple(TEXTS))) == RIGHT
    assert calls() == [TEXTS, *TEXTS]
    assert model.predict([]) == []
    model.close()


def test_a_function_may_take_one_text_at_a_time(opened: Opened) -> None:
    model = opened("one", each=True)
    assert list(model.predict(TEXTS)) == RIGHT
    assert calls() == TEXTS


def test_a_function_may_say_how_sure_it_is(opened: Opened) -> None:
    assert [each.confidence for each in opened("pairs").predict(TEXTS)] == [0.75] * 3


def test_another_function_learns_before(opened: Opened) -> None:
    model = opened("all_of_them", fit="persons_own:learn")
    model.fit(("a", "b"), ("loud", "quiet"))
    assert calls() == [("learn", ["a", "b"], ["loud", "quiet"])]


@pytest.mark.parametrize("name", ["Learner", "learner"])
def test_a_class_or_an_object_learns_answers_and_is_closed(opened: Opened, name: str) -> None:
    model = opened(name)
    model.fit(TEXTS, ["quiet", "loud", "quiet"])
    assert [each.label for each in model.predict(TEXTS)] == ["quiet", "loud", "quiet"]
    model.close()
    assert sys.modules["persons_own"].Learner.closed


def test_a_method_of_an_object_is_a_function(opened: Opened) -> None:
    model = opened("learner.predict", fit="persons_own:learner.fit")
    model.fit(["x"], ["loud"])
    assert list(model.predict(["x"])) == [Prediction("loud")]


def test_an_estimator_of_scikit_learn_is_a_model(opened: Opened, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "persons_estimator.py").write_text(
        "from sklearn.pipeline import make_pipeline\nfrom sklearn.naive_bayes import MultinomialNB\n"
        "from sklearn.feature_extraction.text import CountVectorizer\n"
        "estimator = make_pipeline(CountVectorizer(), MultinomialNB())\n",
        encoding="utf-8",
    )
    model = opened("persons_estimator:estimator")
    model.fit(["good film", "bad film"], ["loud", "quiet"])
    assert [each.label for each in model.predict(["very good", "bad bad"])] == ["loud", "quiet"]
    sys.modules.pop("persons_estimator")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("one_too_few", r"for 3 text\(s\) came 2 answer\(s\): \['quiet', 'loud'\]; allowed: 3; remedy: or each: true"),
        ("one_too_many", r"for 3 text\(s\) came 4 answer\(s\)"),
        ("word", r"for 3 text\(s\) came a str: 'loud'; allowed: a list"),
        ("nothing", r"for 3 text\(s\) came None"),
        ("mapping", r"for 3 text\(s\) came a dict: {'HELLO': 'loud'"),
        ("flags", "an answer is True, a bool"),
    ],
)
def test_an_answer_of_no_known_form_is_refused(opened: Opened, name: str, complaint: str) -> None:
    model = opened(name)
    with pytest.raises(StudyError, match=complaint):
        model.predict(TEXTS)


def test_a_list_for_one_text_is_refused(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened("all_of_them")
    monkeypatch.setattr(sys.modules["persons_own"], "one", lambda text: ["loud"] * 500)
    with pytest.raises(StudyError, match=r"a list; allowed"):
        model.predict(TEXTS)


def test_a_label_that_the_task_does_not_know_is_unparsable(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened("all_of_them")
    monkeypatch.setattr(sys.modules["persons_own"], "one", lambda text: "screaming")
    assert model.predict(["x"]) == [Prediction(None)]


def test_its_own_exceptions_come_through(opened: Opened) -> None:
    with pytest.raises(ZeroDivisionError, match="mine"):
        opened("fails").predict(TEXTS)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"target": ""}, "target='';? .*module:function|target=''"),
        ({"target": "persons_own"}, "target='persons_own'; allowed: module:function"),
        ({"target": "persons_own:"}, "allowed: module:function"),
        ({"target": ":one"}, "allowed: module:function"),
        ({"target": "persons_own:one", "fit": "learn"}, "fit='learn'; allowed: module:function"),
        ({"target": "persons_own:two"}, "has no 'two'; allowed: .*all_of_them.*; remedy: correct the name"),
        ({"target": "persons_own:learner.run"}, "has no 'run'; allowed: close, closed, fit"),
        ({"target": "persons_owner:one"}, "No module named 'persons_owner'.*sys.path"),
        ({"target": "lacking:one"}, "No module named 'a_package_that_is_not_there'"),
        ({"target": "persons_own:number"}, "target='persons_own:number' is a int"),
        ({"target": "persons_own:one", "fit": "persons_own:number"}, "fit='persons_own:number' is a int"),
        ({"target": "persons_own:later"}, "is a coroutine.*asyncio.run"),
        ({"target": "persons_own:Demanding"}, "missing 1 required positional argument.*without arguments"),
        ({}, "needs the option 'target'"),
        ({"target": "persons_own:one", "each": 1}, "each=1; allowed: true or false"),
    ],
)
def test_a_target_that_cannot_be_is_refused_by_name(opened: Opened, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint) as caught:
        open_model(ModelSpec("own", "callable", options), TASK, Place())
    assert caught.value.path[0] == "options"
