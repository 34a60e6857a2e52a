"""A door for Prometheus: an ASGI application that answers with the metrics page, for any framework to mount."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from typing import Any, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

Made = TypeVar("Made")
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
        accept = b",".join(value for name, value in scope.get("headers", ()) if name == b"accept").decode("latin-1")
        body, content_type = await _apart(lambda: self._page(accept))
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})

    def _page(self, accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry_of_all_workers(self._registry or REGISTRY)), content_type


async def _apart(make: Callable[[], Made]) -> Made:
    """Call a function on a thread of its own, for a pool may be full of slow work; where asyncio does not run, here."""
    import asyncio  # as costly as all of ours, and there already where an event loop runs

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return make()
    made: Future[Made] = Future()

    def work() -> None:
        if not made.set_running_or_notify_cancel():
            return
        try:
            made.set_result(make())
        except Exception as error:  # noqa: BLE001 - raised again by whoever awaits it
            made.set_exception(error)

    threading.Thread(target=work, name="metrics", daemon=True).start()
    return await asyncio.wrap_future(made)


def registry_of_all_workers(registry: CollectorRegistry) -> CollectorRegistry:
    """Return one that adds up the files of all worker processes, or the given one where there are none."""
    from prometheus_client import values

    if values.ValueClass.__name__ != "MmapedValue":  # chosen by prometheus_client when it was imported
        return registry
    from prometheus_client.multiprocess import MultiProcessCollector

    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together
