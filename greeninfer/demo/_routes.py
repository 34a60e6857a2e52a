"""The ways in which the demo's service can be asked, and the order in which its clients ask.

Each way is a route of its own, so that what serving costs can be told apart by way. Each model is measured by itself
inside, under its own name: a route template such as ``/sync/{task}/{model}`` merges the models that it leads to.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Route = tuple[str, str]
"""(name, model): a classifier of a task."""

Way = Literal["async", "sync", "stream"]

STREAMED: Final = 3
"""Texts of one streaming request."""

TEMPLATES: Final[Mapping[Way, str]] = {way: f"/{way}/{{task}}/{{model}}" for way in ("async", "sync", "stream")}
"""The route of each way, which is the name of its requests."""

TITLES: Final[Mapping[str, str]] = {
    TEMPLATES["async"]: "event loop",
    TEMPLATES["sync"]: "thread pool",
    TEMPLATES["stream"]: f"{STREAMED} texts each",
}
"""What a person should know of a route."""

# These answer within a millisecond, so that the event loop can wait for it; the others would hold up every request.
_QUICK = frozenset({"wordllama-lr", "tfidf-lr"})
_SEED = 0


def ways_of(model: str) -> tuple[Way, ...]:
    """Return the ways to ask a model, in the order in which a client takes them; every model gets as many texts."""
    return ("async", "sync", "stream") if model in _QUICK else ("sync", "sync", "stream")


@dataclass(frozen=True, slots=True)
class Card:
    """One request that a client is to send.

    Args:
        route: which classifier.
        way: how.
        texts: indices of the test texts; several for a stream, else one.
    """

    route: Route
    way: Way
    texts: tuple[int, ...]

    @property
    def path(self) -> str:
        """Return the path of the request."""
        name, model = self.route
        return TEMPLATES[self.way].format(task=name, model=model)


def deal(routes: Sequence[Route], texts: Mapping[str, int]) -> Iterator[Card]:
    """Deal requests without end, in shuffled rounds in which each classifier comes once.

    All classifiers of a task get its texts in the same order: at any moment they have answered nearly the same ones,
    and their accuracies can be compared.

    Args:
        routes: the classifiers.
        texts: how many test texts each name has.
    """
    chance = random.Random(_SEED)
    orders = {name: chance.sample(range(count), count) for name, count in texts.items()}
    decks = {route: itertools.cycle(orders[route[0]]) for route in routes}
    ways = {route: itertools.cycle(ways_of(route[1])) for route in routes}
    for position, route in enumerate(routes):  # not all of them stream in the same round
        for _ in range(position % len(ways_of(route[1]))):
            next(ways[route])
    shuffled = list(routes)
    while True:
        chance.shuffle(shuffled)
        for route in shuffled:
            way = next(ways[route])
            yield Card(route, way, tuple(itertools.islice(decks[route], STREAMED if way == "stream" else 1)))
