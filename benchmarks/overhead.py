"""What measuring costs: per call, at rest, at import and in memory, beside other tools in the same run.

    python benchmarks/overhead.py [--quick] [--peers]

Costs are CPU seconds, not wall seconds, so that other load on the machine moves them little. Each subject runs in a
process of its own; rounds are interleaved in a shuffled order; figures are medians over rounds. Where this machine has
no RAPL, root gets one of known power (tests/hardware/with_fake_hw.sh), so that every tool has a sensor to read.

Exit status 1: a target was missed (with --quick, which is noisy, by more than three times).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _workers import BURST, SUBJECTS

HERE = Path(__file__).resolve().parent
WORKERS = HERE / "_workers.py"
FAKE_HARDWARE = HERE.parent / "tests" / "hardware" / "with_fake_hw.sh"
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
PEERS = {"codecarbon": "codecarbon==3.3.2", "zeus": "zeus==0.16.0"}
QUICK_SLACK = 3.0

CALLER_OF_PYRAPL = 1 / 5
TOGETHER_US = 10.0
REST_SHARE = 0.003
IMPORT_SECONDS = 0.25
GROWTH_MIB = 2.0


@dataclass(frozen=True)
class Effort:
    rounds: int
    round_seconds: float
    rest_seconds: float
    imports: int
    requests: int
    slack: float


FULL = Effort(rounds=15, round_seconds=0.2, rest_seconds=20.0, imports=9, requests=1_000_000, slack=1.0)
QUICK = Effort(rounds=5, round_seconds=0.05, rest_seconds=3.0, imports=3, requests=100_000, slack=QUICK_SLACK)


@dataclass
class Report:
    """Prints tables and targets, and remembers which targets were missed."""

    slack: float
    missed: list[str] = field(default_factory=list)

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        print(f"\n## {title}\n")
        for row in (head, ["-" * width for width in widths], *rows):
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            print("| " + " | ".join(cells) + " |")

    def target(self, what: str, value: float | None, limit: float, unit: str) -> None:
        if value is None:
            print(f"target: {what} at most {limit:.3g} {unit}: not known, see above")
            return
        print(
            f"target: {what} at most {limit:.3g} {unit}: {value:.3g}: {'reached' if value <= limit else 'NOT reached'}"
        )
        if value > limit * self.slack:
            self.missed.append(what)


class Worker:
    """One process of `_workers.py`; `ask` writes a line and reads one."""

    def __init__(self, python: str, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(WORKERS), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environ,
        )  # fmt: skip

    def read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._errors.seek(0)
        raise SystemExit(f"{' '.join(map(str, self._process.args))} ended early:\n{self._errors.read()[-2000:]}")  # type: ignore[arg-type]

    def ask(self, line: object) -> dict[str, Any]:
        assert self._process.stdin
        print(line, file=self._process.stdin, flush=True)
        return self.read()

    def end(self) -> None:
        self._process.communicate(timeout=60)
        self._errors.close()


def call_cost(report: Report, effort: Effort, peers_python: str | None) -> None:
    workers, reasons = start_subjects(peers_python)
    calls = {name: max(5, round(effort.round_seconds / seconds_of_a_call(worker))) for name, worker in workers.items()}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    order = list(workers)
    for number in range(effort.rounds):
        random.Random(number).shuffle(order)
        for name in order:
            rounds[name].append(workers[name].ask(calls[name]))
    for worker in workers.values():
        worker.end()

    added = {name: [each["caller"] - each["bare"] for each in rounds[name]] for name in rounds}
    caller = {name: statistics.median(values) for name, values in added.items()}
    behind = {name: statistics.median(each["behind"] for each in rounds[name]) for name in rounds}
    bare = statistics.median(each["caller"] for each in rounds["bare"])
    rows = []
    for name, (title, _) in SUBJECTS.items():
        if name in reasons:
            rows.append([title, f"not run: {reasons[name][:60]}", "", "", "", "", ""])
            continue
        low, _, high = statistics.quantiles(added[name], n=4)
        together = caller[name] + behind[name]
        of_pyrapl = f"{caller[name] / caller['pyrapl']:.3f}" if "pyrapl" in caller else "-"
        rows.append([
            title, us(caller[name]), f"{us(low)} to {us(high)}", us(behind[name]), us(together),
            f"{(bare + together) / bare:.0f}", of_pyrapl,
        ])  # fmt: skip
    head = ["added to a call, CPU us", "caller", "quartiles", "behind", "together", "x bare", "caller / pyRAPL's"]
    title = f"A call that does nothing (bare: {bare * 1e9:.0f} ns): {effort.rounds} rounds, {BURST} calls a tick"
    report.table(title, head, rows)
    for name in ("decorator", "with"):
        ratio = caller[name] / caller["pyrapl"] if "pyrapl" in caller else None
        report.target(f"{SUBJECTS[name][0]}: caller's thread beside pyRAPL's", ratio, CALLER_OF_PYRAPL, "times")
        report.target(f"{SUBJECTS[name][0]}: together", (caller[name] + behind[name]) * 1e6, TOGETHER_US, "us")


def start_subjects(peers_python: str | None) -> tuple[dict[str, Worker], dict[str, str]]:
    workers: dict[str, Worker] = {}
    reasons: dict[str, str] = {}
    for name in SUBJECTS:
        if name in PEERS and peers_python is None:
            reasons[name] = "only with --peers"
            continue
        worker = Worker(str(peers_python) if name in PEERS else sys.executable, "call", name)
        reason = worker.read().get("unavailable")
        if reason is None:
            workers[name] = worker
        else:
            reasons[name] = reason
            worker.end()
    return workers, reasons


def seconds_of_a_call(worker: Worker) -> float:
    """Return roughly what a call takes, all in all; also the warm-up."""
    worker.ask(20)
    cost = worker.ask(200)
    return max(float(cost["caller"] + cost["behind"]), 1e-7)


def us(seconds: float) -> str:
    return f"{seconds * 1e6:.2f}"


def rest_cost(report: Report, effort: Effort) -> None:
    cases = {"nothing": "nothing running", "waiting": "one request open, waiting", "100": "100 requests a second"}
    shares = {}
    for case in cases:
        worker = Worker(sys.executable, "rest", str(effort.rest_seconds), case)
        shares[case] = worker.read()["share"]
        worker.end()
    rows = [[title, f"{shares[case] * 100:.3f} %"] for case, title in cases.items()]
    report.table(f"Background CPU, of one core, over {effort.rest_seconds:.0f} s", ["while", "share"], rows)
    report.target("at rest", shares["nothing"] * 100, REST_SHARE * 100, "%")


def import_cost(report: Report, effort: Effort, peers_python: str | None) -> None:
    modules = {"greeninfer": sys.executable, "numpy": sys.executable, "prometheus_client": sys.executable}
    modules |= {"wrapt": sys.executable, "pyRAPL": sys.executable}
    modules |= dict.fromkeys(PEERS, peers_python) if peers_python else {}
    rows = []
    ours, heavy = 0.0, []
    for module, python in modules.items():
        answers = imports_of(module, str(python), effort.imports)
        if "unavailable" in answers[0]:
            rows.append([module, f"not run: {answers[0]['unavailable']}", "", ""])
            continue
        seconds = statistics.median(each["seconds"] for each in answers)
        if module == "greeninfer":
            ours, heavy = seconds, answers[0]["heavy"]
        rows.append([module, f"{seconds:.3f}", str(answers[0]["modules"]), ", ".join(answers[0]["heavy"]) or "none"])
    report.table("Import", ["module", "CPU s", "modules", "heavy ones among them"], rows)
    report.target("import greeninfer", ours, IMPORT_SECONDS, "CPU s")
    report.target("heavy packages imported by it", len(heavy), 0, "")


def imports_of(module: str, python: str, times: int) -> list[dict[str, Any]]:
    """Import so many times, each in a new process, with the byte code that the second import of an installation has."""
    answers = []
    with tempfile.TemporaryDirectory() as cache:
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(1 + times):
            worker = Worker(python, "import", module, environ=environ)
            answers.append(worker.read())
            worker.end()
    return answers[1:]


def memory_cost(report: Report, effort: Effort) -> None:
    worker = Worker(sys.executable, "memory", str(effort.requests))
    early, late = worker.read(), worker.read()
    worker.end()
    rows = [[f"{each['requests']:,}", f"{each['bytes'] / 2**20:.1f}"] for each in (early, late)]
    report.table("Memory of one process with one monitor", ["after requests", "resident MiB"], rows)
    report.target("growth", (late["bytes"] - early["bytes"]) / 2**20, GROWTH_MIB, "MiB")


def give_a_sensor() -> str:
    """Return where joules come from; where there is no RAPL, start again inside a namespace that has one."""
    if "FAKE_RAPL" in os.environ:
        return "RAPL of a known 100 W, in a mount namespace of its own"
    if os.access(RAPL, os.R_OK):
        return "this machine's RAPL"
    os.environ["NO_NVML"] = "1"
    try:
        trial = subprocess.run(["bash", str(FAKE_HARDWARE), "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"no RAPL here, and none could be made: {error}"
    if trial.returncode != 0:
        last = (trial.stderr.strip().splitlines() or [f"exit {trial.returncode}"])[-1]
        return f"no RAPL here, and none could be made (needs root, unshare and gcc): {last}"
    return os.execvp("bash", ["bash", str(FAKE_HARDWARE), sys.executable, *sys.argv])


def peers_environment() -> str:
    """Return the Python of an environment that holds the peers, made on first use, away from the project's own."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "greeninfer-benchmarks"
    folder = cache / f"peers-{sys.version_info.major}.{sys.version_info.minor}"
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = "\n".join(PEERS.values())
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        print(f"installing {', '.join(PEERS.values())} into {folder} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--quiet", *PEERS.values()], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test of a minute")
    parser.add_argument("--peers", action="store_true", help="CodeCarbon and Zeus too, in an environment of their own")
    options = parser.parse_args()
    peers_python = peers_environment() if options.peers else None
    print(f"sensor: {give_a_sensor()}", flush=True)
    effort = QUICK if options.quick else FULL
    report = Report(effort.slack)
    call_cost(report, effort, peers_python)
    rest_cost(report, effort)
    import_cost(report, effort, peers_python)
    memory_cost(report, effort)
    if report.missed:
        print(f"\nmissed{' by far' if options.quick else ''}: {'; '.join(report.missed)}")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
