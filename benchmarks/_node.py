"""A simulated node whose joules are known: the truth that the attribution is judged by.

Power at an instant, with n requests on a core and m runnable (n = min(m, cores))::

    P(t) = P0(t) + Pact * [n > 0] + g(n) * (sum of the watts of the requests on a core)
    g(n) = 1 - droop * (n - 1) / (cores - 1)

``g`` makes power concave in the number of busy cores, as turbo frequencies do. A request's true joules are its own
dynamic energy and an equal share of P0 + Pact among the requests on a core at each instant (the rule of Power
Containers, Shen et al., ASPLOS 2013). The simulation goes from event to event and integrates exactly; there is no
time step.

**Load.** K workers, closed loop: each thinks for an exponential time, then serves one request. The mean think time is
45 ms (137 ms from 64 workers on), which gives 0.29 running and 0.63 in flight at K = 1, 1.2 and 2.5 at 4, 4.6 and 10
at 16, 11 and 23 at 64; on an event loop with 8 or 64 slots, 0.13 and 4.9, or 0.60 and 25. New requests stop at the end
of the trace and those in flight are served to their end, so that every request counts.

**A request** is a run of CPU bursts with an I/O wait between each two: three bursts and two waits, beginning and
ending on the CPU. About the means of its route, its CPU seconds are lognormal (sigma 0.6) and its seconds of waiting
gamma distributed (shape 2); both are cut at random (Dirichlet, 2) among its bursts and waits. Its watts are the watts
of its route times a normal factor of mean 1 and the given spread, cut off below 0.2. A CPU-bound request is one burst;
the waiting goes to the worker's thinking, so that the load is the same.

**Cores** are shared equally by the runnable threads (the limit of short time slices): with m > cores each is on a core
cores/m of the time. An event loop has one core and serves its steps one by one in the order in which they became ready.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of request; means of what its requests do."""

    name: str
    fraction: float
    cpu_seconds: float
    wait_seconds: float
    watts: float


POOL_ROUTES = (
    Route("cheap", 0.6, 0.006, 0.060, 3.5),
    Route("mid", 0.3, 0.040, 0.020, 5.0),
    Route("heavy", 0.1, 0.200, 0.010, 8.0),
)
LOOP_ROUTES = (
    Route("cheap", 0.6, 0.002, 0.300, 6.0),
    Route("mid", 0.3, 0.006, 0.150, 9.0),
    Route("heavy", 0.1, 0.030, 0.050, 12.0),
)


@dataclass(frozen=True, slots=True)
class Node:
    """A machine and its load.

    Args:
        slots: workers of the pool, or most requests in flight on the loop.
        think_seconds: mean pause of a slot between two requests.
        routes: what is asked of it.
        cores: of the machine; 1 for a loop.
        waits: I/O waits inside a request; 0 makes it CPU-bound.
        loop: True for an event loop on one thread, False for a pool of threads.
        idle_watts, active_watts: P0 at the start and Pact.
        spread: relative standard deviation of power inside a route.
        droop: part of the power per core that is lost when all cores are busy.
        drift: relative growth of P0 over the trace.
    """

    slots: int
    think_seconds: float
    routes: tuple[Route, ...] = POOL_ROUTES
    cores: int = 16
    waits: int = 2
    loop: bool = False
    idle_watts: float = 40.0
    active_watts: float = 15.0
    spread: float = 0.15
    droop: float = 0.25
    drift: float = 0.0


def pool(workers: int) -> Node:
    """Return the thread pool of the easy truth."""
    return Node(slots=workers, think_seconds=0.137 if workers >= 64 else 0.045)


def event_loop(in_flight: int) -> Node:
    """Return the event loop of the easy truth: at most ``in_flight`` requests at a time."""
    return Node(
        slots=in_flight, think_seconds=0.375 if in_flight >= 64 else 0.145, routes=LOOP_ROUTES, cores=1, loop=True
    )


def hard(node: Node) -> Node:
    """Return the same node with the hard truth: wide spread, deep droop, idle power that drifts."""
    return replace(node, spread=0.40, droop=0.40, drift=0.15)


def cpu_bound(node: Node) -> Node:
    """Return the same node with requests that never wait."""
    return replace(node, waits=0)
