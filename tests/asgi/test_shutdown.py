"""Servers that start, stop, and stop while requests are under way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from asgi.serving import SERVERS, Stage, quiet_servers, until, uvicorn_server
from asgi.wire import Scope, body, start, watched
from greeninfer import EnergyMiddleware, instrument

anyio = pytest.importorskip("anyio")
RAW = "raw"


@pytest.mark.parametrize("server", SERVERS)
def test_a_request_under_way_when_the_server_stops_gracefully(server: str) -> None:
    working, stopping = threading.Event(), threading.Event()
    with quiet_servers(), watched() as live, SERVERS[server](Stage()) as stage:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            live.burn_apart(10.0)
            working.set()
            while not stopping.is_set():
                await anyio.sleep(0.005)
            live.burn_apart(10.0)
            await send(start(headers=[(b"content-length", b"4")]))
            await send(body(b"done"))

        stage.app = EnergyMiddleware(app, name=RAW)
        answers: list[bytes] = []
        client = threading.Thread(target=lambda: answers.append(stage.request()))
        client.start()
        assert working.wait(10.0)
        ender = threading.Thread(target=stage.stop)
        ender.start()
        time.sleep(0.05)
        stopping.set()
        ender.join()
        client.join()
        assert answers[0].endswith(b"done")
        assert live.one(RAW).outcome == "ok"
        assert live.joules(RAW) == pytest.approx(20.0, rel=0.02)


@pytest.mark.parametrize("server", SERVERS)
def test_a_request_that_is_cut_off_when_the_server_stops(server: str) -> None:
    working = threading.Event()
    with quiet_servers(), watched() as live, SERVERS[server](Stage()) as stage:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            live.burn_apart(10.0)
            working.set()
            await anyio.sleep(60.0)

        stage.app = EnergyMiddleware(app, name=RAW)
        connection = stage.connect()
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert working.wait(10.0)
        stage.stop(force=True)
        connection.close()
        assert live.one(RAW).outcome == "cancelled"
        assert live.joules(RAW) == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("server", ["uvicorn-h11-asyncio", "hypercorn-asyncio"])
def test_a_websocket_that_is_open_when_the_server_stops(server: str) -> None:
    with quiet_servers(), watched() as live, SERVERS[server](Stage()) as stage:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            live.burn_apart(10.0)
            while (await receive())["type"] == "websocket.receive":
                pass

        stage.app = EnergyMiddleware(app, name=RAW)
        connection = stage.connect()
        connection.sendall(
            b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        assert b" 101 " in connection.recv(1000)
        until(lambda: live.open_spans() == {RAW: 1})
        stage.stop(force=True)
        connection.close()
        assert live.one(RAW).outcome in ("ok", "cancelled")
        assert live.joules(RAW) == pytest.approx(10.0, rel=0.02)


@pytest.mark.parametrize("made", ["instrumented", "wrapped"])
def test_an_application_starts_and_stops_with_its_server(made: str) -> None:
    starlette = pytest.importorskip("starlette.applications")
    responses = pytest.importorskip("starlette.responses")
    events: list[object] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, object]]:
        events.append("start")
        yield {"model": "loaded"}
        events.append("stop")

    async def x(request: Any) -> Any:
        return responses.PlainTextResponse(request.state.model)

    app = starlette.Starlette(lifespan=lifespan)
    app.add_route("/x", x)

    class Served(Stage):
        async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
            assert self.app is not None
            await self.app(scope, receive, send)

    stage = Served()
    stage.app = instrument(app, registry=CollectorRegistry()) if made == "instrumented" else EnergyMiddleware(app)
    with watched() as live:
        with uvicorn_server(stage, "h11", "asyncio", lifespan="on"):
            assert events == ["start"]
            assert stage.get("/x") == b"loaded"
        assert events == ["start", "stop"]
        assert live.one("/x").outcome == "ok"


def test_an_application_that_cannot_start_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """The server hears of it from the application, not from us."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        await send({"type": "lifespan.startup.failed", "message": "no model"})

    async def main() -> list[str]:
        uvicorn = pytest.importorskip("uvicorn")
        config = uvicorn.Config(EnergyMiddleware(app), port=0, lifespan="on", log_config=None)
        with pytest.raises(SystemExit):
            await uvicorn.Server(config).serve()
        return seen

    with watched():
        assert asyncio.run(main()) == ["lifespan.startup"]
    assert "no model" in caplog.text


def test_behind_a_proxy_with_a_prefix() -> None:
    """As ``uvicorn --root-path`` says it."""
    starlette = pytest.importorskip("starlette.applications")
    responses = pytest.importorskip("starlette.responses")
    routing = pytest.importorskip("starlette.routing")
    app = starlette.Starlette(
        routes=[
            routing.Route("/items/{item}", lambda request: responses.PlainTextResponse("x")),
            routing.Mount("/sub", routes=[routing.Route("/{y}", lambda request: responses.PlainTextResponse("y"))]),
            routing.Route("/metrics", lambda request: responses.PlainTextResponse("m")),
        ]
    )
    stage = Stage()
    stage.app = EnergyMiddleware(app)
    with watched() as live:
        with uvicorn_server(stage, "h11", "asyncio", root_path="/api"):
            assert [stage.get(path) for path in ("/items/1", "/sub/2", "/metrics")] == [b"x", b"y", b"m"]
        assert sorted(each.key[0] for each in live.settle()) == ["/items/{item}", "/sub/{y}"]


def test_a_server_on_a_second_thread_beside_the_first() -> None:
    """Two event loops at once, one middleware: both are followed."""
    app = EnergyMiddleware(work, name=RAW)
    stages = [Stage(), Stage()]
    for stage in stages:
        stage.app = app
    with watched() as live:
        with uvicorn_server(stages[0], "h11", "asyncio"), uvicorn_server(stages[1], "h11", "asyncio"):
            for _ in range(3):
                assert [stage.get("/") for stage in stages] == [b"request", b"request"]
        assert [each.outcome for each in live.named(RAW)] == ["ok"] * 6
        assert all(each.cpu_seconds > 0.004 for each in live.named(RAW))


async def work(scope: Scope, receive: Any, send: Any) -> None:
    from live import spin

    from greeninfer import current

    async def in_a_task() -> str:
        spin(0.002)
        return str(getattr(current(), "name", None)).replace(RAW, "request")

    found = await asyncio.create_task(in_a_task())
    await asyncio.to_thread(spin, 0.002)
    await send(start(headers=[(b"content-length", b"%d" % len(found))]))
    await send(body(found.encode()))
