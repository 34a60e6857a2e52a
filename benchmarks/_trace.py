"""What happens on a simulated node (`_node.py`), from event to event, and the counter that shows it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from _node import Node
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

COUNTER_PERIOD = 1e-3
COUNTER_JITTER = 20e-6
COUNTER_DRIFT = 40e-6
"""Its clock against ours: within a trace the ticks meet the counter at every age from 0 to 1 ms, several times over."""
COUNTER_UNIT = 2.0**-14
"""Joules in a step of the counter: 61 uJ, the unit of RAPL on most processors (ENERGY_STATUS_UNITS = 14)."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What happened, and what each request truly used.

    Args:
        node: what was simulated.
        seconds: when the last request had closed and the node had come to rest.
        route, slot: of each request, by number in the order of opening.
        opened, closed: monotonic seconds.
        watts: dynamic watts of each request while alone on the node.
        joules: the truth.
        burst_request: of each burst, in the order of their starts.
        burst_start, burst_end: when it began and ended.
        instants: of the events; everything below is linear between them.
        cpu_clock: CPU seconds that a thread which was runnable all the time would have.
        share_clock: static joules, (P0 + Pact) / runnable, of a thread that was runnable all the time.
        active_clock: seconds in which anything ran.
        above_idle: joules used above P0.
        counter_instants, counter_joules: what the energy counter shows, and from when on.
    """

    node: Node
    seconds: float
    route: Ints
    slot: Ints
    opened: Floats
    closed: Floats
    watts: Floats
    joules: Floats
    burst_request: Ints
    burst_start: Floats
    burst_end: Floats
    instants: Floats
    cpu_clock: Floats
    share_clock: Floats
    active_clock: Floats
    above_idle: Floats
    counter_instants: Floats
    counter_joules: Floats

    def counter(self, instants: Floats) -> Floats:
        """Return what the energy counter shows at these instants."""
        which = np.searchsorted(self.counter_instants, instants, side="right") - 1
        shown: Floats = np.where(which >= 0, self.counter_joules[which], 0.0)
        return shown

    def idle_joules(self, instants: Floats) -> Floats:
        """Return the integral of P0 from 0 to each of these instants."""
        return _idle_joules(self.node, self.seconds, instants)

    def cpu_at(self, instants: Floats, thread: int) -> Floats:
        """Return the CPU seconds of a thread at these instants: a pool has one per slot, a loop has thread 0."""
        mine = np.arange(len(self.burst_request))
        if not self.node.loop:
            mine = np.flatnonzero(self.slot[self.burst_request] == thread)
        if not len(mine):
            return np.zeros(len(instants))
        begun, ended, now = (
            np.interp(edges, self.instants, self.cpu_clock)
            for edges in (self.burst_start[mine], self.burst_end[mine], instants)
        )
        total = _running_sum(ended - begun)
        last = np.searchsorted(self.burst_start[mine], instants, side="right") - 1
        at = np.maximum(last, 0)
        seconds: Floats = np.where(last >= 0, total[at] + np.clip(now - begun[at], 0.0, (ended - begun)[at]), 0.0)
        return seconds


def simulate(node: Node, seconds: float, seed: int) -> Trace:
    """Serve requests for ``seconds`` and return all that happened."""
    rng = np.random.default_rng(seed)
    asked = _Requests(node, seconds, rng)
    played = _play_loop(asked, seconds) if node.loop else _play_pool(asked, seconds)
    order = np.argsort(played.starts, kind="stable")
    burst_request = np.array(played.requests, dtype=np.int64)[order]
    burst_start = np.array(played.starts)[order]
    burst_end = np.array(played.ends)[order]
    count = len(asked.slot)

    instants = np.array([0.0, *played.instants])
    lasted = np.diff(instants)
    runnable = np.array(played.runnable)
    on_core = np.minimum(runnable, node.cores)
    alone = np.maximum(runnable, 1)
    gain = (on_core / alone) * (1.0 - node.droop * np.maximum(on_core - 1, 0) / max(node.cores - 1, 1))
    end = float(instants[-1]) + 0.5
    idle = np.diff(_idle_joules(node, end, instants))
    active = lasted * (runnable > 0)
    static = np.where(runnable > 0, (idle + node.active_watts * lasted) / alone, 0.0)
    dynamic_clock = _running_sum(gain * lasted)
    share_clock = _running_sum(static)
    above_idle = _running_sum(node.active_watts * active + np.array(played.watts) * gain * lasted)

    watts = asked.watts[:count]
    begin, finish = (np.searchsorted(instants, edge) for edge in (burst_start, burst_end))
    own = watts[burst_request] * (dynamic_clock[finish] - dynamic_clock[begin])
    joules = np.bincount(burst_request, own + share_clock[finish] - share_clock[begin], count).astype(np.float64)

    period = COUNTER_PERIOD * (1.0 + COUNTER_DRIFT)
    updates = np.arange(rng.uniform(0.0, period), end + 1.0, period)
    updates = np.sort(updates + rng.normal(0.0, COUNTER_JITTER, len(updates)))
    used = _idle_joules(node, end, updates) + np.interp(updates, instants, above_idle)
    return Trace(
        node=node,
        seconds=end,
        route=asked.route[:count],
        slot=np.array(asked.slot, dtype=np.int64),
        opened=np.array(asked.opened),
        closed=np.array(asked.closed),
        watts=watts,
        joules=joules,
        burst_request=burst_request,
        burst_start=burst_start,
        burst_end=burst_end,
        instants=instants,
        cpu_clock=_running_sum(lasted * on_core / alone),
        share_clock=share_clock,
        active_clock=_running_sum(active),
        above_idle=above_idle,
        counter_instants=updates,
        counter_joules=np.floor(np.maximum(used, 0.0) / COUNTER_UNIT) * COUNTER_UNIT,
    )


def _idle_joules(node: Node, seconds: float, instants: Floats) -> Floats:
    return node.idle_watts * (instants + node.drift * instants**2 / (2.0 * seconds))


def _running_sum(parts: Floats) -> Floats:
    return np.concatenate(([0.0], np.cumsum(parts)))


class _Requests:
    """The requests to come, drawn ahead, and the book of those that were served."""

    def __init__(self, node: Node, seconds: float, rng: np.random.Generator) -> None:
        self.node = node
        routes = node.routes
        mean = sum(each.fraction * (each.cpu_seconds + each.wait_seconds) for each in routes) + node.think_seconds
        ahead = int(1.5 * node.slots * seconds / mean) + 200
        self.route = rng.choice(len(routes), ahead, p=[each.fraction for each in routes])
        self.watts = np.array([each.watts for each in routes])[self.route]
        self.watts = self.watts * np.maximum(0.2, 1.0 + node.spread * rng.standard_normal(ahead))
        cpu = np.array([each.cpu_seconds for each in routes])[self.route] * rng.lognormal(-0.18, 0.6, ahead)
        wait = np.array([each.wait_seconds for each in routes])[self.route] * rng.gamma(2.0, 0.5, ahead)
        self.cpu = (cpu[:, None] * rng.dirichlet([2.0] * (node.waits + 1), ahead)).tolist()
        self.waits = (wait[:, None] * rng.dirichlet([2.0] * node.waits, ahead)).tolist() if node.waits else []
        self.think = rng.exponential(node.think_seconds, ahead + node.slots)
        if not node.waits:
            self.think[node.slots :] += wait
        self.think = self.think.tolist()
        self.slot: list[int] = []
        self.opened: list[float] = []
        self.closed: list[float] = []

    def open(self, slot: int, instant: float) -> int:
        """Open the next request; return its number."""
        self.slot.append(slot)
        self.opened.append(instant)
        self.closed.append(instant)
        return len(self.slot) - 1

    def close(self, request: int, instant: float) -> float:
        """Close a request; return when its slot asks for the next."""
        self.closed[request] = instant
        return instant + float(self.think[self.node.slots + request])


class _Played:
    """What a simulation leaves: bursts, and for each stretch between events its end, runnable requests and watts."""

    def __init__(self) -> None:
        self.requests: list[int] = []
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.instants: list[float] = []
        self.runnable: list[int] = []
        self.watts: list[float] = []

    def stretch(self, end: float, runnable: int, watts: float) -> None:
        self.instants.append(end)
        self.runnable.append(runnable)
        self.watts.append(watts)

    def burst(self, request: int, start: float, end: float) -> None:
        self.requests.append(request)
        self.starts.append(start)
        self.ends.append(end)


def _play_pool(asked: _Requests, seconds: float) -> _Played:
    """Serve by threads that share the cores equally: burst ends are kept in CPU seconds of a runnable thread."""
    node, played = asked.node, _Played()
    wakes = [(asked.think[slot], slot, -1, 0) for slot in range(node.slots)]
    heapq.heapify(wakes)
    running: list[tuple[float, int, int, float]] = []
    now, clock, watts = 0.0, 0.0, 0.0
    while wakes or running:
        rate = min(1.0, node.cores / len(running)) if running else 1.0
        done = now + (running[0][0] - clock) / rate if running else float("inf")
        woken = wakes[0][0] if wakes else float("inf")
        then = max(now, min(done, woken))
        played.stretch(then, len(running), watts)
        if done <= woken:
            clock, request, burst, start = heapq.heappop(running)
            watts = watts - asked.watts[request] if running else 0.0
            played.burst(request, start, then)
            slot = asked.slot[request]
            if burst < node.waits:
                heapq.heappush(wakes, (then + asked.waits[request][burst], slot, request, burst + 1))
            else:
                heapq.heappush(wakes, (asked.close(request, then), slot, -1, 0))
        else:
            clock += (then - now) * rate
            _, slot, request, burst = heapq.heappop(wakes)
            if request >= 0 or then < seconds:
                request = request if request >= 0 else asked.open(slot, then)
                watts += asked.watts[request]
                heapq.heappush(running, (clock + asked.cpu[request][burst], request, burst, then))
        now = then
    return played


def _play_loop(asked: _Requests, seconds: float) -> _Played:
    """Serve by one thread that takes the steps one by one, in the order in which they became ready."""
    node, played = asked.node, _Played()
    wakes = [(asked.think[slot], slot, -1, 0) for slot in range(node.slots)]
    heapq.heapify(wakes)
    now = 0.0
    while wakes:
        ready, slot, request, burst = heapq.heappop(wakes)
        if request < 0 and max(now, ready) >= seconds:
            continue
        if ready > now:
            played.stretch(ready, 0, 0.0)
            now = ready
        request = request if request >= 0 else asked.open(slot, now)
        then = now + asked.cpu[request][burst]
        played.stretch(then, 1, asked.watts[request])
        played.burst(request, now, then)
        if burst < node.waits:
            heapq.heappush(wakes, (then + asked.waits[request][burst], slot, request, burst + 1))
        else:
            heapq.heappush(wakes, (asked.close(request, then), slot, -1, 0))
        now = then
    return played
