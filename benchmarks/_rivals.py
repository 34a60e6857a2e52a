"""Other ways to divide the counter's joules, and the floor that none of them can go below.

All see the same trace and the same counter as the ledger. Windows, equal shares and CPU shares know what they know in
the field; the oracle knows everything but the power of the single request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from _trace import Floats, Ints, Trace


def windows(trace: Trace) -> Floats:
    """Return the counter's difference between each request's end and start."""
    joules: Floats = trace.counter(trace.closed) - trace.counter(trace.opened)
    return joules


def in_flight_share(trace: Trace, tick: float) -> Floats:
    """Return each request's share if power is flat inside a tick and equal among the requests in flight."""
    ticks = _ticks(trace, tick)
    edges = np.concatenate((trace.opened, trace.closed, ticks))
    change = np.concatenate((np.ones(len(trace.opened)), -np.ones(len(trace.closed)), np.zeros(len(ticks))))
    order = np.argsort(edges, kind="stable")
    instants, in_flight = edges[order], np.cumsum(change[order])[:-1]
    watts = np.diff(trace.counter(ticks)) / np.diff(ticks)
    power = watts[np.clip(np.searchsorted(ticks, instants[:-1], side="right") - 1, 0, len(watts) - 1)]
    each = np.where(in_flight > 0, power / np.maximum(in_flight, 1), 0.0)
    clock = np.concatenate(([0.0], np.cumsum(each * np.diff(instants))))
    share: Floats = np.interp(trace.closed, instants, clock) - np.interp(trace.opened, instants, clock)
    return share


def cpu_share(trace: Trace, tick: float) -> Floats:
    """Return each request's share if each tick's joules go by CPU seconds; a tick in which nothing ran is idle."""
    ticks, pieces = _ticks(trace, tick), _pieces(trace, tick)
    used = np.diff(trace.counter(ticks))
    total = np.bincount(pieces.tick, pieces.cpu, minlength=len(used))
    share = used[pieces.tick] * pieces.cpu / total[pieces.tick]
    return np.bincount(pieces.request, share, len(trace.route)).astype(np.float64)


def oracle(trace: Trace, tick: float) -> Floats:
    """Return what is left to err if P0, Pact, the watts of the routes and all running intervals are known.

    The joules above P0 and Pact go by route watts times CPU seconds in each tick. Nothing observes how the requests of
    one route differ in power, so no method can do better except by chance.
    """
    node, ticks, pieces = trace.node, _ticks(trace, tick), _pieces(trace, tick)
    active = np.diff(np.interp(ticks, trace.instants, trace.active_clock))
    dynamic = np.diff(trace.counter(ticks)) - np.diff(trace.idle_joules(ticks)) - node.active_watts * active
    weight = np.array([route.watts for route in node.routes])[trace.route[pieces.request]] * pieces.cpu
    total = np.bincount(pieces.tick, weight, minlength=len(active))
    joules = np.maximum(dynamic, 0.0)[pieces.tick] * weight / total[pieces.tick] + pieces.share
    return np.bincount(pieces.request, joules, len(trace.route)).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Bursts cut at the ticks: whose, in which tick, its CPU seconds and its share of static joules."""

    request: Ints
    tick: Ints
    cpu: Floats
    share: Floats


def _ticks(trace: Trace, tick: float) -> Floats:
    ticks: Floats = np.arange(int(np.ceil(trace.seconds / tick)) + 1) * tick
    return ticks


def _pieces(trace: Trace, tick: float) -> _Pieces:
    ticks = _ticks(trace, tick)
    first = np.searchsorted(ticks, trace.burst_start, side="right") - 1
    last = np.maximum(first, np.searchsorted(ticks, trace.burst_end, side="left") - 1)
    count = last - first + 1
    burst = np.repeat(np.arange(len(count)), count)
    which = np.arange(len(burst)) - np.repeat(np.cumsum(count) - count, count) + first[burst]
    begin = np.maximum(ticks[which], trace.burst_start[burst])
    end = np.minimum(ticks[which + 1], trace.burst_end[burst])
    cpu, share = (
        np.interp(end, trace.instants, clock) - np.interp(begin, trace.instants, clock)
        for clock in (trace.cpu_clock, trace.share_clock)
    )
    some = cpu > 0.0
    return _Pieces(trace.burst_request[burst][some], which[some], cpu[some], share[some])
