"""The energy counters of Intel and AMD processors and, on servers, their memory: RAPL through Linux powercap."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from greeninfer._clock import Clock
from greeninfer._records import Domain, MeterInfo, Reading
from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters._counter import Counter
from greeninfer.meters._powercap import Zone, choose_cover, find_zones, no_permission, read_number

_PERIOD_SECONDS = 0.001
"""How often the hardware updates the counters (Intel SDM vol. 3B, 16.10; AMD states the same)."""

_BURST_SECONDS = 0.01
"""How much late energy one update may bring: ten periods, for jitter and for the noise of energy filtering (SGX)."""

_LATE_SECONDS = 0.005
"""A round of reads that took longer was interrupted: its middle says too little of when the counters were read."""

_GAIN = (0.97, 1.03)
"""RAPL against a reference meter: "a few percent" on Haswell and newer (Desrochers et al., MEMSYS 2016; Khan et al.,
"RAPL in Action", 2018). 3 % is a round figure from there, not a guarantee of any maker; AMD before Zen 3 models
its joules and may be further off."""

_HEADROOM = 4.0
"""Bursts over the rated power (``constraint_*_max_power_uw``, the TDP): mobile processors of 15 W draw 60 W for
seconds. ``power_limit_uw`` is not used: software may raise it at any time."""

_WATTS = {"package": (150.0, 1000.0), "dram": (100.0, 400.0)}
"""(least, most) that a domain is taken to be able to draw. Most: twice the largest rated package of 2025 (500 W: Xeon
6980P, EPYC 9965); 24 memory modules of some 16 W. It stands alone where the rated power is unknown or 0."""

_REASONS = {
    errno.ENOENT: "vanished",
    errno.ENODEV: "vanished",
    errno.ENXIO: "vanished",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
}


def open_rapl(settings: Settings, clock: Clock) -> RaplMeter:
    """Open the RAPL counters under ``settings.powercap_root``.

    Raises:
        MeterUnavailable: if the machine has none, hides them, or does not let this user read them.
    """
    return RaplMeter(Path(settings.powercap_root), clock)


class RaplMeter:
    """Count the joules of processor packages and their memory.

    Descriptors stay open: a read of one domain costs a ``pread``, some microseconds. The kernel answers reads of a zone
    that went away with ENODEV; where the tree is plain files, a counter that does not move is looked up again by its
    path, so that a file that was removed or replaced is noticed. After an error the next read opens the file again.

    Args:
        root: the powercap tree, ``/sys/class/powercap`` on a real machine.
        clock: where instants come from.

    Raises:
        MeterUnavailable: as for ``open_rapl``.
    """

    def __init__(self, root: Path, clock: Clock) -> None:
        zones = find_zones(root)
        cover = choose_cover(zones)
        self._clock = clock
        self._files = tuple(_CounterFile(domain, zone) for domain, zone in cover)
        self._closed = False
        try:
            for file in self._files:
                file.open()
        except MeterUnavailable:
            self.close()
            raise
        self._info = MeterInfo(
            name="rapl",
            domains=tuple(domain for domain, _ in cover),
            quality="measured",
            period_seconds=_PERIOD_SECONDS,
            gain=_GAIN,
            source=_describe(root, zones, cover),
        )

    @property
    def info(self) -> MeterInfo:
        """Return the packages and memories that are counted."""
        return self._info

    def read(self) -> tuple[Reading, ...]:
        """Return cumulative joules since the first read, per domain.

        Raises:
            MeterError: vanished, permission, garbage, lost (any other I/O error), or late: the round of reads took
                more than 5 ms. No counter moves on then.
            ValueError: if the meter is closed.
        """
        if self._closed:
            raise ValueError("read of a closed meter")
        before = self._clock.now()
        microjoules = [file.read() for file in self._files]
        after = self._clock.now()
        if after - before > _LATE_SECONDS:
            raise MeterError("rapl", "late", f"reading took {(after - before) * 1e3:.1f} ms")
        instant = 0.5 * (before + after)
        return tuple(file.advance(value, instant) for file, value in zip(self._files, microjoules, strict=True))

    def close(self) -> None:
        """Close the descriptors; a second call does nothing."""
        self._closed = True
        for file in self._files:
            file.close()


class _CounterFile:
    """One ``energy_uj`` file, kept open, and its counter."""

    __slots__ = ("_counter", "_descriptor", "_domain", "_max_microjoules", "_path", "_text")

    def __init__(self, domain: Domain, zone: Zone) -> None:
        self._domain = domain
        self._path = str(zone.path / "energy_uj")
        self._descriptor = -1
        self._text = b""
        self._max_microjoules = read_number(zone.path / "max_energy_range_uj")
        if self._max_microjoules <= 0:
            raise MeterUnavailable("rapl", f"garbage: {zone.path}/max_energy_range_uj is not positive.")
        # The file holds the largest value, 2^32 - 1 units of the hardware; the modulus is one unit more.
        modulus_joules = self._max_microjoules * 1e-6 * (2**32 / (2**32 - 1))
        watts = _max_watts(domain, zone)
        self._counter = Counter(modulus_joules, watts, watts * _BURST_SECONDS)

    def open(self) -> None:
        """Open the file for good and see that it holds a counter; MeterUnavailable if not."""
        try:
            self.read()
        except MeterError as error:
            if error.reason == "permission":
                raise no_permission(self._path) from error
            raise MeterUnavailable("rapl", f"{error.reason}: {error.detail}.") from error

    def read(self) -> int:
        """Return what the counter says, in microjoules."""
        try:
            text = self._pread()
            if text == self._text and self._is_replaced():
                self.close()
                text = self._pread()
        except OSError as error:
            self.close()
            reason = _REASONS.get(error.errno or 0, "lost")
            raise MeterError("rapl", reason, f"{self._path}: {error.strerror}") from error
        self._text = text
        if not text.strip().isdigit():
            raise MeterError("rapl", "garbage", f"{self._path} holds {text!r}")
        microjoules = int(text)
        if microjoules > self._max_microjoules:
            raise MeterError("rapl", "garbage", f"{self._path}: {microjoules} is more than its range")
        return microjoules

    def advance(self, microjoules: int, instant: float) -> Reading:
        """Take a value that was read at an instant."""
        joules, fault, guess = self._counter.advance(microjoules * 1e-6, instant)
        return Reading(self._domain, joules, instant, fault, guess)

    def close(self) -> None:
        """Close the descriptor if it is open; the next read opens the file again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _pread(self) -> bytes:
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._descriptor, 64, 0)

    def _is_replaced(self) -> bool:
        return not os.path.samestat(os.fstat(self._descriptor), Path(self._path).stat())


def _max_watts(domain: Domain, zone: Zone) -> float:
    """Return a bound on the domain's power: its rated power with headroom, within what is physical."""
    least, most = _WATTS[domain.name.partition("-")[0]]
    rated = 0.0
    for path in zone.path.glob("constraint_*_max_power_uw"):
        try:
            rated = max(rated, read_number(path) * 1e-6)
        except MeterUnavailable:  # ENODATA where the processor does not say
            continue
    return min(most, max(least, _HEADROOM * rated)) if rated > 0.0 else most


def _describe(root: Path, zones: tuple[Zone, ...], cover: tuple[tuple[Domain, Zone], ...]) -> str:
    counted = [zone for _, zone in cover]
    left = sorted({zone.name for zone in zones if zone not in counted})
    parts = [f"RAPL energy counters in {root}: {', '.join(domain.id for domain, _ in cover)}"]
    if left:
        parts.append(f"not added, being parts, wholes or doubles of these: {', '.join(left)}")
    if not any(zone.name == "dram" for zone in counted):
        parts.append("no dram zone: memory is not counted")
    return "; ".join(parts)
