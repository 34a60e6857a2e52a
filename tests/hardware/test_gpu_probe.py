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


STUB_TORCH = """
import time
bfloat16 = None
class Tensor:
    def __matmul__(self, other):
        return self
class cuda:
    is_available = staticmethod(lambda: True)
    synchronize = staticmethod(lambda device: time.sleep(0.01))
def randn(*size, device, dtype):
    return Tensor()
"""


def run(tmp_path: Path, torch: str, **fake: object) -> subprocess.CompletedProcess[str]:
    (tmp_path / "torch.py").write_text(torch)
    (tmp_path / "measured").mkdir()
    done = subprocess.run(
        [sys.executable, SCRIPT, "--seconds", "0.2", "--calls", "50", "--write", "--folder", tmp_path / "measured"],
        env=environment(**fake) | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert list((tmp_path / "measured").iterdir()) == [], "nothing of a fake library may be written"
    return done


def test_on_a_fake_board_it_works_and_refuses_to_write(tmp_path: Path) -> None:
    done = run(tmp_path, "raise ImportError", UPDATE_MS=20, SAMPLES_MS=10, ENERGY_FACTOR=0.8)
    assert done.returncode == 1, done.stderr
    assert "THESE FIGURES MEASURE NOTHING" in done.stdout
    assert "refused to write: a fake driver library" in done.stdout
    ratio = re.search(r"ratio (\d\.\d+)", done.stdout)
    assert ratio
    assert float(ratio[1]) == pytest.approx(0.8, abs=0.12)
    period = re.search(r"\| energy counter \| \d+ \| ([0-9.]+) \|", done.stdout)
    assert period
    assert float(period[1]) == pytest.approx(20.0, rel=0.5)
    assert "| buffered samples, by their stamps | 120 | 10.0 |" in done.stdout
    assert "Only rest was probed: torch is not installed." in done.stdout
    assert "## Under load" not in done.stdout


def test_with_torch_the_board_is_probed_under_load_too(tmp_path: Path) -> None:
    done = run(tmp_path, STUB_TORCH)
    assert "## Under load" in done.stdout, done.stderr
    assert "Only rest was probed" not in done.stdout


def test_without_a_board_it_says_so_and_ends_well(tmp_path: Path) -> None:
    done = run(tmp_path, "", INIT=9)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("not run: NVML does not start: Driver Not Loaded")


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
