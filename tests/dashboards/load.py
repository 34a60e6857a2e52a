"""Services on simulated machines, clients that load them, and what is known of both without the library."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from live import environment

LOAD_SECONDS = 20.0
SETTLE_SECONDS = 8.0
"""Of the load before figures are looked at: the library learns what is idle and what a request takes."""

PLAN = (("/classify/hello", 8.0), ("/rank", 8.0), ("/chat", 2.0))
"""Requests a second that each service gets."""

Curve = list[tuple[float, float]]
"""(Unix seconds, joules that a machine used until then)."""


class Service:
    """One process that serves on a simulated machine of its own."""

    def __init__(self, host: str) -> None:
        script = Path(__file__).with_name("service.py")
        command = [sys.executable, str(script), host]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True)
        assert self._process.stdout is not None
        self.address = f"{host}:{self._process.stdout.readline().strip()}"

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass
class Load:
    """One spell of load.

    Args:
        start, end: what is looked at, in Unix seconds.
        truth: of each machine.
        sent: requests by path, between start and end.
    """

    start: float
    end: float
    truth: list[Curve] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)

    @property
    def rates(self) -> dict[str, float]:
        """Return requests a second by path."""
        return {path: count / (self.end - self.start) for path, count in self.sent.items()}

    def watts(self, window: float) -> float:
        """Return what all machines used, averaged as panels do: over the window before each second."""
        instants = [self.start + second for second in range(int(self.end - self.start) + 1)]
        used = [_at(curve, instant) - _at(curve, instant - window) for instant in instants for curve in self.truth]
        return sum(used) / window / len(instants)

    def is_as_planned(self, services: int) -> bool:
        """Tell whether the clients, and the services that tell the truth, got the time that they needed."""
        sent = all(self.rates[path] > 0.9 * rate * services for path, rate in PLAN)
        told = all(after - before < 1.5 for curve in self.truth for (before, _), (after, _) in pairwise(curve))
        return sent and told


def put_under_load(addresses: Sequence[str]) -> Load:
    """Load the services for a while; in its midst the counters of the first one start again."""
    return asyncio.run(_put_under_load([f"http://{address}" for address in addresses]))


async def _put_under_load(bases: Sequence[str]) -> Load:
    import httpx

    begun = time.time()
    load = Load(begun + SETTLE_SECONDS, begun + LOAD_SECONDS)
    tasks: list[asyncio.Task[Any]] = []

    async with httpx.AsyncClient(timeout=60.0) as client:

        async def follow(base: str) -> None:
            curve: Curve = []
            load.truth.append(curve)
            while not curve or curve[-1][0] <= load.end:
                told = (await client.get(f"{base}/truth")).json()
                curve.append((told["seconds"], told["joules"]))
                await asyncio.sleep(0.25)

        async def send(base: str, path: str, every: float) -> None:
            while time.time() < load.end:
                tasks.append(asyncio.create_task(client.get(base + path)))
                load.sent[path] = load.sent.get(path, 0) + (time.time() > load.start)
                await asyncio.sleep(every)

        async def reset() -> None:
            await asyncio.sleep(SETTLE_SECONDS + 4.0)
            await client.get(f"{bases[0]}/reset")

        senders = (send(base, path, 1.0 / rate) for base in bases for path, rate in PLAN)
        await asyncio.gather(reset(), *map(follow, bases), *senders)
        for answer in await asyncio.gather(*tasks):
            answer.raise_for_status()
    return load


def _at(curve: Curve, instant: float) -> float:
    """Return the joules there, on the straight line between the two points beside it."""
    right = next(index for index, (at, _) in enumerate(curve) if at >= instant)
    (before, low), (after, high) = curve[right - 1], curve[right]
    return low + (high - low) * (instant - before) / (after - before)
