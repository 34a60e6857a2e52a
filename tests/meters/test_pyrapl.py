"""pyRAPL: a stand-in for its sensor, and the real one on a fake /sys/class/powercap where we may make one."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import IO, Any

import pytest
from conftest import HandClock, Rig

from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters.pyrapl import PyraplMeter, open_pyrapl

PROJECT = Path(__file__).parents[2]
FAKE_HARDWARE = PROJECT / "tests" / "hardware" / "with_fake_hw.sh"
RANGE = 262_143_328_850


class StubSensor:
    """``pyRAPL.Sensor``: microjoules that wrap, in files that it keeps open."""

    def __init__(
        self, clock: HandClock, watts: Iterable[float | None], files: dict[int, IO[str]] | None = None
    ) -> None:
        self.clock = clock
        self.begin = clock.seconds
        self.watts = list(watts)
        self.start = RANGE - 50_000_000  # about to wrap
        self.error: Exception | None = None
        self.answer: list[float] | None = None
        self._device_api = {
            device: SimpleNamespace(_socket_ids=[index // 2], _sys_files=[file])
            for index, file in (files or {}).items()
            for device in (index % 2,)
        }

    def energy(self) -> list[float]:
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer
        seconds = self.clock.seconds - self.begin
        return [
            -1 if watts is None else float(int(self.start + watts * seconds * 1e6) % (RANGE + 1))
            for watts in self.watts
        ]


def counter_files(tmp_path: Path, count: int, max_range: str = f"{RANGE}\n") -> dict[int, IO[str]]:
    files = {}
    for index in range(count):
        zone = tmp_path / f"zone{index}"
        zone.mkdir()
        (zone / "energy_uj").write_text("0\n")
        if max_range:
            (zone / "max_energy_range_uj").write_text(max_range)
        files[index] = (zone / "energy_uj").open()
    return files


def contract_rig(tmp_path: Path) -> Rig:
    clock = HandClock()
    sensor = StubSensor(clock, [120.0, 22.0], counter_files(tmp_path, 2))

    def run(seconds: float) -> None:
        clock.seconds += seconds

    def set_error(error: Exception | None) -> None:
        sensor.error = error

    lose = OSError(errno.ENODEV, "No such device")
    return Rig(PyraplMeter(sensor, clock), (120.0, 22.0), run, lambda: set_error(lose), lambda: set_error(None), 1e-5)


def start(*watts: float | None) -> tuple[StubSensor, PyraplMeter]:
    sensor = StubSensor(HandClock(), watts)
    return sensor, PyraplMeter(sensor, sensor.clock)


def test_the_list_of_energies_becomes_domains() -> None:
    _, meter = start(100.0, None, 90.0, 15.0)
    assert [domain.id for domain in meter.info.domains] == ["pyrapl/0/package", "pyrapl/1/package", "pyrapl/1/dram"]
    assert meter.info.quality == "measured"


def test_its_numbers_are_microjoules() -> None:
    sensor, meter = start(100.0)
    sensor.start = 0
    sensor.clock.seconds += 1.0
    meter.read()
    sensor.clock.seconds += 2.0
    assert meter.read()[0].joules == pytest.approx(200.0)


def test_without_a_range_a_wrap_is_a_reset_and_never_negative(tmp_path: Path) -> None:
    clock = HandClock()
    files = counter_files(tmp_path, 1, max_range="")
    meter = PyraplMeter(StubSensor(clock, [100.0], files), clock)
    assert "a wrap counts as a reset" in meter.info.source
    readings = []
    for _ in range(40):
        clock.seconds += 0.1
        readings.append(meter.read()[0])
    meter.close()
    assert [reading.fault for reading in readings].count("reset") == 1
    assert readings[-1].joules - readings[0].joules == pytest.approx(390.0, rel=0.01)


def test_close_closes_the_files_of_the_sensor(tmp_path: Path) -> None:
    clock = HandClock()
    files = counter_files(tmp_path, 2)
    meter = PyraplMeter(StubSensor(clock, [100.0, 20.0], files), clock)
    assert "a wrap counts" not in meter.info.source
    meter.close()
    assert all(file.closed for file in files.values())
    with pytest.raises(ValueError, match="closed"):
        meter.read()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENODEV, "No such device"), "vanished"),
        (OSError(errno.EACCES, "Permission denied"), "permission"),
        (OSError(errno.EIO, "Input/output error"), "lost"),
        (ValueError("could not convert string to float: ''"), "garbage"),
    ],
)
def test_what_pyrapl_raises_becomes_a_reason(error: Exception, reason: str) -> None:
    sensor, meter = start(100.0)
    sensor.error = error
    with pytest.raises(MeterError) as raised:
        meter.read()
    assert (raised.value.meter, raised.value.reason) == ("pyrapl", reason)
    with pytest.raises(MeterUnavailable, match=reason):
        PyraplMeter(sensor, sensor.clock)


@pytest.mark.parametrize(
    ("answer", "reason"), [([-1, 5.0], "vanished"), ([1.0], "vanished"), ([1.0, float("nan")], "garbage")]
)
def test_an_answer_that_lacks_a_domain_is_an_error_for_all(answer: list[float], reason: str) -> None:
    sensor, meter = start(100.0, 20.0)
    sensor.start = 0
    before = meter.read()
    sensor.clock.seconds += 1.0
    sensor.answer = answer
    with pytest.raises(MeterError, match=reason):
        meter.read()
    sensor.answer = None
    sensor.clock.seconds += 1.0
    used = [b.joules - a.joules for a, b in zip(before, meter.read(), strict=True)]
    assert used == pytest.approx([200.0, 40.0])


def test_a_read_that_was_interrupted_is_late() -> None:
    sensor, meter = start(100.0)

    class Slow:
        def energy(self) -> list[float]:
            sensor.clock.seconds += 0.006
            return [0.0]

    with pytest.raises(MeterError, match="late"):
        PyraplMeter(Slow(), sensor.clock).read()
    assert meter.read()


def test_a_sensor_without_domains_is_no_meter() -> None:
    with pytest.raises(MeterUnavailable, match="no domain"):
        start(None, None)


def test_without_pyrapl_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyRAPL", None)
    with pytest.raises(MeterUnavailable) as raised:
        open_pyrapl(Settings(), HandClock())
    assert raised.value.remedy == "pip install 'greeninfer[rapl]'"


class CannotRecordError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CannotRecordError(), "no RAPL counter"),
        (PermissionError(errno.EACCES, "denied", "/sys/x/energy_uj"), "no permission to read /sys/x/energy_uj"),
        (FileNotFoundError(errno.ENOENT, "gone", "/sys/devices/system/cpu/present"), "cannot start"),
    ],
)
def test_pyrapl_that_cannot_start_is_unavailable(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sensor() -> None:
        raise error

    module: Any = ModuleType("pyRAPL")
    module.Sensor, module.PyRAPLException = sensor, CannotRecordError
    monkeypatch.setitem(sys.modules, "pyRAPL", module)
    with pytest.raises(MeterUnavailable, match=reason) as raised:
        open_pyrapl(Settings(), HandClock())
    assert "the meter rapl" in raised.value.remedy


# The real pyRAPL


def play(scenario: str, *wrapper: str, **variables: object) -> tuple[Any, str]:
    """Run a scenario in a process of its own; return what it printed as JSON, and its standard error."""
    if importlib.util.find_spec("pyRAPL") is None:
        pytest.skip("pyRAPL is not installed")
    done = subprocess.run(
        [*wrapper, sys.executable, "-W", "error", "-c", scenario],
        env=os.environ | {name: str(value) for name, value in variables.items()} | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if wrapper and done.returncode in (96, 97, 98):
        pytest.skip(f"no private mount namespace with a fake powercap here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_real_pyrapl_neither_nags_nor_configures_logging() -> None:
    scenario = """
