"""RAPL on copies of the trees in tests/fixtures and on small trees built here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import HandClock, Rig

from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters._powercap import find_zones
from greeninfer.meters.rapl import RaplMeter, open_rapl

FIXTURES = Path(__file__).parent.parent / "fixtures"
TWO_SOCKETS = "reconstructed-intel-2-socket"
LAPTOP = "reconstructed-intel-laptop"
AMD = "reconstructed-amd-2-socket"
ALL_ZONES = [f"intel-rapl:{package}{zone}" for package in (0, 1) for zone in ("", ":0", ":1", ":2")]


def copy(machine: str, tmp_path: Path) -> Path:
    """Return the powercap root of a machine's copy."""
    shutil.copytree(FIXTURES / machine, tmp_path / machine, symlinks=True)
    return tmp_path / machine / "sys/class/powercap"


def build(root: Path, zones: dict[str, tuple[str, int]]) -> Path:
    """Write a tree of directories: path of the zone to (name, microjoules)."""
    for path, (name, microjoules) in zones.items():
        zone = root / path
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(f"{microjoules}\n")
        (zone / "max_energy_range_uj").write_text("262143328850\n")
    return root


def write(root: Path, zone: str, microjoules: float | str) -> None:
    text = microjoules if isinstance(microjoules, str) else f"{round(microjoules)}\n"
    (root / zone / "energy_uj").write_text(text)


def number(root: Path, zone: str) -> int:
    return int((root / zone / "energy_uj").read_text())


def ids(meter: RaplMeter) -> list[str]:
    return [domain.id for domain in meter.info.domains]


@pytest.fixture
def opened() -> Iterator[list[RaplMeter]]:
    meters: list[RaplMeter] = []
    yield meters
    for meter in meters:
        meter.close()


def contract_rig(tmp_path: Path) -> Rig:
    clock = HandClock()
    modulus = 2**32 * 61.035e-6  # joules; every counter is about to wrap
    joules = dict.fromkeys(("intel-rapl:0", "intel-rapl:0/intel-rapl:0:0", "intel-rapl:1"), modulus - 50.0)
    names = ("package-0", "dram", "package-1")
    watts = (120.0, 22.0, 95.0)
    root = build(tmp_path, {zone: (name, round(joules[zone] * 1e6)) for zone, name in zip(joules, names, strict=True)})
    lost = root / "intel-rapl:0/intel-rapl:0:0/energy_uj"

    def run(seconds: float) -> None:
        clock.seconds += seconds
        for zone, power in zip(joules, watts, strict=True):
            joules[zone] = (joules[zone] + power * seconds) % modulus
            if (root / zone / "energy_uj").exists():
                write(root, zone, joules[zone] * 1e6)

    def lose() -> None:
        lost.rename(lost.with_name("aside"))

    def find() -> None:
        lost.touch()

    return Rig(RaplMeter(root, clock), watts, run, lose, find, tolerance=1e-4)


