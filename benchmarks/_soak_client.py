"""A client that knows exactly how many requests it sent and how many were answered; wrk forgets those at the end.

    python _soak_client.py PORT SECONDS CONNECTIONS

Each connection sends a request as soon as the one before is answered, and all of them end with an answer. Two further
connections leave in the middle of a stream, again and again. One line of JSON on standard output: by route, how many
were sent, and how many were answered as they should be.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

ROUTES = {  # name of the route: path, status, out of 20 requests
    "/predict/{x}": ("/predict/7", 200, 11),
    "/sync/{x}": ("/sync/7", 200, 3),
    "/remote/{x}": ("/remote/7", 200, 2),
    "/stream/{x}": ("/stream/7", 200, 2),
    "/fail/{x}": ("/fail/7", 503, 1),
    "(unmatched)": ("/nowhere/7", 404, 1),
}
PLAN = [route for route, (_, _, times) in ROUTES.items() for _ in range(times)]
LEAVERS = 2
PATIENCE_SECONDS = 30.0
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass
class Counts:
    """What was sent, and what was answered with the right status."""

    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)


def message(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class Connection(asyncio.Protocol):
    """One request after the other until the time is over.

    Args:
        number: where in the plan it begins.
        until: monotonic seconds.
        done: gets a result at the end.
    """

    def __init__(self, number: int, until: float, counts: Counts, done: asyncio.Future[None]) -> None:
        self._number = number * 7
        self._until = until
        self._counts = counts
        self._done = done
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4 or not self._is_whole(self._buffer[:end], self._buffer[end:]):
            return
        status, self._buffer = int(self._buffer[9:12]), b""
        if status == ROUTES[self._route][1]:
            self._counts.answered[self._route] += 1
        if time.monotonic() < self._until:
            self._send()
        else:
            self._done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the server closed a connection"))

    def _send(self) -> None:
        self._number += 1
        self._route = PLAN[self._number % len(PLAN)]
        self._counts.sent[self._route] += 1
        self._transport.write(message(ROUTES[self._route][0]))

    @staticmethod
    def _is_whole(head: bytes, body: bytes) -> bool:
        length = LENGTH.search(head)
        return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


async def leave_again_and_again(port: int, until: float, counts: Counts) -> None:
    """Ask for a stream, read its first bytes, be gone."""
    route = "/stream/{x}"
    while time.monotonic() < until:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(message(ROUTES[route][0]))
        counts.sent[route] += 1
        if (await reader.read(12)).startswith(b"HTTP/1.1 200"):
            counts.answered[route] += 1
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)


async def run(port: int, seconds: float, connections: int) -> Counts:
    counts = Counts()
    until = time.monotonic() + seconds
    loop = asyncio.get_running_loop()
    ends: list[asyncio.Future[None]] = []
    for number in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        ends.append(done)
        connection = Connection(number, until, counts, done)
        await loop.create_connection(lambda each=connection: each, "127.0.0.1", port)  # type: ignore[misc]
    async with asyncio.timeout(seconds + PATIENCE_SECONDS):
        await asyncio.gather(*ends, *(leave_again_and_again(port, until, counts) for _ in range(LEAVERS)))
    return counts


def main() -> None:
    port, seconds, connections = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    try:
        import uvloop
    except ImportError:
        counts = asyncio.run(run(port, seconds, connections))
    else:
        counts = uvloop.run(run(port, seconds, connections))
    print(json.dumps({"sent": counts.sent, "answered": counts.answered}))


if __name__ == "__main__":
    main()
