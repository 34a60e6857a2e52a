"""Whatever clients send, the number of series stays: labels come from code alone."""

from __future__ import annotations

import asyncio
import contextlib
import random
import string
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import Live
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from asgi.wire import App, Wire, http, watched, websocket
from greeninfer import EnergyMiddleware
from greeninfer.exporters import PrometheusExporter

fastapi = pytest.importorskip("fastapi")

from starlette.applications import Starlette  # noqa: E402
from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.routing import Host, Mount, Route, Router  # noqa: E402

REQUESTS = 10_000
FEW = 500
UNMATCHED = "(unmatched)"

METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT"]
HEADERS = [
    *(b"host", b"x-forwarded-prefix", b"x-forwarded-for", b"x-script-name", b"traceparent", b"baggage", b"cookie"),
    *(b"content-type", b"accept", b"x-http-method-override", b"x-original-uri", b"user-agent", b"x-energy-joules"),
]


def service() -> App:
    """Return an application with routes of every kind, none of which may give a client's words away."""
    app, router, within = fastapi.FastAPI(), fastapi.APIRouter(prefix="/api"), fastapi.FastAPI()
    app.add_api_route("/items/{item}", lambda item: item, methods=["GET", "POST"])
    app.add_api_route("/numbers/{number:int}", lambda number: number, methods=["GET"])
    app.add_api_route("/files/{file:path}", lambda file: file, methods=["GET"])
    router.add_api_route("/{tenant}/items/{item}", lambda tenant, item: item, methods=["GET"])
    app.include_router(router)
    app.include_router(router, prefix="/v2")
    within.add_api_route("/x/{y}", lambda y: y, methods=["GET"])
    app.mount("/within", within)
    app.mount("/tenants/{tenant}", within)
    app.mount("/{id}/nested", Starlette(routes=[Mount("/{id}", routes=[Route("/{id}", page)])]))
    app.mount("/raw/{any}", PlainTextResponse("raw"))
    app.router.routes.append(Host("{sub}.example.org", app=Router([Route("/{anything:path}", page)])))
    app.add_api_websocket_route("/ws/{room}", socket)
    return app  # type: ignore[no-any-return]


def page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("page")


async def socket(websocket: fastapi.WebSocket) -> None:  # type: ignore[name-defined]
    await websocket.accept()
    await websocket.close()


# What may be a name at all
NAMES = {
    UNMATCHED,
    "/items/{item}",
    "/numbers/{number:int}",
    "/files/{file:path}",
    "/api/{tenant}/items/{item}",
    "/v2/api/{tenant}/items/{item}",
    "/within",
    "/within/x/{y}",
    "/tenants/{tenant}",
    "/tenants/{tenant}/x/{y}",
    "/{id}/nested",
    "/{id}/nested/{id}",
    "/{id}/nested/{id}/{id}",
    "/raw/{any}",
    "/{anything:path}",
    "/ws/{room}",
    "(mounted)",
    "(mounted)/{id}",
    "(mounted)/x/{y}",
}


PATHS = [
    *("/items/a", "/numbers/1", "/files/a", "/api/t/items/a", "/v2/api/t/items/a", "/within/x/a", "/within/a"),
    *("/tenants/t/x/a", "/tenants/t/a", "/tenants/t", "/a/nested", "/a/nested/b", "/a/nested/b/c", "/a/nested/b/c/d"),
    *("/raw/a", "/raw/a/b", "/ws/a", "/nothing", "/a/nested/b/c\n"),
]


