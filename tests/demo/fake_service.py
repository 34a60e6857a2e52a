"""A service made of figures chosen by hand: the live page, and metrics that change with every reading."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest

from greeninfer._records import Settlement
from greeninfer.demo._live_page import LivePage
from greeninfer.exporters import PrometheusExporter

Answer = tuple[int, bytes] | None
"""Status and body, or None where nothing comes and the connection ends."""


def page_after(settlements: Sequence[Settlement]) -> bytes:
    """Return the metrics page of a service in which these happened."""
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    for each in settlements:
        exporter.export(each)
    return generate_latest(registry)


def live_page(metrics: str = "/metrics") -> bytes:
    """Return the body of the live page."""
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    asyncio.run(LivePage(metrics)({"type": "http", "method": "GET"}, None, send))  # type: ignore[arg-type]
    return bytes(sent[1]["body"])  # type: ignore[call-overload, no-any-return]


@contextmanager
def fake_service(metrics: Callable[[int], Answer]) -> Iterator[str]:
    """Serve the live page at ``/`` and, at the nth reading, ``metrics(n)``; give the address."""
    body, readings = live_page(), iter(range(1_000_000))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = metrics(next(readings)) if self.path == "/metrics" else (200, body)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer[0])
            self.send_header("content-type", "text/html; charset=utf-8" if self.path != "/metrics" else "text/plain")
            self.send_header("content-length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
