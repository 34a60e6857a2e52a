"""The command line: what it prints, to the letter, on machines that are made here, and how it ends."""

from __future__ import annotations

import argparse
import json
import math
import os
import runpy
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from greeninfer import cli
from greeninfer._clock import Clock, SystemClock
from greeninfer._doctor import Report, check_suspend, check_threads, examine, render
from greeninfer._energy import Quality
from greeninfer._records import Domain, MeterInfo, Reading
from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters import METERS, Constructor

FIXTURES = Path(__file__).parent / "fixtures"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the report says what Linux can do")

STAT = "cpu  400 3 200 9000 50 1 2 3 4 5\ncpu0 200 1 100 4500 25 1 1 1 2 2\ncpu1 200 2 100 4500 25 0 1 2 2 3\nbtime 1\n"
CPUINFO = """\
processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 85
model name	: Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz
stepping	: 7
"""
MOUNTS = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n23 22 0:21 / /proc rw,nosuid - proc proc rw\n"
LXCFS = MOUNTS + "99 23 0:45 /proc/stat /proc/stat rw,nosuid,nodev - fuse.lxcfs lxcfs rw,user_id=0\n"


def refuse(name: str, reason: str, remedy: str) -> Constructor:
    def construct(settings: Settings, clock: Clock) -> Stub:
        raise MeterUnavailable(name, reason, remedy)

    return construct


class Stub:
    """A meter that reads nothing, or breaks when it is read."""

    def __init__(self, name: str, quality: Quality, device: str, breaks: bool = False) -> None:
        domain = Domain(name, 0, "thing", "gpu" if device == "gpu" else "cpu")
        self.info = MeterInfo(name, (domain,), quality, 0.1, (0.95, 1.05), f"a stub of {name}")
        self._breaks = breaks
        self.closed = False

    def read(self) -> tuple[Reading, ...]:
        if self._breaks:
            raise MeterError(self.info.name, "lost", "the driver says so")
        return (Reading(self.info.domains[0], 0.0, 0.0),)

    def close(self) -> None:
        self.closed = True


NO_GPU = refuse("nvml", "there is no NVIDIA driver on this machine.", "")
SHELF = {"rapl": METERS["rapl"], "nvml": NO_GPU, "estimate": METERS["estimate"]}


def machine(root: Path, *, rapl: str = "", stat: str = STAT, mounts: str = MOUNTS) -> None:
    """Build a machine: ``rapl`` names a recorded powercap tree, "masked" hides it as containers do, "" has none."""
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "stat").write_text(stat)
    (proc / "cpuinfo").write_text(CPUINFO)
    (proc / "self" / "mountinfo").write_text(mounts)
    if rapl == "masked":
        (root / "sys" / "class" / "powercap").mkdir(parents=True)
        for zone in ("intel-rapl:0", "intel-rapl:1"):
            (root / "sys" / "class" / "powercap" / zone).symlink_to(f"../../devices/virtual/powercap/intel-rapl/{zone}")
    elif rapl:
        shutil.copytree(FIXTURES / rapl / "sys", root / "sys", symlinks=True)


ENVIRON = {"GREENINFER_POWERCAP_ROOT": "sys/class/powercap", "GREENINFER_PROC_ROOT": "proc"}


def look(environ: Mapping[str, str] = ENVIRON, shelf: Mapping[str, Constructor] = SHELF) -> Report:
    return examine(Settings.from_env(environ), environ, SystemClock(), shelf)


MEASURED = """\
joules here are MEASURED (cpu)

in use
  rapl           measured; the truth is 0.97 to 1.03 times the joules read
                 covers rapl/0/package, rapl/0/dram, rapl/1/package,
                 rapl/1/dram; new figures each 1 ms
                 source: RAPL energy counters in sys/class/powercap:
                 rapl/0/package, rapl/0/dram, rapl/1/package, rapl/1/dram; not
                 added, being parts, wholes or doubles of these: core, uncore

not in use
  nvml           there is no NVIDIA driver on this machine.
  estimate       works, but is covered by rapl
                 source: power model, no sensor: Cascade Lake, 0.6903 to 4.063 W
                 per logical core (Cloud Carbon Footprint 2026-03 from
                 SPECpower), 2 logical cores, all of proc/stat

this machine
  CPU time       yes: proc/stat is readable: 2 logical cores, steps of 10 ms,
                 host-wide
  thread clocks  yes: CPU time of a request is known while it runs
  suspend        yes: joules of a suspend are told apart from those of requests

settings
  meters         default                   auto
  exporters      default                   prometheus
  powercap_root  GREENINFER_POWERCAP_ROOT  sys/class/powercap
  proc_root      GREENINFER_PROC_ROOT      proc
  tick_seconds   default                   0.02
  idle_watts     default                   -
  power_model    default                   -
  jsonl_path     default                   greeninfer.jsonl
  disabled       default                   False"""


