"""The fake libnvidia-ml (``fake_nvml.c``): builds it, and runs code that sees it through the real pynvml.

pynvml loads the library once per process, by its name, so each scenario is a process of its own. Time in it stands
still unless the scenario moves it: its ``clock`` is the clock of the library, too.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]

_PRELUDE = """
import ctypes, json, os, sys
from pathlib import Path
import pynvml
from greeninfer._clock import SystemClock
from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters.nvml import NvmlMeter, open_nvml

def library():
    return ctypes.CDLL("libnvidia-ml.so.1")

class LibraryClock:
    def __init__(self):
        self.seconds = 1000.0
        self.sleep(0.0)

    def now(self):
        return self.seconds

    def asleep(self):
        return 0.0

    def unix(self):
        return 1.7e9 + self.seconds

    def sleep(self, seconds):
        self.seconds += seconds
        library().fake_nvml_set_clock(ctypes.c_double(self.seconds))

def references():
    return library().fake_nvml_references()

def report(values):
    print(json.dumps(values))
"""


def library_folder() -> Path:
    """Return the folder of the library, built if it is older than its source; skips the test where it cannot be."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the fake libnvidia-ml is for Linux")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the fake libnvidia-ml")
    folder = HERE / "build" / "nvml"
    library, source = folder / "libnvidia-ml.so.1", HERE / "fake_nvml.c"
    if not library.exists() or library.stat().st_mtime <= source.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        made = library.with_suffix(f".{os.getpid()}")
        name = "-Wl,-soname,libnvidia-ml.so.1"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", name, "-o", made, source, "-lm"], check=True)
        made.replace(library)
    return folder


def environment(no_library: bool = False, **fake: object) -> dict[str, str]:
    """Return an environment in which pynvml finds the fake library; POWER_W=300 sets FAKE_NVML_POWER_W, and so on."""
    if importlib.util.find_spec("pynvml") is None:
        pytest.skip("nvidia-ml-py is not installed")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FAKE_NVML_", "GREENINFER_"))}
    return clean | {
        "LD_LIBRARY_PATH": "" if no_library else str(library_folder()),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "tests")]),
        **{f"FAKE_NVML_{name}": str(value) for name, value in fake.items()},
    }


def play(scenario: str, no_library: bool = False, **fake: object) -> Any:
    """Run a scenario in a process of its own and return what it gave to ``report``."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _PRELUDE + scenario],
        env=environment(no_library, **fake),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
