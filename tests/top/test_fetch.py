"""Getting a page from servers that answer, refuse, hang, lie or never end."""

from __future__ import annotations

import socket
from itertools import count

import pytest

from greeninfer.top._fetch import fetch
from greeninfer.top._page import PageError
from top.builders import BEFORE
from top.servers import Answer, free_port, http, raw, serving


def problem(url: str, **options: float) -> str:
    with pytest.raises(PageError) as refused:
        fetch(url, **{"timeout": 2.0, **options})  # type: ignore[arg-type]
    return str(refused.value)


def answered(answer: Answer, **options: float) -> str:
    with serving(answer) as server:
        return problem(server.url, **options)


def test_a_page() -> None:
    with serving(http(BEFORE)) as server:
        assert fetch(server.url) == BEFORE
        assert "GET /metrics HTTP/1.1\r\n" in server.requests[0]
        assert "\r\nAccept: text/plain;version=0.0.4;" in server.requests[0]


def test_bytes_that_are_no_text_do_not_matter() -> None:
    with serving(http(b"caf\xe9 \xff\n")) as server:
        assert fetch(server.url) == "caf\ufffd \ufffd\n"


def test_a_redirection_is_followed() -> None:
    with (
        serving(http(BEFORE)) as there,
        serving(http("", "307 Temporary Redirect", f"Location: {there.url}")) as here,
    ):
        assert fetch(here.url) == BEFORE


def test_nothing_listens() -> None:
    found = problem(f"http://127.0.0.1:{free_port()}/metrics")
    assert found.startswith("nothing listens there; remedy: start the service, with greeninfer.instrument(app) in it")


def test_no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_options: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert problem("http://localhost:1/metrics") == "there is no such host; remedy: correct the name"


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("404 Not Found", "the answer is HTTP 404 Not Found: there is no page; remedy: greeninfer.instrument(app)"),
        ("401 Unauthorized", "the answer is HTTP 401 Unauthorized: it wants credentials"),
        ("403 Forbidden", "the answer is HTTP 403 Forbidden: this client may not see it"),
        ("500 Internal Server Error", "the answer is HTTP 500 Internal Server Error: the service does not work"),
        ("503 Service Unavailable", "the answer is HTTP 503 Service Unavailable: the service does not work"),
        ("307 Temporary Redirect\r\nLocation: file:///etc/passwd", "the answer is HTTP 307"),
    ],
)
def test_an_http_error(status: str, says: str) -> None:
    assert answered(http("no", status)).startswith(says)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"\x00\x01\x02",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 99999,
    ],
)
def test_an_answer_that_is_not_http(data: bytes) -> None:
    assert answered(raw(data)).startswith(("the answer is not HTTP as it should be (", "no connection ("))


def test_a_page_that_is_cut_off() -> None:
    assert answered(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ngreeninfer_")) == "the page was cut off"


def test_chunks_that_are_garbage() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"
    assert answered(raw(chunked)).startswith("the answer is not HTTP as it should be (")


def test_a_page_that_is_too_large() -> None:
    assert answered(http("x" * 3_000_000), most_bytes=2 * 1024 * 1024).startswith("the page has more than 2 MiB")


def test_a_page_without_end() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"# HELP x y\n" * 1000)

    assert answered(flood, most_bytes=1024 * 1024).startswith("the page has more than 1 MiB")


def test_a_server_that_hangs() -> None:
    with serving(lambda connection: server.stopping.wait(5.0) and None) as server:
        assert problem(server.url, timeout=0.1).startswith("no answer within 0.1 s; remedy: look whether")


def test_a_server_that_drips() -> None:
    clock = count(0.0, 3.0)
    with serving(raw(b"HTTP/1.1 200 OK\r\n\r\ngreeninfer_x 1\n")) as server, pytest.raises(PageError) as refused:
        fetch(server.url, timeout=2.0, now=lambda: next(clock) * 2.0)
    assert str(refused.value) == "the page does not come to an end in time"


def test_a_proxy_is_not_asked_for_a_service_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(http(BEFORE)) as server:
        assert fetch(server.url) == BEFORE
        assert fetch(server.url.replace("127.0.0.1", "localhost")) == BEFORE
