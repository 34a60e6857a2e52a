"""The server's end of a request, held by the test; and a monitor that must have nothing left open at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from live import FOREVER, Live

from greeninfer.exporters import Exporter
from greeninfer.meters.simulated import Power

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


@contextmanager
def watched(watts: Power = 1.0, *exporters: Exporter, tick_seconds: float = FOREVER, **more: Any) -> Iterator[Live]:
    """Measure for the length of the block; then nothing may be open, and nothing of ours may have failed."""
    with Live(watts, *exporters, tick_seconds=tick_seconds, **more) as live:
        yield live
        live.settle()
        assert live.open_spans() == {}
        assert live.monitor._books is not None
        assert live.monitor._books._open == 0
        assert live.monitor._books.quiet
        assert live.collected.failures() == {}


def http(path: str = "/", method: str = "GET", **more: Any) -> Scope:
    """Return the scope of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        **more,
    }


def websocket(path: str = "/", **more: Any) -> Scope:
    """Return the scope of a websocket."""
    scope = http(path, **{"type": "websocket", "scheme": "ws", "subprotocols": [], **more})
    del scope["method"]
    return scope


def start(status: object = 200, headers: Any = (), **more: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(content: bytes = b"", *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}


REQUEST: Message = {"type": "http.request", "body": b"", "more_body": False}
GONE: Message = {"type": "http.disconnect"}


class Wire:
    """What an application may receive, in the order in which the test says it, and what it sent.

    As from a real server, ``http.disconnect`` comes once the answer is complete; before that, when the test hangs up.
    """

    def __init__(self, *messages: Message) -> None:
        self.sent: list[Message] = []
        self.complete = asyncio.Event()
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages or (REQUEST,):
            self.say(message)

    def say(self, message: Message) -> None:
        self._said.put_nowait(message)

    def hang_up(self) -> None:
        self.say(GONE)

    async def receive(self) -> Message:
        return await self._said.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        kind = message["type"]
        if kind == "http.response.pathsend" or (kind == "http.response.body" and not message.get("more_body")):
            self.complete.set()
            self.hang_up()

    @property
    def unread(self) -> int:
        """Return how many messages nobody has received."""
        return self._said.qsize()

    @property
    def start(self) -> Message:
        return next(message for message in self.sent if message["type"] == "http.response.start")

    @property
    def status(self) -> int:
        return int(self.start["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return {bytes(name).lower(): bytes(value) for name, value in self.start["headers"]}

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


async def ask(app: App, path: str = "/", method: str = "GET", *messages: Message, **scope: Any) -> Wire:
    """Make one request, and return what came back."""
    wire = Wire(*messages)
    await app(http(path, method, **scope), wire.receive, wire.send)
    return wire
