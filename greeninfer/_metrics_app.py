"""A door for Prometheus: an ASGI application that answers with the metrics page, for any framework to mount."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

Message = MutableMapping[str, Any]


class MetricsApp:
    """Answer every request with the metrics: OpenMetrics with exemplars where asked for, else the text format.

    With ``PROMETHEUS_MULTIPROC_DIR`` set, the page adds up all worker processes, as prometheus_client wants it; that
    format has no exemplars. The page is made on a thread of its own: a large one takes milliseconds, and requests on
    the event loop must not wait for it.

    Args:
        registry: which metrics; default: prometheus_client's own, looked up at each request, so that an application
            which is pickled (Ray Serve) shows what is counted where it runs.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        import asyncio  # as costly as all of ours, and there already where an event loop runs

        accept = b",".join(value for name, value in scope.get("headers", ()) if name == b"accept").decode("latin-1")
        body, content_type = await asyncio.to_thread(self._page, accept)
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})

    def _page(self, accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry_of_all_workers(self._registry or REGISTRY)), content_type


def registry_of_all_workers(registry: CollectorRegistry) -> CollectorRegistry:
    """Return one that adds up the files of all worker processes, or the given one where there are none."""
    from prometheus_client import values

    if values.ValueClass.__name__ != "MmapedValue":  # chosen by prometheus_client when it was imported
        return registry
    from prometheus_client.multiprocess import MultiProcessCollector

    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together
