"""RAPL through pyRAPL, for programs that have it already.

``rapl`` reads the same counters without it and is what ``auto`` takes: pyRAPL has had no release since 2019, knows one
fixed path, needs one zone per socket, and neither unwraps a counter nor tells a reset. We use its ``Sensor`` alone, not
``setup()``, which would take its process-wide singleton from the program. What pyRAPL calls joules are microjoules.
"""

from __future__ import annotations

import errno
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from greeninfer._clock import Clock
from greeninfer._records import Domain, MeterInfo, Reading
from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters._counter import Counter

_PERIOD_SECONDS = 0.001
_LATE_SECONDS = 0.005
_BURST_SECONDS = 0.01
_GAIN = (0.97, 1.03)
"""These four as in ``rapl.py``, which gives the sources: the counters are the same."""

_WATTS = {"package": 1000.0, "dram": 400.0}
"""The most that a domain can draw: twice the largest rated package of 2025 (500 W); 24 memory modules of some 16 W."""

_NAMES = ("package", "dram")
"""``pyRAPL.Device.PKG`` is 0 and ``DRAM`` is 1; its list holds them by socket: package 0, dram 0, package 1 ..."""

_REMEDY = "the meter rapl reads the same counters and says what they lack"

_REASONS = {
    errno.ENOENT: "vanished",
    errno.ENODEV: "vanished",
    errno.ENXIO: "vanished",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
}


class Sensor(Protocol):
    """What is used of ``pyRAPL.Sensor``."""

    def energy(self) -> Sequence[float]:
        """Return microjoules: package and dram of socket 0, of socket 1 ...; -1 for what is not there."""
        ...


def open_pyrapl(settings: Settings, clock: Clock) -> PyraplMeter:
    """Open RAPL through pyRAPL; ``settings.powercap_root`` has no effect, pyRAPL knows one place only.

    Raises:
        MeterUnavailable: if pyRAPL is missing, finds no counters, or this user may not read them.
    """
    with _quiet():
        try:
            import pyRAPL
        except ImportError as error:
            raise MeterUnavailable(
                "pyrapl", f"pyRAPL is missing ({error}).", "pip install 'greeninfer[rapl]'"
            ) from error
        try:
            sensor = pyRAPL.Sensor()
        except pyRAPL.PyRAPLException as error:
            raise MeterUnavailable("pyrapl", "pyRAPL finds no RAPL counter for every socket.", _REMEDY) from error
        except PermissionError as error:
            raise MeterUnavailable("pyrapl", f"no permission to read {error.filename}.", _REMEDY) from error
        except (OSError, ValueError, IndexError) as error:  # what its parsing of /sys lets through
            raise MeterUnavailable("pyrapl", f"pyRAPL cannot start: {error}.", _REMEDY) from error
    return PyraplMeter(sensor, clock)


