"""A simulated node on which several real server processes run, and what each of them truly used.

The node is played by a process of its own: every few milliseconds it reads the kernel's CPU clocks of the workers and
`/proc/stat`, and feeds a powercap tree. It draws the same watts for whatever runs, the workers, the client, the rest of
this machine: IDLE_WATTS all the time, shared equally by what runs at a time, and CORE_WATTS per busy core.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IDLE_WATTS, CORE_WATTS = 12.0, 8.0
STEP_SECONDS = 0.005
RANGE_UJ = 262_143_328_850
HERE = Path(__file__).parent


# The node


def static_shares(chances: list[float]) -> tuple[list[float], float]:
    """Return each part's expected equal share of the time in which anything runs, and that time, of a step of length 1.

    In so short a step a thread runs all the time or not at all, but for the steps in which it starts or stops. Those
    are taken as chances, independent of each other, and all combinations of who runs are gone through.
    """
    shares, active = [0.0] * len(chances), 0.0
    for who in itertools.product((False, True), repeat=len(chances)):
        chance = math.prod(part if runs else 1.0 - part for part, runs in zip(chances, who, strict=True))
        if chance and any(who):
            active += chance
            for index, runs in enumerate(who):
                shares[index] += chance / sum(who) if runs else 0.0
    return shares, active


class Node:
    """Integrates what everything uses and writes the counter.

    Attributes:
        joules: by process, "idle" and "other".
        cpu: CPU seconds of the processes since they are known.
    """

    def __init__(self, root: Path) -> None:
        self._counter = os.open(root / "intel-rapl/intel-rapl:0/energy_uj", os.O_WRONLY)
        self._clocks: dict[int, float] = {}
        self._then = time.monotonic()
        self._known = 0.0  # CPU seconds of workers, to be taken from what the machine was busy with
        self._looks = [(self._then, _busy_seconds())]
        self.joules: defaultdict[Any, float] = defaultdict(float)
        self.cpu: defaultdict[int, float] = defaultdict(float)

    def watch(self, pid: int) -> None:
        with suppress(OSError):  # killed
            self._clocks.setdefault(pid, time.clock_gettime((~pid << 3) | 2))

    def step(self) -> None:
        now = time.monotonic()
        seconds, self._then = now - self._then, now
        parts: list[tuple[Any, float]] = []
        for pid, before in list(self._clocks.items()):
            try:
                clock = time.clock_gettime((~pid << 3) | 2)
            except OSError:  # killed
                del self._clocks[pid]
                continue
            if clock > before:
                parts.append((pid, clock - before))
                self._clocks[pid] = clock
                self._known += clock - before
                self.cpu[pid] += clock - before
        whole, rest = divmod(self._others(now), 1.0)
        parts += [("other", seconds)] * int(whole) + [("other", rest * seconds)]
        shares, active = static_shares([min(1.0, ran / seconds) for _, ran in parts])
        for (name, ran), share in zip(parts, shares, strict=True):
            self.joules[name] += CORE_WATTS * ran + IDLE_WATTS * share * seconds
        self.joules["idle"] += IDLE_WATTS * (1.0 - active) * seconds
        os.pwrite(self._counter, b"%012d\n" % int((1000.0 + sum(self.joules.values())) * 1e6), 0)

    def _others(self, now: float) -> float:
        """Return the cores that others kept busy over the last fifth of a second."""
        if now - self._looks[-1][0] > 0.04:
            self._looks.append((now, _busy_seconds() - self._known))
            while len(self._looks) > 2 and now - self._looks[1][0] > 0.2:
                del self._looks[0]
        (then, before), (last, after) = self._looks[0], self._looks[-1]
        return max(0.0, (after - before) / (last - then)) if last > then else 0.0


def _busy_seconds() -> float:
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def play(root: Path, pipe: Any) -> None:
    """Play the node until the pipe says None; a number is a worker to be watched, "tell" asks for the truth."""
    node = Node(root)
    pipe.send("ready")
    while True:
        while pipe.poll():
            word = pipe.recv()
            if word is None:
                return
            if word == "tell":
                node.step()
                pipe.send((dict(node.joules), dict(node.cpu)))
            else:
                node.watch(word)
        node.step()
        time.sleep(STEP_SECONDS)


# What it is asked


@dataclass
class Snapshot:
    """What stands in the workers' books and in the node's truth at an instant; differences tell of the time between.

    Args:
        lines: joules by (state, quality), summed over the workers by prometheus_client's own rules.
        counted: joules that the counter showed.
        joules: true joules by process number, "idle", "other".
        cpu: CPU seconds by process number.
        told: CPU seconds of answered requests by process number.
        in_flight: summed over the workers.
    """

    lines: dict[tuple[str, str], float]
    counted: float
    joules: dict[Any, float]
    cpu: dict[int, float]
    told: dict[int, float]
    in_flight: float

    def since(self, before: Snapshot) -> Snapshot:
        def less(after: dict[Any, float], then: dict[Any, float]) -> dict[Any, float]:
            return {key: value - then.get(key, 0.0) for key, value in after.items()}

        return Snapshot(
            less(self.lines, before.lines),
            self.counted - before.counted,
            less(self.joules, before.joules),
            less(self.cpu, before.cpu),
            less(self.told, before.told),
            self.in_flight,
        )

    def booked(self, *states: str) -> float:
        return sum(joules for (state, _), joules in self.lines.items() if not states or state in states)

    @property
    def true_joules(self) -> float:
        """Return what the requests really used: of each worker's joules, the part of its CPU time that they told."""
        return sum(self.joules[pid] * min(1.0, self.told.get(pid, 0.0) / cpu) for pid, cpu in self.cpu.items() if cpu)


