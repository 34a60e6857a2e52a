from __future__ import annotations

import pytest

from greeninfer.demo._books import Books
from greeninfer.demo._load import Score
from greeninfer.demo._rows import group_rows, wilson_half_width
from greeninfer.demo._texts import Task, Texts

from .builders import request, settlement

TASK = Task(
    "film-review", "film reviews", "", ("neg", "pos"), Texts(("a",), ("pos",)), Texts(("b", "c"), ("neg", "pos"))
)
ROUTES = [("film-review", "small"), ("film-review", "big"), ("film-review", "silent")]


@pytest.mark.parametrize(
    ("right", "seen", "low", "high"),
    # Newcombe 1998 (doi 10.1002/(SICI)1097-0258(19980430)17:8<857), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(right: int, seen: int, low: float, high: float) -> None:
    assert wilson_half_width(right, seen) == pytest.approx((high - low) / 2, abs=1e-4)


def test_rows_put_books_and_scores_together() -> None:
    books = Books()
    books.export(settlement(requests=[request(joules=0.5), request(model="big", joules=6.0)]))
    scores = {ROUTES[0]: Score(frozenset({0, 1}), frozenset({1})), ROUTES[1]: Score()}
    (group,) = group_rows([TASK], ROUTES, books.totals(), scores)
    small, big, silent = group.rows
    assert (group.labels, group.texts, group.majority) == (2, 2, 0.5)
    assert (small.model, small.requests, small.seen, small.accuracy, small.joules, small.times) == (
        "small",
        1,
        2,
        0.5,
        0.5,
        1.0,
    )
    assert (big.joules, big.times, big.accuracy) == (6.0, 12.0, None)
    assert (silent.requests, silent.joules, silent.times, silent.p50_seconds, silent.quality) == (
        0,
        None,
        None,
        None,
        None,
    )
    assert small.cpu_seconds == pytest.approx(0.005)


def test_rows_stay_with_their_task() -> None:
    books = Books()
    books.export(settlement(requests=[request(joules=0.5), request(name="bank-question", joules=0.1)]))
    bank = Task("bank-question", "bank questions", "", ("x",), TASK.train, TASK.test)
    film, questions = group_rows([TASK, bank], [ROUTES[0], ("bank-question", "small")], books.totals(), {})
    assert [row.joules for row in film.rows] == [0.5]
    assert [row.times for row in film.rows + questions.rows] == [1.0, 1.0]
