"""The same under real servers: uvicorn with both parsers and both loops, hypercorn on asyncio and on trio."""

from __future__ import annotations

import base64
import http.client
import os
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from live import Live

from asgi.serving import SERVERS, Stage, hang_up, head, quiet_servers, read_until, until, until_quiet
from asgi.wire import Message, Scope, body, start, watched
from greeninfer import EnergyMiddleware, current
from greeninfer._records import NANO

anyio = pytest.importorskip("anyio")

RAW = "raw"
BURSTS = 5
PAUSE_SECONDS = 0.002


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Stage]:
    with quiet_servers(), SERVERS[request.param](Stage()) as stage:
        yield stage


@pytest.fixture
def stage(server: Stage) -> Iterator[Stage]:
    yield server
    server.app = None


def is_charged(live: Live, joules: float | list[float], outcome: str) -> None:
    """Check the only request, once it is over; a list of joules may still grow until then."""
    until_quiet(live)
    measurement = live.one(RAW)
    assert measurement.outcome == outcome
    true_joules = sum(joules) if isinstance(joules, list) else joules
    assert measurement.nanojoules / NANO == pytest.approx(true_joules, rel=0.02)


async def in_bursts(live: Live, scope: Scope, receive: Any, send: Any) -> None:
    await send(start(headers=[(b"content-type", b"text/plain")]))
    for number in range(BURSTS):
        live.burn_apart(10.0)
        await send(body(b"%d" % number, more=True))
        await anyio.sleep(PAUSE_SECONDS)
    await send(body())


def test_a_stream_is_charged_to_its_last_chunk(stage: Stage) -> None:
    with watched() as live:
        stage.app = EnergyMiddleware(lambda *args: in_bursts(live, *args), name=RAW)
        answer = stage.request()
        assert b"0" in answer
        assert b"4" in answer
        is_charged(live, 50.0, "ok")
        measurement = live.one(RAW)
        assert measurement.first_byte_seconds is not None
        assert measurement.first_byte_seconds < measurement.seconds - (BURSTS - 1) * PAUSE_SECONDS


def test_a_large_body_goes_both_ways(stage: Stage) -> None:
    payload = os.urandom(1 << 20)

    async def echo(scope: Scope, receive: Any, send: Any) -> None:
        await send(start(headers=[(b"content-length", b"%d" % len(payload))]))
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(body(message["body"], more=more))

    with watched() as live:
        stage.app = EnergyMiddleware(echo, name=RAW)
        connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=10)
        connection.request("POST", "/", payload)
        assert connection.getresponse().read() == payload
        connection.close()
        until_quiet(live)
        assert live.one(RAW).outcome == "ok"


def test_a_body_that_is_read_after_a_slow_answer(stage: Stage) -> None:
    """Early answer, then the rest of the upload: none of it may be lost to whoever looks for a client that left."""
    read: list[bytes] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        read.append((await receive())["body"])
        await anyio.sleep(0.12)
        await send(start(headers=[(b"content-length", b"2")]))
        await send(body(b"ok", more=True))
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            read.append(message.get("body", b""))
        await send(body())

    with watched() as live:
        stage.app = EnergyMiddleware(app, name=RAW)
        with stage.connect() as connection:
            connection.sendall(head("/", "POST", b"content-length: 6") + b"one")
            read_until(connection, b"ok")
            connection.sendall(b"two")
            until(lambda: b"".join(read) == b"onetwo")
        until_quiet(live)