def test_two_sockets_give_four_domains_that_do_not_overlap(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = copy(TWO_SOCKETS, tmp_path)
    meter = RaplMeter(root, clock)
    opened.append(meter)
    assert ids(meter) == ["rapl/0/package", "rapl/0/dram", "rapl/1/package", "rapl/1/dram"]
    assert all(domain.device == "cpu" and domain.parent == "" for domain in meter.info.domains)
    assert meter.info.quality == "measured"
    assert meter.info.period_seconds == 0.001
    assert "core, uncore" in meter.info.source
    meter.read()
    clock.seconds += 1.0
    # Every zone moves, also those that lie inside others; each by another amount.
    for joules, zone in enumerate(ALL_ZONES, start=1):
        write(root, zone, number(root, zone) + joules * 1e6)
    used = [reading.joules for reading in meter.read()]
    counted = ("intel-rapl:0", "intel-rapl:0:2", "intel-rapl:1", "intel-rapl:1:2")
    assert used == pytest.approx([ALL_ZONES.index(zone) + 1.0 for zone in counted])


def test_a_laptop_counts_its_package_only(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = copy(LAPTOP, tmp_path)
    meter = RaplMeter(root, clock)
    opened.append(meter)
    assert ids(meter) == ["rapl/0/package"]
    assert "psys" in meter.info.source
    assert "no dram zone: memory is not counted" in meter.info.source
    meter.read()
    clock.seconds += 1.0
    for path in (tmp_path / LAPTOP / "sys/devices").rglob("energy_uj"):
        path.write_text(f"{int(path.read_text()) + 7_000_000}\n")
    assert [reading.joules for reading in meter.read()] == pytest.approx([7.0])


def test_amd_has_packages_and_no_dram(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    meter = RaplMeter(copy(AMD, tmp_path), clock)
    opened.append(meter)
    assert ids(meter) == ["rapl/0/package", "rapl/1/package"]


@pytest.mark.parametrize("machine", [TWO_SOCKETS, LAPTOP, AMD])
def test_every_way_to_copy_a_tree_gives_the_same_domains(
    machine: str, tmp_path: Path, clock: HandClock, opened: list[RaplMeter]
):
    linked = copy(machine, tmp_path)
    nested = tmp_path / machine / "sys/devices/virtual/powercap"
    flat = tmp_path / "flat"
    flat.mkdir()
    for link in linked.iterdir():
        if ":" in link.name:
            shutil.copytree(link, flat / link.name, ignore=shutil.ignore_patterns("intel-rapl:*"))
    opened.extend(RaplMeter(root, clock) for root in (linked, nested, flat, nested / "intel-rapl"))
    first, *others = (ids(meter) for meter in opened)
    assert others == [first] * 3


def test_links_that_lead_in_circles_are_not_followed(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = copy(TWO_SOCKETS, tmp_path)
    for zone in root.glob("intel-rapl:*"):
        (zone / "subsystem").symlink_to(root, target_is_directory=True)
        (zone / "device").symlink_to("..", target_is_directory=True)
    opened.append(RaplMeter(root, clock))
    assert len(ids(opened[0])) == 4


def test_zone_numbers_are_hexadecimal_and_are_not_package_numbers(
    tmp_path: Path, clock: HandClock, opened: list[RaplMeter]
):
    zones = {f"intel-rapl:{11 - package:x}": (f"package-{package}", package * 10**9) for package in range(12)}
    zones["intel-rapl:a/intel-rapl:a:0"] = ("dram", 5)
    meter = RaplMeter(build(tmp_path, zones), clock)
    opened.append(meter)
    expected = [f"rapl/{package}/package" for package in range(12)]
    expected.insert(2, "rapl/1/dram")
    assert ids(meter) == expected
    meter.read()
    clock.seconds += 1.0
    write(tmp_path, "intel-rapl:b", 40e6)  # package-0
    assert {r.domain.id: r.joules for r in meter.read() if r.joules} == {"rapl/0/package": pytest.approx(40.0)}


def test_one_register_shown_once_per_core_complex_is_counted_once(
    tmp_path: Path, clock: HandClock, opened: list[RaplMeter]
):
    zones = {}
    for die in range(16):
        package = die // 8
        value = 41_000_000_000 + package * 9_000_000_000 + die * 100_000  # read one after the other, 0.1 J apart
        zones[f"intel-rapl:{die:x}"] = (f"package-{package}-die-{die}", value)
        zones[f"intel-rapl:{die:x}/intel-rapl:{die:x}:0"] = ("core", 1_000_000)
    meter = RaplMeter(build(tmp_path, zones), clock)
    opened.append(meter)
    assert ids(meter) == ["rapl/0/package", "rapl/1/package"]


def test_dies_that_count_apart_are_all_counted(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    zones = {
        "intel-rapl:0": ("package-0-die-0", 41_000_000_000),
        "intel-rapl:0/intel-rapl:0:0": ("dram", 1_000_000_000),
        "intel-rapl:1": ("package-0-die-1", 93_000_000_000),
        "intel-rapl:1/intel-rapl:1:0": ("dram", 2_000_000_000),
    }
    meter = RaplMeter(build(tmp_path, zones), clock)
    opened.append(meter)
    assert ids(meter) == [
        "rapl/0/package-die-0",
        "rapl/0/dram-die-0",
        "rapl/0/package-die-1",
        "rapl/0/dram-die-1",
    ]


def test_packages_of_one_name_that_count_apart_are_refused(tmp_path: Path, clock: HandClock):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 10**9), "intel-rapl:1": ("package-0", 90 * 10**9)})
    with pytest.raises(MeterUnavailable, match="both claim to be rapl/0/package"):
        RaplMeter(root, clock)


def test_a_dram_zone_that_lies_in_no_package_is_not_counted(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    zones = {"intel-rapl:0": ("package-0", 1), "intel-rapl:1": ("psys", 1), "intel-rapl:1/intel-rapl:1:0": ("dram", 1)}
    opened.append(RaplMeter(build(tmp_path, zones), clock))
    assert ids(opened[0]) == ["rapl/0/package"]


def test_a_wrap_loses_nothing(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 262143328850 - 10_000_000)})
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    clock.seconds += 1.0
    write(root, "intel-rapl:0", 20_000_000)
    (reading,) = meter.read()
    assert reading.fault == ""
    assert reading.joules == pytest.approx(30.000061, abs=2e-6)  # the modulus is one unit more than the range


def test_a_reset_credits_nothing_of_the_range(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 100_000_000_000)})
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    for _ in range(3):
        clock.seconds += 1.0
        write(root, "intel-rapl:0", number(root, "intel-rapl:0") + 100_000_000)
        meter.read()
    clock.seconds += 1.0
    write(root, "intel-rapl:0", 50_000_000)
    (reading,) = meter.read()
    assert reading.fault == "reset"
    assert reading.guess_joules == pytest.approx(100.0)
    assert reading.joules == pytest.approx(400.0)


