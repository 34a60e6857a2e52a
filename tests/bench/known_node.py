"""A node whose watts are known: it plays the hardware for the process of one cell, and keeps the truth.

    joules = P0 * seconds + P1 * CPU seconds of the processes on it

The CPU seconds are the kernel's own (the CPU clock of a process, see clock_getcpuclockid(3)), read about every
millisecond by the test's process, which does nothing else. The cell reads a powercap tree and a /proc/stat that show
what is on the node and nothing else of this machine, in units and steps as real ones have them; it is told no watts.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from live import environment

from greeninfer.bench._folder import STUDY, read, write_head
from greeninfer.bench._job import Job, write_job
from greeninfer.bench._records import Items, Run
from greeninfer.bench._study import Cell, Dataset, ModelSpec, Protocol, Splits, Study

IDLE_WATTS, CORE_WATTS = 11.0, 17.0
DOMAIN = "rapl/0/package"
STEP_SECONDS = 0.001
RANGE_UJ = 262_143_328_850
PROTOCOL = Protocol(min_seconds=1.0, warmup_seconds=0.1)
CORES = 2
HERTZ = os.sysconf("SC_CLK_TCK")

MODEL = '''
import hashlib, mmap, os, struct, threading, time

BLOCK = b"x" * 65536

class Spinner:
    """Answers "a" after it has used so much CPU time; writes down when it was called with texts that are new to it."""

    def __init__(self):
        file = os.open({marks!r}, os.O_RDWR)
        self.marks, self.calls, self.known = mmap.mmap(file, 0), 0, set()

    def fit(self, texts, labels):
        self.known = set(texts)

    def predict(self, texts):
        begun = time.perf_counter()
        until = time.thread_time() + {seconds!r} * len(texts)
        if {threads!r} > 1:
            workers = [threading.Thread(target=burn, args=({seconds!r} * len(texts),)) for _ in range({threads!r})]
            for worker in workers: worker.start()
            for worker in workers: worker.join()
        else:
            while time.thread_time() < until: pass
        if texts[0] not in self.known:
            struct.pack_into("dd", self.marks, 16 + 16 * self.calls, begun, time.perf_counter())
            self.calls += 1
            struct.pack_into("q", self.marks, 0, self.calls)
        return ["a"] * len(texts)

def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        hashlib.sha256(BLOCK)  # lets go of the interpreter's lock: threads run side by side

classify = Spinner()
'''

BURN = "while True: pass"


@dataclass(slots=True)
class Truth:
    """What the node knows afterwards.

    Args:
        instants, own, others: CPU seconds of the cell and of the other processes over time.
        calls: begin and end of every call of the steady phase, as the model wrote them down.
    """

    instants: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    calls: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def seconds(self) -> float:
        """Return how long the steady phase took, from the first call to the end of the last."""
        return float(self.calls[-1, 1] - self.calls[0, 0])

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU time that the cell used meanwhile."""
        return self._between(self.own)

    @property
    def other_cpu_seconds(self) -> float:
        """Return the CPU time that others used meanwhile."""
        return self._between(self.others)

    @property
    def net_joules(self) -> float:
        """Return what the cell's work drew."""
        return CORE_WATTS * self.cpu_seconds

    @property
    def joules(self) -> float:
        """Return what the cell's work drew, and the node at rest."""
        return IDLE_WATTS * self.seconds + self.net_joules

    def _between(self, counted: list[float]) -> float:
        begin, end = np.interp([self.calls[0, 0], self.calls[-1, 1]], self.instants, counted)
        return float(end - begin)


