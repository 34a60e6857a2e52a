"""One span for a connection, however many messages; what happens in it is told apart from a plain request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from live import Live
from prometheus_client import CollectorRegistry

from asgi.wire import App, Message, Scope, Wire, watched, websocket
from greeninfer import EnergyMiddleware, current, measure
from greeninfer._records import NANO
from greeninfer.exporters import PrometheusExporter

RAW = "raw"
CONNECT: Message = {"type": "websocket.connect"}
CLOSED: Message = {"type": "websocket.disconnect", "code": 1000}


def said(*texts: str) -> list[Message]:
    return [CONNECT, *({"type": "websocket.receive", "text": text} for text in texts)]


async def connect(app: App, *messages: Message) -> Wire:
    wire = Wire(*messages)
    await EnergyMiddleware(app, name=RAW)(websocket(), wire.receive, wire.send)
    return wire


def is_charged(live: Live, joules: float, outcome: str, **messages: int) -> None:
    measurement = live.one(RAW)
    assert measurement.outcome == outcome
    assert measurement.nanojoules / NANO == pytest.approx(joules, rel=0.02)
    assert measurement.messages == messages


async def test_a_conversation_is_one_span() -> None:
    spans: list[object] = []
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] == "websocket.receive":
                spans.append(current())
                live.burn_apart(10.0)
                await send({"type": "websocket.send", "text": "one"})
                await send({"type": "websocket.send", "bytes": b"two"})

        await connect(app, *said("a", "b", "c"), CLOSED)
        assert len(set(map(id, spans))) == 1
        is_charged(live, 30.0, "ok", received=3, sent=6)
        assert live.one(RAW).first_byte_seconds is None


async def test_a_silent_connection_counts_nothing() -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            live.burn_apart(10.0)
            assert (await receive())["type"] == "websocket.disconnect"

        await connect(app, CONNECT, CLOSED)
        is_charged(live, 10.0, "ok")


async def test_it_waits_for_nothing() -> None:
    """Nine connections that are open and silent, and one that works."""
    with watched() as live:
        over = asyncio.Event()

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            scope["path_template"] = scope["path"]
            await receive()
            await send({"type": "websocket.accept"})
            if scope["path"] == "/works":
                for _ in range(5):
                    live.burn_apart(10.0)
                    await send({"type": "websocket.send", "text": "x"})
                    await asyncio.sleep(0)
                over.set()
            await over.wait()

        async def one(path: str) -> None:
            wire = Wire(CONNECT)
            await EnergyMiddleware(app)(websocket(path), wire.receive, wire.send)

        await asyncio.gather(*(one("/silent") for _ in range(9)), one("/works"))
        assert live.joules("/works") == pytest.approx(50.0, rel=0.02)
        assert live.joules("/silent") < 0.02 * 50.0


async def test_while_it_is_open_it_is_in_flight_under_its_route() -> None:
    with watched() as live:
        accepted, over = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            scope["path_template"] = "/ws/{room}"
            await receive()
            await send({"type": "websocket.accept"})
            accepted.set()
            await over.wait()

        wire = Wire(CONNECT)
        task = asyncio.create_task(EnergyMiddleware(app)(websocket("/ws/lobby"), wire.receive, wire.send))
        await accepted.wait()
        assert live.open_spans() == {"/ws/{room}": 1}
        live.tick()
        assert live.open_spans() == {"/ws/{room}": 1}
        over.set()
        await task
        assert live.open_spans() == {}


async def test_a_raw_applications_long_connection_is_charged_as_it_goes() -> None:
    """Whoever has accepted has been routed: no name comes any more, so nothing has to wait for one."""
    with watched() as live:
        over = asyncio.Event()

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            live.burn_apart(20.0)
            await over.wait()

        wire = Wire(CONNECT)
        task = asyncio.create_task(EnergyMiddleware(app)(websocket(), wire.receive, wire.send))
        for _ in range(3):
            await asyncio.sleep(0)
        live.tick()
        assert live.collected.nanojoules("attributed") / NANO == pytest.approx(20.0, rel=0.02)
        over.set()
        await task


class ModelError(Exception):
    pass


class WebSocketDisconnect(Exception):
    """What Starlette raises in an endpoint whose client has left."""


class ClientDisconnected(OSError):
    """What uvicorn raises from ``send``."""


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ModelError, {"error"}),
        (WebSocketDisconnect, {"ok"}),
        (ClientDisconnected, {"ok", "cancelled"}),
        (asyncio.CancelledError, {"cancelled"}),
    ],
)
@pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "not accepted"])
async def test_how_it_ends_by_an_exception(error: type[BaseException], outcome: set[str], accepted: bool) -> None:
    raised = error("x")
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            if accepted:
                await send({"type": "websocket.accept"})
            live.burn_apart(10.0)
            raise raised

        with pytest.raises(error) as caught:
            await connect(app, *said("a"))
        assert caught.value is raised
        assert live.one(RAW).outcome in outcome
        assert live.joules(RAW) == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("status", [None, 401, 503])
async def test_a_handshake_that_is_denied(status: int | None) -> None:
    """By closing, or with an answer; a 5xx is an error as everywhere."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            live.burn_apart(10.0)
            if status is None:
                await send({"type": "websocket.close", "code": 4000})
            else:
                await send({"type": "websocket.http.response.start", "status": status, "headers": []})
                await send({"type": "websocket.http.response.body", "body": b"no"})

        wire = await connect(app, CONNECT)
        assert len(wire.sent) == (1 if status is None else 2)
        is_charged(live, 10.0, "error" if status == 503 else "ok")
        attributes = live.one(RAW).attributes or {}
        assert attributes.get("http.response.status_code") == status


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4000])
async def test_a_server_that_closes(code: int) -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": code})

        await connect(app, CONNECT)
        assert live.one(RAW).outcome == "ok"


async def test_messages_that_nobody_reads_are_not_counted() -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            await receive()

        wire = await connect(app, *said("a", "b", "c"))
        assert wire.unread == 2
        assert live.one(RAW).messages == {"received": 1}


async def test_a_measured_answer_to_each_message_is_a_child() -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] == "websocket.receive":
                async with measure("token", model="m"):
                    live.burn_apart(10.0)
                    await asyncio.sleep(0)

        await connect(app, *said("a", "b"), CLOSED)
        assert live.joules("token") == pytest.approx(20.0, rel=0.02)
        assert live.joules(RAW) < 1.0
        assert live.one(RAW).energy().total_joules == pytest.approx(20.0, rel=0.02)


async def test_messages_become_a_counter() -> None:
    registry = CollectorRegistry()
    with watched(1.0, PrometheusExporter(registry)) as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": "x"})
                await send({"type": "websocket.send", "text": "y"})

        await connect(app, *said("a", "b"), CLOSED)
        await connect(app, *said("a"), CLOSED)
        live.settle()

        def value(direction: str) -> float | None:
            labels = {"name": RAW, "model": "", "direction": direction}
            return registry.get_sample_value("greeninfer_messages_total", labels)

        assert (value("received"), value("sent")) == (3.0, 6.0)