def test_requests_on_one_connection_stay_apart(stage: Stage) -> None:
    """Keep-alive, and several requests sent at once: each gets its own answer, slow ones too."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            content = (await receive())["body"]
            await anyio.sleep(0.12 if scope["path"] == "/slow" else 0.0)
            answer = scope["path"].encode() + content
            await send(start(headers=[(b"content-length", b"%d" % len(answer))]))
            await send(body(answer))

        stage.app = EnergyMiddleware(app, name=RAW)
        with stage.connect() as connection:
            requests = [
                head(path, "POST", body=b"body%d" % number) for number, path in enumerate(["/slow", "/b", "/c"])
            ]
            connection.sendall(b"".join(requests))
            answers = read_until(connection, b"/cbody2")
            assert answers.index(b"/slowbody0") < answers.index(b"/bbody1") < answers.index(b"/cbody2")
        until_quiet(live)
        assert [each.outcome for each in live.named(RAW)] == ["ok"] * 3


@pytest.mark.parametrize("upload", [0, 3 << 20], ids=["", "after a large upload"])
@pytest.mark.parametrize("pipelined", [True, False], ids=["pipelined", "one after the other"])
def test_requests_on_one_connection_are_no_family(stage: Stage, pipelined: bool, upload: int) -> None:
    """A server may begin the next request within the one before, which may still have work in the background."""
    answered = threading.Event()
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            scope["path_template"] = scope["path"]
            while (await receive()).get("more_body"):
                await anyio.sleep(0.0)
            await send(start(headers=[(b"content-length", b"2")]))
            await send(body(b"ok"))
            if scope["path"] == "/first":
                with anyio.move_on_after(2.0):
                    while not answered.is_set():
                        await anyio.sleep(0.002)
                live.burn_apart(10.0)
            else:
                live.burn_apart(50.0)
                answered.set()

        stage.app = EnergyMiddleware(app)
        with stage.connect() as connection:
            first = head("/first", "POST", body=b"x" * upload) if upload else head("/first")
            connection.sendall(first + head("/second") if pipelined else first)
            read_until(connection, b"ok")
            if not pipelined:
                connection.sendall(head("/second"))
            assert answered.wait(10.0)
            until_quiet(live)
        assert live.one("/first").energy().total_joules == pytest.approx(10.0, rel=0.02)
        assert live.one("/second").energy().total_joules == pytest.approx(50.0, rel=0.02)
        assert live.one("/second").parent is None  # type: ignore[attr-defined]


def test_nobody_tells_a_client_to_continue_who_did_not_before(stage: Stage) -> None:
    """A client that asks whether to send its body hears so when the application reads it, and only then."""

    async def refuses(scope: Scope, receive: Any, send: Any) -> None:
        await anyio.sleep(0.12)
        await send(start(413, [(b"content-length", b"2")]))
        await send(body(b"no"))

    async def accepts(scope: Scope, receive: Any, send: Any) -> None:
        content = (await receive())["body"]
        await send(start(headers=[(b"content-length", b"%d" % len(content))]))
        await send(body(content))

    with watched() as live:
        for app in (refuses, accepts):
            heard = []
            for measured in (app, EnergyMiddleware(app, name=RAW)):
                stage.app = measured
                with stage.connect() as connection:
                    connection.sendall(head("/", "POST", b"expect: 100-continue", b"content-length: 5"))
                    if app is accepts:
                        time.sleep(0.02)
                        connection.sendall(b"body!")
                    read = read_until(connection, b"no" if app is refuses else b"body!")
                    heard.append([line for line in read.split(b"\r\n") if not line.lower().startswith(b"date")])
            assert heard[0] == heard[1]
        until_quiet(live)


# Clients that leave


def test_a_client_that_leaves_while_it_is_streamed_to(stage: Stage, request: pytest.FixtureRequest) -> None:
    """The application listens for it beside its work, as Starlette's streams do."""
    bursts: list[float] = []
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await send(start())
            async with anyio.create_task_group() as group:

                async def listen() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(listen)
                while True:
                    bursts.append(10.0)
                    live.burn_apart(10.0)
                    await send(body(b"x" * 1000, more=True))
                    await anyio.sleep(0.003)

        stage.app = EnergyMiddleware(app, name=RAW)
        connection = stage.open()
        until(lambda: len(bursts) >= 3)
        hang_up(connection)
        is_charged(live, bursts, "cancelled")


def test_a_client_that_leaves_while_the_endpoint_waits(stage: Stage) -> None:
    waiting = threading.Event()
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            live.burn_apart(10.0)
            waiting.set()
            assert (await receive())["type"] == "http.disconnect"
            await send(start())
            await send(body(b"for nobody"))

        stage.app = EnergyMiddleware(app, name=RAW)
        connection = stage.connect()
        connection.sendall(head())
        assert waiting.wait(10.0)
        hang_up(connection)
        is_charged(live, 10.0, "cancelled")


def test_a_client_that_leaves_in_the_middle_of_its_body(stage: Stage) -> None:
    waiting = threading.Event()
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            while (message := await receive())["type"] == "http.request":
                waiting.set()
            assert message["type"] == "http.disconnect"

        stage.app = EnergyMiddleware(app, name=RAW)
        connection = stage.connect()
        connection.sendall(head("/", "POST", b"content-length: 1000") + b"half")
        assert waiting.wait(10.0)
        hang_up(connection)
        is_charged(live, 10.0, "cancelled")