@dataclass
class SharedNode:
    """A node that is being played.

    Attributes:
        environment: of processes that run on it.
        told: CPU seconds that requests say they used, by process number.
    """

    folder: Path
    environment: dict[str, str]
    metrics: Path
    counter: Path
    pipe: Any
    told: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))

    def watch(self, pid: int) -> None:
        self.pipe.send(pid)

    def snapshot(self) -> Snapshot:
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self.metrics))  # type: ignore[no-untyped-call]
        counted = int(self.counter.read_text()) / 1e6
        lines: defaultdict[tuple[str, str], float] = defaultdict(float)
        in_flight = 0.0
        for family in registry.collect():
            for sample in family.samples:
                if sample.name == "greeninfer_energy_joules_total":
                    lines[sample.labels["state"], sample.labels["quality"]] += sample.value
                elif sample.name == "greeninfer_requests_in_flight":
                    in_flight += sample.value
        self.pipe.send("tell")
        joules, cpu = self.pipe.recv()
        return Snapshot(dict(lines), counted, joules, cpu, dict(self.told), in_flight)


@contextmanager
def shared_node() -> Iterator[SharedNode]:
    """Play a node for the block."""
    with tempfile.TemporaryDirectory(prefix="shared-node-") as folder:
        root, metrics = Path(folder, "powercap"), Path(folder, "metrics")
        zone = root / "intel-rapl/intel-rapl:0"
        zone.mkdir(parents=True)
        metrics.mkdir()
        for name, text in {"name": "package-0", "energy_uj": "001000000000", "max_energy_range_uj": RANGE_UJ}.items():
            (zone / name).write_text(f"{text}\n")
        (root / "intel-rapl:0").symlink_to("intel-rapl/intel-rapl:0")
        here, there = multiprocessing.get_context("spawn").Pipe()
        player = multiprocessing.get_context("spawn").Process(target=play, args=(root, there), daemon=True)
        player.start()
        there.close()
        here.recv()
        ours = {
            "GREENINFER_METERS": "rapl",
            "GREENINFER_POWERCAP_ROOT": str(root),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GREENINFER_")}
        try:
            yield SharedNode(Path(folder), inherited | ours, metrics, zone / "energy_uj", here)
        finally:
            here.send(None)
            player.join(10.0)
            here.close()
