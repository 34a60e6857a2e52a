"""The live page: joules per request and watts by line, drawn in the browser from a service's ``/metrics`` alone."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, MutableMapping
from importlib.resources import files
from typing import Any, Final

Message = MutableMapping[str, Any]

_DEFAULT: Final = '<meta name="greeninfer-metrics" content="/metrics">'


class LivePage:
    """An ASGI application that answers every request with the live page, for any framework to mount.

    The page needs nothing but itself and a metrics page in Prometheus' text format that has greeninfer's figures.

    Args:
        metrics: address of that page, as the browser sees it; another site's must allow it (CORS).
    """

    def __init__(self, metrics: str = "/metrics") -> None:
        page = (files(__package__) / "live.html").read_text(encoding="utf-8")
        told = f'<meta name="greeninfer-metrics" content="{html.escape(metrics)}">'
        self._body = page.replace(_DEFAULT, told).encode()

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(self._body)).encode()),
            (b"cache-control", b"no-cache"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else self._body})
