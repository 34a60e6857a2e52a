"""Requests whose route is not known, or not yet, or whose scope holds what nobody expects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest
from live import Live, spin
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from asgi.wire import App, Scope, Wire, ask, body, http, start, watched
from greeninfer import EnergyMiddleware, measure
from greeninfer._records import NANO
from greeninfer.exporters import PrometheusExporter

UNMATCHED = "(unmatched)"


async def raw(scope: Scope, receive: Any, send: Any) -> None:
    await send(start())
    await send(body())


@pytest.mark.parametrize("path", ["/", "/a", "/a/b?c", "", "*", "/\udce4\x00\n\"'"])
def test_a_raw_application_has_one_name(path: str) -> None:
    with watched() as live:
        scope = {"raw_path": b"", **http()}
        wire = Wire()
        asyncio.run(EnergyMiddleware(raw)({**scope, "path": path}, wire.receive, wire.send))
        assert live.one(UNMATCHED).outcome == "ok"


class Odd:
    """A route as some router might make one."""

    def __init__(self, path: object) -> None:
        self.path = path


@pytest.mark.parametrize(
    "template", [5, b"/x", Path("/x"), ["/x"], 1.5, object(), {"a": 1}], ids=lambda each: type(each).__name__
)
@pytest.mark.parametrize("place", ["path_template", "route"])
def test_a_template_that_is_not_a_string(template: object, place: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, counted each time, and the requests go on as "(unmatched)"."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        scope[place] = template if place == "path_template" else Odd(template)
        live.burn_apart(1.0)
        await send(start())
        await send(body(b"x"))

    with caplog.at_level(logging.WARNING, "greeninfer"), Live() as live:
        measured = EnergyMiddleware(app)
        for _ in range(3):
            assert asyncio.run(ask(measured)).text == "x"
        assert len(live.named(UNMATCHED)) == 3
        assert live.open_spans() == {}
        assert live.joules(UNMATCHED) == pytest.approx(3.0, abs=0.5)
    assert live.collected.failures() == {("asgi", "route_name"): 3}
    (record,) = caplog.records
    assert "greeninfer.failure meter=asgi reason=route_name" in record.getMessage()
    assert repr(template) in record.getMessage()


@pytest.mark.parametrize(
    "template", ["", "/", "/ä/{ö}", "x" * 10_000, "\udce4", "new\nline"], ids=lambda text: ascii(text[:9])
)
def test_a_template_of_any_text(template: str) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        scope["path_template"] = template
        await send(start())
        await send(body(b"x"))

    registry = CollectorRegistry()
    with watched(1.0, PrometheusExporter(registry)) as live:
        assert asyncio.run(ask(EnergyMiddleware(app))).text == "x"
        assert [each.key[0] for each in live.settle()] == [template or "/"]
        assert generate_latest(registry)


class Trap:
    """A route whose attributes fail, as a lazy object's may."""

    def __getattr__(self, name: str) -> object:
        raise ValueError(f"no {name} yet")


@pytest.mark.parametrize(
    "odd",
    [
        {"route": Trap()},
        {"path_template": "/x", "root_path": 5},
        {"path_template": "/x", "root_path": None},
        {"path_template": "/x", "root_path": "/m", "path_params": 7},
        {"route": Odd("/x"), "fastapi": 3},
        {"route": Odd("/x"), "fastapi": {"effective_route_context": 3}},
        {"route": Odd("/x"), "router": 3, "app": 3, "endpoint": 3},
        {"route": Odd("/x"), "router": Trap(), "app": Trap(), "root_path": "/m"},
    ],
    ids=lambda scope: "-".join(scope),
)
def test_whatever_stands_in_a_scope_neither_the_request_nor_the_books_mind(odd: dict[str, object]) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        scope.update(odd)
        live.burn_apart(1.0)
        await send(start())
        await send(body(b"x"))

    with Live() as live:
        assert asyncio.run(ask(EnergyMiddleware(app))).text == "x"
        assert len(live.settle()) == 1
        assert live.open_spans() == {}
        assert sum(each.nanojoules for each in live.settle()) / NANO == pytest.approx(1.0, rel=0.05)
    assert set(live.collected.failures()) <= {("asgi", "route_name")}


@pytest.mark.parametrize("fails", [False, True])
def test_an_application_that_clears_its_scope(fails: bool) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        scope.clear()
        if fails:
            raise ZeroDivisionError

    with watched() as live:
        with pytest.raises(ZeroDivisionError) if fails else contextlib.nullcontext():
            asyncio.run(ask(EnergyMiddleware(app)))
        assert live.one(UNMATCHED).outcome == "error"