@pytest.mark.parametrize(
    ("machine", "joules", "fault"),
    [(LAPTOP, 230.0, "reset"), (LAPTOP, 220.0, ""), (TWO_SOCKETS, 1400.0, ""), (TWO_SOCKETS, 1600.0, "reset")],
)
def test_what_is_possible_follows_the_rated_power(
    machine: str, joules: float, fault: str, tmp_path: Path, clock: HandClock, opened: list[RaplMeter]
):
    # 15 W: 150 W and half as much again for a second. 413 W: capped at 1000 W, and half as much again.
    root = copy(machine, tmp_path)
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    clock.seconds += 1.0
    write(root, "intel-rapl:0", number(root, "intel-rapl:0") + joules * 1e6)
    assert meter.read()[0].fault == fault


def test_without_a_rated_power_the_bound_is_generous(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = copy(AMD, tmp_path)
    (root / "intel-rapl:0/constraint_0_max_power_uw").write_text("")  # reads as ENODATA on some machines
    (root / "intel-rapl:1/constraint_0_max_power_uw").write_text("0\n")
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    clock.seconds += 1.0
    for zone in ("intel-rapl:0", "intel-rapl:1"):
        write(root, zone, number(root, zone) + 1400e6)
    assert [reading.fault for reading in meter.read()] == ["", ""]


def test_one_late_update_is_no_fault(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = copy(TWO_SOCKETS, tmp_path)
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    clock.seconds += 1e-5
    write(root, "intel-rapl:0", number(root, "intel-rapl:0") + 1.5e6)  # 500 W over 3 ms, within 10 us
    assert meter.read()[0].fault == ""


def refused(root: Path, clock: HandClock) -> MeterUnavailable:
    with pytest.raises(MeterUnavailable) as raised:
        RaplMeter(root, clock)
    assert raised.value.meter == "rapl"
    return raised.value


def test_no_powercap_at_all(tmp_path: Path, clock: HandClock):
    error = refused(tmp_path / "powercap", clock)
    assert "is not there" in error.reason
    assert "virtual machine" in error.reason
    assert error.remedy == "sudo modprobe intel_rapl_msr"


def test_powercap_without_rapl(tmp_path: Path, clock: HandClock):
    (tmp_path / "dtpm").mkdir()
    error = refused(tmp_path, clock)
    assert "no intel-rapl zone" in error.reason
    assert error.remedy == "sudo modprobe intel_rapl_msr"


def test_only_the_mmio_double(tmp_path: Path, clock: HandClock):
    build(tmp_path, {"intel-rapl-mmio/intel-rapl-mmio:0": ("package-0", 5), "intel-rapl-mmio:0": ("package-0", 5)})
    assert "no intel-rapl zone" in refused(tmp_path, clock).reason


def test_links_to_nowhere_are_a_masked_container(tmp_path: Path, clock: HandClock):
    root = copy(TWO_SOCKETS, tmp_path)
    masked = tmp_path / TWO_SOCKETS / "sys/devices/virtual/powercap"
    shutil.rmtree(masked)
    masked.mkdir()
    error = refused(root, clock)
    assert "container" in error.reason
    assert "GREENINFER_POWERCAP_ROOT=/powercap" in error.remedy
    assert "docker run" in error.remedy


def test_psys_alone_is_not_a_package(tmp_path: Path, clock: HandClock):
    build(tmp_path, {"intel-rapl:0": ("psys", 5)})
    assert "only psys" in refused(tmp_path, clock).reason


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("energy_uj", "", "garbage"),
        ("energy_uj", "n/a\n", "garbage"),
        ("energy_uj", "-5\n", "garbage"),
        ("max_energy_range_uj", "0\n", "garbage"),
        ("max_energy_range_uj", "many\n", "garbage"),
        ("name", "\n", "no zone counts a whole package"),
    ],
)
def test_a_tree_that_makes_no_sense(file: str, text: str, reason: str, tmp_path: Path, clock: HandClock):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 5)})
    (root / "intel-rapl:0" / file).write_text(text)
    error = refused(root, clock)
    assert reason in error.reason
    assert error.remedy == ""