class PyraplMeter:
    """Count the joules of processor packages and their memory as pyRAPL reads them.

    Args:
        sensor: a ``pyRAPL.Sensor``; ``close`` closes its files.
        clock: where instants come from.

    Raises:
        MeterUnavailable: if the sensor cannot be read or has no domain.
    """

    def __init__(self, sensor: Sensor, clock: Clock) -> None:
        self._sensor = sensor
        self._clock = clock
        self._is_closed = False
        try:
            values = self._microjoules()
        except MeterError as error:
            self.close()
            raise MeterUnavailable("pyrapl", f"{error.reason}: {error.detail}.", _REMEDY) from error
        self._indices = tuple(index for index, value in enumerate(values) if value >= 0.0)
        if not self._indices:
            self.close()
            raise MeterUnavailable("pyrapl", "pyRAPL reads no domain.", _REMEDY)
        domains = tuple(Domain("pyrapl", index // 2, _NAMES[index % 2]) for index in self._indices)
        ranges = _ranges_joules(sensor)
        self._counters = tuple(
            Counter(ranges.get(index), _WATTS[domain.name], _WATTS[domain.name] * _BURST_SECONDS)
            for index, domain in zip(self._indices, domains, strict=True)
        )
        unknown = "" if ranges.keys() >= set(self._indices) else "; ranges unreadable, so a wrap counts as a reset"
        self._info = MeterInfo(
            name="pyrapl",
            domains=domains,
            quality="measured",
            period_seconds=_PERIOD_SECONDS,
            gain=_GAIN,
            source=f"RAPL energy counters through pyRAPL: {', '.join(domain.id for domain in domains)}{unknown}",
        )

    @property
    def info(self) -> MeterInfo:
        """Return the packages and memories that pyRAPL reads."""
        return self._info

    def read(self) -> tuple[Reading, ...]:
        """Return cumulative joules since the first read, per domain.

        Raises:
            MeterError: vanished, permission, garbage, lost (any other I/O error), or late: the round of reads took
                more than 5 ms. No counter moves on then.
            ValueError: if the meter is closed.
        """
        if self._is_closed:
            raise ValueError("read of a closed meter")
        before = self._clock.now()
        values = self._microjoules()
        after = self._clock.now()
        if after - before > _LATE_SECONDS:
            raise MeterError("pyrapl", "late", f"reading took {(after - before) * 1e3:.1f} ms")
        instant = 0.5 * (before + after)
        for index in self._indices:
            if index >= len(values) or values[index] < 0.0:
                raise MeterError("pyrapl", "vanished", f"pyRAPL reads {values}")
            if not math.isfinite(values[index]):
                raise MeterError("pyrapl", "garbage", f"pyRAPL reads {values}")
        readings = []
        for domain, counter, index in zip(self._info.domains, self._counters, self._indices, strict=True):
            joules, fault, guess = counter.advance(values[index] * 1e-6, instant)
            readings.append(Reading(domain, joules, instant, fault, guess))
        return tuple(readings)

    def close(self) -> None:
        """Close pyRAPL's files, for which it has no call of its own; a second call does nothing."""
        self._is_closed = True
        for _, file in _files(self._sensor):
            file.close()

    def _microjoules(self) -> list[float]:
        try:
            return [float(value) for value in self._sensor.energy()]
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, "lost")
            raise MeterError("pyrapl", reason, str(error)) from error
        except ValueError as error:
            raise MeterError("pyrapl", "garbage", str(error)) from error


def _files(sensor: Any) -> Iterator[tuple[int, Any]]:
    """Yield (index in the list of energies, open file) of each counter; nothing where pyRAPL is built otherwise."""
    for device, interface in getattr(sensor, "_device_api", {}).items():
        files = getattr(interface, "_sys_files", ())
        for socket, file in zip(getattr(interface, "_socket_ids", ()), files, strict=False):
            yield 2 * socket + device, file


def _ranges_joules(sensor: Sensor) -> dict[int, float]:
    """Return the modulus by index, where the kernel's ``max_energy_range_uj`` beside the counter can be read."""
    ranges = {}
    for index, file in _files(sensor):
        try:
            microjoules = int(Path(file.name).with_name("max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        if microjoules > 0:
            # The file holds the largest value, 2^32 - 1 units of the hardware; the modulus is one unit more.
            ranges[index] = microjoules * 1e-6 * (2**32 / (2**32 - 1))
    return ranges


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pyRAPL's import from nagging and, which is worse, from configuring the program's logging.

    Without pandas and pymongo it calls ``logging.warning``, and that installs a root handler where there is none. While
    it is imported the root logger has the handler that stands in anyway (``lastResort``), so every other record goes
    where it would have gone, and a filter that drops pyRAPL's own. Warnings: an old escape in a pattern, files that
    its functions leave to the garbage collector. All is put back.
    """
    root = logging.getLogger()
    stand_in = None if root.handlers else logging.lastResort or logging.NullHandler()
    with warnings.catch_warnings():
        for category in (SyntaxWarning, DeprecationWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        if stand_in is not None:
            root.addHandler(stand_in)
        root.addFilter(_is_not_of_pyrapl)
        try:
            yield
        finally:
            root.removeFilter(_is_not_of_pyrapl)
            if stand_in is not None:
                root.removeHandler(stand_in)


def _is_not_of_pyrapl(record: logging.LogRecord) -> bool:
    return "pyRAPL" not in Path(record.pathname).parts
