"""The clients, in a process of their own: each sends a text, waits for the answer, thinks for a moment, and so on.

``python -m greeninfer.demo._clients`` reads what to do as one line of JSON from standard input. It writes
``{"ready": true}`` when it begins, and a line for every answer: ``[index of the classifier, index of the text, whether
it was right]``. It ends when standard input does, so that it never outlives whoever started it. What broke it is its
last line: ``{"error": "..."}``.

In a process of its own it takes no turn of the server's interpreter, and its CPU time is no request's: it is on the
books as "other".
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from greeninfer.demo._routes import Card, Route, deal
from greeninfer.demo._texts import Texts, load_tasks

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS = 30.0
"""A client that has waited so long for an answer gives up, and all of them with it."""

_SEED = 1

Record = Callable[[Route, int, bool], None]
"""Takes an answer: which classifier, index of the text, whether it was right."""


class LoadBroken(Exception):
    """The service did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the clients are to do.

    Args:
        url: where the service is.
        routes: the classifiers, each asked equally often.
        workers: how many clients.
        think_seconds: mean pause of a client between two requests.
    """

    url: str
    routes: tuple[Route, ...]
    workers: int
    think_seconds: float

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> Order:
        """Return the order that such a line tells."""
        told: dict[str, Any] = json.loads(line)
        return cls(**{**told, "routes": tuple((name, model) for name, model in told["routes"])})


async def send(
    order: Order,
    tests: Mapping[str, Texts],
    record: Record,
    stop: asyncio.Event,
    transport: httpx.AsyncBaseTransport | None = None,
) -> None:
    """Keep the clients going until ``stop`` is set, and return after their last answers.

    Args:
        order: what they do.
        tests: texts with the right labels, by name.
        record: gets every answer.
        stop: set when it is enough.
        transport: how the service is reached; default: the network.

    Raises:
        LoadBroken: if the service does not answer as it should.
    """
    import httpx

    cards = deal(order.routes, {name: len(test.texts) for name, test in tests.items()})
    # Not by way of a proxy that the environment may name: the service is on this machine.
    options: dict[str, Any] = {"base_url": order.url, "timeout": TIMEOUT_SECONDS, "trust_env": False}
    try:
        async with httpx.AsyncClient(transport=transport, **options) as http, asyncio.TaskGroup() as clients:
            for number in range(order.workers):
                pauses = _pauses(number, order.think_seconds)
                clients.create_task(_client(pauses, http, tests, cards, record, stop))
    except* LoadBroken as several:
        raise several.exceptions[0] from None
    except* httpx.HTTPError as several:
        raise LoadBroken(f"the service does not answer: {several.exceptions[0]!r}") from several


def _pauses(number: int, mean_seconds: float) -> Iterator[float]:
    chance = random.Random(_SEED + number)
    while True:
        yield chance.expovariate(1.0 / mean_seconds)


async def _client(
    pauses: Iterator[float],
    http: httpx.AsyncClient,
    tests: Mapping[str, Texts],
    cards: Iterator[Card],
    record: Record,
    stop: asyncio.Event,
) -> None:
    for pause in pauses:
        try:
            await asyncio.wait_for(stop.wait(), pause)
        except TimeoutError:
            card = next(cards)
        else:
            return
        test = tests[card.route[0]]
        answers = await _ask(http, card, [test.texts[index] for index in card.texts])
        for index, answer in zip(card.texts, answers, strict=True):
            record(card.route, index, answer == test.labels[index])


async def _ask(http: httpx.AsyncClient, card: Card, texts: Sequence[str]) -> list[str]:
    """Return the labels that the service gives to these texts."""
    question = {"texts": texts} if card.way == "stream" else {"text": texts[0]}
    async with http.stream("POST", card.path, json=question) as response:
        lines = [line async for line in response.aiter_lines()]
    try:
        labels = [json.loads(line)["label"] for line in lines] if response.is_success else []
    except (ValueError, KeyError, TypeError):
        labels = []
    if len(labels) != len(texts):
        said = " ".join(lines)[:200]
        raise LoadBroken(f"POST {card.path} with {len(texts)} texts was answered by {response.status_code}: {said}")
    return labels


async def _until_told(order: Order) -> None:
    """Keep the clients going until standard input ends, and write their answers to standard output."""
    import httpx  # noqa: F401 - takes its time, and the load begins after it

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    numbers = {route: number for number, route in enumerate(order.routes)}

    def listen() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would be held while the interpreter ends
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=listen, name="until-told", daemon=True).start()
    print(json.dumps({"ready": True}), flush=True)
    await send(
        order,
        {task.name: task.test for task in load_tasks()},
        lambda route, index, right: print(json.dumps([numbers[route], index, right]), flush=True),
        stop,
    )


def main() -> int:
    """Do what standard input says; return 0, or 1 if the service did not answer as it should."""
    try:
        asyncio.run(_until_told(Order.from_json(sys.stdin.buffer.readline())))
    except LoadBroken as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    except BrokenPipeError:  # whoever started this is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
