"""Many requests at once on a simulated node, whose joules are known request by request and to the nanojoule in sum."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import Any

import pytest
from live import Live, spin

from asgi.wire import Scope, Wire, body, http, start, watched
from greeninfer import EnergyMiddleware
from greeninfer._records import NANO

IDLE_WATTS, CORE_WATTS = 20.0, 30.0
STEP = 0.002
UNIT = 0.02
BUSY = {"/light": UNIT, "/heavy": 3 * UNIT, "/thread": 2 * UNIT}  # CPU seconds of each request of a route


class Node:
    """A machine that draws 20 W, and 30 W for each core that this process keeps busy.

    One thread of it works at a time, so that what a request draws beyond the idle power is what it works.
    """

    def __init__(self) -> None:
        self.used: dict[str, float] = defaultdict(float)

    def watts(self, _instant: float, cores: float) -> float:
        return IDLE_WATTS + CORE_WATTS * cores

    def work(self, path: str, cpu_seconds: float) -> None:
        self.used[path] += spin(cpu_seconds)

    async def app(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer: routes that work on the loop in steps, one that works in a thread, and one that only waits."""
        path = scope["path"]
        scope["path_template"] = path
        await receive()
        if path == "/wait":
            await self.over.wait()
        elif path == "/thread":
            async with self.one_at_a_time:
                await asyncio.to_thread(self.work, path, BUSY[path])
        else:
            begun = time.perf_counter()
            used = 0.0
            while used < BUSY[path] and time.perf_counter() - begun < 60.0:
                async with self.one_at_a_time:
                    used += spin(STEP)
                await asyncio.sleep(0)
            self.used[path] += used
        await send(start())
        await send(body(path.encode()))

    async def serve(self, counts: dict[str, int]) -> None:
        """Answer so many requests of each route, all at once."""
        self.over, self.one_at_a_time = asyncio.Event(), asyncio.Lock()
        middleware = EnergyMiddleware(self.app)

        async def one(path: str) -> None:
            wire = Wire()
            await middleware(http(path), wire.receive, wire.send)
            assert wire.text == path

        paths = [path for path, count in counts.items() for _ in range(count)]
        waiting = [asyncio.create_task(one(path)) for path in paths if path == "/wait"]
        await asyncio.gather(*(one(path) for path in paths if path != "/wait"))
        self.over.set()
        await asyncio.gather(*waiting)


def check(live: Live, node: Node, counts: dict[str, int]) -> None:
    """Hold what the books say against what the routes worked."""
    settled = live.settle()
    assert {path: len(live.named(path)) for path in counts} == counts
    attributed = live.collected.nanojoules("attributed")
    assert attributed == sum(each.nanojoules for each in settled)  # and Live checks that all lines are the meter's
    # One works at a time, so idle power and the power of work are both divided as the CPU time is.
    for path, seconds in node.used.items():
        part = live.joules(path) * NANO / attributed
        assert part == pytest.approx(seconds / sum(node.used.values()), rel=0.05)
    seconds_in_flight = {path: sum(each.seconds for each in live.named(path)) for path in counts}
    share_in_flight = seconds_in_flight["/wait"] / sum(seconds_in_flight.values())
    assert live.joules("/wait") < 0.02 * share_in_flight * attributed / NANO


@pytest.mark.parametrize("each", [1, 10], ids=["10 requests", "100 requests"])
def test_overlapped_requests_pay_for_what_they_work(each: int) -> None:
    counts = {"/light": 3 * each, "/heavy": 2 * each, "/thread": 2 * each, "/wait": 3 * each}
    node = Node()
    with watched(node.watts, running=time.process_time, tick_seconds=0.02) as live:
        asyncio.run(node.serve(counts))
        check(live, node, counts)


def test_a_request_that_is_ready_and_may_not_run_pays_nothing() -> None:
    """It waits for a loop that somebody else holds."""
    node = Node()
    with watched(node.watts, running=time.process_time, tick_seconds=0.02) as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            scope["path_template"] = scope["path"]
            for _ in range(3):
                await asyncio.sleep(0)
                if scope["path"] == "/hog":
                    spin(0.05)
            await send(start())
            await send(body())

        async def main() -> None:
            middleware = EnergyMiddleware(app)

            async def one(path: str) -> None:
                wire = Wire()
                await middleware(http(path), wire.receive, wire.send)

            await asyncio.gather(*(one(path) for path in ["/ready"] * 9 + ["/hog"]))

        asyncio.run(main())
        hog = live.one("/hog").energy().dynamic_joules or 0.0
        ready = sum(each.energy().dynamic_joules or 0.0 for each in live.named("/ready"))
        assert hog > 0.9 * CORE_WATTS * 0.15
        assert ready < 0.05 * hog


def test_known_joules_of_100_overlapped_requests() -> None:
    """Exact truth: each burns joules in ticks of its own, while the others are open."""
    with watched() as live:

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            number = int(scope["path"][1:])
            scope["path_template"] = f"/route{number % 4}"
            for _ in range(2):
                await asyncio.sleep(0)
                if number % 4:
                    live.burn_apart(float(number % 4))
            await send(start())
            await send(body())

        async def main() -> None:
            middleware = EnergyMiddleware(app)

            async def one(number: int) -> None:
                wire = Wire()
                await middleware(http(f"/{number}"), wire.receive, wire.send)

            await asyncio.gather(*(one(number) for number in range(100)))

        asyncio.run(main())
        for route in range(1, 4):
            assert live.joules(f"/route{route}") == pytest.approx(2 * 25 * route, rel=0.02)
        assert live.joules("/route0") < 0.02 * 300.0 / 4
