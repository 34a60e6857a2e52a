"""Servers and the load on them, seen from outside: a process per case, wrk or hey, the server's CPU clock."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

APPS = Path(__file__).resolve().parent / "_serving_apps.py"
CPUCLOCK_SCHED = 2  # include/linux/posix-timers_types.h: (~pid << 3) | this is the CPU clock of a whole process

LUA = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests": %d, "seconds": %f, "bad": %d, "p50": %f, "p99": %f}\\n', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of load brought; seconds throughout.

    Args:
        requests: answered.
        seconds: that the load went on.
        cpu_seconds: of the server, all its threads, until its background work was done as well.
        p50, p99: quantiles of the latency, as the client sees it.
    """

    requests: int
    seconds: float
    cpu_seconds: float
    p50: float
    p99: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_per_request(self) -> float:
        return self.cpu_seconds / self.requests


class Unavailable(Exception):  # noqa: N818 - not an error: the row is left out
    """A case that cannot be run here."""


class Server:
    """A process that serves one case.

    Raises:
        Unavailable: if a package is not installed; the text says what to type.
    """

    def __init__(self, case: str, environ: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GREENINFER_")}
        self._process = subprocess.Popen(
            [sys.executable, str(APPS), case], env={**inherited, **environ},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the server of {case} ended early:\n{self.errors()}")
        answer = json.loads(line)
        if "unavailable" in answer:
            self.end()
            raise Unavailable(": ".join(filter(None, (answer["unavailable"], answer["remedy"]))))
        self.address = f"http://127.0.0.1:{answer['port']}"
        self.pid = self._process.pid

    def errors(self) -> str:
        """Return the end of what it wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read()[-2000:]

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the process, threads that have ended included."""
        if sys.platform == "linux":
            return time.clock_gettime((~self.pid << 3) | CPUCLOCK_SCHED)
        try:
            import psutil
        except ImportError:
            raise SystemExit("CPU seconds of another process need Linux, or: pip install psutil") from None
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def end(self) -> None:
        """Let it stop, by itself if it can."""
        try:
            self._process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        finally:
            self._errors.close()


Load = Callable[[str, int, float], dict[str, float]]
"""Loads (URL, connections, seconds); returns requests, seconds, bad, p50, p99."""


def find_load() -> tuple[str, Load]:
    """Return wrk, or hey where there is no wrk.

    Raises:
        SystemExit: if there is neither.
    """
    if shutil.which("wrk"):
        return "wrk -t1", _wrk
    if shutil.which("hey"):
        return "hey -cpus 1", _hey
    raise SystemExit("neither wrk nor hey is here; on Debian and Ubuntu: apt install wrk; on macOS: brew install wrk")


def _wrk(url: str, connections: int, seconds: float) -> dict[str, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA)
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", script.name, url]
        output = _output(command, seconds)
    answer: dict[str, float] = json.loads(output.splitlines()[-1])
    return answer


def _hey(url: str, connections: int, seconds: float) -> dict[str, float]:
    output = _output(["hey", "-cpus", "1", "-c", str(connections), "-z", f"{seconds:.0f}s", url], seconds)
    answers = {int(status): int(count) for status, count in re.findall(r"\[(\d{3})\]\s+(\d+) responses", output)}
    found = [re.search(pattern, output) for pattern in (r"Total:\s+([\d.]+)", r"50% in ([\d.]+)", r"99% in ([\d.]+)")]
    total, p50, p99 = (float(each[1]) if each else float("nan") for each in found)
    bad = sum(answers.values()) - answers.get(200, 0) + ("Error distribution" in output)
    return {"requests": answers.get(200, 0), "seconds": total, "bad": bad, "p50": p50, "p99": p99}


def _output(command: list[str], seconds: float) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60.0, check=False)
    if done.returncode != 0 or not done.stdout:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr or done.stdout}")
    return done.stdout


SETTLE_SECONDS = 0.15  # after the load: our last ticks are paid for within the round that caused them


def one_round(load: Load, server: Server, path: str, connections: int, seconds: float) -> Round:
    """Load one server for a while.

    Raises:
        SystemExit: if a request was not answered with 200.
    """
    before = server.cpu_seconds()
    result = load(server.address + path, connections, seconds)
    time.sleep(SETTLE_SECONDS)
    cpu_seconds = server.cpu_seconds() - before
    if result["bad"] or not result["requests"]:
        raise SystemExit(f"{server.address}{path}: {result}; every request must be answered with 200\n{server.errors()}")
    return Round(int(result["requests"]), result["seconds"], cpu_seconds, result["p50"], result["p99"])
