"""What the middleware costs a FastAPI service under uvicorn, beside the metrics middlewares of others, in one run.

    python benchmarks/serving.py [--rounds 5] [--seconds 2] [--only cost|latency] [--quick]

Every case is a process of its own, all of them resident. Rounds are interleaved in a shuffled order, so that whatever
else the machine does hits all cases alike; a case is compared with the bare application of the same round, and figures
are medians over rounds. CPU is that of the whole server process, so settling and exporting are in it. For the latency
of a model call of 5 ms two bare applications run: how far these two are apart is the noise.

A peer that is not installed is left out, and the line that installs it is printed. Meter `rapl` reads a powercap tree
in a temporary folder, which this process writes; it costs the server what the real one does, but for the microseconds
that the kernel takes to ask the processor.

Exit status 1: a target was missed (with --quick, which is noisy, by far).
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import socket
import statistics
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec

from _powercap import Powercap
from _report import Report
from _serving_apps import CASES, MODEL_SECONDS
from _serving_load import Load, Round, Server, Unavailable, find_load, one_round, quantile

LEAST_RATIO = 0.85
MOST_CPU_US = 25.0
QUICK_SLACK = 3.0
MOST_NOISE_MS = 0.5 * MODEL_SECONDS * 1e3  # beyond that a comparison of p99 tells nothing
OURS = ("rapl", "estimate", "otel")
TARGETED = OURS[:2]
PEERS = ("instrumentator", "starlette", "fastapi", "otelmetrics", "oteltraces")
NOISE = (0.025, 0.975)
RESAMPLES = 2000

Rounds = dict[str, list[Round]]
Environments = Mapping[str, Mapping[str, str]]


@contextmanager
def servers(cases: Sequence[str], environ: Environments) -> Iterator[dict[str, Server]]:
    """Start a server for each case that can run here; say why the others cannot."""
    running: dict[str, Server] = {}
    with ExitStack() as stack:
        for case in cases:
            name = case.split(":")[0]
            try:
                server = running[case] = Server(name, environ.get(case, {}))
            except Unavailable as reason:
                print(f"left out: {CASES[name].title}: {reason}", flush=True)
                continue
            stack.callback(server.end)
        yield running


def interleaved(
    load: Load, running: Mapping[str, Server], path: str, connections: int, rounds: int, seconds: int
) -> Rounds:
    """Load all servers in turn, as often as there are rounds, after a warm-up of a second each."""
    results: Rounds = {case: [] for case in running}
    order = list(running)
    for case in order:
        one_round(load, running[case], path, connections, 1)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for case in order:
            results[case].append(one_round(load, running[case], path, connections, seconds))
    return results


def own_thread(server: Server) -> tuple[float, float]:
    """Return the CPU seconds of our own thread in a server of ours, and the requests that it settled, so far."""
    with urllib.request.urlopen(f"{server.address}/metrics", timeout=10.0) as answer:
        text = answer.read().decode()
    seconds = re.findall(r"^greeninfer_overhead_cpu_seconds_total (\S+)$", text, re.MULTILINE)
    counts = re.findall(r"^greeninfer_request_duration_seconds_count\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, seconds)), sum(map(float, counts))


def against_bare(results: Rounds, case: str, figure: Callable[[Round, Round], float]) -> list[float]:
    return [figure(ours, bare) for ours, bare in zip(results[case], results["bare"], strict=True)]


def spread(values: Sequence[float], form: str) -> str:
    """Return a median and, in brackets, the least and the most."""
    return f"{statistics.median(values):{form}} [{min(values):{form}} to {max(values):{form}}]"


def cost(report: Report, results: Rounds, what: str, slack: float | None) -> None:
    """Print the table of throughput and CPU, and the targets unless ``slack`` is None."""
    rows = []
    ratios, added = {}, {}
    for case, rounds in results.items():
        ratios[case] = against_bare(results, case, lambda ours, bare: ours.per_second / bare.per_second)
        added[case] = against_bare(results, case, lambda ours, bare: ours.cpu_us - bare.cpu_us)
        throughput = statistics.median(each.per_second for each in rounds)
        cpu_us = statistics.median(each.cpu_us for each in rounds)
        figures = f"{throughput:,.0f}", spread(ratios[case], ".2f"), f"{cpu_us:.0f}", spread(added[case], "+.0f")
        rows.append([CASES[case].title, *figures, f"{quantile(rounds, 0.50):.2f}", f"{quantile(rounds, 0.99):.2f}"])
    headers = ["", "requests/s", "ratio to bare", "server CPU us a request", "added to bare", "p50 ms", "p99 ms"]
    report.table(what, headers, rows)
    print_disturbance(results)
    if slack is None:
        return
    peers = {CASES[case].title: statistics.median(ratios[case]) for case in PEERS if case in ratios}
    for case in (each for each in TARGETED if each in ratios):
        name, ratio, extra = CASES[case].title, statistics.median(ratios[case]), statistics.median(added[case])
        report.target(
            f"{name}: throughput at least {LEAST_RATIO} of bare", f"{ratio:.2f}", ratio >= LEAST_RATIO,
            counts=1.0 / ratio - 1.0 > (1.0 / LEAST_RATIO - 1.0) * slack,
        )  # fmt: skip
        ahead = [peer for peer, theirs in peers.items() if theirs >= ratio]
        report.target(
            f"{name}: ahead of every peer", f"behind {', '.join(ahead)}" if ahead else f"{len(peers)} peers behind",
            not ahead, counts=bool(ahead) and slack == 1.0,
        )  # fmt: skip
        report.target(
            f"{name}: at most +{MOST_CPU_US:.0f} us of server CPU a request", f"{extra:+.1f} us",
            extra <= MOST_CPU_US, counts=extra > MOST_CPU_US * slack,
        )  # fmt: skip


def print_own_thread(seen: Mapping[str, tuple[tuple[float, float], tuple[float, float]]]) -> None:
    """Print how much of the CPU is that of our thread, which settles and exports; the rest is on the request's way."""
    for case, (before, after) in seen.items():
        seconds, requests = (late - early for early, late in zip(before, after, strict=True))
        print(f"{CASES[case].title}: its own thread {seconds / requests * 1e6:.1f} us a request")


