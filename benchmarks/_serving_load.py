"""Servers and the load on them, seen from outside: a process per case, wrk or hey, the server's CPU clock."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

APPS = Path(__file__).resolve().parent / "_serving_apps.py"
CPUCLOCK_SCHED = 2  # include/linux/posix-timers_types.h: (~pid << 3) | this is the CPU clock of a whole process

LUA = """
done = function(summary, latency, requests)
  local e, buckets = summary.errors, {}
  for i = 1, #latency do
    local microseconds, count = latency(i)
    buckets[i] = string.format('[%d, %d]', microseconds, count)
  end
  io.write(string.format('{"requests": %d, "seconds": %f, "bad": %d, "latency": [%s]}\\n', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout, table.concat(buckets, ',')))
end
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a load tool tells.

    Args:
        requests: answered with 200.
        seconds: that the load went on.
        bad: answered otherwise, or not at all.
        latency: how many requests took so many microseconds, corrected by wrk for those that it could not send
            meanwhile; not by hey.
    """

    requests: int
    seconds: float
    bad: int
    latency: Counter[int]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of load brought.

    Args:
        answers: as the client sees it.
        cpu_seconds: of the server, all its threads, until its background work was done as well.
        other_cores: that neither the server nor the load tool kept busy, or None where the system does not tell.
    """

    answers: Answers
    cpu_seconds: float
    other_cores: float | None

    @property
    def per_second(self) -> float:
        return self.answers.requests / self.answers.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / self.answers.requests * 1e6


def quantile(rounds: Iterable[Round], part: float) -> float:
    """Return a quantile of the latency of all these rounds together, in milliseconds."""
    together: Counter[int] = Counter()
    for each in rounds:
        together.update(each.answers.latency)
    left = part * together.total()
    for microseconds in sorted(together):
        left -= together[microseconds]
        if left <= 0:
            return microseconds / 1000.0
    raise ValueError("no requests, no latency")


class Unavailable(Exception):
    """A case that cannot be run here."""


class Server:
    """A process that serves one case.

    Raises:
        Unavailable: if a package is not installed; the text says what to type.
    """

    def __init__(self, case: str, environ: Mapping[str, str]) -> None:
        self.title = case
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


Load = Callable[[str, int, int], Answers]
"""Loads (URL, connections, seconds)."""


def find_load() -> tuple[str, Load]:
    """Return wrk, or hey where there is no wrk.

    Raises:
        SystemExit: if there is neither.
    """
    if shutil.which("wrk"):
        return "wrk -t1 -c{connections} -d{seconds}s", _wrk
    if shutil.which("hey"):
        return "hey -cpus 1 -c {connections} -z {seconds}s", _hey
    raise SystemExit("neither wrk nor hey is here; on Debian and Ubuntu: apt install wrk; on macOS: brew install wrk")


def _wrk(url: str, connections: int, seconds: int) -> Answers:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA)
        script.flush()
        output = _output(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name, url], seconds)
    told = json.loads(output.splitlines()[-1])
    return Answers(told["requests"], told["seconds"], told["bad"], Counter(dict(told["latency"])))


def _hey(url: str, connections: int, seconds: int) -> Answers:
    output = _output(["hey", "-cpus", "1", "-c", str(connections), "-z", f"{seconds}s", "-o", "csv", url], seconds)
    rows = list(csv.DictReader(output.splitlines()))
    good = [row for row in rows if row["status-code"] == "200"]
    latency = Counter(round(float(row["response-time"]) * 1e6) for row in good)
    return Answers(len(good), float(seconds), len(rows) - len(good), latency)


def _output(command: list[str], seconds: int) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode != 0 or not done.stdout:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr or done.stdout}")
    return done.stdout


SETTLE_SECONDS = 0.15  # after the load: our last ticks are paid for within the round that caused them


def one_round(load: Load, server: Server, path: str, connections: int, seconds: int) -> Round:
    """Load one server for a while.

    Raises:
        SystemExit: if a request was not answered with 200.
    """
    begun, others = time.monotonic(), other_seconds(server)
    before = server.cpu_seconds()
    answers = load(server.address + path, connections, seconds)
    time.sleep(SETTLE_SECONDS)
    cpu_seconds = server.cpu_seconds() - before
    if answers.bad or not answers.requests:
        raise SystemExit(
            f"{server.title} {path}: {answers.bad} of {answers.requests + answers.bad} requests failed; every one must "
            f"be answered with 200\n{server.errors()}"
        )
    cores = None if others is None else max(0.0, (other_seconds(server) or 0.0) - others) / (time.monotonic() - begun)
    return Round(answers, cpu_seconds, cores)


def other_seconds(server: Server) -> float | None:
    """Return the CPU seconds of everything but a server, the load tool and this process since some instant, or None."""
    if sys.platform != "linux":
        return None
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text(encoding="ascii").split()[1:8])
    busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    times = os.times()
    ours = times.user + times.system + times.children_user + times.children_system
    return busy - ours - server.cpu_seconds()
