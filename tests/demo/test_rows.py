from __future__ import annotations

import pytest

from greeninfer.demo._books import Books
from greeninfer.demo._load import Score
from greeninfer.demo._rows import group_rows, mean_joules, serving_rows, wilson_half_width
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


def test_serving_is_what_no_classifier_has() -> None:
    books = Books()
    served = [request("/sync/{task}/{model}", "", each, seconds=0.02) for each in (0.001, 0.003, None)]
    books.export(settlement(requests=[*served, request("(unmatched)", "", 0.5), request(joules=6.0)]))
    unmatched, sync = serving_rows(ROUTES, books.totals())
    assert (unmatched.name, unmatched.title, unmatched.joules) == ("(unmatched)", "", 0.5)
    assert (sync.name, sync.title, sync.requests, sync.metered) == ("/sync/{task}/{model}", "thread pool", 3, 2)
    assert sync.joules == pytest.approx(0.002)
    assert sync.p50_seconds == pytest.approx(0.02, rel=0.0101)
    assert sync.cpu_seconds == pytest.approx(0.01)


def test_rows_with_more_requests_count_for_more() -> None:
    books = Books()
    books.export(settlement(requests=[request("/sync", "", 1.0)] * 3 + [request("/stream", "", 5.0)]))
    assert mean_joules(serving_rows((), books.totals())) == pytest.approx(2.0)
    books.export(settlement(requests=[request("/gone", "", None)] * 9))
    assert mean_joules(serving_rows((), books.totals())) == pytest.approx(2.0)


def test_no_joules_have_no_mean() -> None:
    books = Books()
    books.export(settlement(requests=[request("/sync", "", None)]))
    assert mean_joules(()) is None
    assert mean_joules(serving_rows((), books.totals())) is None
