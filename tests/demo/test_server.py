from __future__ import annotations

import socket
import threading
import urllib.request
from typing import Any

import pytest

pytest.importorskip("uvicorn")

from greeninfer.demo import _server
from greeninfer.demo._server import ServiceBroken, serving


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request; know nothing of lifespans."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def ask(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def test_it_serves_and_nothing_stays_behind() -> None:
    before = threading.active_count()
    with serving(hello, 0) as service:
        assert ask(service.url) == b"hello"
        service.check()
        port = int(service.url.rpartition(":")[2])
    assert threading.active_count() == before
    with socket.socket() as free:
        assert free.connect_ex((_server.HOST, port)) != 0


def test_it_takes_the_port_that_it_is_told() -> None:
    with socket.socket() as probe:
        probe.bind((_server.HOST, 0))
        port = probe.getsockname()[1]
    for _ in range(2):  # also right after it was used
        with serving(hello, port) as service:
            assert service.url == f"http://127.0.0.1:{port}"
            assert ask(service.url) == b"hello"


def test_another_port_if_that_one_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind((_server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serving(hello, port) as service:
            assert not service.url.endswith(f":{port}")
            assert ask(service.url) == b"hello"


def test_a_server_that_hangs_at_its_start_does_not_hold_up_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "_START_SECONDS", 0.05)
    monkeypatch.setattr(_server, "_STOP_SECONDS", 0.01)
    end = threading.Event()
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: end.wait(60))
    try:
        with pytest.raises(ServiceBroken, match=r"did not start within 0\.05 s"), serving(hello, 0):
            pass
    finally:
        end.set()
        for thread in threading.enumerate():
            if thread.name == "greeninfer-demo-server":
                thread.join(20)


def test_a_server_that_stops_by_itself_is_told() -> None:
    with serving(hello, 0) as service:
        service._server.should_exit = True
        service._thread.join(20)
        with pytest.raises(ServiceBroken, match="stopped by itself"):
            service.check()


def test_the_error_of_the_server_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, sockets: object) -> None:
        raise OSError("too many open files")

    monkeypatch.setattr("uvicorn.Server.run", broken)
    with pytest.raises(ServiceBroken, match="too many open files"), serving(hello, 0):
        pass
