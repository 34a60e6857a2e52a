"""The study's own set of film reviews, as it comes with the package, and how a model does on it."""

from __future__ import annotations

from collections.abc import Sequence

from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._study import ModelSpec
from greeninfer.bench.models import CATALOGUE, open_model
from greeninfer.demo._texts import Texts, load_tasks

TASK = Task("tomatoes", ("neg", "pos"), {"neg": "negative", "pos": "positive"})
DATA = next(each for each in load_tasks() if each.data == "tomatoes")


def opened(name: str, **changes: object) -> Model:
    """Return a model of the catalogue, some of its options changed."""
    kind, options = CATALOGUE[name]
    return open_model(ModelSpec(name, kind, {**options, **changes}), TASK, Place())


def trained(name: str, texts: Texts = DATA.train, **changes: object) -> Model:
    model = opened(name, **changes)
    model.fit(texts.texts, texts.labels)
    return model


def right(predictions: Sequence[Prediction]) -> int:
    """Return how many of the 200 test texts were answered rightly."""
    return sum(each.label == label for each, label in zip(predictions, DATA.test.labels, strict=True))
