"""Finds RAPL zones in a powercap tree and chooses those whose joules may be added.

Layout (kernel ``Documentation/power/powercap``, ``drivers/powercap/powercap_sys.c``): zones are directories
``intel-rapl:N`` and, inside them, ``intel-rapl:N:M``; ``/sys/class/powercap`` holds one link to each. The numbers are
hexadecimal and say nothing of what a zone counts; its ``name`` file does, together with the zone it lies in.

=============  ====================================================  =============================================
name           contains                                              added
=============  ====================================================  =============================================
package-N      cores, uncore                                         yes
dram           memory; lies in its package's zone, is not part of    yes
               the package's joules; two sockets both have a "dram"
core, uncore   a part of the package they lie in                     no
psys           packages and, on some machines, the whole board       no
=============  ====================================================  =============================================

``intel-rapl-mmio:N`` reads the same package counters once more through another door: skipped. On processors with
several dies per package the names are ``package-N-die-M``. Cascade Lake-AP counts each die apart; Linux 6.9 to 6.11
shows an AMD package once per core complex, all from one register (mended by "powercap/intel_rapl: Fix the energy-pkg
event for AMD CPUs"). Zones of one package whose counters agree are one register and are added once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from greeninfer._records import Domain
from greeninfer.errors import MeterUnavailable

_ZONE = re.compile(r"intel-rapl((?::[0-9a-f]+)+)")
_PACKAGE = re.compile(r"package-(\d+)(?:-die-(\d+))?")

_SAME_MICROJOULES = 20_000_000
"""Two reads of one register lie this close: 1000 W over the 20 ms in which both files are read. Two registers that
have counted apart since boot do so by chance once in ten thousand times: 20 J of 262 kJ."""

_LOAD_DRIVER = "sudo modprobe intel_rapl_msr"
_UNMASK = "docker run -v /sys/devices/virtual/powercap:/powercap:ro -e GREENINFER_POWERCAP_ROOT=/powercap IMAGE"
_GRANT = (
    'sudo groupadd -f energy && sudo usermod -aG energy "$USER" && echo \'SUBSYSTEM=="powercap", '
    'KERNEL=="intel-rapl:*", ACTION=="add|change", '
    'RUN+="/bin/chgrp energy %S%p/energy_uj %S%p/max_energy_range_uj", '
    'RUN+="/bin/chmod g+r %S%p/energy_uj %S%p/max_energy_range_uj"\' '
    "| sudo tee /etc/udev/rules.d/70-greeninfer.rules && sudo udevadm control --reload "
    "&& sudo udevadm trigger --subsystem-match=powercap"
)
"""A udev rule, so that it holds after a restart and after the driver is loaded again; a group, not everybody, because
fine-grained power is a side channel (PLATYPUS, CVE-2020-8694), which is why the kernel closed the file."""


@dataclass(frozen=True, slots=True)
class Zone:
    """One directory of the tree.

    Args:
        address: its numbers: (0, 1) for ``intel-rapl:0:1``.
        path: where it is.
        name: what its ``name`` file says.
    """

    address: tuple[int, ...]
    path: Path
    name: str


def find_zones(root: Path) -> tuple[Zone, ...]:
    """Return all RAPL zones under ``root``, counted or not, in the order of their addresses.

    ``root`` is ``/sys/class/powercap``, ``/sys/devices/virtual/powercap``, or a copy of either, with or without links.

    Raises:
        MeterUnavailable: if there is none; the reason tells a machine without RAPL from one that hides it.
    """
    found: dict[tuple[int, ...], Zone] = {}
    try:
        links = [path for path in root.iterdir() if path.name.startswith("intel-rapl") and path.is_symlink()]
        masked = sum(not path.exists() for path in links)
        for path in _walk(root):
            address = _address(path)
            if address not in found:
                found[address] = Zone(address, path, (path / "name").read_text().strip())
    except FileNotFoundError as error:
        raise _absent(f"{error.filename} is not there") from error
    except PermissionError as error:
        raise no_permission(error.filename) from error
    except (OSError, ValueError) as error:
        raise MeterUnavailable("rapl", f"garbage in {root}: {error}.") from error
    if not found and masked:
        reason = (
            f"the {masked} zones in {root} are links to nowhere: the container hides /sys/devices/virtual/powercap."
        )
        raise MeterUnavailable("rapl", reason, _UNMASK)
    if not found:
        raise _absent(f"{root} has no intel-rapl zone")
    return tuple(found[address] for address in sorted(found))


def choose_cover(zones: tuple[Zone, ...]) -> tuple[tuple[Domain, Zone], ...]:
    """Return the zones whose joules may be added, each with its domain, by package: ``sum(package) + sum(dram)``.

    Raises:
        MeterUnavailable: if there is no package zone, or two of them cannot be told apart.
    """
    cover: dict[str, tuple[Domain, Zone]] = {}
    for index, dies in sorted(_packages(zones).items()):
        registers = _registers(dies)
        for zone in registers:
            suffix = "" if len(registers) == 1 else _die_suffix(zone)
            inside = [each for each in zones if each.address[:-1] == zone.address and each.name == "dram"]
            for each, name in [(zone, "package"), *((dram, "dram") for dram in inside)]:
                domain = Domain("rapl", index, name + suffix)
                if domain.id in cover:
                    twin = cover[domain.id][1].path
                    raise MeterUnavailable("rapl", f"{twin} and {each.path} both claim to be {domain.id}.")
                cover[domain.id] = domain, each
    if not cover:
        names = ", ".join(zone.name for zone in zones)
        raise MeterUnavailable("rapl", f"no zone counts a whole package, only {names}.")
    return tuple(cover.values())


def read_number(path: Path) -> int:
    """Return the whole number that a file of the tree holds.

    Raises:
        MeterUnavailable: if it is absent, may not be read, or holds something else.
    """
    try:
        return int(path.read_bytes())
    except FileNotFoundError as error:
        raise _absent(f"{path} is not there") from error
    except PermissionError as error:
        raise no_permission(str(path)) from error
    except (OSError, ValueError) as error:
        raise MeterUnavailable("rapl", f"garbage in {path}: {error}.") from error


def no_permission(path: str) -> MeterUnavailable:
    """Return the error of a counter that is there and closed to this user, with the line that opens it to a group."""
    reason = f"{path} may not be read by this user (root only since Linux 5.10). Log in again after the remedy."
    return MeterUnavailable("rapl", reason, _GRANT)


def _absent(what: str) -> MeterUnavailable:
    reason = f"{what}: most virtual machines have no RAPL; on bare metal its driver is not loaded."
    return MeterUnavailable("rapl", reason, _LOAD_DRIVER)


def _walk(directory: Path) -> Iterator[Path]:
    """Yield every zone directory once per way to it: a recorded tree may have links, nested directories, or both."""
    for path in sorted(directory.iterdir()):
        is_zone = _ZONE.fullmatch(path.name) is not None
        if (is_zone or path.name == "intel-rapl") and path.is_dir():
            if is_zone:
                yield path
            yield from _walk(path)


def _address(path: Path) -> tuple[int, ...]:
    return tuple(int(number, 16) for number in path.name.split(":")[1:])


def _packages(zones: tuple[Zone, ...]) -> dict[int, list[Zone]]:
    packages: dict[int, list[Zone]] = {}
    for zone in zones:
        named = _PACKAGE.fullmatch(zone.name)
        if named and len(zone.address) == 1:
            packages.setdefault(int(named[1]), []).append(zone)
    return packages


def _registers(dies: list[Zone]) -> list[Zone]:
    """Return one zone for each register that the zones of one package read."""
    if len(dies) == 1:
        return dies
    values: dict[int, Zone] = {}
    for zone in dies:
        value = read_number(zone.path / "energy_uj")
        if all(abs(value - other) > _SAME_MICROJOULES for other in values):
            values[value] = zone
    return list(values.values())


def _die_suffix(zone: Zone) -> str:
    named = _PACKAGE.fullmatch(zone.name)
    return f"-die-{named[2]}" if named and named[2] else ""