@LINUX
def test_doctor_on_a_server_with_rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, rapl="reconstructed-intel-2-socket")
    monkeypatch.chdir(tmp_path)
    report = look()
    assert render(report) == MEASURED
    assert report.healthy


ESTIMATED = """\
joules here are ESTIMATED (cpu)

in use
  estimate       estimated; the truth is 0.6 to 1.7 times the joules read
                 covers estimate/0/cpu; new figures each 10 ms
                 source: power model, no sensor: Cascade Lake, 0.6903 to 4.063 W
                 per logical core (Cloud Carbon Footprint 2026-03 from
                 SPECpower), 2 logical cores, all of proc/stat

not in use
  rapl           the 2 zones in sys/class/powercap are links to nowhere: the
                 container hides /sys/devices/virtual/powercap.
                 remedy: see below
  nvml           nvidia-ml-py is not installed.
                 remedy: pip install 'greeninfer[nvidia]'

this machine
  CPU time       no: proc/stat is readable: 2 logical cores, steps of 10 ms, but
                 of this container alone (lxcfs), not of the machine
  thread clocks  yes: CPU time of a request is known while it runs
  suspend        yes: joules of a suspend are told apart from those of requests

settings
  meters         default                   auto
  exporters      default                   prometheus
  powercap_root  GREENINFER_POWERCAP_ROOT  sys/class/powercap
  proc_root      GREENINFER_PROC_ROOT      proc
  tick_seconds   default                   0.02
  idle_watts     default                   -
  power_model    default                   -
  jsonl_path     default                   greeninfer.jsonl
  disabled       default                   False

remedies, each one line
rapl: docker run -v /sys/devices/virtual/powercap:/powercap:ro -e GREENINFER_POWERCAP_ROOT=/powercap IMAGE"""


@LINUX
def test_doctor_in_a_container_that_hides_rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, rapl="masked", mounts=LXCFS)
    monkeypatch.chdir(tmp_path)
    nvml = refuse("nvml", "nvidia-ml-py is not installed.", "pip install 'greeninfer[nvidia]'")
    report = look(shelf={**SHELF, "nvml": nvml})
    assert render(report) == ESTIMATED
    assert report.healthy


NOTHING = """\
no joules here: no meter works

in use
  nothing

not in use
  rapl           sys/class/powercap is not there: most virtual machines have no
                 RAPL; on bare metal its driver is not loaded.
                 remedy: sudo modprobe intel_rapl_msr
  nvml           there is no NVIDIA driver on this machine.
  estimate       proc/stat counts nothing, as in some sandboxes (gVisor).

this machine
  CPU time       no: proc/stat counts nothing, as in some sandboxes (gVisor).
                 Other processes cannot be told apart from ours.
"""


@LINUX
def test_doctor_where_nothing_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, stat="cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    monkeypatch.chdir(tmp_path)
    report = look()
    assert render(report).startswith(NOTHING)
    assert not report.healthy


@pytest.mark.parametrize(
    ("meters", "verdict", "healthy"),
    [
        ([("rapl", "measured", "cpu"), ("nvml", "measured", "gpu")], "joules here are MEASURED (cpu, gpu)", True),
        (
            [("estimate", "estimated", "cpu"), ("nvml", "measured", "gpu")],
            "joules here are MEASURED (gpu) and ESTIMATED (cpu)",
            True,
        ),
        ([("simulated", "measured", "cpu")], "joules here are SIMULATED: they belong to no machine", True),
    ],
)
def test_the_verdict_mixes_nothing_up(
    tmp_path: Path, meters: list[tuple[str, Quality, str]], verdict: str, healthy: bool
) -> None:
    shelf: dict[str, Constructor] = {
        name: lambda _, __, meter=(name, quality, device): Stub(*meter) for name, quality, device in meters
    }
    settings = Settings(meters=tuple(shelf), proc_root=str(tmp_path))
    report = examine(settings, {}, SystemClock(), shelf)
    assert (report.verdict, report.healthy) == (verdict, healthy)


def test_a_meter_that_opens_and_cannot_be_read_does_not_work(tmp_path: Path) -> None:
    stub = Stub("nvml", "measured", "gpu", breaks=True)
    settings = Settings(meters=("nvml",), proc_root=str(tmp_path))
    report = examine(settings, {}, SystemClock(), {"nvml": lambda _, __: stub})
    assert (report.verdict, report.healthy) == ("no joules here: no meter works", False)
    assert "opened, but cannot be read: nvml: lost (the driver says so)" in render(report)
    assert stub.closed


def test_every_meter_that_was_opened_is_closed(tmp_path: Path) -> None:
    stubs = [Stub("rapl", "measured", "cpu"), Stub("pyrapl", "measured", "cpu"), Stub("nvml", "measured", "gpu")]
    shelf: dict[str, Constructor] = {stub.info.name: lambda _, __, stub=stub: stub for stub in stubs}
    examine(Settings(meters=("rapl", "pyrapl"), proc_root=str(tmp_path)), {}, SystemClock(), shelf)
    assert [stub.closed for stub in stubs] == [True, True, True]


