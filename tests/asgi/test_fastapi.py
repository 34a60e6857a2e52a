"""What FastAPI and Starlette make of an endpoint, threads, streams, dependencies and background work, is the request's.

No annotation in here is a string: FastAPI looks at them.
"""

import asyncio
import gzip
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from live import Live, spin

from asgi.wire import GONE, REQUEST, App, Wire, ask, http, watched
from greeninfer import EnergyMiddleware, current, measure, threads
from greeninfer._records import NANO

fastapi = pytest.importorskip("fastapi")
from fastapi.responses import PlainTextResponse, StreamingResponse  # noqa: E402
from starlette.background import BackgroundTask  # noqa: E402
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402
from starlette.middleware.gzip import GZipMiddleware  # noqa: E402

BURSTS = 5
SPEC_VERSIONS = ["2.1", "2.3", "2.4"]  # below 2.4 Starlette streams in a task of its own and listens in another


def name_of_current() -> str:
    span = current()
    return span.name if span is not None else "(none)"


def is_charged(live: Live, joules: float, outcome: str = "ok") -> None:
    """Check the only request on "/x"."""
    measurement = live.one("/x")
    assert measurement.outcome == outcome
    assert measurement.nanojoules / NANO == pytest.approx(joules, rel=0.02)


def ask_x(app: App, *messages: Any, **scope: Any) -> Wire:
    return asyncio.run(ask(EnergyMiddleware(app), "/x", "GET", *messages, **scope))


def test_an_async_endpoint() -> None:
    app = fastapi.FastAPI()
    with watched() as live:

        @app.get("/x")
        async def x() -> str:
            live.burn_apart(10.0)
            await asyncio.sleep(0.001)
            live.burn_apart(20.0)
            return name_of_current()

        assert ask_x(app).text == '"/x"'
        is_charged(live, 30.0)


def test_a_sync_endpoint_runs_in_a_thread_and_is_charged() -> None:
    app = fastapi.FastAPI()
    used: list[float] = []
    with watched() as live:

        @app.get("/x")
        def x() -> str:
            assert threading.current_thread() is not threading.main_thread()
            live.burn_apart(30.0)
            used.append(spin(0.02))
            return name_of_current()

        assert ask_x(app).text == '"/x"'
        is_charged(live, 30.0)
        assert live.one("/x").cpu_seconds > used[0]


def test_a_sync_endpoint_without_following_is_not() -> None:
    """So that the test above says something; ``follow=False`` leaves pools alone."""
    app = fastapi.FastAPI()
    with watched() as live:

        @app.get("/x")
        def x() -> str:
            spin(0.05)
            return "x"

        asyncio.run(ask(EnergyMiddleware(app, follow=False), "/x"))
        assert not threads.instrumented()
        assert live.one("/x").cpu_seconds < 0.04


def test_dependencies_of_every_kind() -> None:
    app = fastapi.FastAPI()
    ran: list[str] = []
    with watched() as live:

        def sync() -> Iterator[int]:
            live.burn_apart(1.0)
            ran.append(name_of_current())
            yield 1
            live.burn_apart(2.0)
            ran.append(name_of_current())

        async def asynchronous() -> AsyncIterator[int]:
            live.burn_apart(4.0)
            ran.append(name_of_current())
            yield 1
            live.burn_apart(8.0)
            ran.append(name_of_current())

        def plain() -> int:
            live.burn_apart(16.0)
            ran.append(name_of_current())
            return 1

        @app.get("/x")
        async def x(
            a: int = fastapi.Depends(sync), b: int = fastapi.Depends(asynchronous), c: int = fastapi.Depends(plain)
        ) -> int:
            return a + b + c

        assert ask_x(app).text == "3"
        assert ran == ["/x"] * 5
        is_charged(live, 31.0)


def test_a_measured_function_inside_is_a_child() -> None:
    app = fastapi.FastAPI()
    with watched() as live:

        @measure("classify", model="tfidf-lr")
        def classify() -> str:
            live.burn_apart(40.0)
            return "joy"

        @app.get("/x")
        def x() -> str:
            live.burn_apart(10.0)
            return classify()

        assert ask_x(app).text == '"joy"'
        is_charged(live, 10.0)
        assert live.joules("classify") == pytest.approx(40.0, rel=0.02)
        assert live.one("classify").key == ("classify", "tfidf-lr")
        assert live.one("/x").energy().total_joules == pytest.approx(50.0, rel=0.02)