def latency(report: Report, results: Rounds, what: str, slack: float) -> None:
    """Print the table of latencies; what two bare applications differ in is the noise."""
    rows, changes = [], {}
    noise = max(map(abs, resampled(results, "again")))
    for case, rounds in results.items():
        p50, p99 = quantile(rounds, 0.50), quantile(rounds, 0.99)
        low, high = resampled(results, case) if case != "bare" else (0.0, 0.0)
        changes[case] = p99 - quantile(results["bare"], 0.99)
        rows.append([title(case), f"{p50:.2f}", f"{p99:.2f}", f"{changes[case]:+.2f}", f"{low:+.2f} to {high:+.2f}"])
    report.table(what, ["milliseconds", "p50", "p99", "p99 less bare's", "95 % of resampled rounds"], rows)
    print_disturbance(results)
    for case, change in changes.items():
        if case in ("bare", "again"):
            continue
        target = f"{title(case)}: p99 unchanged within the noise of {noise:.2f} ms"
        if noise > MOST_NOISE_MS:
            report.unknown(target, f"{change:+.2f} ms, but two bare applications are as far apart as {noise:.2f} ms")
        else:
            report.target(target, f"{change:+.2f} ms", change <= noise, counts=change > noise * slack)


def print_disturbance(results: Rounds) -> None:
    """Print what else kept the machine busy while these rounds ran."""
    cores = [each.other_cores for rounds in results.values() for each in rounds if each.other_cores is not None]
    if cores:
        print(f"other processes kept {spread(cores, '.1f')} cores busy")