def test_the_doctor_logs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine(tmp_path)
    environ = {"GREENINFER_POWERCAP_ROOT": str(tmp_path / "none"), "GREENINFER_PROC_ROOT": str(tmp_path / "proc")}
    assert look(environ).verdict == "joules here are ESTIMATED (cpu)"
    assert caplog.messages == []


def test_no_line_is_too_long_but_what_must_be_copied_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, rapl="masked")
    monkeypatch.chdir(tmp_path)
    text, _, remedies = render(look()).partition("remedies, each one line\n")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert [line.split(": ")[0] for line in remedies.splitlines()] == ["rapl"]
    assert text.isascii()


@pytest.mark.parametrize(("seconds", "ok"), [(0.0, True), (1.5, True), (math.nan, False), (None, False)])
def test_thread_clocks_are_tried(seconds: float | None, ok: bool) -> None:
    assert check_threads(lambda thread: seconds).ok is ok


def test_without_boottime_a_suspend_cannot_be_told() -> None:
    assert check_suspend(True).ok
    assert not check_suspend(False).ok


@pytest.fixture
def clean_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [each for each in os.environ if each.startswith("GREENINFER_")]:
        monkeypatch.delenv(variable)


@pytest.mark.usefixtures("clean_environ")
class TestMain:
    """The whole command, through the environment of this process."""

    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meters: str = "rapl,estimate") -> None:
        machine(tmp_path)
        monkeypatch.setenv("GREENINFER_POWERCAP_ROOT", str(tmp_path / "none"))
        monkeypatch.setenv("GREENINFER_PROC_ROOT", str(tmp_path / "proc"))
        monkeypatch.setenv("GREENINFER_METERS", meters)

    def test_doctor(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.here(tmp_path, monkeypatch)
        assert cli.main(["doctor"]) == 0
        captured = capsys.readouterr()
        assert captured.out.startswith("joules here are ESTIMATED (cpu)\n\nin use\n  estimate ")
        assert captured.out.endswith("\n")
        assert captured.err == ""

    def test_doctor_without_a_meter_ends_with_1(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.here(tmp_path, monkeypatch, meters="rapl")
        assert cli.main(["doctor"]) == 1
        assert capsys.readouterr().out.startswith("no joules here: no meter works\n")

    def test_doctor_for_programs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.here(tmp_path, monkeypatch)
        assert cli.main(["doctor", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["verdict"], report["healthy"]) == ("joules here are ESTIMATED (cpu)", True)
        used = [meter for meter in report["meters"] if meter["used"]]
        assert [(meter["name"], meter["quality"], meter["domains"], meter["gain"]) for meter in used] == [
            ("estimate", "estimated", ["estimate/0/cpu"], [0.6, 1.7])
        ]
        assert {"name": "meters", "value": "rapl,estimate", "origin": "GREENINFER_METERS"} in report["settings"]

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("GREENINFER_METERS", "watts"),
            ("GREENINFER_TICK_SECONDS", "soon"),
            ("GREENINFER_POWER_MODEL", "3"),
            ("GREENINFER_TYPO", "1"),
        ],
    )
    def test_wrong_settings_are_one_line_and_2(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        variable: str,
        value: str,
    ) -> None:
        monkeypatch.setenv(variable, value)
        assert cli.main(["doctor"]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("greeninfer: ")
        assert captured.err.count("\n") == 1
        assert value in captured.err
        assert "allowed: " in captured.err

    def test_no_command_prints_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main([]) == 0
        out = capsys.readouterr().out
        assert out.startswith("usage: greeninfer [-h] COMMAND ...")
        assert "doctor" in out
        assert "demo" in out

    @pytest.mark.parametrize("arguments", [["cook"], ["doctor", "--yaml"], ["demo", "--port", "many"]])
    def test_wrong_arguments_end_with_2(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        assert "usage: greeninfer" in capsys.readouterr().err

    def test_demo_gets_its_arguments(self) -> None:
        parsed = cli.build_parser().parse_args(["demo", "--seconds", "2.5", "--json", "--port", "0", "--workers", "4"])
        expected = argparse.Namespace(run=parsed.run, seconds=2.5, json=True, port=0, workers=4)
        assert parsed == expected
        assert parsed.run.__module__ == "greeninfer.demo"

    def test_python_dash_m(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.here(tmp_path, monkeypatch, meters="rapl")
        monkeypatch.setattr(sys, "argv", ["greeninfer", "doctor"])
        with pytest.raises(SystemExit) as caught:
            runpy.run_module("greeninfer", run_name="__main__")
        assert caught.value.code == 1
        assert "no joules here" in capsys.readouterr().out