class Node:
    """The hardware: a folder with a powercap tree and /proc/stat.

    Args:
        root: folder for both, in memory where possible.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        zone = root / "powercap/intel-rapl/intel-rapl:0"
        zone.mkdir(parents=True)
        for name, text in (("name", "package-0"), ("max_energy_range_uj", str(RANGE_UJ)), ("energy_uj", f"{0:013}")):
            (zone / name).write_text(text + "\n")
        (root / "powercap/intel-rapl:0").symlink_to("intel-rapl/intel-rapl:0")
        (root / "proc").mkdir()
        self._counter = os.open(zone / "energy_uj", os.O_WRONLY)
        self._stat = os.open(root / "proc/stat", os.O_WRONLY | os.O_CREAT)
        self._joules = 1000.0
        self.truth = Truth()
        self._clocks: dict[str, list[int]] = {"own": [], "others": []}
        self._ran = {"own": 0.0, "others": 0.0}
        self._last: dict[int, float] = {}
        self._then = time.perf_counter()
        self.step()

    def add(self, pid: int, whose: str) -> None:
        """Put a process on the node."""
        clock = (~pid << 3) | 2
        self._clocks[whose].append(clock)
        self._last[clock] = 0.0

    def step(self) -> None:
        """Count up to now, and let the counters show it."""
        now = time.perf_counter()
        for whose, clocks in self._clocks.items():
            for clock in clocks:
                try:
                    ran = time.clock_gettime(clock)
                except OSError:  # it has ended
                    continue
                self._ran[whose] += ran - self._last[clock]
                self._joules += CORE_WATTS * (ran - self._last[clock])
                self._last[clock] = ran
        self._joules += IDLE_WATTS * (now - self._then)
        self._then = now
        self.truth.instants.append(now)
        self.truth.own.append(self._ran["own"])
        self.truth.others.append(self._ran["others"])
        os.pwrite(self._counter, b"%013d\n" % int(self._joules * 1e6), 0)
        jiffies = 1000 + int((self._ran["own"] + self._ran["others"]) * HERTZ)
        line = b" %010d 0 0 0 0 0 0 0 0 0\n" % jiffies
        os.pwrite(self._stat, b"cpu " + line + b"".join(b"cpu%d" % core + line for core in range(CORES)), 0)

    def close(self) -> None:
        """Let go of the files."""
        os.close(self._counter)
        os.close(self._stat)


@dataclass(frozen=True, slots=True)
class Measured:
    """A cell that was measured on the node."""

    run: Run
    items: Items | None
    truth: Truth


def measure(
    folder: Path,
    item_seconds: float,
    *,
    texts: int = 200,
    batch_size: int = 1,
    protocol: Protocol = PROTOCOL,
    threads: int = 1,
    busy_neighbours: int = 0,
    idle_watts: Mapping[str, float] | None = None,
) -> Measured:
    """Measure a model that uses so much CPU time for each text, in a process of its own on a node of its own."""
    study = _study(texts, batch_size, protocol)
    results = folder / "results"
    write_head(results, study, {"machine": "node"}, {"made-up": ("a", "b")})
    assert (results / STUDY).exists()
    rows = "".join(f"text {row},{'ab'[row % 2]}\n" for row in range(texts + 20))
    (folder / "texts.csv").write_text("text,label\n" + rows, encoding="utf-8")
    marks = folder / "marks"
    marks.write_bytes(bytes(16 * 200_000))
    (folder / "spinner.py").write_text(
        MODEL.format(marks=str(marks), seconds=item_seconds, threads=threads), encoding="utf-8"
    )
    known = {DOMAIN: IDLE_WATTS} if idle_watts is None else idle_watts
    cell = Cell("made-up", "spinner", batch_size, "cpu", 0)
    write_job(Job(str(results), cell, str(folder), "", known), folder / "job.json")
    with _node() as node, _neighbours(node, busy_neighbours):
        ours = {"METERS": "rapl", "POWERCAP_ROOT": node.root / "powercap", "PROC_ROOT": node.root / "proc"}
        environ = environment(**ours)
        environ["PYTHONPATH"] = os.pathsep.join([str(folder), environ["PYTHONPATH"]])
        command = [sys.executable, "-m", "greeninfer.bench._cell", str(folder / "job.json")]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            node.add(process.pid, "own")
            try:
                while process.poll() is None:
                    node.step()
                    time.sleep(STEP_SECONDS)
            finally:
                process.kill()
            said = process.stdout.read().decode() if process.stdout else ""
        assert process.returncode == 0, said
    held = marks.read_bytes()
    (calls,) = struct.unpack_from("q", held)
    node.truth.calls = np.frombuffer(held, float, 2 * calls, 16).reshape(-1, 2)
    found = read(results)
    (run,) = found.runs
    return Measured(run, found.items.get(cell.id), node.truth)


def _study(texts: int, batch_size: int, protocol: Protocol) -> Study:
    spec = ModelSpec("spinner", "callable", {"target": "spinner:classify"})
    dataset = Dataset("made-up", "texts.csv")
    return Study("truth", (dataset,), (spec,), (batch_size,), splits=Splits(1, 20, texts), protocol=protocol)


@contextmanager
def _node() -> Iterator[Node]:
    """Keep the tree in memory where possible: sysfs knows no locks shared with the writing back to a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="node-", dir=memory if memory.is_dir() else None) as root:
        node = Node(Path(root))
        try:
            yield node
        finally:
            node.close()


@contextmanager
def _neighbours(node: Node, count: int) -> Iterator[None]:
    burning = [subprocess.Popen([sys.executable, "-S", "-E", "-c", BURN]) for _ in range(count)]
    try:
        for each in burning:
            node.add(each.pid, "others")
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()


def shown(run: Run) -> str:
    """Return a run as a person would look at it."""
    return json.dumps({name: str(getattr(run, name)) for name in type(run).__slots__}, indent=1)
