"""Real servers on threads of this process, whose application the test exchanges, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from live import Live

from asgi.wire import App, Scope

SECONDS = 10.0
"""How long anything may take before the test fails."""


class Stage:
    """What a server serves: whatever the test puts there. Without anything there, it is broken."""

    def __init__(self) -> None:
        self.app: App | None = None
        self.port = 0
        self.stop: Callable[..., None] = lambda: None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        assert self.app is not None and scope["type"] != "lifespan"
        await self.app(scope, receive, send)

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def request(self, path: str = "/", method: str = "GET", body: bytes = b"", *headers: bytes) -> bytes:
        """Return the whole answer to a request of its own connection, as it came."""
        with self.connect() as connection:
            connection.sendall(head(path, method, *headers, b"connection: close", body=body))
            return read_all(connection)

    def get(self, path: str = "/") -> bytes:
        """Return the body of the answer to a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request("GET", path)
        try:
            return connection.getresponse().read()
        finally:
            connection.close()

    def open(self, path: str = "/") -> socket.socket:
        """Send a request, and return the connection once the answer's first bytes are there."""
        connection = self.connect()
        connection.sendall(head(path))
        assert connection.recv(1 << 16)
        return connection


def head(path: str = "/", method: str = "GET", *headers: bytes, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1".encode(), b"host: test", *headers]
    if body:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + body


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return what comes until these bytes have come."""
    read = b""
    while end not in read:
        part = connection.recv(1 << 16)
        assert part, f"closed after {read!r}"
        read += part
    return read


def hang_up(connection: socket.socket) -> None:
    """Leave without a word: the server's next write fails."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds: another thread is to make it true."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def until_quiet(live: Live) -> None:
    """Wait until the server is done with its requests."""
    until(lambda: live.settle() is not None and live.open_spans() == {})


@contextlib.contextmanager
def uvicorn_server(stage: Stage, parser: str, loop: str, **options: Any) -> Iterator[Stage]:
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip(parser)
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    options = {"lifespan": "off", "timeout_graceful_shutdown": 1, **options}
    server = uvicorn.Server(
        uvicorn.Config(stage, port=0, http=parser, loop=loop, log_config=None, access_log=False, **options)
    )
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    until(lambda: server.started or not thread.is_alive())

    def stop(*, force: bool = False) -> None:
        server.should_exit = True
        server.force_exit = force
        thread.join(SECONDS)
        assert not thread.is_alive()

    stage.port = server.servers[0].sockets[0].getsockname()[1]
    stage.stop = stop
    try:
        yield stage
    finally:
        stop()


@contextlib.contextmanager
def hypercorn_server(stage: Stage, worker: str) -> Iterator[Stage]:
    hypercorn = pytest.importorskip("hypercorn")
    listening = socket.create_server(("127.0.0.1", 0))
    config = hypercorn.Config()
    config.bind = [f"fd://{listening.fileno()}"]
    config.loglevel = "CRITICAL"
    config.graceful_timeout = 0.5
    stage.port = listening.getsockname()[1]
    ending = threading.Event()
    if worker == "asyncio":
        from hypercorn.asyncio import serve

        async def trigger() -> None:
            while not ending.is_set():
                await asyncio.sleep(0.01)

        run = functools.partial(asyncio.run, serve(stage, config, shutdown_trigger=trigger))  # type: ignore[arg-type]
    else:
        trio = pytest.importorskip("trio")
        from hypercorn.trio import serve as serve_on_trio

        async def trio_trigger() -> None:
            while not ending.is_set():
                await trio.sleep(0.01)

        run = functools.partial(
            trio.run, functools.partial(serve_on_trio, stage, config, shutdown_trigger=trio_trigger)
        )
    thread = threading.Thread(target=run, name="hypercorn")
    thread.start()

    def stop(*, force: bool = False) -> None:
        ending.set()
        thread.join(SECONDS)
        assert not thread.is_alive()

    stage.stop = stop
    try:
        yield stage
    finally:
        stop()
        with contextlib.suppress(OSError):
            listening.close()


SERVERS: dict[str, Callable[[Stage], contextlib.AbstractContextManager[Stage]]] = {
    "uvicorn-h11-asyncio": lambda stage: uvicorn_server(stage, "h11", "asyncio"),
    "uvicorn-httptools-uvloop": lambda stage: uvicorn_server(stage, "httptools", "uvloop"),
    "hypercorn-asyncio": lambda stage: hypercorn_server(stage, "asyncio"),
    "hypercorn-trio": lambda stage: hypercorn_server(stage, "trio"),
}


@contextlib.contextmanager
def quiet_servers() -> Iterator[None]:
    """Let servers say nothing of applications that fail on purpose."""
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "hypercorn.error", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