def test_a_measured_endpoint() -> None:
    app = fastapi.FastAPI()
    with watched() as live:

        @app.get("/x")
        @measure("predict", model="m")
        def x(number: int) -> int:
            live.burn_apart(40.0)
            return number

        assert asyncio.run(ask(EnergyMiddleware(app), "/x", query_string=b"number=4")).text == "4"
        assert live.joules("predict") == pytest.approx(40.0, rel=0.02)
        assert live.one("/x").energy().total_joules == pytest.approx(40.0, rel=0.02)


# Streams


@pytest.mark.parametrize("version", SPEC_VERSIONS)
@pytest.mark.parametrize("kind", ["async generator", "generator", "endpoint", "sync endpoint"])
def test_a_stream_is_charged_all_its_bursts(kind: str, version: str) -> None:
    app = fastapi.FastAPI()
    names: list[str] = []
    with watched() as live:

        async def items() -> AsyncIterator[str]:
            for number in range(BURSTS):
                names.append(name_of_current())
                live.burn_apart(10.0)
                yield f"{number}\n"
                await asyncio.sleep(0.001)

        def sync_items() -> Iterator[str]:
            for number in range(BURSTS):
                names.append(name_of_current())
                live.burn_apart(10.0)
                yield f"{number}\n"

        if kind == "endpoint":
            app.get("/x")(items)  # FastAPI streams what it yields
        elif kind == "sync endpoint":
            app.get("/x")(sync_items)
        else:

            @app.get("/x")
            async def x() -> StreamingResponse:
                return StreamingResponse(items() if kind == "async generator" else sync_items())

        wire = ask_x(app, asgi={"version": "3.0", "spec_version": version})
        chunks = [message for message in wire.sent if message.get("body")]
        assert len(chunks) == BURSTS
        assert names == ["/x"] * BURSTS
        is_charged(live, 50.0)


def test_server_sent_events() -> None:
    sse = pytest.importorskip("fastapi.sse")
    app = fastapi.FastAPI()
    with watched() as live:

        @app.get("/x", response_class=sse.EventSourceResponse)
        async def x() -> AsyncIterator[str]:
            for number in range(BURSTS):
                live.burn_apart(10.0)
                yield f"token {number}"
                await asyncio.sleep(0.001)

        wire = ask_x(app)
        assert wire.headers[b"content-type"].startswith(b"text/event-stream")
        assert wire.text.count("data:") == BURSTS
        is_charged(live, 50.0)


@pytest.mark.parametrize("version", SPEC_VERSIONS)
def test_a_client_that_leaves_a_stream(version: str) -> None:
    app = fastapi.FastAPI()
    bursts: list[int] = []
    closed: list[str] = []
    with watched() as live:

        async def items() -> AsyncIterator[str]:
            try:
                while True:
                    bursts.append(1)
                    live.burn_apart(10.0)
                    yield "x"
                    await asyncio.sleep(0.001)
            finally:
                closed.append(name_of_current())

        @app.get("/x")
        async def x() -> StreamingResponse:
            return StreamingResponse(items())

        wire = Wire()

        async def send(message: Any) -> None:
            await wire.send(message)
            if len(wire.sent) == 4:
                wire.hang_up()
            if len(wire.sent) >= 4 and version == "2.4":
                raise OSError("gone")  # as servers of that version do

        async def main() -> None:
            scope = http("/x", asgi={"version": "3.0", "spec_version": version})
            try:
                await EnergyMiddleware(app)(scope, wire.receive, send)
            except Exception as error:
                assert type(error).__name__ == "ClientDisconnect"
            await asyncio.sleep(0)

        asyncio.run(main())
        assert len(bursts) >= 3
        is_charged(live, 10.0 * len(bursts), "cancelled")


def test_a_stream_that_fails_half_way() -> None:
    app = fastapi.FastAPI()
    with watched() as live:

        async def items() -> AsyncIterator[str]:
            live.burn_apart(10.0)
            yield "x"
            live.burn_apart(10.0)
            raise ValueError("no such token")

        @app.get("/x")
        async def x() -> StreamingResponse:
            return StreamingResponse(items())

        with pytest.raises(ValueError, match="no such token"):
            ask_x(app)
        is_charged(live, 20.0, "error")


