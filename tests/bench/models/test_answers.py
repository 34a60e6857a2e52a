from __future__ import annotations

import numpy as np
import pytest

from greeninfer.bench._model import Prediction
from greeninfer.bench.models._answers import read_answer
from greeninfer.errors import StudyError

LABELS = ("1", "neg", "pos", "very good")


@pytest.mark.parametrize(
    ("answer", "prediction"),
    [
        ("pos", Prediction("pos")),
        (" pos\n", Prediction("pos")),
        ("very good", Prediction("very good")),
        (np.str_("pos"), Prediction("pos")),
        (1, Prediction("1")),
        (np.int64(1), Prediction("1")),
        (None, Prediction(None)),
        ("Pos", Prediction(None)),
        ("", Prediction(None)),
        (7, Prediction(None)),
        (("pos", 0.75), Prediction("pos", 0.75)),
        (["pos", 0], Prediction("pos", 0.0)),
        (("pos", None), Prediction("pos")),
        (("neither", 1.0), Prediction(None, 1.0)),
        (("pos", np.float32(0.5)), Prediction("pos", 0.5)),
        ({"label": "neg"}, Prediction("neg")),
        (
            {"label": "neg", "confidence": 0.5, "input_tokens": 7, "output_tokens": 0, "reasoning_tokens": np.int32(3)},
            Prediction("neg", 0.5, 7, 0, 3),
        ),
        (Prediction("neg", 0.25, 1, 2, 3), Prediction("neg", 0.25, 1, 2, 3)),
        (Prediction("nobody's"), Prediction(None)),
    ],
)
def test_every_form_is_read(answer: object, prediction: Prediction) -> None:
    assert read_answer(answer, LABELS) == prediction


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (True, "an answer is True, a bool; allowed: a label, "),
        (0.5, "an answer is 0.5, a float"),
        (b"pos", "a bytes"),
        (object, "a type"),
        (("pos", 0.5, 1), "a tuple"),
        (("pos", 1.5), "confidence=1.5, a float; allowed: a number from 0 to 1"),
        (("pos", -0.1), "confidence=-0.1"),
        (("pos", float("nan")), "confidence=nan"),
        (("pos", "0.5"), "confidence='0.5', a str"),
        (("pos", True), "confidence=True, a bool"),
        (("pos", "neg"), "confidence='neg'"),
        ({"answer": "pos"}, r"the keys \['answer'\]; allowed: label, confidence, input_tokens"),
        ({"label": "pos", "score": 1}, "the keys"),
        ({"confidence": 0.5}, "label at least"),
        ({}, "label at least"),
        ({"label": ["pos"]}, "a list"),
        ({"label": "pos", "input_tokens": -1}, "input_tokens=-1; allowed: a whole number"),
        ({"label": "pos", "output_tokens": 1.5}, "output_tokens=1.5"),
        ({"label": "pos", "reasoning_tokens": True}, "reasoning_tokens=True"),
        (Prediction("pos", 2.0), "confidence=2.0"),
    ],
)
def test_what_is_no_answer_is_refused_by_name(answer: object, complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint):
        read_answer(answer, LABELS)