import json, logging, warnings
from greeninfer._clock import SystemClock
from greeninfer._settings import Settings
from greeninfer.errors import MeterUnavailable
from greeninfer.meters.pyrapl import open_pyrapl
filters = list(warnings.filters)
try:
    open_pyrapl(Settings(), SystemClock()).close()
except MeterUnavailable:
    pass
logging.getLogger("theirs").warning("still heard")
import pyRAPL
print(json.dumps([len(logging.root.handlers), len(logging.root.filters), filters == list(warnings.filters),
                  pyRAPL._sensor is None]))
"""
    said, errors = play(scenario)
    assert said == [0, 0, True, True]
    assert errors == "still heard\n"


def test_real_pyrapl_reads_power_times_time() -> None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a private /sys/class/powercap needs Linux and root")
    packages = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/physical_package_id")
    if {path.read_text() for path in packages} != {"0\n"}:
        pytest.skip("the fake powercap has one socket, this machine has not")
    scenario = """
import json, time
from greeninfer._clock import SystemClock
from greeninfer._settings import Settings
from greeninfer.meters.pyrapl import open_pyrapl
meter = open_pyrapl(Settings(), SystemClock())
first = meter.read()
faults = []
while time.perf_counter() < first[0].instant + 0.5:
    time.sleep(0.02)
    last = meter.read()
    faults += [reading.fault for reading in last if reading.fault]
meter.close()
watts = [(b.joules - a.joules) / (b.instant - a.instant) for a, b in zip(first, last)]
print(json.dumps([[domain.id for domain in meter.info.domains], watts, faults]))
"""
    # 240 J of range from 220 J on: the package wraps after 0.2 s.
    (domains, watts, faults), _ = play(
        scenario, str(FAKE_HARDWARE), NO_NVML=1, PKG_W=100, DRAM_W=20, START_UJ=220_000_000, RANGE_UJ=240_000_000
    )
    assert domains == ["pyrapl/0/package", "pyrapl/0/dram"]
    assert watts == pytest.approx([100.0, 20.0], rel=0.05)
    assert faults == []