@pytest.mark.parametrize("key", [None, "path", "root_path", "headers", "method"])
def test_a_scope_that_lacks_what_it_should_hold(key: str | None) -> None:
    """As the scopes of other gateways and of tests do."""
    scope = {name: value for name, value in http("/x").items() if name != key}
    if key is None:
        scope = {"type": "http"}
    with watched() as live:
        wire = Wire()
        asyncio.run(EnergyMiddleware(raw)(scope, wire.receive, wire.send))
        assert live.one(UNMATCHED).outcome == "ok"


# What is charged while the route is not known


def test_a_raw_application_is_charged_from_its_beginning() -> None:
    """Longer than a tick, and no route will ever be known."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            for _ in range(5):
                live.burn_apart(10.0)
                await asyncio.sleep(0)
            await raw(scope, receive, send)

        asyncio.run(ask(EnergyMiddleware(app)))
        assert live.joules(UNMATCHED) == pytest.approx(50.0, rel=0.02)
        assert live.collected.nanojoules("unattributed") < 1e-3 * 50.0 * NANO


def test_work_before_the_routing_is_the_routes() -> None:
    """A middleware inside that works, and then waits, before it lets the request in."""

    async def routed(scope: Scope, receive: Any, send: Any) -> None:
        scope["path_template"] = "/a/{b}"
        await raw(scope, receive, send)

    with watched() as live:

        def guarded(app: App) -> App:
            async def guard(scope: Scope, receive: Any, send: Any) -> None:
                live.burn_apart(30.0)
                await asyncio.sleep(0.01)
                live.tick()
                await app(scope, receive, send)
                live.burn_apart(7.0)

            return guard

        app = guarded(routed)
        asyncio.run(ask(EnergyMiddleware(app), "/a/1"))
        assert live.joules("/a/{b}") == pytest.approx(37.0, rel=0.02)
        assert live.collected.nanojoules("unattributed") < 1e-3 * 37.0 * NANO


def test_the_counters_of_a_route_agree_with_its_requests_however_late_it_is_known() -> None:
    """``_sum`` of the histogram and the attributed line, by name, as soon as nothing is open."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn_apart(5.0)
            number = int(scope["path"][1:])
            if number % 2:
                scope["path_template"] = f"/route{number % 4}"
            live.burn_apart(5.0)
            if number % 3 == 0:
                raise KeyError("x")
            await raw(scope, receive, send)

        async def one(number: int) -> None:
            with contextlib.suppress(KeyError):
                await ask(measured, f"/{number}")

        measured = EnergyMiddleware(app)
        for number in range(8):
            asyncio.run(one(number))
        settled = live.settle()
        lines = [line for settlement in live.collected.settlements for line in settlement.lines]
        for name in {each.key[0] for each in settled}:
            observed = sum(each.nanojoules for each in settled if each.key[0] == name)
            booked = sum(line.nanojoules for line in lines if line.state == "attributed" and line.name == name)
            assert booked == observed
            assert observed / NANO == pytest.approx(10.0 * len(live.named(name)), rel=0.02)


def test_in_flight_moves_to_the_route_once_it_is_known() -> None:
    async def main() -> None:
        go, routed, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await go.wait()
            scope["path_template"] = "/late"
            routed.set()
            await end.wait()
            await raw(scope, receive, send)

        task = asyncio.create_task(ask(EnergyMiddleware(app)))
        await asyncio.sleep(0)
        assert live.open_spans() == {UNMATCHED: 1}
        go.set()
        await routed.wait()
        assert live.open_spans() == {"/late": 1}
        end.set()
        await task
        assert live.open_spans() == {}

    with watched() as live:
        asyncio.run(main())


def test_a_child_knows_its_parents_late_name() -> None:
    """Nested spans keep names of their own, and their joules are carved out of the request's."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            with measure("classify", model="tfidf-lr"):
                live.burn_apart(20.0)
                spin(0.001)
            scope["path_template"] = "/predict/{x}"
            live.burn_apart(10.0)
            await raw(scope, receive, send)

        asyncio.run(ask(EnergyMiddleware(app)))
        assert live.joules("classify") == pytest.approx(20.0, rel=0.02)
        assert live.joules("/predict/{x}") == pytest.approx(10.0, rel=0.02)
        assert live.one("/predict/{x}").energy().total_joules == pytest.approx(30.0, rel=0.02)