class Client:
    """Makes requests up: sensible ones with something odd in them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def word(self) -> str:
        letters = string.ascii_letters + string.digits + "-._~%{}()äß☃\x00\n \"'\\"
        return "".join(self.random.choices(letters, k=self.random.randint(0, 12)))

    def path(self) -> str:
        word = self.word
        made: list[Callable[[], str]] = [
            lambda: "/" + "/".join(word() for _ in range(self.random.randint(0, 5))),
            lambda: f"/items/{word()}",
            lambda: f"/numbers/{word()}",
            lambda: f"/numbers/{self.random.randint(0, 10**9)}",
            lambda: f"/files/{word()}/{word()}",
            lambda: f"/api/{word()}/items/{word()}",
            lambda: f"/v2/api/{word()}/items/{word()}",
            lambda: f"/within/x/{word()}",
            lambda: f"/within/{word()}",
            lambda: f"/tenants/{word()}/x/{word()}",
            lambda: f"/tenants/{word()}/{word()}",
            lambda: f"/{word()}/nested/{word()}/{word()}",
            lambda: f"/raw/{word()}/{word()}",
            lambda: f"/ws/{word()}",
            lambda: word(),
        ]
        return self.random.choice(made)()

    def scope(self) -> Any:
        names = self.random.sample(HEADERS, self.random.randint(0, 4))
        headers = [(name, self.word().encode()) for name in names]
        if self.random.random() < 0.1:
            headers.append((b"host", f"{self.word()}.example.org".encode()))
        root_path = f"/{self.word()}" if self.random.random() < 0.05 else ""
        path = root_path + self.path()
        more = {
            "headers": headers,
            "root_path": root_path,
            "query_string": self.word().encode(),
            "raw_path": path.encode("utf-8", "surrogatepass"),
        }
        if self.random.random() < 0.1:
            return websocket(path, **more)
        method = self.random.choice(METHODS) if self.random.random() < 0.9 else self.word().upper()
        return http(path, method, **more)


async def play(app: App, scope: Any) -> None:
    wire = Wire({"type": "websocket.connect"}) if scope["type"] == "websocket" else Wire()
    with contextlib.suppress(Exception):  # what an odd request does to a framework is not our business
        await app(scope, wire.receive, wire.send)


def series(registry: CollectorRegistry) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Return every series of the page."""
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def names(found: set[tuple[str, frozenset[tuple[str, str]]]]) -> set[str]:
    return {value for _, labels in found for label, value in labels if label == "name" and value}


async def flood(live: Live, app: App, client: Client, requests: int) -> None:
    for number in range(requests):
        await play(app, client.scope())
        if number % 500 == 499:
            await asyncio.to_thread(live.settle)


def everything(live: Live, app: App) -> Awaitable[None]:
    """Ask once for whatever can be asked for, so that every series is there."""

    async def ask_all() -> None:
        for method in METHODS:
            for path in PATHS:
                await play(app, http(path, method))
            await play(app, http("/a", method, headers=[(b"host", b"a.example.org")]))
        for path in ("/ws/a", "/nothing", "/within/a", "/tenants/t/a", "/a/nested/b/c", "/raw/a/b", "/items/a"):
            await play(app, websocket(path))
        await play(app, websocket("/a", headers=[(b"host", b"a.example.org")]))
        live.settle()

    return ask_all()


@pytest.mark.parametrize(
    ("wrapped", "requests"),
    [(service, FEW), (lambda: EnergyMiddleware(service()), REQUESTS)],
    ids=["inside", "outside, ten thousand"],
)
def test_random_requests_make_no_new_series(wrapped: Callable[[], Any], requests: int) -> None:
    app = wrapped()
    if not isinstance(app, EnergyMiddleware):
        app.add_middleware(EnergyMiddleware)
    registry = CollectorRegistry()
    with watched(1.0, PrometheusExporter(registry)) as live:

        async def main() -> None:
            await everything(live, app)
            await flood(live, app, Client(1), 300)
            live.settle()
            before = series(registry)
            assert names(before) <= NAMES
            await flood(live, app, Client(2), requests)
            live.settle()
            after = series(registry)
            assert after - before == set()
            assert len(live.collected.measurements) >= requests

        asyncio.run(main())


@given(
    path=st.text(max_size=30),
    method=st.text(max_size=8),
    headers=st.lists(st.tuples(st.sampled_from(HEADERS), st.binary(max_size=20)), max_size=4),
    root_path=st.text(max_size=5),
    query=st.binary(max_size=10),
)
@settings(max_examples=150, deadline=None)
def test_no_request_names_itself(
    path: str, method: str, headers: list[tuple[bytes, bytes]], root_path: str, query: bytes
) -> None:
    app = EnergyMiddleware(service())
    scope = http("/" + path, method, headers=headers, root_path=root_path, query_string=query)
    scope["raw_path"] = path.encode("utf-8", "surrogatepass")
    with watched() as live:
        asyncio.run(play(app, scope))
        assert {each.key[0] for each in live.settle()} <= NAMES


def test_methods_and_states_are_no_labels() -> None:
    """They are attributes, for logs and traces."""
    registry = CollectorRegistry()
    with watched(1.0, PrometheusExporter(registry)) as live:

        async def app(scope: Any, receive: Any, send: Any) -> None:
            status = int(scope["path"][1:])
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body"})

        async def main() -> None:
            measured = EnergyMiddleware(app)
            for status in range(100, 500):
                await play(measured, http(f"/{status}", f"M{status}"))

        asyncio.run(main())
        live.settle()
        found = series(registry)
        assert names(found) == {UNMATCHED}
        duration = [labels for name, labels in found if name == "greeninfer_request_duration_seconds_count"]
        assert len(duration) == 1
        attributes = [each.attributes for each in live.named(UNMATCHED)]
        assert {each["http.response.status_code"] for each in attributes if each} == set(range(100, 500))