@pytest.mark.parametrize("where", ["gzip", "base", "gzip outside", "base outside"])
def test_a_stream_through_other_middlewares(where: str) -> None:
    app = fastapi.FastAPI()
    with watched() as live:

        async def items() -> AsyncIterator[bytes]:
            for number in range(BURSTS):
                live.burn_apart(10.0)
                yield b"%d" % number * 1000
                await asyncio.sleep(0.001)

        @app.get("/x")
        async def x() -> StreamingResponse:
            return StreamingResponse(items())

        inner: Any = app
        if "gzip" in where:
            inner = GZipMiddleware(app) if "outside" not in where else app
        elif "outside" not in where:
            inner = BaseHTTPMiddleware(app, dispatch=lambda request, call_next: call_next(request))
        stack: Any = EnergyMiddleware(inner)
        if where == "gzip outside":
            stack = GZipMiddleware(stack)
        if where == "base outside":
            stack = BaseHTTPMiddleware(stack, dispatch=lambda request, call_next: call_next(request))
        headers = [(b"host", b"x"), (b"accept-encoding", b"gzip")]
        wire = asyncio.run(ask(stack, "/x", headers=headers))
        content = b"".join(message.get("body", b"") for message in wire.sent)
        if "gzip" in where:
            content = gzip.decompress(content)
        assert content == b"".join(b"%d" % number * 1000 for number in range(BURSTS))
        is_charged(live, 50.0)


# Background work


@pytest.mark.parametrize("kind", ["async", "sync", "of the response"])
def test_background_work_is_the_requests_and_comes_after_its_answer(kind: str) -> None:
    app = fastapi.FastAPI()
    names: list[str] = []
    with watched() as live:

        def sync_work() -> None:
            names.append(name_of_current())
            live.burn_apart(20.0)

        async def work() -> None:
            await asyncio.sleep(0.02)
            sync_work()

        @app.get("/x")
        async def x(tasks: fastapi.BackgroundTasks) -> PlainTextResponse:
            live.burn_apart(10.0)
            if kind == "of the response":
                return PlainTextResponse("x", background=BackgroundTask(sync_work))
            tasks.add_task(work if kind == "async" else sync_work)
            return PlainTextResponse("x")

        assert ask_x(app).text == "x"
        assert names == ["/x"]
        is_charged(live, 30.0)
        measurement = live.one("/x")
        assert measurement.first_byte_seconds is not None
        assert measurement.first_byte_seconds < measurement.seconds


def test_background_work_that_fails() -> None:
    app = fastapi.FastAPI()
    with watched() as live:

        def work() -> None:
            live.burn_apart(20.0)
            raise ValueError("too late")

        @app.get("/x")
        async def x(tasks: fastapi.BackgroundTasks) -> str:
            tasks.add_task(work)
            return "x"

        with pytest.raises(ValueError, match="too late"):
            ask_x(app)
        is_charged(live, 20.0, "error")


# How requests end


@pytest.mark.parametrize(("status", "outcome"), [(404, "ok"), (429, "ok"), (500, "error"), (503, "error")])
def test_an_http_exception(status: int, outcome: str) -> None:
    app = fastapi.FastAPI()
    with watched() as live:

        @app.get("/x")
        def x() -> None:
            live.burn_apart(10.0)
            raise fastapi.HTTPException(status, "no")

        assert ask_x(app).status == status
        is_charged(live, 10.0, outcome)


@pytest.mark.parametrize("where", ["inside", "outside"])
@pytest.mark.parametrize("sync", [False, True])
def test_an_exception_of_the_endpoint(where: str, sync: bool) -> None:
    """Starlette answers 500 outside of all user middleware, and raises on."""
    app = fastapi.FastAPI()
    error = ValueError("no such model")
    with watched() as live:

        def fails() -> None:
            live.burn_apart(10.0)
            raise error

        async def fails_later() -> None:
            await asyncio.sleep(0)
            fails()

        app.get("/x")(fails if sync else fails_later)
        stack: Any = EnergyMiddleware(app)
        if where == "inside":
            app.add_middleware(EnergyMiddleware)
            stack = app
        wire = Wire()
        with pytest.raises(ValueError, match="no such model") as caught:
            asyncio.run(stack(http("/x"), wire.receive, wire.send))
        assert caught.value is error
        assert wire.status == 500
        is_charged(live, 10.0, "error")


