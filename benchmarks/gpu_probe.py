"""Probe an NVIDIA board: what NVML's calls cost, how often its values change, and whether its two sensors agree.

    python benchmarks/gpu_probe.py [--index 0] [--seconds 5] [--calls 2000] [--write]

Prints a table; ``--write`` also puts it into docs/measured/<board>.md. Probes the board at rest and, where torch with
CUDA is installed, under a matrix product that a process of its own runs. Nothing else should use the board meanwhile.
Without a board it says "not run" and why, and ends with 0. A fake driver library serves to try this script: its
figures are marked and never written.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

MEASURED = Path(__file__).parents[1] / "docs" / "measured"
LOAD = Path(__file__).with_name("gpu_load.py")
REFUSAL = "refused to write: a fake driver library answered, nothing was measured"
POWER_AVERAGE, POWER_INSTANT = 185, 186
TOTAL_POWER_SAMPLES = 0


@dataclass(frozen=True)
class Latency:
    """Microseconds of one call; None where the board does not support it."""

    call: str
    p50: float | None
    p99: float | None


@dataclass(frozen=True)
class Period:
    """Milliseconds between two changes of a value: median, and where 90 % of them lie; None if it hardly changed."""

    value: str
    changes: int
    median: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Agreement:
    """Joules between the first and the last change of the counter, by the counter and by power integrated."""

    seconds: float
    counter_joules: float
    power_joules: float
    power_call: str


@dataclass(frozen=True)
class Phase:
    name: str
    latencies: tuple[Latency, ...]
    periods: tuple[Period, ...]
    agreement: Agreement | None


@dataclass(frozen=True)
class Probe:
    board: str
    driver: str
    nvml: str
    module: str
    is_fake: bool
    phases: tuple[Phase, ...]
    not_loaded: str


def calls(nvml: Any, handle: Any) -> dict[str, Callable[[], float]]:
    """Return what can be asked, in the units of NVML (mJ, mW); each raises NVMLError where it is not supported."""

    def field(number: int) -> Callable[[], float]:
        def ask() -> float:
            value = nvml.nvmlDeviceGetFieldValues(handle, [number])[0]
            if value.nvmlReturn != 0:
                raise nvml.NVMLError(value.nvmlReturn)
            return float(value.value.uiVal)

        return ask

    def newest_sample() -> float:
        return float(nvml.nvmlDeviceGetSamples(handle, TOTAL_POWER_SAMPLES, 0)[1][-1].sampleValue.uiVal)

    return {
        "energy counter": lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle),
        "power usage": lambda: nvml.nvmlDeviceGetPowerUsage(handle),
        "field POWER_INSTANT": field(POWER_INSTANT),
        "field POWER_AVERAGE": field(POWER_AVERAGE),
        "buffered samples": newest_sample,
    }


def latency(nvml: Any, name: str, ask: Callable[[], float], count: int) -> Latency:
    try:
        ask()
    except nvml.NVMLError:
        return Latency(name, None, None)
    took = np.empty(count)
    for i in range(count):
        before = time.perf_counter_ns()
        ask()
        took[i] = time.perf_counter_ns() - before
    p50, p99 = np.percentile(took, (50, 99)) / 1e3
    return Latency(name, float(p50), float(p99))


def poll(asks: list[Callable[[], float]], seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Return instants (one per call) and values of as many rounds of calls as fit, one row per round."""
    instants, values = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        row = []
        for ask in asks:
            before = time.perf_counter()
            values.append(ask())
            row.append(0.5 * (before + time.perf_counter()))
        instants.append(row)
    shape = (len(instants), len(asks))
    return np.array(instants).reshape(shape), np.array(values, dtype=float).reshape(shape)


def spread(name: str, edges: np.ndarray) -> Period:
    gaps = np.diff(edges) * 1e3
    if len(gaps) < 3:
        return Period(name, len(edges), None, None, None)
    low, median, high = (float(each) for each in np.percentile(gaps, (5, 50, 95)))
    return Period(name, len(edges), median, low, high)


def agreement(instants: np.ndarray, values: np.ndarray, power_call: str) -> Agreement | None:
    """Compare column 0, the counter in mJ, with column 1, power in mW, over whole periods of the counter."""
    edges = np.flatnonzero(np.diff(values[:, 0])) + 1
    if len(edges) < 2:
        return None
    first, last = edges[0], edges[-1]
    span = slice(first, last + 1)
    watts, at = values[span, 1] / 1e3, instants[span, 1]
    power = float(np.sum(0.5 * (watts[1:] + watts[:-1]) * np.diff(at)))
    counter = float(values[last, 0] - values[first, 0]) / 1e3
    return Agreement(float(instants[last, 0] - instants[first, 0]), counter, power, power_call)