@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj", "name"])
def test_a_zone_without_a_file(file: str, tmp_path: Path, clock: HandClock):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 5)})
    (root / "intel-rapl:0" / file).unlink()
    assert file in refused(root, clock).reason


@contextmanager
def as_nobody(tmp_path: Path, groups: list[int] | None = None) -> Iterator[None]:
    """Drop root's rights for a while; a user who is not root has none to drop."""
    if os.geteuid() != 0:
        yield
        return
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o055)
    before = os.getgroups()
    os.setgroups(groups or [])
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def lock(root: Path, *zones: str) -> None:
    for zone in zones:
        (root / zone / "energy_uj").chmod(0o400 if os.geteuid() == 0 else 0)


def test_no_permission_gives_the_line_that_grants_it(tmp_path: Path, clock: HandClock):
    root = copy(TWO_SOCKETS, tmp_path)
    lock(root, *ALL_ZONES)
    with as_nobody(tmp_path):
        error = refused(root, clock)
    assert "may not be read by this user" in error.reason
    assert "intel-rapl:0" in error.reason
    assert "\n" not in error.remedy
    assert "groupadd -f energy" in error.remedy
    assert "usermod -aG energy" in error.remedy
    assert subprocess.run(["sh", "-n", "-c", error.remedy], check=False).returncode == 0


def test_memory_that_may_not_be_read_is_not_left_out_silently(tmp_path: Path, clock: HandClock):
    root = copy(TWO_SOCKETS, tmp_path)
    lock(root, "intel-rapl:1:2")
    with as_nobody(tmp_path):
        error = refused(root, clock)
    assert "intel-rapl:1:2/energy_uj may not be read" in error.reason


def test_the_remedy_opens_the_counters_to_the_group_and_to_nobody_else(
    tmp_path: Path, clock: HandClock, opened: list[RaplMeter]
):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files to a group and to become somebody else")
    root = copy(TWO_SOCKETS, tmp_path)
    lock(root, *ALL_ZONES)
    with as_nobody(tmp_path):
        remedy = refused(root, clock).remedy
    rule = next(word for word in shlex.split(remedy) if word.startswith("SUBSYSTEM"))
    assert 'SUBSYSTEM=="powercap"' in rule
    assert 'KERNEL=="intel-rapl:*"' in rule
    # What udev would run for each zone: %S is where sysfs is, %p the device's path below it.
    group = 54321
    for zone in ALL_ZONES:
        for command in re.findall(r'RUN\+="([^"]*)"', rule):
            command = command.replace("%S%p", str((root / zone).resolve())).replace("energy ", f"{group} ")
            subprocess.run(command.split(), check=True)
    assert (root / "intel-rapl:0/energy_uj").stat().st_mode & 0o777 == 0o440
    with as_nobody(tmp_path):
        refused(root, clock)
    with as_nobody(tmp_path, groups=[group]):
        opened.append(RaplMeter(root, clock))
        assert len(opened[0].read()) == 4


def failure(meter: RaplMeter) -> MeterError:
    with pytest.raises(MeterError) as raised:
        meter.read()
    return raised.value


@pytest.mark.parametrize("text", ["", "n/a\n", "-5\n", "262143328851\n", "1_000\n"])
def test_garbage_is_an_error_and_never_zero(text: str, tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 100_000_000_000)})
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    clock.seconds += 1.0
    write(root, "intel-rapl:0", text)
    assert failure(meter).reason == "garbage"
    assert "intel-rapl:0/energy_uj" in failure(meter).detail
    clock.seconds += 1.0
    write(root, "intel-rapl:0", 100_030_000_000)
    (reading,) = meter.read()
    assert (reading.joules, reading.fault) == (pytest.approx(30.0), "")


def test_one_bad_domain_moves_none(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = copy(AMD, tmp_path)
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    good = number(root, "intel-rapl:1")
    clock.seconds += 1.0
    write(root, "intel-rapl:0", number(root, "intel-rapl:0") + 50e6)
    write(root, "intel-rapl:1", "?")
    failure(meter)
    clock.seconds += 1.0
    write(root, "intel-rapl:1", good + 60e6)
    assert [(reading.joules, reading.fault) for reading in meter.read()] == [
        (pytest.approx(50.0), ""),
        (pytest.approx(60.0), ""),
    ]


def test_a_file_that_was_removed_has_vanished(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 1_000_000_000)})
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    (root / "intel-rapl:0/energy_uj").unlink()
    assert failure(meter).reason == "vanished"
    assert failure(meter).reason == "vanished"


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 1_000_000_000)})
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    clock.seconds += 1.0
    (root / "fresh").write_text("1050000000\n")
    os.replace(root / "fresh", root / "intel-rapl:0/energy_uj")
    (reading,) = meter.read()
    assert reading.joules == pytest.approx(50.0)


