"""Daphne, in a process of its own: its reactor is the whole program's."""

from __future__ import annotations

from pathlib import Path

import pytest
from live import play

SCRIPT = """
import warnings
warnings.simplefilter("ignore")
import asyncio, json, socket, threading, time
from twisted.internet import asyncioreactor
asyncioreactor.install(asyncio.new_event_loop())
from daphne.server import Server
from twisted.internet import reactor
from asgi.wire import body, start, watched
from asgi.serving import head, hang_up, until, until_quiet
from greeninfer import EnergyMiddleware

bursts = []

async def app(scope, receive, send):
    scope["path_template"] = scope["path"]
    if scope["path"] == "/stream":
        await receive()
        await send(start())
        for number in range(5):
            live.burn_apart(10.0)
            await send(body(b"%d" % number, more=True))
            await asyncio.sleep(0.002)
        await send(body())
    elif scope["path"] == "/thread":
        await asyncio.to_thread(live.burn_apart, 20.0)
        await asyncio.create_task(in_a_task())
        await send(start())
        await send(body(b"done"))
    elif scope["path"] == "/fails":
        raise ValueError("no such model")
    elif scope["path"] == "/late":
        await asyncio.sleep(0.12)
        await send(start())
        await send(body(b"late"))
        bursts.append((await receive())["body"].decode())
    else:
        await receive()
        bursts.append("waits")
        while (await receive())["type"] != "http.disconnect":
            pass

async def in_a_task():
    live.burn_apart(20.0)

def ask(path, more=b""):
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(head(path, "POST" if more else "GET", b"connection: close", body=more))
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
        return b"".join(parts).decode()

def client():
    try:
        found["stream"] = ask("/stream").endswith("4\\r\\n0\\r\\n\\r\\n")
        found["thread"] = "done" in ask("/thread")
        found["fails"] = " 500 " in ask("/fails")
        found["late"] = "late" in ask("/late", b"question")
        connection = socket.create_connection(("127.0.0.1", port), 10)
        connection.sendall(head("/waits"))
        until(lambda: "waits" in bursts)
        hang_up(connection)
        until_quiet(live)
    finally:
        reactor.callFromThread(reactor.stop)

found = {}
free = socket.create_server(("127.0.0.1", 0))
port = free.getsockname()[1]
free.close()
with watched() as live:
    server = Server(EnergyMiddleware(app), endpoints=["tcp:port=%d:interface=127.0.0.1" % port], signal_handlers=False,
                    ready_callable=lambda: threading.Thread(target=client).start())
    server.run()
    found["measured"] = sorted([each.key[0], each.outcome, round(each.nanojoules / 1e9)] for each in live.settle())
    found["bursts"] = bursts
print(json.dumps(found))
"""


def test_daphne(tmp_path: Path) -> None:
    pytest.importorskip("daphne")
    found = play(SCRIPT, tmp_path)
    measured = found.pop("measured")
    assert found == {"stream": True, "thread": True, "fails": True, "late": True, "bursts": ["question", "waits"]}
    assert measured == [
        ["/fails", "error", 0],
        ["/late", "ok", 0],
        ["/stream", "ok", 50],
        ["/thread", "ok", 40],
        ["/waits", "cancelled", 0],
    ]