def probe_phase(nvml: Any, handle: Any, name: str, seconds: float, count: int) -> Phase:
    asks = calls(nvml, handle)
    latencies = tuple(latency(nvml, call, ask, count) for call, ask in asks.items())
    works = {each.call for each in latencies if each.p50 is not None}
    periods = []
    for call in ("energy counter", "field POWER_INSTANT", "power usage"):
        if call in works:
            instants, values = poll([asks[call]], seconds)
            periods.append(spread(call, instants[1:][np.diff(values, axis=0) != 0]))
    power_call = next((call for call in ("field POWER_INSTANT", "power usage") if call in works), "")
    if "buffered samples" in works:
        stamps = [each.timeStamp / 1e6 for each in nvml.nvmlDeviceGetSamples(handle, TOTAL_POWER_SAMPLES, 0)[1]]
        periods.append(spread("buffered samples, by their stamps", np.array(stamps)))
    found = None
    if power_call and "energy counter" in works:
        found = agreement(*poll([asks["energy counter"], asks[power_call]], seconds), power_call)
    return Phase(name, latencies, tuple(periods), found)


@contextmanager
def load(index: int, settle: float) -> Iterator[str]:
    """Keep the board busy meanwhile; yield why not, or ""."""
    command = [sys.executable, str(LOAD), str(index)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if process.stdout.readline().strip() == "ready":
            time.sleep(settle)  # clocks rise and fall, and a power that is a mean over 1 s has to catch up
            yield ""
        else:
            yield (process.stderr.read().strip().splitlines() or ["the load does not start"])[-1]
    finally:
        process.kill()
        process.communicate()


def probe(nvml: Any, index: int, seconds: float, count: int) -> Probe:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    driver = nvml.nvmlSystemGetDriverVersion()
    phases = [probe_phase(nvml, handle, "at rest", seconds, count)]
    with load(index, min(2.0, seconds)) as why_not:
        if not why_not:
            phases.append(probe_phase(nvml, handle, "under load", seconds, count))
    return Probe(
        nvml.nvmlDeviceGetName(handle),
        driver,
        nvml.nvmlSystemGetNVMLVersion(),
        metadata.version("nvidia-ml-py"),
        "fake" in driver.lower(),
        tuple(phases),
        why_not,
    )


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def page(found: Probe) -> str:
    """Return the Markdown page of a probe."""
    lines = [f"# {found.board}", ""]
    if found.is_fake:
        lines += ["**A FAKE DRIVER LIBRARY ANSWERED: THESE FIGURES MEASURE NOTHING.**", ""]
    lines += [
        f"Driver {found.driver}, NVML {found.nvml}, nvidia-ml-py {found.module}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()} {platform.machine()}.",
        "Made by `python benchmarks/gpu_probe.py --write`.",
    ]
    for phase in found.phases:
        lines += ["", f"## {phase.name.capitalize()}", "", "| call | p50 us | p99 us |", "|-|-|-|"]
        lines += [f"| {each.call} | {number(each.p50)} | {number(each.p99)} |" for each in phase.latencies]
        lines += ["", "| value | changes | period ms, median | 5 % to 95 % |", "|-|-|-|-|"]
        lines += [
            f"| {each.value} | {each.changes} | {number(each.median)} | {number(each.low)} to {number(each.high)} |"
            for each in phase.periods
        ]
        lines += ["", verdict(phase.agreement)]
    if found.not_loaded:
        lines += ["", f"Only rest was probed: {found.not_loaded}."]
    return "\n".join(lines) + "\n"


def verdict(found: Agreement | None) -> str:
    if found is None:
        return "Counter against power: not compared; one of them is missing or hardly moved."
    ratio = found.counter_joules / found.power_joules if found.power_joules else float("nan")
    return (
        f"Counter against integrated power ({found.power_call}) over {found.seconds:.2f} s: "
        f"{found.counter_joules:.2f} J by the counter, {found.power_joules:.2f} J by power, ratio {ratio:.3f}."
    )


def write(found: Probe, folder: Path) -> Path:
    """Write the page of a real board; ValueError for a fake one."""
    if found.is_fake:
        raise ValueError(REFUSAL)
    slug = re.sub(r"[^a-z0-9]+", "-", found.board.lower()).strip("-")
    path = folder / f"{slug}.md"
    path.write_text(page(found))
    return path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--index", type=int, default=0, help="which board")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each polling")
    parser.add_argument("--calls", type=int, default=2000, help="for each latency")
    parser.add_argument("--write", action="store_true", help="write the page, too")
    parser.add_argument("--folder", type=Path, default=MEASURED, help="where to")
    options = parser.parse_args(arguments)
    try:
        import pynvml
    except ImportError as error:
        print(f"not run: {error}; pip install 'greeninfer[nvidia]'")
        return 0
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        print(f"not run: NVML does not start: {error}")
        return 0
    try:
        if pynvml.nvmlDeviceGetCount() <= options.index:
            print(f"not run: the driver shows no board {options.index}")
            return 0
        found = probe(pynvml, options.index, options.seconds, options.calls)
    except pynvml.NVMLError as error:
        print(f"broke off: {error}")
        return 1
    finally:
        pynvml.nvmlShutdown()
    print(page(found))
    if options.write and found.is_fake:
        print(REFUSAL)
        return 1
    if options.write:
        print(f"written: {write(found, options.folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
