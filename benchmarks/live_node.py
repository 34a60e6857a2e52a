"""Check each route's joules against a known truth, with real threads that use real CPU time.

    python benchmarks/live_node.py [--seconds 30] [--check]

A second process plays the node. About every 2 ms it reads the kernel's own run times of our worker threads, in
nanoseconds (/proc/PID/task/TID/schedstat), knows what each thread's work draws, and feeds a powercap tree. This process
serves three routes from a thread pool, measured through the public decorator with the ordinary `rapl` meter on that
tree; it is told neither the watts nor the run times.

Truth of a route = its watts * its run time + an equal share of idle and activation power among what ran at a time.
Whatever else this machine is busy with, the playing process among it, is part of the node's power too and belongs in
the line "other"; its run time is what /proc/stat says beyond our threads.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from _shared_node import static_shares

import greeninfer
from greeninfer import Monitor, Settings
from greeninfer._records import NANO, Settlement

IDLE_WATTS, ACTIVE_WATTS, OTHER_WATTS = 12.0, 5.0, 6.0
STEP_SECONDS = 0.002
RANGE_UJ = 262_143_328_850
BLOCK = b"x" * 65_536  # hashing this much releases the interpreter lock, so that threads really run side by side

ROUTES = {  # watts while running; mean CPU milliseconds; mean wait inside the span, milliseconds
    "cheap": (3.0, 4.0, 30.0),
    "middling": (6.0, 25.0, 15.0),
    "heavy": (11.0, 80.0, 10.0),
}
ROUTE_LIMIT, BOOKS_LIMIT = 10.0, 0.1  # per cent


def cores(busy: float, seconds: float) -> list[float]:
    """Return the run time of others core by core."""
    whole, rest = divmod(busy, seconds)
    return [seconds] * int(whole) + ([rest] if rest > 0.0 else [])


class Node:
    """Plays the hardware: integrates the truth and writes the counter."""

    def __init__(self, root: Path, pid: int, threads: dict[int, str]) -> None:
        self.files = {tid: os.open(f"/proc/{pid}/task/{tid}/schedstat", os.O_RDONLY) for tid in threads}
        self.routes = threads
        self.counter = os.open(root / "intel-rapl/intel-rapl:0/energy_uj", os.O_WRONLY)
        self.truth = dict.fromkeys([*ROUTES, "idle", "other"], 0.0)
        self.ran = {tid: self._run_seconds(tid) for tid in threads}
        self.then = time.monotonic()
        self.looks = [(self.then, self._other_seconds())]
        self.joules = 1000.0

    def _run_seconds(self, tid: int) -> float:
        return int(os.pread(self.files[tid], 64, 0).split()[0]) / NANO

    def _other_seconds(self) -> float:
        """Return the machine's busy seconds beyond our threads'; hundredths of a second, as the kernel counts them."""
        user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK") - sum(self.ran.values())

    def _other_rate(self, now: float) -> float:
        """Return the cores that others kept busy over the last fifth of a second."""
        self.looks.append((now, self._other_seconds()))
        while len(self.looks) > 2 and now - self.looks[1][0] > 0.2:
            del self.looks[0]
        (then, before), (_, after) = self.looks[0], self.looks[-1]
        return max(0.0, (after - before) / (now - then))

    def step(self) -> None:
        now = time.monotonic()
        seconds, self.then = now - self.then, now
        other = self._other_rate(now) * seconds
        deltas = {}
        for tid in self.files:
            ran = self._run_seconds(tid)
            deltas[tid], self.ran[tid] = ran - self.ran[tid], ran
        parts = [(self.routes[tid], ran, ROUTES[self.routes[tid]][0]) for tid, ran in deltas.items() if ran > 0.0]
        parts += [("other", part, OTHER_WATTS) for part in cores(other, seconds)]
        shares, active = static_shares([min(1.0, ran / seconds) for _, ran, _ in parts])
        for (name, ran, watts), share in zip(parts, shares, strict=True):
            self.truth[name] += watts * ran + (IDLE_WATTS + ACTIVE_WATTS) * share * seconds
        self.truth["idle"] += IDLE_WATTS * (1.0 - active) * seconds
        total = sum(self.truth.values())
        os.pwrite(self.counter, b"%012d\n" % int((1000.0 + total) * 1e6), 0)


def play(root: Path, pid: int, threads: dict[int, str], pipe: Connection) -> None:
    node = Node(root, pid, threads)
    pipe.send("ready")
    while not pipe.poll():
        node.step()
        time.sleep(STEP_SECONDS)
    pipe.recv()
    node.step()
    pipe.send(node.truth)


def burn(milliseconds: float) -> None:
    """Use CPU outside the interpreter lock."""
    end = time.thread_time() + milliseconds / 1000.0
    while time.thread_time() < end:
        hashlib.sha256(BLOCK)


@dataclass(frozen=True)
class Signals:
    """When the workers start, when they stop serving, and when the node has read their run times for the last time."""

    start: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


def serve(route: str, signals: Signals, seed: int) -> None:
    """Answer requests of one route: two bursts of CPU with a wait in between, then a pause of the client's."""
    _, cpu, wait = ROUTES[route]
    chance = random.Random(seed)

    @greeninfer.measure(route)
    def request() -> None:
        work = chance.expovariate(1.0 / cpu)
        burn(work / 2.0)
        time.sleep(chance.expovariate(1.0 / wait) / 1000.0)
        burn(work / 2.0)

    signals.start.wait()
    while not signals.stop.is_set():
        request()
        time.sleep(chance.expovariate(1.0 / 40.0) / 1000.0)
    signals.over.wait()