def test_a_client_that_leaves_while_a_thread_works(stage: Stage, request: pytest.FixtureRequest) -> None:
    """Nobody is told; the thread works to its end, and the request pays for it."""
    working, gone = threading.Event(), threading.Event()
    with watched() as live:

        def work() -> None:
            working.set()
            assert gone.wait(10.0)
            live.burn_apart(20.0)

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await receive()
            await anyio.to_thread.run_sync(work)
            await anyio.sleep(0.12)
            await send(start())
            await send(body(b"for nobody"))

        stage.app = EnergyMiddleware(app, name=RAW)
        connection = stage.connect()
        connection.sendall(head())
        assert working.wait(10.0)
        hang_up(connection)
        gone.set()
        until_quiet(live)
        assert live.joules(RAW) == pytest.approx(20.0, rel=0.02)
        # Only uvicorn lets it be known to somebody who does not wait for a message.
        assert live.one(RAW).outcome == ("cancelled" if "uvicorn" in str(request.node.name) else "ok")


def test_the_next_client_is_served_after_one_that_left(stage: Stage) -> None:
    waiting = threading.Event()
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            assert current() is not None
            await receive()
            if scope["path"] == "/waits":
                waiting.set()
                await receive()
            await send(start())
            await send(body(b"served"))

        stage.app = EnergyMiddleware(app, name=RAW)
        for _ in range(5):
            connection = stage.connect()
            connection.sendall(head("/waits"))
            assert waiting.wait(10.0)
            waiting.clear()
            hang_up(connection)
            assert b"served" in stage.request("/")
        until_quiet(live)
        outcomes = [each.outcome for each in live.named(RAW)]
        assert sorted(outcomes) == ["cancelled"] * 5 + ["ok"] * 5


# Applications that misbehave


class ModelError(Exception):
    pass


@pytest.mark.parametrize("messages", range(4), ids=["at once", "after the start", "in the body", "after the end"])
def test_an_application_that_fails(stage: Stage, messages: int) -> None:
    """The client gets what it would have got without us."""
    answer: list[Message] = [
        start(headers=[(b"content-length", b"4")]),
        body(b"ha", more=True),
        body(b"lf"),
    ]
    seen = []
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            for message in answer[:messages]:
                await send(message)
            raise ModelError

        for measured in (app, EnergyMiddleware(app, name=RAW)):
            stage.app = measured
            read = stage.request()
            seen.append([line for line in read.split(b"\r\n") if not line.lower().startswith(b"date")])
        assert seen[0] == seen[1]
        is_charged(live, 10.0, "error")


@pytest.mark.parametrize("messages", [0, 1, 2], ids=["nothing", "the start", "half the body"])
def test_an_application_that_never_completes_its_answer(stage: Stage, messages: int) -> None:
    seen = []
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(10.0)
            for message in [start(headers=[(b"content-length", b"4")]), body(b"ha", more=True)][:messages]:
                await send(message)

        for measured in (app, EnergyMiddleware(app, name=RAW)):
            stage.app = measured
            read = stage.request()
            seen.append([line for line in read.split(b"\r\n") if not line.lower().startswith(b"date")])
        assert seen[0] == seen[1]
        is_charged(live, 10.0, "error")


def test_an_application_that_goes_on_sending(stage: Stage) -> None:
    """After the end of its answer, or after the client left: what the server makes of it reaches the application."""
    raised: list[list[str]] = []
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            errors: list[str] = []
            raised.append(errors)
            await send(start())
            await send(body(b"the end"))
            for message in (body(b"more"), start(), {"type": "http.response.odd"}):
                try:
                    await send(message)
                    errors.append("")
                except Exception as error:
                    errors.append(f"{type(error).__name__}: {error}")

        for measured in (app, EnergyMiddleware(app, name=RAW)):
            stage.app = measured
            assert b"the end" in stage.request()
            until_quiet(live)
        assert raised[0] == raised[1]
        assert live.one(RAW).outcome == "ok"


# Many at once


def test_no_request_is_lost(stage: Stage) -> None:
    with watched(tick_seconds=0.02) as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await anyio.sleep(0.001)
            await send(start(headers=[(b"content-length", b"2")]))
            await send(body(b"ok"))

        stage.app = EnergyMiddleware(app, name=RAW)

        def client(_: int) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=10)
            statuses = []
            for _ in range(25):
                connection.request("GET", "/x")
                response = connection.getresponse()
                assert response.read() == b"ok"
                statuses.append(response.status)
            connection.close()
            return len(statuses)

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(client, range(8))) == 200
        until_quiet(live)
        assert len(live.named(RAW)) == 200
        assert {each.outcome for each in live.named(RAW)} == {"ok"}


# Starlette and FastAPI streams


def starlette_stream(live: Live) -> Any:
    responses = pytest.importorskip("starlette.responses")

    async def items() -> AsyncIterator[str]:
        for number in range(BURSTS):
            live.burn_apart(10.0)
            yield str(number)
            await anyio.sleep(0.002)

    return responses.StreamingResponse(items())