def test_an_exception_that_a_handler_answers() -> None:
    app = fastapi.FastAPI()
    with watched() as live:

        @app.exception_handler(ValueError)
        async def handle(request: fastapi.Request, error: ValueError) -> PlainTextResponse:
            return PlainTextResponse("handled", 400)

        @app.get("/x")
        def x() -> None:
            live.burn_apart(10.0)
            raise ValueError

        assert ask_x(app).text == "handled"
        is_charged(live, 10.0)


def test_a_client_that_leaves_before_its_body_is_read() -> None:
    app = fastapi.FastAPI()
    with watched() as live:

        @app.post("/x")
        async def x(request: fastapi.Request) -> str:
            live.burn_apart(10.0)
            return (await request.body()).decode()

        wire = Wire({**REQUEST, "more_body": True}, GONE)

        async def main() -> None:
            await EnergyMiddleware(app)(http("/x", "POST"), wire.receive, wire.send)

        with pytest.raises(Exception) as caught:
            asyncio.run(main())
        assert type(caught.value).__name__ == "ClientDisconnect"
        is_charged(live, 10.0, "cancelled")


def test_a_request_that_is_cancelled_while_its_thread_works() -> None:
    """A thread cannot be stopped: what it does when its request is over is nobody's."""
    app = fastapi.FastAPI()
    working, cancelled, done = threading.Event(), threading.Event(), threading.Event()
    with watched() as live:

        @app.get("/x")
        def x() -> str:
            live.burn_apart(10.0)
            working.set()
            assert cancelled.wait(10.0)
            live.burn_apart(30.0)
            done.set()
            return "for nobody"

        async def main() -> None:
            task = asyncio.create_task(ask(EnergyMiddleware(app), "/x"))
            while not working.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            cancelled.set()
            assert done.wait(10.0)

        asyncio.run(main())
        is_charged(live, 10.0, "cancelled")


def test_a_client_that_leaves_while_a_thread_makes_its_stream() -> None:
    """Starlette waits for the step that is under way, so the request pays for it."""
    app = fastapi.FastAPI()
    working, left = threading.Event(), threading.Event()
    with watched() as live:

        def items() -> Iterator[str]:
            live.burn_apart(10.0)
            yield "x"
            working.set()
            assert left.wait(10.0)
            live.burn_apart(30.0)
            yield "for nobody"

        @app.get("/x")
        async def x() -> StreamingResponse:
            return StreamingResponse(items())

        async def main() -> None:
            wire = Wire()
            task = asyncio.create_task(EnergyMiddleware(app)(http("/x"), wire.receive, wire.send))
            while not working.is_set():
                await asyncio.sleep(0.001)
            wire.hang_up()
            await asyncio.sleep(0.01)
            left.set()
            await task

        asyncio.run(main())
        is_charged(live, 40.0, "cancelled")


def test_an_endpoint_that_asks_whether_its_client_is_there() -> None:
    app = fastapi.FastAPI()
    answers: list[bool] = []
    with watched() as live:

        @app.get("/x")
        async def x(request: fastapi.Request) -> str:
            answers.append(await request.is_disconnected())
            await asyncio.sleep(0.12)
            answers.append(await request.is_disconnected())
            return "x"

        ask_x(app)
        assert answers == [False, False]
        assert live.one("/x").outcome == "ok"


def test_a_test_client_sees_what_a_server_sees() -> None:
    """Starlette's own, which runs the application in a thread."""
    testclient = pytest.importorskip("starlette.testclient")
    app = fastapi.FastAPI()

    @app.get("/x/{y}")
    def x(y: int) -> int:
        time.sleep(0.12)
        return y

    @app.websocket("/ws")
    async def ws(websocket: fastapi.WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text.upper())

    app.add_middleware(EnergyMiddleware)
    with watched() as live:
        with testclient.TestClient(app) as client:
            assert client.get("/x/3").json() == 3
            assert client.get("/x/y").status_code == 422
            with client.websocket_connect("/ws") as connection:
                connection.send_text("a")
                assert connection.receive_text() == "A"
        assert [(each.key[0], each.outcome) for each in live.settle()] == [
            ("/x/{y}", "ok"),
            ("/x/{y}", "ok"),
            ("/ws", "ok"),
        ]
        assert live.one("/ws").messages == {"received": 1, "sent": 1}
