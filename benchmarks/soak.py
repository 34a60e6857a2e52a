"""Load a service to saturation for minutes, scrape it every second, and look for what is lost, grown or left open.

    python benchmarks/soak.py [--minutes 5] [--connections 16] [--check]

A FastAPI application under uvicorn, one process, answers requests of every kind: async, sync in the thread pool,
waiting, streaming, failing, unmatched, and streams whose client leaves in the middle. Its meter is a powercap tree of
100 W in a temporary folder, whose counter stands still before the first and after the last reading and wraps after
24 s, so that what it counted is known exactly. The client (`_soak_client.py`) knows exactly what it sent.

Memory is resident memory, once a second. Its growth is the median of the last fifth of the run less the median of the
second fifth: what is allocated once comes before, and what a few requests need for a moment does not move a median.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from _powercap import Powercap
from _report import Report
from _serving_load import Server, Unavailable

CLIENT = Path(__file__).resolve().parent / "_soak_client.py"
GROWTH_MIB = 2.0
LEAST_TREND_SECONDS = 180
RELATIVE = 1e-9  # floats of prometheus_client, added up millions of times
WAIT_SECONDS = 20.0


@dataclass(slots=True)
class Page:
    """One scrape, summed over the labels that are not asked for."""

    booked: float = 0.0
    states: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    attributed: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    observed: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    requests: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    in_flight: float = 0.0
    failures: dict[str, float] = field(default_factory=dict)
    overhead_seconds: float = 0.0
    meters: int = 0


@dataclass(slots=True)
class Watch:
    """What was seen while the load went on."""

    mib: list[float] = field(default_factory=list)
    scrape_seconds: list[float] = field(default_factory=list)
    ahead: list[float] = field(default_factory=list)  # joules booked that the counter had not shown yet


def scrape(server: Server) -> Page:
    """Return the metrics page.

    Raises:
        OSError: if it cannot be had within 10 s.
    """
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(f"{server.address}/metrics", timeout=10.0) as answer:
        text = answer.read().decode()
    page = Page()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            _take(page, sample.name, sample.labels, sample.value)
    return page


def _take(page: Page, sample: str, labels: Mapping[str, str], value: float) -> None:
    match sample:
        case "greeninfer_energy_joules_total":
            page.booked += value
            page.states[labels["state"]] += value
            if labels["state"] == "attributed":
                page.attributed[labels["name"]] += value
        case "greeninfer_request_energy_joules_sum":
            page.observed[labels["name"]] += value
        case "greeninfer_request_duration_seconds_count":
            page.requests[labels["name"]] += int(value)
            page.outcomes[labels["outcome"]] += int(value)
        case "greeninfer_requests_in_flight":
            page.in_flight += abs(value)
        case "greeninfer_meter_failures_total":
            page.failures[f"{labels['meter']} {labels['reason']}"] = value
        case "greeninfer_overhead_cpu_seconds_total":
            page.overhead_seconds = value
        case "greeninfer_meter_info":
            page.meters += int(value)


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def watch(server: Server, powercap: Powercap, client: subprocess.Popen[str]) -> Watch:
    """Scrape once a second until the client is done."""
    seen = Watch()
    next_look = time.monotonic()
    while client.poll() is None:
        begun = time.monotonic()
        page = scrape(server)
        seen.scrape_seconds.append(time.monotonic() - begun)
        seen.ahead.append(page.booked - powercap.joules)
        seen.mib.append(resident_mib(server.pid))
        next_look = max(next_look + 1.0, time.monotonic())
        time.sleep(next_look - time.monotonic() if next_look > time.monotonic() else 0.0)
    return seen


def settled(server: Server, powercap: Powercap) -> Page:
    """Return the page once all that the counter showed is booked and nothing is in flight, or as it is in the end."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        page = scrape(server)
        closed = page.in_flight == 0 and math.isclose(page.booked, powercap.joules, rel_tol=RELATIVE)
        if closed or time.monotonic() > deadline:
            return page
        time.sleep(0.25)


def run(minutes: float, connections: int) -> tuple[Watch, Page, dict[str, Counter[str]], float, float]:
    """Return what was seen, the last page, the client's counts, the counter's joules and the server's CPU share."""
    powercap = Powercap()
    server = Server("soak", {"GREENINFER_METERS": "rapl", "GREENINFER_POWERCAP_ROOT": str(powercap.root)})
    try:
        urllib.request.urlopen(f"{server.address}/predict/7", timeout=30.0).close()  # the monitor starts
        deadline = time.monotonic() + WAIT_SECONDS
        while not scrape(server).meters and time.monotonic() < deadline:
            time.sleep(0.02)
        powercap.start()
        port = server.address.rpartition(":")[2]
        command = [sys.executable, str(CLIENT), port, str(minutes * 60.0), str(connections)]
        cpu, begun = server.cpu_seconds(), time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            try:
                seen = watch(server, powercap, client)
            finally:
                client.terminate()  # it is done already, unless a scrape failed
            output = client.communicate()[0]
        busy = (server.cpu_seconds() - cpu) / (time.monotonic() - begun)
        if client.returncode != 0:
            raise SystemExit(f"the client failed\n{server.errors()}")
        counts = {kind: Counter(each) for kind, each in json.loads(output).items()}
        counts["sent"]["/predict/{x}"] += 1
        counts["answered"]["/predict/{x}"] += 1
        time.sleep(1.0)  # the last requests are settled while the counter still moves
        powercap.stop()
        return seen, settled(server, powercap), counts, powercap.joules, busy
    finally:
        server.end()
        powercap.close()


