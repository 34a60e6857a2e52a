"""The middleware receives nothing by itself: what the server has to say, it says to the application alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from asgi.wire import GONE, REQUEST, App, Message, Scope, Wire, ask, body, http, start, watched
from greeninfer import EnergyMiddleware

SLOW = 0.12  # after so long a client may have gone without anybody having heard of it


async def answers_slowly(scope: Scope, receive: Any, send: Any) -> None:
    await asyncio.sleep(SLOW)
    await send(start())
    await send(body(b"slow"))


@pytest.mark.parametrize("said", [(), (REQUEST,), (GONE,)], ids=["nothing", "a body", "goodbye"])
async def test_nobody_receives_what_the_application_does_not_ask_for(said: tuple[Message, ...]) -> None:
    """A slow application that does not care for the body, as many are that only read the query."""
    calls = 0

    async def receive() -> Message:
        nonlocal calls
        calls += 1
        return REQUEST

    wire = Wire(*said)
    with watched() as live:
        await EnergyMiddleware(answers_slowly)(http(), receive, wire.send)
        assert calls == 0
        assert live.one("(unmatched)").outcome == "ok"


async def test_an_application_may_read_the_rest_of_a_body_after_its_answer() -> None:
    """An early answer to a long upload, and then the body to its last byte."""
    chunks = [{**REQUEST, "body": bytes([65 + number]), "more_body": number < 3} for number in range(4)]
    read: list[Message] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        read.append(await receive())
        await answers_slowly(scope, receive, send)
        read.extend([await receive() for _ in range(4)])

    with watched():
        await ask(EnergyMiddleware(app), "/", "POST", *chunks)
    assert all(got is said for got, said in zip(read, [*chunks, GONE], strict=True))


def through_a_task(receive: Callable[[], Awaitable[Message]]) -> Callable[[], Awaitable[Message]]:
    async def with_timeout() -> Message:
        return await asyncio.wait_for(receive(), 5.0)

    return with_timeout


def through_a_group(receive: Callable[[], Awaitable[Message]]) -> Callable[[], Awaitable[Message]]:
    async def in_a_group() -> Message:
        async with asyncio.TaskGroup() as group:
            return await group.create_task(receive())  # type: ignore[arg-type]

    return in_a_group


@pytest.mark.parametrize("way", [through_a_task, through_a_group])
async def test_a_wrapper_outside_that_receives_in_a_task_of_its_own(way: Any) -> None:
    read: list[Message] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await answers_slowly(scope, receive, send)
        read.append(await asyncio.wait_for(receive(), 1.0))
        read.append(await asyncio.wait_for(receive(), 1.0))

    wire = Wire()
    with watched() as live:
        await EnergyMiddleware(app)(http(), way(wire.receive), wire.send)
        assert read == [REQUEST, GONE]
        assert live.one("(unmatched)").outcome == "ok"
    assert len(asyncio.all_tasks()) == 1


async def test_an_application_that_has_a_task_listening_all_the_time() -> None:
    heard: list[Message] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while not heard or heard[-1] is not GONE:
                heard.append(await receive())

        listening = asyncio.create_task(listen())
        await answers_slowly(scope, receive, send)
        await listening

    with watched() as live:
        await ask(EnergyMiddleware(app))
        assert heard == [REQUEST, GONE]
        assert live.one("(unmatched)").outcome == "ok"


class Cycle(Wire):
    """The server's end as uvicorn has it: whether the client is there stands beside its methods."""

    disconnected: object = False


@pytest.mark.parametrize(
    ("disconnected", "seconds", "outcome"),
    [
        (True, SLOW, "cancelled"),
        (False, SLOW, "ok"),
        (True, 0.0, "ok"),  # it left while it was being answered, as far as anybody can tell
        ("yes", SLOW, "ok"),  # whatever this is, it is not uvicorn's
        (None, SLOW, "ok"),
    ],
)
async def test_a_client_that_left_without_a_word(disconnected: object, seconds: float, outcome: str) -> None:
    """The application waits and never asks; uvicorn throws the answer away."""
    wire = Cycle()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        wire.disconnected = disconnected
        await asyncio.sleep(seconds)
        await send(start())
        await send(body(b"for nobody?"))

    with watched() as live:
        await EnergyMiddleware(app)(http(), wire.receive, wire.send)
        assert live.one("(unmatched)").outcome == outcome


# Behind Starlette's BaseHTTPMiddleware, which is what @app.middleware("http") makes


def behind(app: App) -> App:
    starlette = pytest.importorskip("starlette.middleware.base")
    made: App = starlette.BaseHTTPMiddleware(app, dispatch=lambda request, call_next: call_next(request))
    return made


@pytest.mark.parametrize("seconds", [0.0, SLOW], ids=["fast", "slow"])
@pytest.mark.parametrize("reads", [False, True], ids=["body unread", "body read"])
@pytest.mark.parametrize("where", ["inside", "outside", "between"])
async def test_beside_a_middleware_of_the_base_class(where: str, reads: bool, seconds: float) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if reads:
            assert (await receive())["body"] == b"question"
        await asyncio.sleep(seconds)
        live.burn_apart(10.0)
        await send(start())
        await send(body(b"an", more=True))
        await send(body(b"swer"))

    stack = {
        "inside": lambda: behind(EnergyMiddleware(app)),
        "outside": lambda: EnergyMiddleware(behind(app)),
        "between": lambda: behind(EnergyMiddleware(behind(app))),
    }[where]()
    with watched() as live:
        wire = await ask(stack, "/", "POST", {**REQUEST, "body": b"question"})
        assert wire.text == "answer"
        measurement = live.one("(unmatched)")
        assert measurement.outcome == "ok"
        assert live.joules("(unmatched)") == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("where", ["inside", "outside"])
async def test_an_exception_through_a_middleware_of_the_base_class(where: str) -> None:
    error = ValueError("no such model")

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        live.burn_apart(10.0)
        raise error

    with watched() as live:
        stack = behind(EnergyMiddleware(app)) if where == "inside" else EnergyMiddleware(behind(app))
        with pytest.raises(ValueError, match="no such model") as caught:
            await ask(stack)
        assert caught.value is error
        assert live.one("(unmatched)").outcome == "error"
        assert live.joules("(unmatched)") == pytest.approx(10.0, rel=0.02)
