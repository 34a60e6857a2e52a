"""Reading one answer of a model that somebody else wrote, whatever form it has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Integral, Real

from greeninfer.bench._model import Prediction
from greeninfer.errors import StudyError

_FORMS = "a label, (label, confidence), a mapping with label and confidence, or a Prediction"
_KEYS = tuple(each.name for each in fields(Prediction))
_COUNTS = ("input_tokens", "output_tokens", "reasoning_tokens")


def read_answer(answer: object, labels: Sequence[str]) -> Prediction:
    """Return an answer as a prediction.

    Args:
        answer: a label, a pair (label, confidence), a mapping with the keys of ``Prediction``, or a ``Prediction``.
        labels: those of the task.

    Raises:
        StudyError: if it has another form, or a confidence or a number of tokens that is not possible.
    """
    if isinstance(answer, Prediction):
        values: dict[str, object] = {key: getattr(answer, key) for key in _KEYS}
    elif isinstance(answer, Mapping):
        unknown = [str(key) for key in answer if key not in _KEYS]
        if unknown or "label" not in answer:
            raise StudyError(f"an answer with the keys {list(answer)}", ", ".join(_KEYS), "label at least")
        values = dict(answer)
    elif isinstance(answer, tuple | list) and len(answer) == 2:
        values = {"label": answer[0], "confidence": answer[1]}
    else:
        values = {"label": answer}
    counts = {key: _count(key, values.get(key)) for key in _COUNTS}
    return Prediction(read_label(values["label"], labels), read_confidence(values.get("confidence")), **counts)


def read_label(value: object, labels: Sequence[str]) -> str | None:
    """Return which of the labels a value is, or None if it is none of them; space around it does not matter.

    Raises:
        StudyError: if it is neither text nor a whole number nor None.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | Integral):
        raise StudyError(f"an answer is {value!r}, a {type(value).__name__}", _FORMS, "return text for the label")
    text = str(value)
    return next((label for label in labels if text == label), None) or next(
        (label for label in labels if text.strip() == label.strip()), None
    )


def read_confidence(value: object) -> float | None:
    """Return a confidence, or None where there is none.

    Raises:
        StudyError: if it is no number from 0 to 1.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) <= 1.0:
        remedy = "return a probability, or no confidence"
        raise StudyError(f"confidence={value!r}, a {type(value).__name__}", "a number from 0 to 1", remedy)
    return float(value)


def _count(key: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= int(value) < math.inf:
        raise StudyError(f"{key}={value!r}", "a whole number of tokens, 0 or more", "leave it out if it is not known")
    return int(value)