def starlette_sync_stream(live: Live) -> Any:
    """A plain generator: Starlette runs each of its steps in the thread pool."""
    responses = pytest.importorskip("starlette.responses")

    def items() -> Iterator[str]:
        for number in range(BURSTS):
            live.burn_apart(10.0)
            yield str(number)

    return responses.StreamingResponse(items())


@pytest.mark.parametrize("make", [starlette_stream, starlette_sync_stream])
def test_a_streaming_response_is_charged_all_its_bursts(stage: Stage, make: Any) -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await make(live)(scope, receive, send)

        stage.app = EnergyMiddleware(app, name=RAW)
        answer = stage.get()
        assert all(str(number).encode() in answer for number in range(BURSTS))
        is_charged(live, 50.0, "ok")
        assert live.one(RAW).cpu_seconds > BURSTS * 0.001  # burn_apart spins so long at least


def test_a_client_that_leaves_a_streaming_response(stage: Stage) -> None:
    responses = pytest.importorskip("starlette.responses")
    bursts: list[float] = []
    with watched() as live:

        async def items() -> AsyncIterator[str]:
            while True:
                bursts.append(10.0)
                live.burn_apart(10.0)
                yield "x" * 1000
                await anyio.sleep(0.003)

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await responses.StreamingResponse(items())(scope, receive, send)

        stage.app = EnergyMiddleware(app, name=RAW)
        connection = stage.open()
        until(lambda: len(bursts) >= 3)
        hang_up(connection)
        is_charged(live, bursts, "cancelled")


# Websockets, spoken by hand


def handshake(stage: Stage, path: str = "/ws") -> Any:
    connection = stage.connect()
    key = base64.b64encode(os.urandom(16))
    upgrade = (b"upgrade: websocket", b"connection: Upgrade", b"sec-websocket-version: 13")
    connection.sendall(head(path, "GET", *upgrade, b"sec-websocket-key: " + key))
    return connection, read_until(connection, b"\r\n\r\n")


def frame(payload: bytes, opcode: int = 1) -> bytes:
    mask = b"\0\0\0\0"
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + payload


def close_frame(code: int = 1000) -> bytes:
    return frame(struct.pack("!H", code), 8)


async def echo_socket(live: Live, scope: Scope, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        live.burn_apart(10.0)
        text = message.get("text") or ""
        if text == "fail":
            raise ModelError
        if text == "close":
            await send({"type": "websocket.close", "code": 1000})
            return
        await send({"type": "websocket.send", "text": text.upper()})


@pytest.mark.parametrize(
    ("last", "outcome", "received", "sent"),
    [
        (close_frame(), "ok", 3, 3),
        (close_frame(1001), "ok", 3, 3),
        (frame(b"close"), "ok", 4, 3),
        (frame(b"fail"), "error", 4, 3),
        (b"", "ok", 3, 3),  # it just leaves
    ],
    ids=["client closes", "client goes away", "server closes", "server fails", "client hangs up"],
)
def test_a_websocket_is_one_span_whose_messages_are_counted(
    stage: Stage, last: bytes, outcome: str, received: int, sent: int
) -> None:
    with watched() as live:
        stage.app = EnergyMiddleware(lambda *args: echo_socket(live, *args), name=RAW)
        connection, answer = handshake(stage)
        assert b" 101 " in answer
        for number in range(3):
            connection.sendall(frame(b"a%d" % number))
            assert read_until(connection, b"A%d" % number)
        assert list(live.open_spans().values()) == [1]
        connection.sendall(last)
        if last:
            connection.recv(1000)
            connection.close()
        else:
            hang_up(connection)
        is_charged(live, 10.0 * received, outcome)
        assert live.one(RAW).messages == {"received": received, "sent": sent}


def test_a_websocket_that_is_denied(stage: Stage) -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            assert (await receive())["type"] == "websocket.connect"
            live.burn_apart(10.0)
            await send({"type": "websocket.close", "code": 4000})

        stage.app = EnergyMiddleware(app, name=RAW)
        connection, answer = handshake(stage)
        assert b" 403 " in answer
        connection.close()
        is_charged(live, 10.0, "ok")
        assert live.one(RAW).messages == {}


def test_a_websocket_that_is_denied_with_an_answer(stage: Stage) -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            assert (await receive())["type"] == "websocket.connect"
            assert "websocket.http.response" in scope["extensions"]
            await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"who are you?"})

        stage.app = EnergyMiddleware(app, name=RAW)
        connection, answer = handshake(stage)
        assert b" 401 " in answer
        connection.close()
        until_quiet(live)
        measurement = live.one(RAW)
        assert measurement.outcome == "ok"
        assert measurement.attributes is not None
        assert measurement.attributes["http.response.status_code"] == 401
