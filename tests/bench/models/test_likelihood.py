"""Scores of labels, held against a made-up model whose next token depends on the last one alone."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench.models.bigrams import LOGITS, Bigrams, Marks
from greeninfer.bench.models._likelihood import score_labels, to_score
from greeninfer.bench.models._prefix import Prefix, Reader
from greeninfer.errors import StudyError


def test_what_of_a_label_is_scored() -> None:
    labels = {"a": [5, 6, 7], "b": [6]}
    assert to_score(labels, "sum") == to_score(labels, "pmi") == [[5, 6, 7], [6]]
    assert to_score(labels, "first_token") == [[5], [6]]
    with pytest.raises(StudyError, match=r"'a' and 'b' begin with the same token; allowed: sum, pmi; remedy: scoring"):
        to_score({"a": [5, 6], "b": [5, 7]}, "first_token")


def chance(before: int, after: int) -> float:
    """Return the log-probability of a token after another: softmax, written out."""
    row = LOGITS[before]
    return row[after] - math.log(sum(map(math.exp, row)))


@pytest.mark.heavy
@pytest.mark.parametrize("labels", [[[2], [3], [4]], [[2], [3, 4], [4, 4, 2]], [[2, 3, 4]]])
def test_the_sum_over_a_labels_tokens(labels: list[list[int]]) -> None:
    pytest.importorskip("torch", reason="language models need torch")
    texts = [[2, 3], [4], [3, 3, 3, 2]]
    model: Any = Bigrams()
    scores = score_labels(Prefix(Reader(model, Marks()), texts), labels)
    assert tuple(scores.shape) == (3, len(labels))
    for row, text in zip(scores.tolist(), texts, strict=True):
        for score, label in zip(row, labels, strict=True):
            wanted = sum(chance(*pair) for pair in zip([text[-1], *label], label, strict=False))
            assert score == pytest.approx(wanted, abs=1e-5)
    several = max(map(len, labels)) > 1
    assert model.passes == 1 + several  # the prompts are read once, and so are all labels
