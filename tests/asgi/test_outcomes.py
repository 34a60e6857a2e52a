"""How requests end, what they are charged until then, and that nothing stays open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http as http_statuses
import itertools
import warnings
import weakref
from typing import Any

import pytest
from live import Live

from asgi.wire import GONE, REQUEST, Message, Scope, Wire, ask, body, http, start, watched
from greeninfer import EnergyMiddleware, current
from greeninfer._records import NANO

RAW = "raw"
TOLERANCE = 0.02  # a hundredth of a joule is what comes beside it: the meter counts one watt all the time


class ModelError(Exception):
    pass


def is_charged(live: Live, joules: float, outcome: str) -> None:
    """Check the only request: it ended so, with these joules of its own, and it says so everywhere."""
    measurement = live.one(RAW)
    assert measurement.outcome == outcome
    assert measurement.nanojoules / NANO == pytest.approx(joules, rel=TOLERANCE)
    assert measurement.energy().provisional is False
    assert measurement.energy().quality == "measured"
    assert live.open_spans() == {}


# What the application says


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, "ok") for status in (200, 204, 307, 400, 404, 422, 499)),
        *((status, "error") for status in (500, 503, 599, http_statuses.HTTPStatus.BAD_GATEWAY)),
    ],
)
async def test_a_status_from_500_up_is_an_error(status: int, outcome: str) -> None:
    """What the client did wrong, the service did right."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            await send(start(status))
            await send(body(b"x"))

        await ask(EnergyMiddleware(app, name=RAW), method="PATCH")
        is_charged(live, 10.0, outcome)
        attributes = live.one(RAW).attributes
        assert attributes == {"http.request.method": "PATCH", "http.response.status_code": status}


@pytest.mark.parametrize("status", ["200", None, 2e2, b"200", object()], ids=lambda each: type(each).__name__)
async def test_a_status_that_is_none_harms_nobody(status: object) -> None:
    """Whether the server takes it is the server's business."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send(start(status))
        await send(body(b"x"))

    with watched() as live:
        wire = await ask(EnergyMiddleware(app, name=RAW))
        assert wire.start["status"] is status
        assert live.one(RAW).outcome == "ok"


async def test_a_message_without_a_status_harms_nobody() -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start"})
        await send({"type": "http.response.body"})

    with watched() as live:
        await ask(EnergyMiddleware(app, name=RAW))
        assert len(live.settle()) == 1


@pytest.mark.parametrize(
    "messages",
    [[], [start()], [start(), body(b"half", more=True)], [body(b"before the start", more=True)]],
    ids=["nothing", "no body", "half a body", "body alone"],
)
async def test_an_answer_that_is_never_completed_is_an_error(messages: list[Message]) -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            for message in messages:
                await send(message)

        await ask(EnergyMiddleware(app, name=RAW))
        is_charged(live, 10.0, "error")


@pytest.mark.parametrize("when", ["before the start", "after the start", "in the body", "after the end"])
async def test_an_exception_is_an_error_whenever_it_comes(when: str) -> None:
    messages = {"before the start": 0, "after the start": 1, "in the body": 2, "after the end": 3}[when]
    error = ModelError("no such model")
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            for message in [start(), body(b"a", more=True), body(b"b")][:messages]:
                await send(message)
                await asyncio.sleep(0)
            live.burn_apart(20.0)
            raise error

        with pytest.raises(ModelError) as caught:
            await ask(EnergyMiddleware(app, name=RAW))
        assert caught.value is error
        is_charged(live, 30.0, "error")


@pytest.mark.parametrize("kind", [StopAsyncIteration, GeneratorExit])
async def test_an_exception_that_looks_like_an_end_is_none(kind: type[BaseException]) -> None:
    """An iterator that was empty, after the answer: the background work failed."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send(start())
        await send(body())
        await asyncio.sleep(0)
        raise kind

    with watched() as live:
        with pytest.raises(kind):
            await ask(EnergyMiddleware(app, name=RAW))
        assert live.one(RAW).outcome != "ok"


