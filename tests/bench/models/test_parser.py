"""Reading labels out of answers as language models write them."""

from __future__ import annotations

import pytest

from greeninfer.bench.models._parser import Parser

SENTIMENT = {"neg": "negative", "pos": "positive"}


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("positive", "pos"),
        ("- negative\n- negative", "neg"),
        ('The correct answer is "positive".', "pos"),
        ("POSITIVE!", "pos"),
        ("**Positive**", "pos"),
        ("pos", "pos"),
        ("negative, not positive", "neg"),
        ("The movie was not only much-an", None),
        ("", None),
        ("nonnegative", None),
        ("positively great", None),
        ("positive_", "pos"),
    ],
)
def test_lenient(answer: str, label: str | None) -> None:
    assert Parser(SENTIMENT).read(answer) == label


@pytest.mark.parametrize(
    ("answer", "label"),
    [(" Positive\n", "pos"), ("neg", "neg"), ("- negative", None), ("positive.", None), ("positive negative", None)],
)
def test_exact(answer: str, label: str | None) -> None:
    assert Parser(SENTIMENT, "exact").read(answer) == label


@pytest.mark.parametrize(
    ("answer", "label"),
    [("It is not spam.", "ham"), ("spam", "spam"), ("Not  Spam", "ham"), ("spam, not spam", "spam"), ("not", "x")],
)
def test_a_label_that_is_part_of_another(answer: str, label: str) -> None:
    assert Parser({"spam": "spam", "ham": "not spam", "x": "not"}).read(answer) == label


@pytest.mark.parametrize(
    ("answer", "label"),
    [("card arrival", "card_arrival"), ("card_arrival", "card_arrival"), ("about C++ (fast)", "C++"),
     ("a.b", "a.b"), ("axb", None), ("Straße", "STRASSE")],
)  # fmt: skip
def test_labels_are_taken_as_they_are_written(answer: str, label: str | None) -> None:
    words = {"card_arrival": "card arrival", "C++": "C++", "a.b": "a.b", "STRASSE": "strasse"}
    assert Parser(words).read(answer) == label


def test_a_word_goes_before_another_labels_name() -> None:
    """Where one label is called what stands for another, what the model was told to answer counts."""
    assert Parser({"a": "b", "b": "c"}).read("b") == "a"