def slope(values: list[float]) -> float:
    """Return the median of the slopes between all pairs (Theil 1950), per second."""
    step = max(1, len(values) // 200)
    points = list(enumerate(values))[::step]
    return statistics.median((b - a) / (j - i) for n, (i, a) in enumerate(points) for j, b in points[n + 1 :])


def memory(report: Report, seen: Watch, requests: int) -> None:
    count = len(seen.mib)
    if count < 10:
        print(f"{count} looks at the memory are too few to tell anything")
        return
    fifths = [seen.mib[count * part // 5 : count * (part + 1) // 5] for part in range(5)]
    medians = [statistics.median(each) for each in fifths]
    print("\nresident MiB, medians of the fifths of the run: " + ", ".join(f"{each:.2f}" for each in medians))
    if count >= LEAST_TREND_SECONDS:  # of less, the warm-up would be the trend
        trend = slope(seen.mib[count // 5 :]) * 3600.0
        print(f"trend after the first fifth: {trend:+.2f} MiB an hour, at {requests / count:,.0f} requests a second")
    growth = medians[4] - medians[1]
    report.target(
        f"memory grows by at most {GROWTH_MIB:.0f} MiB", f"{growth:+.2f} MiB from the second fifth to the last",
        growth <= GROWTH_MIB,
    )  # fmt: skip


def books(report: Report, seen: Watch, page: Page, counted: float) -> None:
    lines = ", ".join(f"{state} {joules:.3f}" for state, joules in sorted(page.states.items()))
    failures = ", ".join(f"{reason} {count:.0f}" for reason, count in page.failures.items())
    print(
        f"\njoules: {lines}; failures of meters: {failures or 'none'} (frozen: where this benchmark stops the counter)"
    )
    report.target(
        "the lines add up to the counter", f"{page.booked:.6f} J booked, {counted:.6f} J counted",
        math.isclose(page.booked, counted, rel_tol=RELATIVE),
    )  # fmt: skip
    worst = max(seen.ahead, default=0.0)
    report.target("at no scrape more was booked than counted", f"{worst:+.3f} J", worst <= RELATIVE * counted)
    apart = max(
        (abs(page.observed[name] - joules) / joules for name, joules in page.attributed.items() if joules),
        default=math.inf,
    )
    report.target("the histogram's _sum is what was attributed", f"{apart:.1e} apart", apart <= 1e-8)


def requests(report: Report, page: Page, counts: Mapping[str, Counter[str]]) -> None:
    rows = [
        [
            route, f"{sent:,}", f"{counts['answered'][route]:,}", f"{page.requests[route]:,}",
            f"{page.attributed[route]:.2f}", f"{page.attributed[route] / sent * 1e3:.3f}",
        ]
        for route, sent in counts["sent"].items()
    ]  # fmt: skip
    report.table("Requests", ["route", "sent", "answered", "measured", "J", "mJ a request"], rows)
    print(f"outcomes: {dict(page.outcomes)}")
    report.target(
        "every request is measured", f"{page.requests.total():,} of {counts['sent'].total():,}",
        page.requests == counts["sent"],
    )  # fmt: skip
    report.target(
        "every request is answered", f"{counts['answered'].total():,} of {counts['sent'].total():,}",
        counts["answered"] == counts["sent"],
    )  # fmt: skip
    overload = page.failures.get("monitor overload", 0.0)
    report.target("nothing refused as overload", f"{overload:.0f} times", not overload)
    report.target("nothing in flight in the end", f"{page.in_flight:.0f}", page.in_flight == 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is not reached")
    options = parser.parse_args()
    if sys.platform != "linux":
        print("not run: it reads the server's memory from /proc, which only Linux has")
        return 0
    print(
        f"{options.minutes:g} minutes, {options.connections} connections and 2 that leave, a scrape every second",
        flush=True,
    )
    try:
        seen, page, counts, counted, busy = run(options.minutes, options.connections)
    except Unavailable as reason:
        print(f"not run: {reason}")
        return 0
    report = Report()
    requests(report, page, counts)
    books(report, seen, page, counted)
    memory(report, seen, counts["sent"].total())
    scrapes = [seconds * 1e3 for seconds in seen.scrape_seconds]
    own = page.overhead_seconds / page.requests.total() * 1e6
    print(
        f"\nserver busy {busy:.2f} cores; {len(scrapes)} scrapes, median {statistics.median(scrapes):.0f} ms, longest "
        f"{max(scrapes):.0f} ms; greeninfer's own thread {own:.1f} us a request"
    )
    status = report.end()
    return status if options.check else 0


if __name__ == "__main__":
    sys.exit(main())
