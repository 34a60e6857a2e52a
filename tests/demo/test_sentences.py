from __future__ import annotations

import dataclasses

import pytest

from greeninfer.demo._books import Books, Totals
from greeninfer.demo._load import Score
from greeninfer.demo._routes import Route
from greeninfer.demo._rows import group_rows, serving_rows
from greeninfer.demo._sentences import number, paired_difference, sentences
from greeninfer.demo._texts import Task, Texts

from .builders import ESTIMATE, RAPL, idle, request, settlement

LABELS = ("pos",) * 100
TASK = Task("film-review", "film reviews", "", ("neg", "pos"), Texts(LABELS, LABELS), Texts(LABELS, LABELS))
SMALL, BIG = ("film-review", "small"), ("film-review", "big")
ALL = frozenset(range(100))


def totals(*joules: tuple[Route, float]) -> Totals:
    books = Books()
    books.export(settlement(requests=[request(*route, each) for route, each in joules]))
    return books.totals()


def said(small_right: int, big_right: int) -> str:
    scores = {SMALL: Score(ALL, frozenset(range(small_right))), BIG: Score(ALL, frozenset(range(big_right)))}
    figures = totals((SMALL, 0.002), (BIG, 0.31))
    return sentences(group_rows([TASK], [SMALL, BIG], figures, scores), (), scores, figures)[0]


def test_paired_difference_by_hand() -> None:
    # 100 texts: the second gains 10 and loses 2. (10 - 2) / 100; 1.96 * sqrt(12 - 64/100) / 100.
    one, other = frozenset(range(50)), frozenset(range(2, 60))
    paired = paired_difference(Score(ALL, one), Score(ALL, other))
    assert paired is not None
    assert (paired.difference, paired.texts) == (pytest.approx(0.08), 100)
    assert paired.half_width == pytest.approx(0.06606, abs=1e-5)


def test_only_texts_that_both_answered_count() -> None:
    paired = paired_difference(
        Score(frozenset({1, 2, 3}), frozenset({1, 2})), Score(frozenset({2, 3, 4}), frozenset({3, 4}))
    )
    assert paired is not None
    assert (paired.difference, paired.texts) == (0.0, 2)
    assert paired_difference(Score(frozenset({1}), frozenset()), Score(frozenset({2}), frozenset())) is None


def test_a_dearer_model_that_is_better() -> None:
    assert said(60, 80) == (
        "Film reviews: big is right most often, but one request costs 155 times the joules of small "
        "(0.31 J against 0.0020 J) for +20.0 ± 7.8 points of accuracy."
    )


def test_a_dearer_model_that_may_be_better() -> None:
    assert said(60, 61).endswith("for +1.0 ± 2.0 points of accuracy: 100 texts cannot tell that from chance.")


def test_the_cheapest_is_the_best() -> None:
    assert said(80, 60).startswith(
        "Film reviews: small is the cheapest and right most often; one request to big costs 155 times the joules"
    )
    assert "-20.0 ± 7.8 points" in said(80, 60)


def test_equally_right_means_the_cheaper_is_best() -> None:
    assert "small is the cheapest and right most often" in said(70, 70)


def test_no_comparison_without_joules_or_answers() -> None:
    scores = {SMALL: Score(ALL, ALL), BIG: Score()}
    figures = totals((SMALL, 1.0), (BIG, 2.0))
    assert not any(
        "times the joules" in each
        for each in sentences(group_rows([TASK], [SMALL, BIG], figures, scores), (), scores, figures)
    )


def test_what_serving_costs_against_the_models() -> None:
    served: list[tuple[Route, float]] = [(("/sync", ""), 0.001), (("/sync", ""), 0.003), (("/async", ""), 0.005)]
    figures = totals((SMALL, 0.002), (BIG, 0.3), *served)
    groups = group_rows([TASK], [SMALL, BIG], figures, {})
    said = sentences(groups, serving_rows([SMALL, BIG], figures), {}, figures)
    # (1 + 3 + 5) / 3 = 3 mJ: 1.5 times 2 mJ, and 0.01 of 300 mJ.
    assert said[0] == (
        "Serving itself (routing, checks, JSON, threads) costs 0.0030 J per HTTP request: as much as 1.5 answers of "
        "small, or 0.010 of big."
    )


def test_nothing_is_said_of_serving_without_figures() -> None:
    figures = totals((SMALL, 0.002), (BIG, 0.3))
    groups = group_rows([TASK], [SMALL, BIG], figures, {})
    assert not any("Serving" in each for each in sentences(groups, (), {}, figures))
    lonely = totals((SMALL, 0.002), (("/sync", ""), 0.001))
    groups = group_rows([TASK], [SMALL], lonely, {})
    assert not any("Serving" in each for each in sentences(groups, serving_rows([SMALL], lonely), {}, lonely))


def test_where_joules_come_from() -> None:
    for meters, words in (
        (
            (ESTIMATE,),
            "All joules are ESTIMATED (estimate: power model, no sensor). The true ones lie between x0.6 and x1.7",
        ),
        (
            (RAPL,),
            "Joules are measured (rapl: counters of the processor). The sensor's own error is a factor x0.97 to x1.03",
        ),
        ((), "No meter: nothing is known about the joules."),
    ):
        books = Books()
        books.export(settlement(lines=[idle(1)], meters=meters))
        assert sentences((), (), {}, books.totals())[0].startswith(words)


def test_a_meter_without_a_gain_has_no_range() -> None:
    books = Books()
    books.export(settlement(lines=[idle(1)], meters=[dataclasses.replace(ESTIMATE, gain=(1.0, 1.0))]))
    assert sentences((), (), {}, books.totals())[0] == "All joules are ESTIMATED (estimate: power model, no sensor)."


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 2, "-"),
        (0.0, 2, "0"),
        (0.0004321, 2, "0.00043"),
        (31.4, 2, "31"),
        (1234.5, 2, "1,234"),
        (0.151, 3, "0.151"),
    ],
)
def test_numbers(value: float | None, digits: int, text: str) -> None:
    assert number(value, digits) == text