def resampled(results: Rounds, case: str) -> tuple[float, float]:
    """Return between what the change of p99 lies in 95 % of runs made up of rounds of this one, drawn at random."""
    chance = random.Random(0)
    count = len(results[case])
    changes = []
    for _ in range(RESAMPLES // count):
        drawn = [chance.randrange(count) for _ in range(count)]
        theirs, bare = ([results[each][number] for number in drawn] for each in (case, "bare"))
        changes.append(quantile(theirs, 0.99) - quantile(bare, 0.99))
    changes.sort()
    low, high = (changes[min(len(changes) - 1, int(part * len(changes)))] for part in NOISE)
    return low, high


def title(case: str) -> str:
    name, _, endpoint = case.partition(":")
    return f"{CASES[name].title}, its endpoint {endpoint}" if endpoint else CASES[name].title


def of_ours(root: str, refusing: str, hanging: str) -> dict[str, dict[str, str]]:
    """Return the environment of each case of ours."""
    rapl = {"GREENINFER_METERS": "rapl", "GREENINFER_POWERCAP_ROOT": root, "GREENINFER_TICK_SECONDS": "0.02"}
    otel = {**rapl, "GREENINFER_EXPORTERS": "prometheus,otel"}
    return {
        "rapl": rapl, "estimate": {"GREENINFER_METERS": "estimate", "GREENINFER_TICK_SECONDS": "0.02"}, "otel": otel,
        "otel:refuses": {**otel, "SERVING_OTLP_ENDPOINT": refusing},
        "otel:hangs": {**otel, "SERVING_OTLP_ENDPOINT": hanging},
    }  # fmt: skip


@contextmanager
def bad_endpoints() -> Iterator[tuple[str, str]]:
    """Make an address where nobody listens, and one where a connection is taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as closed, socket.create_server(("127.0.0.1", 0)) as silent:
        ports = closed.getsockname()[1], silent.getsockname()[1]
        closed.close()
        yield f"http://127.0.0.1:{ports[0]}/v1/metrics", f"http://127.0.0.1:{ports[1]}/v1/metrics"


def measure_cost(options: argparse.Namespace, report: Report, slack: float, environ: Environments) -> None:
    command, load = find_load()
    command_line = command.format(connections=8, seconds=options.seconds)
    with servers(["bare", "noop", *OURS, *PEERS], environ) as running:
        paths = [("/predict/1", "An async endpoint"), ("/sync/1", "A sync endpoint, in the pool")]
        for path, of_what in paths[:1] if options.quick else paths:
            before = {case: own_thread(running[case]) for case in OURS if case in running}
            results = interleaved(load, running, path, 8, options.rounds, options.seconds)
            what = f"{of_what}: {options.rounds} rounds of {command_line} http://127.0.0.1:PORT{path}"
            cost(report, results, what, slack if path == "/predict/1" else None)
            print_own_thread({case: (before[case], own_thread(running[case])) for case in before})


def measure_latency(options: argparse.Namespace, report: Report, slack: float, environ: Environments) -> None:
    command, load = find_load()
    rounds = options.rounds if options.quick else 2 * options.rounds  # a hundredth of the requests makes a p99
    with servers(["bare", "again", "rapl", "otel:refuses", "otel:hangs"], environ) as running:
        for path, connections, of_what in (("/remote/1", 8, "waited for"), ("/model/1", 1, "computed")):
            results = interleaved(load, running, path, connections, rounds, options.seconds)
            command_line = command.format(connections=connections, seconds=options.seconds)
            what = f"A model call of {MODEL_SECONDS * 1e3:.0f} ms, {of_what}: {rounds} rounds of {command_line}"
            latency(report, results, f"{what} http://127.0.0.1:PORT{path}", slack)


def measure(options: argparse.Namespace, report: Report, slack: float) -> None:
    with ExitStack() as stack:
        powercap = Powercap()
        stack.callback(powercap.close)
        powercap.start()
        environ = of_ours(str(powercap.root), *stack.enter_context(bad_endpoints()))

        if options.only != "latency":
            measure_cost(options, report, slack, environ)
        if options.only != "cost":
            measure_latency(options, report, slack, environ)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="twice as many for the latency")
    parser.add_argument("--seconds", type=int, default=2, help="of each round")
    parser.add_argument("--only", choices=("cost", "latency"), help="one of the two parts")
    parser.add_argument("--quick", action="store_true", help="a smoke test: 1 round of 1 s, no pool")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds < 1:
        parser.error(f"rounds={options.rounds}, seconds={options.seconds} are not possible; allowed: from 1 up")
    if options.quick:
        options.rounds, options.seconds = 1, 1
    parts = [name if find_spec(name) else f"no {name}" for name in ("uvloop", "httptools")]
    load_average = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load_average}, "
        f"uvicorn with {', '.join(parts)}"
    )
    report = Report()
    measure(options, report, QUICK_SLACK if options.quick else 1.0)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