def test_a_file_that_was_renamed_but_still_counts_is_still_read(
    tmp_path: Path, clock: HandClock, opened: list[RaplMeter]
):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 1_000_000_000)})
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    clock.seconds += 1.0
    path = root / "intel-rapl:0/energy_uj"
    path.rename(path.with_name("moved"))
    path.with_name("moved").write_text("1050000000\n")
    assert meter.read()[0].joules == pytest.approx(50.0)


def test_the_kernel_takes_the_file_away_under_the_open_descriptor(
    tmp_path: Path, clock: HandClock, opened: list[RaplMeter]
):
    # As when the driver is unloaded: /proc/PID files too answer an open descriptor with an error once PID is gone.
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 0)})
    path = root / "intel-rapl:0/energy_uj"
    path.unlink()
    with subprocess.Popen(["sleep", "60"]) as child:
        score = Path(f"/proc/{child.pid}/oom_score_adj")
        if not score.exists() or not score.read_text().strip().isdigit():
            child.kill()
            pytest.skip("no /proc file with a number")
        path.symlink_to(score)
        meter = RaplMeter(root, clock)
        opened.append(meter)
        meter.read()
        child.kill()
    assert failure(meter).reason == "lost"  # ESRCH from the descriptor
    assert failure(meter).reason == "vanished"  # ENOENT from the path
    path.unlink()
    path.write_text("25000000\n")
    clock.seconds += 1.0
    assert meter.read()[0].joules == pytest.approx(25.0)


def test_permission_taken_away_while_running(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 1_000_000)})
    with as_nobody(tmp_path):
        opened.append(RaplMeter(root, clock))
    (root / "fresh").write_text("2000000\n")
    os.replace(root / "fresh", root / "intel-rapl:0/energy_uj")
    lock(root, "intel-rapl:0")
    with as_nobody(tmp_path):
        assert failure(opened[0]).reason == "permission"


class Stutter(HandClock):
    """A clock that jumps at each look, as when the thread is not scheduled between two."""

    jump = 0.0

    def now(self) -> float:
        self.seconds += self.jump
        return self.seconds


def test_a_round_of_reads_that_took_too_long_is_late_and_moves_nothing(tmp_path: Path, opened: list[RaplMeter]):
    clock = Stutter()
    root = build(tmp_path, {"intel-rapl:0": ("package-0", 1_000_000_000)})
    meter = RaplMeter(root, clock)
    opened.append(meter)
    meter.read()
    write(root, "intel-rapl:0", 1_001_000_000)
    clock.jump = 0.0051
    assert failure(meter).reason == "late"
    clock.jump = 0.0049
    before = clock.seconds
    (reading,) = meter.read()
    assert reading.joules == pytest.approx(1.0)
    assert reading.instant == pytest.approx(before + 1.5 * 0.0049)


def test_closed_means_closed(tmp_path: Path, clock: HandClock):
    meter = RaplMeter(copy(LAPTOP, tmp_path), clock)
    meter.close()
    with pytest.raises(ValueError, match="closed"):
        meter.read()


def test_a_refused_meter_leaves_no_descriptor(tmp_path: Path, clock: HandClock):
    root = copy(TWO_SOCKETS, tmp_path)
    write(root, "intel-rapl:1:2", "garbage")
    before = os.listdir("/proc/self/fd")
    refused(root, clock)
    assert os.listdir("/proc/self/fd") == before


def test_settings_say_where_the_tree_is(tmp_path: Path, clock: HandClock, opened: list[RaplMeter]):
    opened.append(open_rapl(Settings(powercap_root=str(copy(LAPTOP, tmp_path))), clock))
    assert ids(opened[0]) == ["rapl/0/package"]


def test_find_zones_lists_also_what_is_not_counted(tmp_path: Path):
    zones = find_zones(copy(LAPTOP, tmp_path))
    assert [(zone.address, zone.name) for zone in zones] == [
        ((0,), "package-0"),
        ((0, 0), "core"),
        ((0, 1), "uncore"),
        ((1,), "psys"),
    ]
