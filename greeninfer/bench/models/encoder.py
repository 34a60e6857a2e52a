"""Sequence classifiers of transformers that were trained for the task: a folder or an id, safetensors only."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._optional import need
from greeninfer.bench.models import _weights as weights
from greeninfer.bench.models._wording import context_length
from greeninfer.errors import StudyError

_AUTO = "AutoModelForSequenceClassification"
_log = logging.getLogger("greeninfer")


@dataclass(frozen=True, slots=True)
class Options:
    """What a study may set.

    Args:
        path: a folder or a Hugging Face id.
        labels: the data set's label for each of the model's, where they are not the same; several may share one.
        max_length: most tokens of a text, its end is cut off; None for the model's.
        dtype: of the weights; auto for the one they are stored in.

    Raises:
        StudyError: if a value is out of its range.
    """

    path: str
    labels: Mapping[str, str] = field(default_factory=dict)
    max_length: int | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < 4:
            raise StudyError(f"max_length={self.max_length!r}", "4 or more", path=("options", "max_length"))


class Encoder:
    """Asks a classifier; its confidence is the softmax over the labels.

    Attributes:
        notes: what a reader of its answers has to know.
    """

    def __init__(self, options: Options, task: Task, place: Place, loaded: tuple[Any, Any]) -> None:
        self._tokenizer, self._model = loaded
        self._path, self._device = options.path, place.device
        columns = columns_of(self._model.config.id2label, options.labels, task)
        self._labels = tuple(dict.fromkeys(columns))
        self._adds = np.array([[label == own for own in self._labels] for label in columns], np.float32)
        known = [each for each in (_length(self._tokenizer, self._model), options.max_length) if each is not None]
        self._longest = min(known, default=None)
        if self._model.config.pad_token_id is None:  # models that pool the last token look for it
            self._model.config.pad_token_id = self._tokenizer.pad_token_id
        self._cut = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the answers has to know."""
        return (f"{self._cut} texts, repeats among them, were cut to {self._longest} tokens",) if self._cut else ()

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Do nothing: it is trained."""

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return the likeliest label of each text."""
        if not texts:
            return []
        batch = self._tokenizer(
            list(texts), padding=True, truncation=self._longest is not None, max_length=self._longest,
            return_tensors="pt",
        )  # fmt: skip
        counts = batch["attention_mask"].sum(dim=1).tolist()
        self._cut += self._count_cut(batch, counts)
        with need("torch", weights.INSTALL).inference_mode():
            logits = self._model(**batch.to(self._model.device)).logits
        chances = weights.numbers(logits.float().softmax(dim=-1).cpu().numpy()) @ self._adds
        best = chances.argmax(axis=1)
        return [
            Prediction(self._labels[number], min(1.0, float(row[number])), count)
            for number, row, count in zip(best, chances, counts, strict=True)
        ]

    def close(self) -> None:
        """Let go of the model; say how many texts were cut."""
        if self._cut:
            _log.warning("greeninfer.bench.texts_cut model=%s texts=%d", self._path, self._cut)
        del self._model
        weights.let_go(self._device)

    def _count_cut(self, batch: Any, counts: Sequence[int]) -> int:
        if batch.encodings is None:  # a tokenizer in Python does not tell what it cut
            return sum(count == self._longest for count in counts)
        return sum(bool(each.overflowing) for each in batch.encodings)


def columns_of(named: Mapping[int, str], renamed: Mapping[str, str], task: Task) -> list[str]:
    """Return the task's label for each output of a model.

    Args:
        named: the model's own label of each output.
        renamed: the task's label by the model's.
        task: has the labels.

    Raises:
        StudyError: if labels of the model are none of the task's, or ``renamed`` names one that it does not have.
    """
    path = ("options", "labels")
    own = [str(named[number]) for number in sorted(named)]
    names = {str(key): str(value) for key, value in renamed.items()}
    strange = [key for key in names if key not in own]
    if strange:
        raise StudyError(f"labels: the model has no label {strange[0]!r}", ", ".join(own), "correct it", path)
    if len(own) < 2:
        raise StudyError(f"the model has {len(own)} output, {', '.join(own)}", "a classifier", "another model", path)
    found = [names.get(each, each) for each in own]
    unknown = [label for label in found if label not in task.labels]
    if unknown:
        what = f"labels {', '.join(unknown)} of the model (it has {', '.join(own)}) are none of {task.dataset}'s"
        remedy = "labels: {LABEL OF THE MODEL: label of the data set} in the model's options"
        raise StudyError(what, ", ".join(task.labels), remedy, path)
    return found


def _length(tokenizer: Any, model: Any) -> int | None:
    """Return how many tokens a text may have."""
    length = context_length(tokenizer, model)
    for name, module in model.named_modules():
        offset = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and offset is not None and length is not None:
            # Models of RoBERTa's kind number positions from here on: some of their table is never used.
            return min(length, int(model.config.max_position_embeddings) - int(offset) - 1)
    return length


def prepare(options: Options) -> None:
    """Download the weights, so that this is not measured as loading them.

    Raises:
        ImportError: if a package is not installed.
        StudyError: if they cannot be had.
    """
    weights.fetch(_AUTO, weights.locate(options.path))


def open_model(options: Options, task: Task, place: Place) -> Model:
    """Load the classifier.

    Raises:
        ImportError: if a package is not installed.
        StudyError: if it cannot be loaded, or its labels are not the task's.
    """
    return Encoder(options, task, place, weights.load(_AUTO, weights.locate(options.path), place, options.dtype))
