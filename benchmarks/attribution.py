"""How near each request's joules come to the truth: the real ledger on a simulated node whose joules are known.

    python benchmarks/attribution.py            every case: 120 s of traffic each, three seeds; some minutes
    python benchmarks/attribution.py --quick    one seed of 40 s, for a look; the targets are meant for the whole

The monitor runs as it does in production, but by a clock that is moved by hand. It is given what a real process can
see and nothing else: the edges of the spans (or coroutine steps) with the CPU seconds of their thread, at each tick
the CPU seconds of the threads that have a span open, and an energy counter that moves once a millisecond. Idle power is
not given and nothing is known at the start; each tick is settled with what was learned before it. Every request counts,
the first ones too.

Beside it, on the same traces: windows (counter differences), the share among the requests in flight, the share by CPU
time per tick, and an oracle that knows P0, Pact, the watts of the routes and every running interval. What the oracle
still errs is the spread of power inside a route, which nothing observes. `_node.py` says what the truth is,
`_rivals.py` what the others do. Real machines err more: it is the order of the methods that carries over.

The exit code is 0 if the run completed; with --check it is 1 if a target was missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from _node import COUNTER_PERIOD, Floats, Node, Trace, cpu_bound, event_loop, hard, pool, simulate
from _rivals import cpu_share, in_flight_share, oracle, windows

from greeninfer._monitor import Monitor
from greeninfer._records import NANO, Domain, MeterInfo, Reading, Settlement
from greeninfer._settings import Settings
from greeninfer._share import Whole
from greeninfer._span import Span

LEDGER = "greeninfer"
RIVALS: dict[str, Callable[[Trace, float], Floats]] = {
    "oracle (the floor)": oracle,
    "CPU share per tick": cpu_share,
    "share in flight": in_flight_share,
    "windows": lambda trace, tick: windows(trace),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Args:
        truth, load: what it is, for people.
        node: what is simulated.
        median, p95: most error per request, percent.
        routes: most error of a route's total, percent; None for no target.
    """

    truth: str
    load: str
    node: Node
    median: float
    p95: float
    routes: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How one method did on one trace, percent.

    Args:
        median, p95: of the errors per request.
        routes: error of each route's total.
        covered: requests whose truth lies within their uncertainty; None for a method that gives none.
    """

    median: float
    p95: float
    routes: tuple[float, ...]
    covered: float | None = None


def cases() -> list[Case]:
    """Return every case with its targets."""
    easy_targets = {1: (0.5, 3.0), 4: (4.0, 25.0), 16: (6.0, 25.0), 64: (9.0, 32.0)}
    hard_targets = {1: (4.0, 25.0), 4: (7.0, 34.0), 16: (11.0, 36.0), 64: (18.0, 56.0)}
    rows: list[Case] = []
    for workers, (median, p95) in easy_targets.items():
        routes = 3.0 if workers <= 16 else 12.0
        load = f"{workers} workers"
        rows.append(Case("easy", f"{load}, waits", pool(workers), median, p95, routes))
        rows.append(Case("easy", f"{load}, CPU-bound", cpu_bound(pool(workers)), median / 2, p95 / 2, routes))
    for workers, (median, p95) in hard_targets.items():
        node, load = hard(pool(workers)), f"{workers} workers"
        rows.append(Case("hard", f"{load}, waits", node, median, p95))
        rows.append(Case("hard", f"{load}, CPU-bound", cpu_bound(node), median / 2, p95 / 2))
    rows.extend(
        Case("easy", f"event loop, {in_flight} in flight", event_loop(in_flight), 2.0, 6.0) for in_flight in (8, 64)
    )
    return rows


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
            number = measurement.attributes["request"]
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
        at = min(at + round(monitor.pause_seconds / tick), len(ticks))  # ticks are longer while requests do not overlap
        instant = float(ticks[at - 1])
        while following < len(noted) and noted[following][0] <= instant:
            when, cpu, thread, request, runs, changes = noted[following]
            following += 1
            span = spans.get(request)
            if span is None:
                span = spans[request] = Span(routes[trace.route[request]], monitor.inbox.append, monitor)
                span.attributes, span.opened = {"request": request}, when
            if changes and not runs:
                del spans[request]
                span.closed = when
            monitor.inbox.append((when, cpu, thread, span if runs else None, span if changes else None))
        clock.instant = instant
        monitor.tick()
    counted = round(float(trace.counter(ticks[-1:])[0]) * NANO)
    assert collector.divided == collector.measured == counted, (collector.divided, collector.measured, counted)
    assert not np.isnan(collector.joules).any(), "requests without a measurement"
    return collector.joules, collector.doubts


def score(trace: Trace, joules: Floats, doubts: Floats | None = None) -> Score:
    """Compare joules with the truth."""
    errors = 100.0 * np.abs(joules / trace.joules - 1.0)
    totals = (np.bincount(trace.route, each) for each in (joules, trace.joules))
    routes = 100.0 * (next(totals) / next(totals) - 1.0)
    covered = None if doubts is None else 100.0 * float(np.mean(np.abs(joules - trace.joules) <= doubts))
    return Score(float(np.median(errors)), float(np.percentile(errors, 95)), tuple(routes.tolist()), covered)


def run(job: tuple[Case, float, float, int]) -> dict[str, Score]:
    """Simulate one trace and score every method on it."""
    case, seconds, tick, seed = job
    trace = simulate(case.node, seconds, seed)
    scores = {LEDGER: score(trace, *ledger(trace, tick))}
    return scores | {name: score(trace, method(trace, tick)) for name, method in RIVALS.items()}


def over_seeds(values: Iterable[float], sign: str = "") -> str:
    """Return the median and the range of one figure over the seeds."""
    each = sorted(values)
    middle = float(np.median(each))
    spec = f"{sign}.{2 if max(map(abs, each)) < 1 else 1 if max(map(abs, each)) < 20 else 0}f"
    return f"{middle:{spec}}" + (f" [{each[0]:{spec}}..{each[-1]:{spec}}]" if len(each) > 1 else "")


def report(case: Case, seeds: list[dict[str, Score]]) -> bool:
    """Print a case; return whether it reached its targets."""
    own = [each[LEDGER] for each in seeds]
    worst_route = max(abs(float(np.median(route))) for route in zip(*(each.routes for each in own), strict=True))
    median, p95 = (float(np.median([getattr(each, name) for each in own])) for name in ("median", "p95"))
    reached = median <= case.median and p95 <= case.p95 and (case.routes is None or worst_route <= case.routes)
    target = f"{case.median:g}/{case.p95:g}" + (f", routes {case.routes:g}" if case.routes is not None else "")
    print(f"\n{case.truth} truth, {case.load}: target {target}: {'reached' if reached else 'MISSED'}")
    for name in seeds[0]:
        scores = [each[name] for each in seeds]
        routes = " / ".join(over_seeds(route, "+") for route in zip(*(each.routes for each in scores), strict=True))
        middle, high = over_seeds(each.median for each in scores), over_seeds(each.p95 for each in scores)
        print(f"  {name:<20} {middle:>22} {high:>24}   {routes}", flush=True)
    covered = over_seeds(each.covered for each in own if each.covered is not None)
    print(f"  within their stated uncertainty: {covered} % of requests")
    return reached


def main() -> int:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description="Joules per request against a known truth.")
    parser.add_argument("--seconds", type=float, default=120.0, help="of traffic per trace (default: 120)")
    parser.add_argument("--seeds", type=int, default=3, help="traces per case (default: 3)")
    parser.add_argument("--tick", type=float, default=0.02, help="seconds between readings (default: 0.02)")
    parser.add_argument("--processes", type=int, default=2, help="at work at a time (default: 2)")
    parser.add_argument("--only", default="", help="cases whose title contains this text")
    parser.add_argument("--quick", action="store_true", help="one seed of 40 s, waits only")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    asked = parser.parse_args()
    if asked.quick:
        asked.seconds, asked.seeds = 40.0, 1
    chosen = [case for case in cases() if asked.only in f"{case.truth} truth, {case.load}"]
    if asked.quick:
        chosen = [case for case in chosen if "CPU-bound" not in case.load]
    jobs = [(case, asked.seconds, asked.tick, seed) for case in chosen for seed in range(1, asked.seeds + 1)]
    print(
        f"{asked.seconds:g} s per trace, {asked.seeds} seeds, tick {asked.tick * 1000:g} ms; median over seeds [range]."
    )
    print("Columns: median error and 95th percentile per request, %; error of the cheap / mid / heavy route, %.")
    begun = time.perf_counter()
    with ProcessPoolExecutor(asked.processes) as processes:
        results = processes.map(run, jobs)
        reached = [report(case, [next(results) for _ in range(asked.seeds)]) for case in chosen]
    missed = [f"{case.truth} truth, {case.load}" for case, good in zip(chosen, reached, strict=True) if not good]
    print(f"\n{time.perf_counter() - begun:.0f} s. All requests counted; all books closed to the nanojoule.")
    print("Targets not reached: " + ("; ".join(missed) or "none"))
    return 1 if asked.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
