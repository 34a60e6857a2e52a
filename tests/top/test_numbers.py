"""Figures and names as they stand in the table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeninfer.top._latency import Quantile
from greeninfer.top._numbers import clean, count, estimated, milliseconds, number, percent, shortened, width


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (1.0, "1.00"),
        (0.5, "0.500"),
        (12.345, "12.3"),
        (999.6, "1,000"),
        (1234.5, "1,234"),
        (1234567.0, "1,234,567"),
        (12345678.0, "1.23e+07"),
        (0.00012345, "0.000123"),
        (0.00001, "1.00e-05"),
        (5e-324, "4.94e-324"),
        (-2.5, "-2.50"),
    ],
)
def test_a_number(value: float | None, text: str) -> None:
    assert number(value) == text


@given(st.floats(1e-12, 1e12))
def test_a_number_is_right_within_its_digits_and_short(value: float) -> None:
    text = number(value)
    assert float(text.replace(",", "")) == pytest.approx(value, rel=0.0051)
    assert len(text) <= 9


def test_other_figures() -> None:
    assert (count(None), count(0.0), count(1234.0)) == ("-", "0", "1,234")
    assert (percent(None), percent(0.0), percent(0.12345), percent(1.0)) == ("-", "0.0", "12.3", "100.0")
    assert milliseconds(None) == "-"
    assert milliseconds(Quantile(0.0123)) == "12.3"
    assert milliseconds(Quantile(100.0, beyond=True)) == ">100,000"


def test_only_what_a_sensor_counted_goes_without_a_sign() -> None:
    shown = [estimated("1.00", quality) for quality in ("measured", "shared", "estimated", "guessed", None)]
    assert shown == ["1.00", "1.00", "~1.00", "~1.00", "~1.00"]
    assert estimated("-", "estimated") == "-"


def test_a_name_cannot_move_the_cursor() -> None:
    assert clean("a\x1b[31mb\nc\u202ed\ue000") == "a�[31mb�c�d�"
    assert clean("größe ⚡ {x}") == "größe ⚡ {x}"


@pytest.mark.parametrize(
    ("text", "columns", "short"),
    [
        ("/predict", 8, "/predict"),
        ("/predict", 7, "/pr…ict"),
        ("/predict", 2, "…t"),
        ("/predict", 1, "…"),
        ("/api/v1/models/{id}/predict", 12, "/api/…redict"),
        ("模型模型模型", 12, "模型模型模型"),
        ("模型模型模型", 9, "模型…模型"),
        ("模型模型模型", 8, "模…模型"),
        ("", 3, ""),
    ],
)
def test_a_long_name_loses_its_middle(text: str, columns: int, short: str) -> None:
    assert shortened(text, columns) == short


@given(st.text(st.characters(exclude_categories=["C", "M"]), max_size=60), st.integers(1, 40))
def test_a_shortened_name_fits_and_wastes_no_room(text: str, columns: int) -> None:
    short = shortened(text, columns)
    assert width(short) <= columns
    if width(text) > columns:
        assert "…" in short
        assert width(short) >= columns - 1
