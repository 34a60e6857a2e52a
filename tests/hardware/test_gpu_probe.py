"""benchmarks/gpu_probe.py on the fake driver library: that it works, and that nothing of it passes for measured."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from hardware.fake_nvml import PROJECT, environment

SCRIPT = PROJECT / "benchmarks" / "gpu_probe.py"


def run(folder: Path, no_library: bool = False, **fake: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, "--seconds", "0.3", "--calls", "50", "--write", "--folder", folder],
        env=environment(no_library, **fake),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_on_a_fake_board_it_works_and_refuses_to_write(tmp_path: Path) -> None:
    done = run(tmp_path, UPDATE_MS=20, SAMPLES_MS=10, ENERGY_FACTOR=0.8)
    assert done.returncode == 1, done.stderr
    assert "THESE FIGURES MEASURE NOTHING" in done.stdout
    assert "refused to write: a fake driver library" in done.stdout
    assert list(tmp_path.iterdir()) == []
    ratio = re.search(r"ratio (\d\.\d+)", done.stdout)
    assert ratio
    assert float(ratio[1]) == pytest.approx(0.8, abs=0.1)
    period = re.search(r"\| energy counter \| \d+ \| ([0-9.]+) \|", done.stdout)
    assert period
    assert float(period[1]) == pytest.approx(20.0, rel=0.5)
    assert "| buffered samples, by their stamps | 120 | 10.0 |" in done.stdout


@pytest.mark.parametrize("fake", [{"INIT": 9}, {"DEVICES": 0}])
def test_without_a_board_it_says_so_and_ends_well(tmp_path: Path, fake: dict[str, int]) -> None:
    done = run(tmp_path, **fake)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("not run: ")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_probe", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_probe"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_of_a_real_board_is_named_after_it(script: ModuleType, tmp_path: Path) -> None:
    phase = script.Phase("at rest", (script.Latency("energy counter", 41.0, 93.5),), (), None)
    found = script.Probe("NVIDIA H100 80GB HBM3", "570.1", "12.570", "13.0", False, (phase,), "no torch")
    path = script.write(found, tmp_path)
    assert path.name == "nvidia-h100-80gb-hbm3.md"
    page = path.read_text()
    assert "| energy counter | 41.0 | 93.5 |" in page
    assert "Only rest was probed: no torch." in page
    assert "FAKE" not in page
    with pytest.raises(ValueError, match="refused"):
        script.write(replace(found, is_fake=True), tmp_path)