async def test_work_after_the_answer_is_the_requests_and_leaves_its_first_byte_alone() -> None:
    """As background tasks of Starlette are: they run inside the application."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            await send(start())
            await send(body(b"x"))
            await asyncio.sleep(0.03)
            live.burn_apart(40.0)

        await ask(EnergyMiddleware(app, name=RAW))
        is_charged(live, 50.0, "ok")
        measurement = live.one(RAW)
        assert measurement.first_byte_seconds is not None
        assert measurement.first_byte_seconds < measurement.seconds - 0.03


# First byte


@pytest.mark.parametrize(
    ("chunks", "first"),
    [
        ([b"x", None], 0),
        ([b"", b"x", None], 1),  # an empty chunk is no byte
        ([b"", b"", None], 2),  # but the end of an empty answer is its first news
        ([None], 0),
    ],
)
async def test_the_first_byte_is_the_first_of_the_body(chunks: list[bytes | None], first: int) -> None:
    seconds: list[float] = []
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            span = current()
            assert span is not None
            await send(start())
            for chunk in chunks:
                await asyncio.sleep(0.003)
                before = span.seconds
                await send(body(chunk or b"", more=chunk is not None))
                seconds.append(before)

        await ask(EnergyMiddleware(app, name=RAW))
        measured = live.one(RAW).first_byte_seconds
        assert measured is not None
        later = seconds[first + 1] if first + 1 < len(seconds) else live.one(RAW).seconds
        assert seconds[first] <= measured <= later


async def test_without_a_body_there_is_no_first_byte() -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send(start())

    with watched() as live:
        await ask(EnergyMiddleware(app, name=RAW))
        assert live.one(RAW).first_byte_seconds is None


# Clients that leave


async def listens_and_works(live: Live, receive: Any, send: Any) -> None:
    """Work in bursts of 10 J and stop when the client is gone, as a well-behaved stream does."""
    await receive()
    listening = asyncio.create_task(receive())
    await send(start())
    while not listening.done():
        live.burn_apart(10.0)
        await send(body(b"x", more=True))
        await asyncio.sleep(0)


async def test_a_client_that_leaves_while_it_is_streamed_to() -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await listens_and_works(live, receive, send)

        wire = Wire()

        async def send(message: Message) -> None:
            await wire.send(message)
            if len(wire.sent) == 4:
                wire.hang_up()

        await EnergyMiddleware(app, name=RAW)(http(), wire.receive, send)
        bursts = len(wire.sent) - 1
        assert bursts >= 3
        is_charged(live, 10.0 * bursts, "cancelled")


async def test_a_client_that_leaves_while_the_endpoint_waits() -> None:
    """The endpoint asks for the next message and gives up."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            live.burn_apart(10.0)
            assert (await receive())["type"] == "http.disconnect"

        await ask(EnergyMiddleware(app, name=RAW), "/", "GET", REQUEST, GONE)
        is_charged(live, 10.0, "cancelled")


async def test_a_client_that_leaves_before_its_body_was_read() -> None:
    class ClientDisconnect(Exception):
        """What Starlette's Request raises."""

    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(5.0)
            while (await receive())["type"] == "http.request":
                pass
            raise ClientDisconnect

        with pytest.raises(ClientDisconnect):
            await ask(EnergyMiddleware(app, name=RAW), "/", "POST", {**REQUEST, "more_body": True}, GONE)
        is_charged(live, 5.0, "cancelled")


async def test_an_application_that_answers_a_client_that_has_left() -> None:
    """It works on and completes its answer: the energy is used, and nobody reads it."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            assert (await receive())["type"] == "http.disconnect"
            live.burn_apart(10.0)
            await send(start())
            await send(body(b"for nobody"))
            await send(body(b"and more"))  # out of order: the server's business

        wire = await ask(EnergyMiddleware(app, name=RAW), "/", "GET", REQUEST, GONE)
        assert wire.text == "for nobodyand more"
        is_charged(live, 10.0, "cancelled")


async def test_a_server_that_refuses_to_send_to_a_client_that_left() -> None:
    """Uvicorn raises this from ``send`` for a websocket, other servers for anything."""

    class ClientDisconnected(OSError):
        pass

    wire = Wire()

    async def send(message: Message) -> None:
        raise ClientDisconnected

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send(start())

    with watched() as live:
        with pytest.raises(ClientDisconnected):
            await EnergyMiddleware(app, name=RAW)(http(), wire.receive, send)
        assert live.one(RAW).outcome == "cancelled"


async def test_to_hear_of_the_end_after_a_complete_answer_is_no_cancellation() -> None:
    """Servers say so once the answer is sent; Starlette always listens for it."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            listening = asyncio.create_task(receive())
            await send(start())
            await send(body(b"x"))
            assert (await listening)["type"] == "http.disconnect"

        await ask(EnergyMiddleware(app, name=RAW))
        assert live.one(RAW).outcome == "ok"


# Cancellation


@pytest.mark.parametrize("started", [False, True], ids=["before the answer", "in the answer"])
async def test_a_server_that_has_waited_long_enough(started: bool) -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            if started:
                await send(start())
                await send(body(b"x", more=True))
            live.burn_apart(10.0)
            await asyncio.sleep(30.0)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await ask(EnergyMiddleware(app, name=RAW))
        is_charged(live, 10.0, "cancelled")


async def test_a_request_whose_task_is_cancelled_says_why_as_before() -> None:
    with watched() as live:
        caught: list[asyncio.CancelledError] = []

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            try:
                await asyncio.sleep(30.0)
            except asyncio.CancelledError as error:
                caught.append(error)
                live.burn_apart(3.0)  # cleaning up is work, too
                raise

        task = asyncio.create_task(ask(EnergyMiddleware(app, name=RAW)))
        await asyncio.sleep(0.01)
        task.cancel(msg="shutting down")
        with pytest.raises(asyncio.CancelledError, match="shutting down"):
            await task
        assert caught[0].args == ("shutting down",)
        assert task.cancelled()
        assert task.cancelling() == 1
        is_charged(live, 13.0, "cancelled")


