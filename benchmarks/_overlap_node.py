"""A simulated node with one core, on which the requests of an event loop run: its joules are known by what ran.

Power is P0 + (Pact + watts of the route) while a step of a request has the core, and P0 otherwise. The node is told
whose step begins and ends, and reads the CPU clock of the loop's thread at each such edge and each time that the meter
is read: truth is exact to that clock. It knows nothing of spans; what is under test knows nothing of routes' watts.
"""

from __future__ import annotations

import threading
import time
import types
from collections import Counter
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

from greeninfer._records import Domain, MeterInfo, Reading

IDLE_WATTS, ACTIVE_WATTS = 12.0, 5.0
CPUCLOCK_THREAD = 6  # include/linux/posix-timers_types.h: CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED
DOMAIN = Domain("node", 0, "package")


class Node:
    """The core of the thread that makes it, and the meter that counts its joules.

    Args:
        watts: of each route while one of its steps runs, beyond what anything draws that runs.

    Attributes:
        truth: joules by route, and "idle".
        in_flight_share: joules by route, were power divided among all requests that are open.
    """

    def __init__(self, watts: dict[str, float]) -> None:
        self.info = MeterInfo(DOMAIN.meter, (DOMAIN,), "measured", 0.0, (1.0, 1.0), "simulated, by what ran")
        self.truth = dict.fromkeys([*watts, "idle"], 0.0)
        self.in_flight_share = dict.fromkeys(watts, 0.0)
        self.read_joules: list[float] = []
        self._watts = watts
        self._clock = (~threading.get_native_id() << 3) | CPUCLOCK_THREAD
        self._lock = threading.Lock()
        self._running = ""
        self._open: Counter[str] = Counter()
        self._then, self._cpu = time.perf_counter(), time.thread_time()

    def read(self) -> tuple[Reading, ...]:
        """Return the joules until now."""
        with self._lock:
            self._look()
            self.read_joules.append(sum(self.truth.values()))
            return (Reading(DOMAIN, self.read_joules[-1], self._then),)

    def close(self) -> None:
        """Do nothing."""

    async def serve(self, route: str, work: Coroutine[Any, Any, None]) -> None:
        """Await a request of a route; while one of its steps runs, it has the core."""
        self._change(route, 1)
        try:
            await self._steps(route, work)
        finally:
            self._change(route, -1)

    @types.coroutine
    def _steps(self, route: str, work: Coroutine[Any, Any, None]) -> Generator[Awaitable[Any], Any, None]:
        step: Any = work.send
        argument: Any = None
        while True:
            self._switch(route)
            try:
                waited_for = step(argument)
            except StopIteration:
                return
            finally:
                self._switch("")
            try:
                step, argument = work.send, (yield waited_for)
            except BaseException as error:
                step, argument = work.throw, error

    def _switch(self, route: str) -> None:
        with self._lock:
            self._look()
            self._running = route

    def _change(self, route: str, by: int) -> None:
        with self._lock:
            self._look()
            self._open[route] += by

    def _look(self) -> None:
        """Add what was used since the last look."""
        cpu, now = time.clock_gettime(self._clock), time.perf_counter()
        seconds, ran = now - self._then, 0.0
        joules = 0.0
        if self._running:
            ran = min(seconds, cpu - self._cpu)
            joules = (IDLE_WATTS + ACTIVE_WATTS + self._watts[self._running]) * ran
            self.truth[self._running] += joules
        idle = IDLE_WATTS * (seconds - ran)
        self.truth["idle"] += idle
        for route, count in self._open.items() if self._open.total() else ():
            self.in_flight_share[route] += (joules + idle) * count / self._open.total()
        self._then, self._cpu = now, cpu
