from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from greeninfer.demo._clients import LoadBroken, Order, send
from greeninfer.demo._texts import Texts

if TYPE_CHECKING:
    import httpx
else:
    httpx = pytest.importorskip("httpx")

LABELS = ("even", "odd", "even", "odd", "even")
TESTS = {"parity": Texts(tuple(f"text {number}" for number in range(5)), LABELS)}
ENOUGH = 40

Answers = list[tuple[tuple[str, str], int, bool]]
Handler = Callable[[httpx.Request], httpx.Response]


def answer(request: httpx.Request) -> httpx.Response:
    """Answer as the service does; the model "wrong" says the wrong thing."""
    told = json.loads(request.content)
    texts = told["texts"] if "texts" in told else [told["text"]]
    right = [LABELS[int(text.split()[1])] for text in texts]
    labels = ["never" if "wrong" in request.url.path else label for label in right]
    if request.url.path.startswith("/stream/"):
        return httpx.Response(200, text="".join(json.dumps({"label": label}) + "\n" for label in labels))
    return httpx.Response(200, json={"label": labels[0]})


async def answers(handler: Handler, workers: int = 3, models: tuple[str, ...] = ("tfidf-lr", "wrong")) -> Answers:
    """Let the clients ask until that is enough."""
    order = Order("http://service", tuple(("parity", model) for model in models), workers, think_seconds=1e-6)
    stop, given = asyncio.Event(), Answers()

    def record(route: tuple[str, str], index: int, right: bool) -> None:
        given.append((route, index, right))
        if len(given) >= ENOUGH:
            stop.set()

    await asyncio.wait_for(send(order, TESTS, record, stop, httpx.MockTransport(handler)), 30)
    return given


async def test_answers_are_held_against_the_labels() -> None:
    given = await answers(answer)
    assert len(given) >= ENOUGH
    assert {right for (_, model), _, right in given if model == "tfidf-lr"} == {True}
    assert {right for (_, model), _, right in given if model == "wrong"} == {False}
    assert {index for _, index, _ in given} == set(range(5))


async def test_all_ways_are_taken_with_the_texts_they_need() -> None:
    seen: dict[str, int] = {}

    def handler(request: httpx.Request) -> httpx.Response:
        told = json.loads(request.content)
        seen[request.url.path.split("/")[1]] = len(told["texts"]) if "texts" in told else len([told["text"]])
        return answer(request)

    await answers(handler)
    assert seen == {"async": 1, "sync": 1, "stream": 3}


async def test_a_closed_loop_has_one_request_per_client() -> None:
    open_now, most = 0, 0

    async def handler(request: httpx.Request) -> httpx.Response:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0)
        open_now -= 1
        return answer(request)

    await answers(handler, workers=4)  # type: ignore[arg-type]
    assert 1 < most <= 4


async def test_the_last_answers_come_before_the_end() -> None:
    asked, given = 0, 0

    async def handler(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.001)
        return answer(request)

    order, stop = Order("http://service", (("parity", "e5"),), 3, 1e-6), asyncio.Event()

    def record(*_: object) -> None:
        nonlocal given
        given += 1
        stop.set()

    await asyncio.wait_for(send(order, TESTS, record, stop, httpx.MockTransport(handler)), 30)
    assert asked <= given  # a stream has several answers


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (lambda: httpx.Response(500, text="Internal Server Error"), "answered by 500: Internal Server Error"),
        (lambda: httpx.Response(500, json={"label": "even"}), "answered by 500"),
        (lambda: httpx.Response(404, json={"detail": "there is no such model"}), "no such model"),
        (lambda: httpx.Response(200, text="<html>a proxy's page"), "answered by 200: <html>"),
        (lambda: httpx.Response(200, json={"answer": 42}), "answered by 200"),
        (lambda: httpx.Response(200, json=["label"]), "answered by 200"),
        (lambda: httpx.Response(200, text=""), "answered by 200"),
    ],
)
async def test_a_wrong_answer_ends_the_load_and_is_told(response: Callable[[], httpx.Response], said: str) -> None:
    with pytest.raises(LoadBroken) as broken:
        await answers(lambda request: response())
    assert said in str(broken.value) and "POST /" in str(broken.value)


async def test_a_stream_that_ends_too_early_is_not_an_answer() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        whole = answer(request)
        cut = request.url.path.startswith("/stream/")
        return httpx.Response(200, text=whole.text.split("\n")[0]) if cut else whole

    with pytest.raises(LoadBroken, match="with 3 texts"):
        await answers(handler)


async def test_a_service_that_is_gone_ends_the_load() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(LoadBroken, match=r"does not answer.*refused"):
        await answers(handler)


def test_an_order_survives_its_line() -> None:
    order = Order("http://127.0.0.1:9464", (("bank-question", "tfidf-lr"), ("film-review", "e5")), 3, 0.02)
    assert "\n" not in order.to_json()
    assert Order.from_json(order.to_json()) == order
