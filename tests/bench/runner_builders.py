"""A study whose cells take milliseconds: each is measured by a script that copies a result made beforehand.

What the script does is told by the name of the model: a cell of "crash" crashes, one of "hang" hangs.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from greeninfer.bench._folder import write_cell
from greeninfer.bench._launch import Launch
from greeninfer.bench._plan import make_plan
from greeninfer.bench._records import Items, Phase, Run
from greeninfer.bench._serial import Summary
from greeninfer.bench._study import Cell, Dataset, ModelSpec, Protocol, Splits, Study, cells

MACHINE = "testbed"
QUICK = Protocol(min_seconds=0.0, warmup_seconds=0.0, idle_seconds=0.0, time_limit_seconds=30.0, threads=3, seed=7)

CELL = r"""
import json, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ready, journal, job = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
cell = job["cell"]
name = "%(dataset)s.%(model)s.b%(batch_size)s.%(device)s.s%(split)s" % cell
def note(what):
    with open(journal, "a") as file:
        file.write(json.dumps({"what": what, "cell": name, "at": time.monotonic(), "pid": os.getpid(), "job": job,
                               "environ": dict(os.environ)}) + "\n")
def finish():
    made = os.path.join(ready, "cells", name + ".parquet")
    target = os.path.join(job["folder"], "cells", name + ".parquet")
    with open(made, "rb") as source, open(target + ".part", "wb") as copy:
        copy.write(source.read())
    os.replace(target + ".part", target)
note("begin")
print("said by", name, flush=True)
model = cell["model"]
for mark, instead in (("mended", "fine"), ("hushed", "quiet")):
    if os.path.exists(os.path.join(ready, mark)):
        model = instead
if model == "crash":
    os.kill(os.getpid(), 11)
elif model == "killed":
    os.kill(os.getpid(), 9)
elif model == "raises":
    raise RuntimeError("no such weights")
elif model == "quiet":
    sys.exit(0)
elif model == "garbage":
    open(os.path.join(job["folder"], "cells", name + ".parquet"), "wb").write(b"PAR1 and no more")
elif model in ("full", "crowded"):
    print("cell %s could not be kept: No space left on device; remedy: make room" % name, file=sys.stderr, flush=True)
    sys.exit(74 if model == "full" else 1)
elif model == "hang":
    time.sleep(600)
elif model == "stubborn":
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("deaf")
    time.sleep(600)
elif model == "late":
    finish()
    sys.exit(5)
elif model == "leaves":
    import subprocess
    subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    finish()
elif model == "slow":
    time.sleep(0.5)
    finish()
elif model == "gated":
    while not os.path.exists(os.path.join(ready, "open")):
        time.sleep(0.01)
    finish()
else:
    finish()
note("end")
"""

ENVIRONMENT = r"""
import json, os, sys, time
journal, described, out, idle_seconds = sys.argv[1:]
with open(journal, "a") as file:
    file.write(json.dumps({"what": "environment", "at": time.monotonic(), "idle_seconds": float(idle_seconds),
                           "environ": dict(os.environ)}) + "\n")
if described == "broken":
    raise SystemExit("no meter was found")
if described == "hang":
    time.sleep(600)
open(out, "w").write(described)
"""

PREPARE = r"""
import json, sys
journal, study, model = sys.argv[1:]
with open(journal, "a") as file:
    file.write(json.dumps({"what": "prepare", "cell": model, "study": open(study).read()}) + "\n")
sys.exit("no room for it" if model == "hopeless" else 0)
"""


@dataclass(frozen=True, slots=True)
class World:
    """A folder with everything that a run needs."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "results"

    @property
    def ready(self) -> Path:
        return self.root / "ready"

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    def study(self, *models: str, **changes: object) -> Study:
        """Return a study of majority models by these names on twelve texts."""
        texts = self.root / "texts.csv"
        if not texts.exists():
            rows = "".join(f"text number {number},{'even' if number % 2 == 0 else 'odd'}\n" for number in range(12))
            texts.write_text("text,label\n" + rows, encoding="utf-8")
        study = Study(
            "made up",
            datasets=(Dataset("texts", "texts.csv"),),
            models=tuple(ModelSpec(name, "majority") for name in models),
            splits=Splits(count=2, train=4, test=4),
            protocol=QUICK,
        )
        return replace(study, **changes)  # type: ignore[arg-type]

    def make_ready(self, study: Study, watts: float = 2.0) -> Study:
        """Make the results that the cells of a study will leave."""
        plan = make_plan(study, self.root / "nowhere", base=self.root, resume=False)
        (self.ready / "cells").mkdir(parents=True, exist_ok=True)
        for cell in cells(study):
            run, items = result(cell, plan.fingerprints[cell.id], watts)
            write_cell(self.ready, run, items, plan.labels[cell.dataset])
        return study

    def mend(self) -> None:
        """Let every cell go well from now on."""
        (self.ready / "mended").touch()

    def hush(self) -> None:
        """Let every cell end without a result from now on."""
        (self.ready / "hushed").touch()

    def open_gate(self) -> None:
        """Let the cells of "gated" end."""
        (self.ready / "open").touch()

    def launch(self, machine: str = MACHINE, grace_seconds: float = 0.2, described: str = "") -> Launch:
        """Return how the scripts are started."""
        scripts = {"cell.py": CELL, "environment.py": ENVIRONMENT, "prepare.py": PREPARE}
        for name, text in scripts.items():
            (self.root / name).write_text(text, encoding="utf-8")
        python = (sys.executable, "-S", "-E")
        described = described or json.dumps({"machine": machine, "idle_watts": {"cpu/0/package": 2.5}})
        return Launch(
            environ={**os.environ, "GREENINFER_METERS": "simulated", "OMP_NUM_THREADS": "64"},
            cell=(*python, str(self.root / "cell.py"), str(self.ready), str(self.journal)),
            environment=(*python, str(self.root / "environment.py"), str(self.journal), described),
            prepare=(*python, str(self.root / "prepare.py"), str(self.journal)),
            lock=self.root / "lock",
            grace_seconds=grace_seconds,
        )

    def notes(self, *what: str) -> list[dict[str, object]]:
        """Return what the processes wrote down, in the order in which they did."""
        if not self.journal.exists():
            return []
        notes = [json.loads(line) for line in self.journal.read_text(encoding="utf-8").splitlines()]
        return [note for note in notes if not what or note["what"] in what]

    def begun(self) -> list[str]:
        """Return the cells that were begun since the last time this was asked."""
        begun = [str(note["cell"]) for note in self.notes("begin")]
        self.journal.unlink(missing_ok=True)
        return begun


def result(cell: Cell, fingerprint: str, watts: float = 2.0) -> tuple[Run, Items]:
    """Return what a cell of four texts leaves."""
    steady = Phase(seconds=0.5, cpu_seconds=0.5, joules=watts * 0.5, ticks=25)
    run = Run(cell, MACHINE, "ok", fingerprint=fingerprint, phases={"steady": steady}, items=4, passes=1, test_items=4)
    codes, real = np.zeros(4, np.int16), np.full(4, 0.125, np.float32)
    unknown = np.full(4, -1, np.int32)
    return run, Items(np.arange(4, dtype=np.int32), codes, codes, real, real, unknown, unknown, unknown)


def counts(summary: Summary) -> tuple[int, int, int, int]:
    """Return done, kept, failed and left."""
    return summary.done, summary.kept, summary.failed, summary.left
