"""Requests that are over before the sampler looks, and those that it or the program gets hold of halfway."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextvars import Context, copy_context
from typing import Any

import pytest
from live import spin

import greeninfer
from asgi.wire import Scope, Wire, body, http, start, watched
from greeninfer import EnergyMiddleware
from greeninfer._records import NANO
from greeninfer._span import Span


async def ask(app: EnergyMiddleware, path: str) -> None:
    wire = Wire()
    await app(http(path), wire.receive, wire.send)


def spans_alive() -> int:
    return sum(type(each) is Span for each in gc.get_objects())


@pytest.mark.parametrize("waits", [0, 1, 3])
def test_no_object_is_left_of_a_request_that_nobody_holds(waits: int) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        for _ in range(waits):
            await asyncio.sleep(0)
        spin(0.001)
        await send(start())
        await send(body())

    async def main(middleware: EnergyMiddleware) -> None:
        for _ in range(20):
            await ask(middleware, "/")

    with watched() as live:
        before = spans_alive()
        gc.disable()
        try:
            asyncio.run(main(EnergyMiddleware(app, name="brief")))
            assert spans_alive() == before
        finally:
            gc.enable()
        inbox = live.monitor.inbox
        assert (len(inbox.edges), len(inbox.unseen), inbox.waiting) == (0, 0, 20)
        found = live.named("brief")
        assert len(found) == 20
        assert all(each.cpu_seconds >= 0.001 for each in found)
        assert sum(each.nanojoules for each in found) == live.collected.nanojoules("attributed")


def test_a_request_that_the_program_holds_is_its_span() -> None:
    held: list[Span | None] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        held.append(greeninfer.current())
        spin(0.002)
        await send(start())
        await send(body())

    with watched() as live:
        asyncio.run(ask(EnergyMiddleware(app, name="held"), "/"))
        (span,) = held
        assert span is not None
        (measurement,) = live.named("held")
        assert measurement is span
        assert span.energy().joules == pytest.approx(span.nanojoules / NANO)
        assert not span.energy().provisional
        assert span.cpu_seconds >= 0.002


def test_a_request_that_another_thread_holds_is_its_span() -> None:
    """Its context went to a thread that nobody follows."""
    held: list[Span | None] = []

    def hold() -> None:
        held.append(greeninfer.current())

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        import contextvars

        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(lambda: held.append(greeninfer.current()),)
        )
        thread.start()
        thread.join()
        spin(0.002)
        await send(start())
        await send(body())

    with watched() as live:
        asyncio.run(ask(EnergyMiddleware(app, name="held"), "/"))
        assert live.named("held") == held
        assert live.named("held")[0].cpu_seconds >= 0.002


def test_a_tick_in_the_midst_of_a_step_divides_it() -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn(2.0)
            assert live.open_spans() == {"long": 1}
            live.burn(3.0)
            await send(start())
            await send(body())

        asyncio.run(ask(EnergyMiddleware(app, name="long"), "/"))
        assert live.open_spans() == {}
        assert live.joules("long") == pytest.approx(5.0, abs=0.1)


def test_a_tick_while_a_request_waits_sees_it_open() -> None:
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            live.burn(2.0)
            await asyncio.sleep(0.01)
            live.burn(3.0)
            await send(start())
            await send(body())

        async def main() -> None:
            asking = asyncio.create_task(ask(EnergyMiddleware(app, name="waits"), "/"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert live.open_spans() == {"waits": 1}
            await asking

        asyncio.run(main())
        assert live.joules("waits") == pytest.approx(5.0, abs=0.1)


def test_a_request_whose_server_left_lasted_until_it_waited_last() -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        spin(0.001)
        await asyncio.sleep(60.0)

    async def main() -> None:
        wire = Wire()
        asked = EnergyMiddleware(app, name="left")(http("/"), wire.receive, wire.send)
        asked.send(None)  # type: ignore[attr-defined]
        time.sleep(0.2)
        asked.close()  # type: ignore[attr-defined]

    with watched() as live:
        asyncio.run(main())
        left = live.one("left")
        assert (left.outcome, left.seconds < 0.1, left.cpu_seconds >= 0.001) == ("cancelled", True, True)


def test_a_request_that_is_held_in_the_step_of_another_takes_nothing_of_it() -> None:
    """What works in a context of the first one, such as a callback, may ask for its span while the second one runs."""
    contexts: list[Context] = []
    spun = 0.0

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        nonlocal spun
        scope["path_template"] = scope["path"]
        spin(0.002)
        if scope["path"] == "/first":
            contexts.append(copy_context())
            await asyncio.sleep(0.01)
            spin(0.002)
        else:
            assert greeninfer.current() is not None
            spun = spin(0.002)
            assert contexts[0].run(greeninfer.current) is not None
            spun += spin(0.02)
        await send(start())
        await send(body())

    async def main() -> None:
        middleware = EnergyMiddleware(app)
        await asyncio.gather(ask(middleware, "/first"), ask(middleware, "/second"))

    with watched() as live:
        asyncio.run(main())
        assert 0.004 <= live.one("/first").cpu_seconds < 0.01
        assert live.one("/second").cpu_seconds >= spun
        assert live.open_spans() == {}


@pytest.fixture
def hurried() -> Iterator[None]:
    """Let threads take turns as often as they can, so that ticks come between any two steps of the interpreter."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_no_request_is_lost_between_the_loop_and_the_sampler(hurried: None) -> None:
    """All kinds of requests while the sampler looks hundreds of times a second: each counts once, with all it ran."""
    kinds = {"/brief": 600, "/steps": 300, "/waits": 300, "/inside": 100, "/held": 100, "/thread": 40}
    spun: dict[str, float] = defaultdict(float)

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        path = scope["path_template"] = scope["path"]
        spun[path] += spin(0.0002)
        if path == "/steps":
            await asyncio.sleep(0)
            spun[path] += spin(0.0002)
        elif path == "/waits":
            await asyncio.sleep(0.002)
        elif path == "/inside":
            with greeninfer.measure("child"):
                spun["child"] += spin(0.0002)
        elif path == "/held":
            greeninfer.current().add_tokens(input=1)  # type: ignore[union-attr]
        elif path == "/thread":
            spun[path] += await asyncio.to_thread(spin, 0.0002)
        await send(start())
        await send(body())

    async def main() -> None:
        middleware = EnergyMiddleware(app)
        paths = [path for path, count in kinds.items() for _ in range(count)]
        for first in range(40):
            await asyncio.gather(*(ask(middleware, path) for path in paths[first::40]))

    with watched(lambda _instant, cores: 5.0 + 20.0 * cores, running=time.process_time, tick_seconds=0.001) as live:
        asyncio.run(main())
        settled = live.settle()
        counts: dict[str, int] = defaultdict(int)
        ran: dict[str, float] = defaultdict(float)
        for each in settled:
            counts[each.key[0]] += 1
            ran[each.key[0]] += each.cpu_seconds
        assert counts == {**kinds, "child": kinds["/inside"]}
        assert all(ran[name] > 0.99 * seconds for name, seconds in spun.items())
        assert sum(ran.values()) < 3.0 * sum(spun.values())
        assert sum(each.nanojoules for each in settled) == live.collected.nanojoules("attributed")
        assert live.open_spans() == {}
        assert sum(sum(each.tokens.values()) for each in settled) == kinds["/held"]