class Totals:
    """Adds up the lines of all settlements."""

    name = "totals"

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], int] = defaultdict(int)
        self.metered = 0
        self.requests: dict[str, int] = defaultdict(int)

    def export(self, settlement: Settlement) -> None:
        for line in settlement.lines:
            self.lines[line.state, line.name or line.reason] += line.nanojoules
        self.metered += sum(delta.nanojoules for interval in settlement.intervals for delta in interval.deltas)
        for measurement in settlement.measurements:
            self.requests[measurement.name] += 1

    def close(self) -> None:
        """Do nothing."""


def powercap(root: Path) -> None:
    zone = root / "intel-rapl/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("energy_uj", "001000000000"), ("max_energy_range_uj", str(RANGE_UJ))):
        (zone / name).write_text(text + "\n")
    (root / "intel-rapl:0").symlink_to("intel-rapl/intel-rapl:0")


def run(seconds: float) -> tuple[dict[str, float], Totals, float]:
    """Return the node's truth, what was booked, and the joules that the counter showed."""
    root = Path(tempfile.mkdtemp(prefix="live-node-"))
    powercap(root)
    counter = root / "intel-rapl/intel-rapl:0/energy_uj"
    signals = Signals()
    routes = [*ROUTES, "cheap"]
    workers = [threading.Thread(target=serve, args=(route, signals, seed)) for seed, route in enumerate(routes)]
    for worker in workers:
        worker.start()
    threads = {worker.native_id or 0: route for worker, route in zip(workers, routes, strict=True)}
    here, there = multiprocessing.get_context("spawn").Pipe()
    player = multiprocessing.get_context("spawn").Process(target=play, args=(root, os.getpid(), threads, there))
    player.start()
    there.close()
    here.recv()
    totals = Totals()
    settings = Settings(meters=("rapl",), powercap_root=str(root))
    with Monitor(settings, exporters=[totals]) as monitor:
        time.sleep(1.5)  # an idle machine first, as after any start
        signals.start.set()
        time.sleep(seconds)
        signals.stop.set()
        time.sleep(0.5)  # the last requests end
        here.send("stop")
        truth = here.recv()
        signals.over.set()
        for thread in (*workers, player):
            thread.join()
        monitor.flush()
    return truth, totals, int(counter.read_text()) / 1e6 - 1000.0


def report(truth: dict[str, float], totals: Totals, counted: float) -> bool:
    """Print the comparison; return whether both limits are kept."""
    good = True
    print(f"{'route':<14}{'requests':>9}{'truth J':>11}{'booked J':>11}{'error %':>9}{'limit %':>9}")
    for route in ROUTES:
        booked = totals.lines["attributed", route] / NANO
        error = 100.0 * (booked / truth[route] - 1.0)
        good &= abs(error) <= ROUTE_LIMIT
        print(
            f"{route:<14}{totals.requests[route]:>9}{truth[route]:>11.2f}{booked:>11.2f}{error:>+9.2f}{ROUTE_LIMIT:>9.0f}"
        )
    for line in ("idle", "other"):
        booked = totals.lines[line, ""] / NANO
        print(
            f"{line:<14}{'':>9}{truth[line]:>11.2f}{booked:>11.2f}{100.0 * (booked / truth[line] - 1.0):>+9.2f}{'-':>9}"
        )
    lost = sum(joules for (state, _), joules in totals.lines.items() if state == "unattributed") / NANO
    booked = sum(totals.lines.values()) / NANO
    before_first_read = counted - totals.metered / NANO
    gap = 100.0 * abs(booked / (totals.metered / NANO) - 1.0)
    good &= gap <= BOOKS_LIMIT
    print(f"{'unattributed':<14}{'':>9}{0.0:>11.2f}{lost:>11.2f}")
    print(
        f"books: {booked:.6f} J in four lines, {totals.metered / NANO:.6f} J read from the counter, {gap:.6f} % apart"
    )
    print(f"       ({before_first_read:.2f} J were counted before the first or after the last reading)")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is not kept")
    arguments = parser.parse_args()
    if not Path("/proc/self/schedstat").exists():
        print("not run: this kernel does not show run times in /proc/PID/schedstat")
        return 0
    print(f"{os.cpu_count()} cores, 3 routes, 4 worker threads, {arguments.seconds:.0f} s; idle power not given")
    good = report(*run(arguments.seconds))
    print("limits kept" if good else "LIMIT NOT KEPT")
    return 0 if good or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
