from __future__ import annotations

import itertools
from collections import Counter

import pytest

from greeninfer.demo._routes import STREAMED, TEMPLATES, TITLES, Card, Route, deal, ways_of

ROUTES: tuple[Route, ...] = tuple(
    (name, model) for name in ("bank", "film") for model in ("wordllama-lr", "tfidf-lr", "vote", "e5")
)
TEXTS = {"bank": 7, "film": 11}


def cards(rounds: int) -> list[Card]:
    return list(itertools.islice(deal(ROUTES, TEXTS), rounds * len(ROUTES)))


def test_each_round_asks_every_classifier_once() -> None:
    dealt = cards(40)
    for begin in range(0, len(dealt), len(ROUTES)):
        assert sorted(card.route for card in dealt[begin : begin + len(ROUTES)]) == sorted(ROUTES)


def test_every_classifier_gets_every_text_equally_often() -> None:
    seen = {route: Counter[int]() for route in ROUTES}
    for card in cards(300):
        seen[card.route].update(card.texts)
    for (name, _), texts in seen.items():
        assert set(texts) == set(range(TEXTS[name]))
        assert max(texts.values()) - min(texts.values()) <= 1
    totals = [texts.total() for texts in seen.values()]
    assert max(totals) - min(totals) <= STREAMED


def test_classifiers_of_a_task_get_its_texts_in_the_same_order() -> None:
    order: dict[Route, list[int]] = {route: [] for route in ROUTES}
    for card in cards(30):
        order[card.route] += card.texts
    for name in TEXTS:
        same = [texts for (each, _), texts in order.items() if each == name]
        least = min(map(len, same))
        assert least >= 30
        assert len({tuple(texts[:least]) for texts in same}) == 1
        assert same[0][: TEXTS[name]] != list(range(TEXTS[name]))  # files are sorted in their own ways


def test_slow_models_never_come_to_the_event_loop() -> None:
    ways = {route: {card.way for card in cards(9) if card.route == route} for route in ROUTES}
    assert ways["bank", "tfidf-lr"] == {"async", "sync", "stream"}
    assert ways["bank", "e5"] == {"sync", "stream"}
    assert "async" not in ways_of("anything else")


def test_not_everybody_streams_at_once() -> None:
    first = cards(1)
    assert {card.way for card in first} == {"async", "sync", "stream"}


@pytest.mark.parametrize("card", cards(3), ids=lambda card: f"{card.way} {'/'.join(card.route)}")
def test_a_card_is_a_request(card: Card) -> None:
    assert card.path == f"/{card.way}/{card.route[0]}/{card.route[1]}"
    assert len(card.texts) == (STREAMED if card.way == "stream" else 1)


def test_every_route_has_a_title() -> None:
    assert set(TITLES) == set(TEMPLATES.values())
