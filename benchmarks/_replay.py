"""Plays a trace to the real monitor, by a clock that is moved by hand; the monitor sees what a process would see."""

from __future__ import annotations

import numpy as np
from _trace import COUNTER_PERIOD, Floats, Trace

from greeninfer._monitor import Monitor
from greeninfer._records import NANO, Domain, MeterInfo, Reading, Settlement
from greeninfer._settings import Settings
from greeninfer._share import Whole
from greeninfer._span import Span


class ManualClock:
    """Time that stands still until it is set."""

    def __init__(self) -> None:
        self.instant = 0.0

    def now(self) -> float:
        """Return the seconds set last."""
        return self.instant

    def unix(self) -> float:
        """Return the same."""
        return self.instant

    def asleep(self) -> float:
        """Return 0: the node never sleeps."""
        return 0.0


class CounterMeter:
    """Shows the energy counter of a trace, as far as it has come by the clock."""

    def __init__(self, trace: Trace, clock: ManualClock) -> None:
        self._trace, self._clock = trace, clock
        self._domain = Domain("trace", 0, "package")
        self.info = MeterInfo("trace", (self._domain,), "measured", COUNTER_PERIOD, (1.0, 1.0), "a simulated node")

    def read(self) -> tuple[Reading, ...]:
        """Return the counter now."""
        now = self._clock.now()
        return (Reading(self._domain, float(self._trace.counter(np.array([now]))[0]), now),)

    def close(self) -> None:
        """Do nothing."""


class Collector:
    """Keeps each request's joules, and the sums that show that the books close."""

    name = "collector"

    def __init__(self, count: int) -> None:
        self.joules = np.full(count, np.nan)
        self.doubts = np.full(count, np.nan)
        self.divided = 0
        self.measured = 0

    def export(self, settlement: Settlement) -> None:
        """Take a settlement."""
        self.divided += sum(line.nanojoules for line in settlement.lines)
        self.measured += sum(delta.nanojoules for each in settlement.intervals for delta in each.deltas)
        for measurement in settlement.measurements:
            number = (measurement.attributes or {})["request"]
            assert isinstance(number, int)
            self.joules[number] = measurement.nanojoules / NANO
            self.doubts[number] = measurement.energy().uncertainty_joules or 0.0

    def close(self) -> None:
        """Do nothing."""


Edge = tuple[float, float, int, int, bool, bool]
"""(instant, CPU seconds of the thread, thread, request, whether it runs from now on, whether it opens or closes)."""


def edges(trace: Trace) -> list[Edge]:
    """Return what the doors would note: the open and close of each request, or each step on an event loop."""
    if trace.node.loop:
        request, begin, end = trace.burst_request, trace.burst_start, trace.burst_end
        thread = np.zeros_like(request)
    else:
        request, begin, end, thread = np.arange(len(trace.route)), trace.opened, trace.closed, trace.slot
    first, last = begin == trace.opened[request], end == trace.closed[request]
    number = np.tile(request, 2)
    instant, changes = np.concatenate((begin, end)), np.concatenate((first, last))
    runs = np.repeat((True, False), len(request))
    threads = np.tile(thread, 2)
    cpu = np.zeros(len(instant))
    for which in np.unique(threads):
        mine = np.flatnonzero(threads == which)
        cpu[mine] = trace.cpu_at(instant[mine], thread=int(which))
    order = np.lexsort((runs, instant))  # on a loop one step ends where the next begins: the end comes first
    columns = (instant, cpu, threads, number, runs, changes)
    return list(zip(*(column[order].tolist() for column in columns), strict=True))


def ledger(trace: Trace, tick: float) -> tuple[Floats, Floats]:
    """Return each request's joules and their uncertainty as the real monitor gives them.

    Raises:
        AssertionError: if the books do not close to the nanojoule, or a request is missing.
    """
    clock, collector = ManualClock(), Collector(len(trace.route))
    ticks = np.arange(1, int(np.ceil(trace.seconds / tick)) + 1) * tick
    by_thread = [
        trace.cpu_at(ticks, thread=thread).tolist() for thread in range(1 if trace.node.loop else trace.node.slots)
    ]
    monitor = Monitor(
        Settings(tick_seconds=tick),
        meters=[CounterMeter(trace, clock)],
        exporters=[collector],
        clock=clock,
        share=Whole(),
        thread_cpu=lambda thread: by_thread[thread][round(clock.instant / tick) - 1],
    )
    monitor.tick(force=True)
    routes = [(route.name, "") for route in trace.node.routes]
    spans: dict[int, Span] = {}
    noted = edges(trace)
    following = 0
    at = 0
    while at < len(ticks):
        at = min(at + round(monitor.pause_seconds / tick), len(ticks))  # longer while requests do not overlap
        instant = float(ticks[at - 1])
        while following < len(noted) and noted[following][0] <= instant:
            when, cpu, thread, request, runs, changes = noted[following]
            following += 1
            span = spans.get(request)
            if span is None:
                span = spans[request] = Span(routes[trace.route[request]], monitor.inbox.edges.extend, monitor)
                span.given, span.opened = {"request": request}, when
            if changes and not runs:
                del spans[request]
                span.closed = when
            monitor.inbox.edges.extend((when, cpu, thread, span if runs else None, span if changes else None))
        clock.instant = instant
        monitor.tick()
    counted = round(float(trace.counter(ticks[-1:])[0]) * NANO)
    assert collector.divided == collector.measured == counted, (collector.divided, collector.measured, counted)
    assert not np.isnan(collector.joules).any(), "requests without a measurement"
    return collector.joules, collector.doubts
