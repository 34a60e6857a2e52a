"""Add up the energy lines of several server processes on one machine, against its meter and against the truth.

    python benchmarks/workers.py [--seconds 15] [--workers 1,2,4] [--check]

A FastAPI application with ``EnergyMiddleware`` runs under ``uvicorn --workers N``; real requests come over HTTP. The
node is simulated (`_shared_node.py`): its counter draws 12 W, and 8 W for each core that anything on this machine keeps
busy. The workers are told nothing of that. What stands in their metrics is added up as prometheus_client does it.

``sum/meter``: all lines of all workers, of what the counter showed; 1 is right. ``naive``: what as many trackers show
that each take the whole counter for their own process. ``attributed/truth``: what requests were charged, of what they
used: their CPU time as the handlers tell it, and an equal share of idle power among what ran at a time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from _shared_node import Snapshot
from _worker_service import serving

SUM_LIMIT, TRUTH_LIMIT = 0.03, 0.25  # the second on machines that are busy with other things, too


def measure(workers: int, seconds: float) -> Snapshot:
    """Return what was booked, and the truth, while so many workers were under load."""
    with serving(workers) as service:
        service.meet(workers)
        with service.loaded(seconds) as until:
            before = service.node.snapshot()
            time.sleep(max(0.0, until - time.monotonic()))
            return service.node.snapshot().since(before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is not kept")
    arguments = parser.parse_args()
    if sys.platform != "linux":
        print("not run: only Linux shows the CPU time of other processes in this way")
        return 0
    print(f"{os.cpu_count()} cores, {arguments.seconds:.0f} s of load each; idle power not given")
    print(
        f"{'workers':>7}{'meter J':>10}{'attributed':>12}{'idle':>8}{'other':>8}{'unattr.':>9}"
        f"{'sum/meter':>11}{'naive':>7}{'truth J':>9}{'attributed/truth':>18}"
    )
    good = True
    for workers in (int(each) for each in arguments.workers.split(",")):
        seen = measure(workers, arguments.seconds)
        lines = [seen.booked(state) for state in ("attributed", "idle", "other", "unattributed")]
        whole, right = sum(lines) / seen.counted, lines[0] / seen.true_joules
        print(
            f"{workers:>7}{seen.counted:>10.1f}{lines[0]:>12.1f}{lines[1]:>8.1f}{lines[2]:>8.1f}{lines[3]:>9.1f}"
            f"{whole:>11.3f}{workers:>7.2f}{seen.true_joules:>9.1f}{right:>18.3f}",
            flush=True,
        )
        good &= abs(whole - 1.0) <= SUM_LIMIT and abs(right - 1.0) <= TRUTH_LIMIT
    print(
        f"limits: sum/meter 1 ± {SUM_LIMIT:g}, attributed/truth 1 ± {TRUTH_LIMIT:g}: {'kept' if good else 'NOT KEPT'}"
    )
    return 0 if good or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