async def test_a_request_cancelled_before_its_first_step() -> None:
    with watched() as live:
        task = asyncio.create_task(ask(EnergyMiddleware(never, name=RAW)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert live.settle() == []


async def never(scope: Scope, receive: Any, send: Any) -> None:
    raise AssertionError("nobody shall call this")


async def test_an_application_that_swallows_its_cancellation_and_completes() -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(30.0)
            live.burn_apart(10.0)
            await send(start())
            await send(body(b"x"))

        task = asyncio.create_task(ask(EnergyMiddleware(app, name=RAW)))
        await asyncio.sleep(0.01)
        task.cancel()
        assert (await task).text == "x"
        is_charged(live, 10.0, "ok")


async def test_an_application_that_swallows_its_cancellation_and_gives_up() -> None:
    """It has answered nobody, whatever it did with the exception."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                live.burn_apart(10.0)
                await asyncio.sleep(30.0)

        task = asyncio.create_task(ask(EnergyMiddleware(app, name=RAW)))
        await asyncio.sleep(0.01)
        task.cancel()
        await task
        is_charged(live, 10.0, "error")


async def test_an_application_that_cancels_what_it_started_itself_is_not_cancelled() -> None:
    """A timeout inside, handled: the request is fine."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.005):
                    await asyncio.sleep(30.0)
            await send(start())
            await send(body(b"fallback"))

        assert (await ask(EnergyMiddleware(app, name=RAW))).text == "fallback"
        assert live.one(RAW).outcome == "ok"


async def test_a_timeout_inside_that_nobody_handles_is_an_error() -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            async with asyncio.timeout(0.005):
                await asyncio.sleep(30.0)

        with pytest.raises(TimeoutError):
            await ask(EnergyMiddleware(app, name=RAW))
        assert live.one(RAW).outcome == "error"


def test_a_loop_that_dies_closes_what_was_under_way() -> None:
    """``asyncio.run`` cancels what is left, as a server does that is forced to stop."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            await asyncio.sleep(30.0)

        async def main() -> None:
            held.append(asyncio.create_task(ask(EnergyMiddleware(app, name=RAW))))
            await asyncio.sleep(0.01)

        held: list[Any] = []
        asyncio.run(main())
        is_charged(live, 10.0, "cancelled")


def test_a_request_that_is_dropped_lasted_until_its_last_step() -> None:
    """A coroutine that is driven by hand, and that nobody drives to its end."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            await asyncio.Event().wait()

        work = EnergyMiddleware(app, name=RAW)(http(), receive_nothing, receive_nothing)  # type: ignore[arg-type]
        loop = asyncio.new_event_loop()

        async def step(coroutine: Any) -> None:
            coroutine.send(None)

        loop.run_until_complete(step(work))
        assert sum(live.open_spans().values()) == 1
        del work
        gc.collect()
        loop.close()
        is_charged(live, 10.0, "cancelled")


def test_a_request_that_is_closed_before_it_began_warns_once() -> None:
    """As any coroutine that nobody awaits, and without a second warning for what is inside."""
    with watched() as live:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work = EnergyMiddleware(never, name=RAW)(http(), receive_nothing, receive_nothing)  # type: ignore[arg-type]
            del work
            gc.collect()
        assert len(caught) == 1
        assert live.settle() == []


async def receive_nothing(*_args: object) -> Message:
    await asyncio.sleep(30.0)
    return GONE


async def test_nothing_of_a_request_stays_in_memory() -> None:
    """No circle of references: with the collector off, the application's objects go with the request."""

    class Weight:
        pass

    kept: list[weakref.ref[Weight]] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        weight = Weight()
        kept.append(weakref.ref(weight))
        scope["weight"] = weight
        await send(start())
        await send(body(b"x"))

    with watched() as live:
        gc.collect()
        gc.disable()
        try:
            for name, header in itertools.product((None, RAW), (False, True)):
                middleware = EnergyMiddleware(app, name=name, header=header)
                await ask(middleware)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.0):
                        await ask(middleware)
            live.settle()
            assert kept
            assert [each() for each in kept] == [None] * len(kept)
        finally:
            gc.enable()


async def test_many_requests_that_all_end_differently_leave_the_books_closed() -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            number = int(scope["path"][1:])
            await asyncio.sleep(0)
            live.burn(1.0)
            if number % 5 == 0:
                raise ModelError
            if number % 5 == 1:
                await asyncio.sleep(30.0)
            await send(start(500 if number % 5 == 2 else 200))
            if number % 5 != 3:
                await send(body(b"x"))

        async def one(number: int) -> None:
            with contextlib.suppress(ModelError, TimeoutError):
                async with asyncio.timeout(0.2):
                    await ask(middleware, f"/{number}")

        middleware = EnergyMiddleware(app, name=RAW)
        await asyncio.gather(*(one(number) for number in range(50)))
        outcomes = [each.outcome for each in live.named(RAW)]
        assert {each: outcomes.count(each) for each in outcomes} == {"error": 30, "cancelled": 10, "ok": 10}
        assert live.joules(RAW) == pytest.approx(50.0, rel=0.05)
