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
from _node import Node, cpu_bound, event_loop, hard, pool
from _replay import ledger
from _rivals import cpu_share, in_flight_share, oracle, windows
from _trace import Floats, Trace, simulate

LEDGER = "greeninfer"
ORACLE = "oracle (the floor)"
RIVALS: dict[str, Callable[[Trace, float], Floats]] = {
    ORACLE: oracle,
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

    @property
    def title(self) -> str:
        """Return the name of the case."""
        return f"{self.truth} truth, {self.load}"


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
    central = float(np.median(each))
    spec = f"{sign}.{2 if max(map(abs, each)) < 1 else 1 if max(map(abs, each)) < 20 else 0}f"
    return f"{central:{spec}}" + (f" [{each[0]:{spec}}..{each[-1]:{spec}}]" if len(each) > 1 else "")


def middle(scores: list[Score]) -> tuple[float, float, float]:
    """Return the median over the seeds of: median error, 95th percentile, error of the worst route."""
    routes = [abs(float(np.median(route))) for route in zip(*(each.routes for each in scores), strict=True)]
    medians, p95s = [each.median for each in scores], [each.p95 for each in scores]
    return float(np.median(medians)), float(np.median(p95s)), max(routes)


def report(case: Case, seeds: list[dict[str, Score]]) -> str:
    """Print a case; return "reached", "MISSED", or "below the floor" if even the oracle misses the target."""
    target = (case.median, case.p95, float("inf") if case.routes is None else case.routes)
    verdict = "reached"
    if any(got > most for got, most in zip(middle([each[LEDGER] for each in seeds]), target, strict=True)):
        floor = middle([each[ORACLE] for each in seeds])
        verdict = "MISSED" if all(got <= most for got, most in zip(floor, target, strict=True)) else "below the floor"
    routes = "" if case.routes is None else f", routes {case.routes:g}"
    print(f"\n{case.title}: target {case.median:g}/{case.p95:g}{routes}: {verdict}")
    for name in seeds[0]:
        scores = [each[name] for each in seeds]
        figures = [over_seeds(each.median for each in scores), over_seeds(each.p95 for each in scores)]
        routes = " / ".join(over_seeds(route, "+") for route in zip(*(each.routes for each in scores), strict=True))
        print(f"  {name:<20} {figures[0]:>22} {figures[1]:>24}   {routes}", flush=True)
    covered = over_seeds(each[LEDGER].covered or 0.0 for each in seeds)
    print(f"  truth within the uncertainty that {LEDGER} states: {covered} % of requests", flush=True)
    return verdict


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
    chosen = [case for case in cases() if asked.only in case.title and not (asked.quick and "CPU-bound" in case.load)]
    jobs = [(case, asked.seconds, asked.tick, seed) for case in chosen for seed in range(1, asked.seeds + 1)]
    print(
        f"{asked.seconds:g} s per trace, {asked.seeds} seeds, tick {asked.tick * 1000:g} ms; median over seeds [range]."
    )
    print("Columns: median error and 95th percentile per request, %; error of the cheap / mid / heavy route, %.")
    begun = time.perf_counter()
    with ProcessPoolExecutor(asked.processes) as processes:
        results = processes.map(run, jobs)
        verdicts = [report(case, [next(results) for _ in range(asked.seeds)]) for case in chosen]
    print(f"\n{time.perf_counter() - begun:.0f} s. All requests counted; all books closed to the nanojoule.")
    print("Out of reach, the oracle misses them too: " + _named(chosen, verdicts, "below the floor"))
    print("Targets not reached: " + _named(chosen, verdicts, "MISSED", "below the floor"))
    return 1 if asked.check and set(verdicts) != {"reached"} else 0


def _named(chosen: list[Case], verdicts: list[str], *wanted: str) -> str:
    return "; ".join(case.title for case, each in zip(chosen, verdicts, strict=True) if each in wanted) or "none"


if __name__ == "__main__":
    sys.exit(main())
