"""What is said of the machine, at rest and not."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from live import environment

from greeninfer import Settings
from greeninfer.bench._environment import describe

KEYS = {
    "machine", "hardware", "meters", "refused_meters", "idle_watts", "idle_seconds", "load_average", "versions",
    "measured_unix_seconds", "notes",
}  # fmt: skip
SECONDS = 0.3


@contextmanager
def node(root: Path, watts: float = 12.5, busy_cores: float = 0.0) -> Iterator[Settings]:
    """Play a package of two cores that draws so much, and processes that keep so many cores busy."""
    zone = root / "powercap/intel-rapl/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "262143328850"), ("energy_uj", f"{0:013}")):
        (zone / name).write_text(text + "\n")
    (root / "powercap/intel-rapl:0").symlink_to("intel-rapl/intel-rapl:0")
    proc = root / "proc"
    proc.mkdir()
    (proc / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Paper CPU @ 2 cores\n")
    (proc / "meminfo").write_text("MemTotal:        8388608 kB\nMemFree: 1 kB\n")
    over, begun = threading.Event(), time.perf_counter()
    line = b" %010d 0 0 0 0 0 0 0 0 0\n"
    files = [os.open(path, os.O_WRONLY | os.O_CREAT) for path in (zone / "energy_uj", proc / "stat")]

    def count() -> None:
        seconds = time.perf_counter() - begun
        os.pwrite(files[0], b"%013d\n" % int(watts * seconds * 1e6), 0)
        text = line % int(1000 + busy_cores * seconds * 100)
        os.pwrite(files[1], b"cpu " + text + b"cpu0" + text + b"cpu1" + text, 0)

    def play() -> None:
        while not over.wait(0.002):
            count()

    count()
    player = threading.Thread(target=play)
    player.start()
    try:
        yield Settings(meters=("rapl",), powercap_root=str(root / "powercap"), proc_root=str(proc))
    finally:
        over.set()
        player.join()
        for file in files:
            os.close(file)


def test_it_is_plain_data_that_tells_what_was_measured_on(tmp_path: Path) -> None:
    with node(tmp_path) as settings:
        told = describe(settings, SECONDS)
    assert json.loads(json.dumps(told)) == told
    assert set(told) == KEYS
    assert told["machine"] == platform.node()
    assert told["hardware"] == {
        "processor": "Paper CPU @ 2 cores",
        "logical_cores": 2,
        "usable_cores": len(os.sched_getaffinity(0)),
        "memory_gib": 8.0,
        "governor": told["hardware"]["governor"],
        "system": platform.system(),
        "kernel": platform.release(),
    }
    (meter,) = told["meters"]
    assert (meter["name"], meter["quality"], meter["domains"]) == ("rapl", "measured", ["rapl/0/package"])
    assert told["versions"]["python"] == platform.python_version()
    assert {"greeninfer", "numpy"} <= set(told["versions"])
    assert abs(told["measured_unix_seconds"] - time.time()) < 60.0


def test_power_at_rest_is_what_the_counter_says(tmp_path: Path) -> None:
    with node(tmp_path, watts=12.5) as settings:
        told = describe(settings, SECONDS)
    assert list(told["idle_watts"]) == ["rapl/0/package"]
    assert told["idle_watts"]["rapl/0/package"] == pytest.approx(12.5, rel=0.03)
    assert told["idle_seconds"] == SECONDS
    assert told["notes"] == []


def test_a_machine_that_is_not_at_rest_is_told(tmp_path: Path) -> None:
    with node(tmp_path, busy_cores=0.6) as settings:
        told = describe(settings, SECONDS)
    (note,) = told["notes"]
    share = float(note.split("not at rest: ")[1].split("%")[0]) / 100.0
    assert share == pytest.approx(0.3, abs=0.05)
    assert note.endswith("so its idle power is lower than was seen")


def test_without_seconds_at_rest_no_power_is_told(tmp_path: Path) -> None:
    with node(tmp_path) as settings:
        told = describe(settings, 0.0)
    assert told["idle_watts"] == {}
    assert [meter["name"] for meter in told["meters"]] == ["rapl"]


def test_a_counter_that_stands_still_tells_no_power(tmp_path: Path) -> None:
    with node(tmp_path, watts=0.0) as settings:
        told = describe(settings, 0.01)
    assert told["idle_watts"] == {}


def test_without_a_meter_it_says_why(tmp_path: Path) -> None:
    settings = Settings(meters=("rapl",), powercap_root=str(tmp_path), proc_root=str(tmp_path))
    told = describe(settings, 0.01)
    assert (told["meters"], told["idle_watts"]) == ([], {})
    assert len(told["refused_meters"]) == 1
    assert told["refused_meters"][0].startswith("rapl: ")
    assert told["notes"] == ["how busy the machine was at rest is not known"]


def test_a_power_model_tells_its_own_power_at_rest(tmp_path: Path) -> None:
    with node(tmp_path, busy_cores=1.5) as settings:
        proc = settings.proc_root
        told = describe(Settings(meters=("estimate",), power_model="3:9", proc_root=proc), 0.1)
    assert told["idle_watts"] == {"estimate/0/cpu": 6.0}  # two cores, though they are busy
    (note,) = told["notes"]
    assert note.endswith("of its cores were busy")


def test_nothing_tells_whose_machine_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    environ = environment(METERS="simulated") | {"HOME": "/home/nobody-else", "USER": "nobody-else", "SECRET": "s3cr3t"}
    command = [sys.executable, "-m", "greeninfer.bench._environment", str(out), "0.01"]
    subprocess.run(command, env=environ, check=True, timeout=60, cwd=tmp_path)
    text = out.read_text()
    assert set(json.loads(text)) == KEYS
    user = getpass.getuser()
    for word in ("nobody-else", "s3cr3t", str(tmp_path), str(Path.home())):
        assert word not in text
    assert f'"{user}"' not in text
