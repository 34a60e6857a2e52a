"""Check the joules of overlapping requests, through the middleware on a real event loop, against a known truth.

    python benchmarks/overlap.py [--seconds 30] [--quick] [--check]

10 and then 100 requests are in flight all the time, of a FastAPI application with four routes: `heavy` and `light`
compute between waits, `wait` only waits, `stream` streams an answer that it computes in 5 bursts. They run on a
simulated node that knows what it uses for whom (`_overlap_node.py`). Time, CPU time and the event loop are real.

Truth includes what a request uses in the framework before its span is opened and after it is closed; that shows only
where next to nothing else runs, in `wait`. Printed beside it: what each route would be charged if power were divided
among all requests in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from _overlap_node import Node
from _report import Report

import greeninfer
from greeninfer import Monitor, Settings
from greeninfer._records import NANO, Settlement
from greeninfer._share import Whole

WATTS = {"heavy": 11.0, "light": 3.0, "wait": 4.0, "stream": 6.0}
OF_TEN = ("heavy", "light", "wait", "stream", "light", "wait", "heavy", "stream", "light", "wait")
BLOCK = b"x" * 65_536  # hashing this much releases the interpreter lock, so that the sampler is not kept waiting
IDLE_SECONDS = 1.5

ROUTE_PER_CENT, WAIT_PER_CENT = 5.0, 2.0


def burn(milliseconds: float) -> None:
    until = time.thread_time() + milliseconds / 1000.0
    while time.thread_time() < until:
        hashlib.sha256(BLOCK)


def application(stretch: float, chance: random.Random) -> Any:
    """Return the service; ``stretch`` lengthens the waits, so that many clients keep the core no busier than few."""
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    async def wait(milliseconds: float) -> None:
        await asyncio.sleep(chance.expovariate(1.0) * milliseconds / 1000.0 * stretch)

    @app.get("/heavy/{x}")
    async def heavy(x: int) -> int:
        for _ in range(2):
            burn(chance.uniform(2.0, 6.0))
            await wait(40.0)
        burn(chance.uniform(2.0, 6.0))
        return x

    @app.get("/light/{x}")
    async def light(x: int) -> int:
        burn(chance.uniform(0.5, 1.5))
        await wait(30.0)
        burn(chance.uniform(0.5, 1.5))
        return x

    @app.get("/wait/{x}")
    async def waiting(x: int) -> int:
        await asyncio.sleep(chance.uniform(0.15, 0.45) * stretch)
        return x

    @app.get("/stream/{x}")
    async def stream(x: int) -> StreamingResponse:
        async def bursts() -> AsyncIterator[str]:
            for number in range(5):
                burn(chance.uniform(1.0, 2.0))
                yield str(number)
                await wait(20.0)

        return StreamingResponse(bursts())

    return greeninfer.instrument(app, metrics_path=None)


def request(app: Any, route: str) -> Any:
    """Return a request, as a server would hand it to the application."""
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": f"/{route}/1", "raw_path": f"/{route}/1".encode(), "root_path": "",
        "query_string": b"", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": None,
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message.get("status", 200) != 200:
            raise SystemExit(f"{route}: {message}")

    return app(scope, receive, send)


class Totals:
    """Adds up all settlements."""

    name = "totals"

    def __init__(self) -> None:
        self.lines: Counter[tuple[str, str]] = Counter()
        self.metered = 0
        self.requests: Counter[str] = Counter()
        self.in_flight = 0

    def export(self, settlement: Settlement) -> None:
        for line in settlement.lines:
            self.lines[line.state, line.name] += line.nanojoules
        self.metered += sum(delta.nanojoules for interval in settlement.intervals for delta in interval.deltas)
        self.requests.update(measurement.key[0] for measurement in settlement.measurements)
        self.in_flight = sum(settlement.in_flight.values())

    def close(self) -> None:
        """Do nothing."""


async def play(node: Node, clients: int, seconds: float) -> Counter[str]:
    """Let so many clients send one request after the other; return how many were answered, by route."""
    app = application(clients / 10.0, random.Random(clients))
    answered: Counter[str] = Counter()
    until = time.perf_counter() + IDLE_SECONDS + seconds

    async def client(route: str) -> None:
        while time.perf_counter() < until:
            await node.serve(route, request(app, route))
            answered[route] += 1

    await asyncio.sleep(IDLE_SECONDS)  # an idle machine first, as after any start
    await asyncio.gather(*(client(OF_TEN[number % 10]) for number in range(clients)))
    return answered


def run(report: Report, clients: int, seconds: float) -> None:
    node, totals = Node(WATTS), Totals()
    # The node is a meter like any other, and all that runs on it are these requests.
    with Monitor(Settings(), meters=[node], exporters=[totals], share=Whole()) as monitor:
        answered = asyncio.run(play(node, clients, seconds))
        monitor.flush(10.0)
        monitor.tick(force=True)
    rows, worst = [], 0.0
    for route in WATTS:
        booked, truth = totals.lines["attributed", f"/{route}/{{x}}"] / NANO, node.truth[route]
        error = 100.0 * (booked / truth - 1.0)
        share = node.in_flight_share[route]
        if route != "wait":
            worst = max(worst, abs(error))
        rows.append([
            route, f"{answered[route]}", f"{truth:.3f}", f"{booked:.3f}", f"{error:+.2f}", f"{share:.3f}",
            f"{100.0 * (share / truth - 1.0):+,.0f}",
        ])  # fmt: skip
    for state in ("idle", "other", "unattributed"):
        truth = node.truth.get(state, 0.0)
        rows.append([state, "", f"{truth:.3f}", f"{totals.lines[state, ''] / NANO:.3f}", "", "", ""])
    head = ["joules", "requests", "truth", "booked", "error %", "by requests in flight", "error %"]
    report.table(f"{clients} requests in flight, {seconds:.0f} s", head, rows)
    check(report, node, totals, answered, worst)


def check(report: Report, node: Node, totals: Totals, answered: Counter[str], worst: float) -> None:
    booked = sum(totals.lines.values())
    counted = round(node.read_joules[-1] * NANO) - round(node.read_joules[0] * NANO)
    report.target(
        "the four lines are what the meter counted, to the nanojoule",
        f"{booked} nJ booked, {counted} nJ counted", booked == counted == totals.metered,
    )  # fmt: skip
    report.target(f"each route within {ROUTE_PER_CENT:.0f} % of its truth", f"{worst:.2f} %", worst <= ROUTE_PER_CENT)
    part = 100.0 * totals.lines["attributed", "/wait/{x}"] / NANO / node.in_flight_share["wait"]
    report.target(
        f"the route that only waits under {WAIT_PER_CENT:.0f} % of its share by requests in flight",
        f"{part:.2f} %", part < WAIT_PER_CENT,
    )  # fmt: skip
    settled = {route: totals.requests[f"/{route}/{{x}}"] for route in WATTS}
    report.target(
        "every request settled, none in flight", f"{sum(settled.values())} of {answered.total()}",
        settled == dict(answered) and totals.in_flight == 0,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of the two runs")
    parser.add_argument("--quick", action="store_true", help="7 s each")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is not reached")
    options = parser.parse_args()
    if sys.platform != "linux":
        print("not run: the node reads the CPU clock of another thread, which only Linux shows")
        return 0
    report = Report()
    for clients in (10, 100):
        run(report, clients, 7.0 if options.quick else options.seconds)
    status = report.end()
    return status if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
