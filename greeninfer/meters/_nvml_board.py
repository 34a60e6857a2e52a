"""One NVIDIA board: what NVML says of it, in joules and watts, and what its error codes mean to us."""

from __future__ import annotations

from typing import Any

from greeninfer.errors import MeterError

_REASONS = {
    1: "lost",  # UNINITIALIZED: somebody in this process shut NVML down once too often; mended by a restart
    2: "unsupported",  # INVALID_ARGUMENT: what a driver answers that does not know a field
    3: "unsupported",  # NOT_SUPPORTED
    4: "permission",  # NO_PERMISSION
    6: "lost",  # NOT_FOUND
    9: "lost",  # DRIVER_NOT_LOADED
    10: "late",  # TIMEOUT
    13: "unsupported",  # FUNCTION_NOT_FOUND: the driver is older than the call
    15: "lost",  # GPU_IS_LOST: fell off the bus
    16: "lost",  # RESET_REQUIRED
    18: "lost",  # LIB_RM_VERSION_MISMATCH: the driver was upgraded under us
    28: "lost",  # GPU_NOT_FOUND
}
"""By ``nvmlReturn_t`` (nvml.h; the numbers are part of its ABI, older Python modules lack some of the names)."""

_POWER_INSTANT = 186
"""NVML_FI_DEV_POWER_INSTANT. ``nvmlDeviceGetPowerUsage`` is a mean over 1 s on Ampere and newer except GA100."""

_TOTAL_POWER_SAMPLES = 0
"""NVML_TOTAL_POWER_SAMPLES: what the driver buffered, with its time stamps."""

_VALUE_FIELDS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Member of ``nvmlValue_t`` by ``nvmlValueType_t``."""

_UNKNOWN_LIMIT_WATTS = 1500.0
"""Where a board does not say its limit: more than the rated power of any single board of 2025 (about 1.4 kW)."""

_HEADROOM = 1.5
"""The limit holds for a mean over some tens of milliseconds; for less a board draws more."""


class Board:
    """One board, found by its index and kept by its UUID, since indices may move when a board is lost.

    Every method raises MeterError if the driver refuses: lost, permission, unsupported, late, garbage, or failed for
    any other code.

    Args:
        nvml: the module ``pynvml``, initialised.
        index: the board's number among all that NVML shows.
    """

    def __init__(self, nvml: Any, index: int) -> None:
        self._nvml = nvml
        self.index = index
        self._handle = self._call("nvmlDeviceGetHandleByIndex", index)
        self._uuid = self._call("nvmlDeviceGetUUID", self._handle)
        self.name = _text(self._call("nvmlDeviceGetName", self._handle))
        self.max_watts = _HEADROOM * self._limit_watts()
        self.is_power_instant = False
        try:
            self._instant_watts()
            self.is_power_instant = True
        except MeterError as error:
            if error.reason == "lost":
                raise

    def reopen(self) -> None:
        """Ask the driver for the board's handle again."""
        self._handle = self._call("nvmlDeviceGetHandleByUUID", self._uuid)

    def joules(self) -> float:
        """Return the energy counter: millijoules since the driver was loaded, Volta and newer."""
        return float(self._call("nvmlDeviceGetTotalEnergyConsumption", self._handle)) / 1e3

    def watts(self) -> float:
        """Return the power now: instantaneous where the driver has that field, else as nvmlDeviceGetPowerUsage."""
        if self.is_power_instant:
            return self._instant_watts()
        return self._plausible(float(self._call("nvmlDeviceGetPowerUsage", self._handle)) / 1e3)

    def samples(self, since_unix_seconds: float) -> list[tuple[float, float]]:
        """Return the power samples that the driver buffered since then: (seconds since 1970, watts), oldest first."""
        since_us = max(0, int(since_unix_seconds * 1e6))
        try:
            kind, samples = self._nvml.nvmlDeviceGetSamples(self._handle, _TOTAL_POWER_SAMPLES, since_us)
        except self._nvml.NVMLError as error:
            if error.value == 6:  # NOT_FOUND: nothing newer than that
                return []
            raise self._refusal("nvmlDeviceGetSamples", error) from error
        field = _VALUE_FIELDS[kind]
        return sorted(
            (each.timeStamp / 1e6, self._plausible(float(getattr(each.sampleValue, field)) / 1e3)) for each in samples
        )

    def is_split(self) -> bool:
        """Return whether MIG mode is on: several instances on the board, which counts energy for all of them only."""
        try:
            return bool(self._call("nvmlDeviceGetMigMode", self._handle)[0])
        except MeterError:  # no board before Ampere knows the call
            return False

    def _instant_watts(self) -> float:
        value = self._call("nvmlDeviceGetFieldValues", self._handle, [_POWER_INSTANT])[0]
        if value.nvmlReturn != 0:
            reason = _REASONS.get(value.nvmlReturn, "failed")
            raise MeterError("nvml", reason, f"gpu {self.index}: POWER_INSTANT: code {value.nvmlReturn}")
        return self._plausible(float(getattr(value.value, _VALUE_FIELDS[value.valueType])) / 1e3)

    def _plausible(self, watts: float) -> float:
        if not 0.0 <= watts <= 2.0 * self.max_watts:
            raise MeterError("nvml", "garbage", f"gpu {self.index}: power of {watts:.0f} W")
        return watts

    def _limit_watts(self) -> float:
        """Return the power limit in force or, since software may raise it at any time, the highest that may be set."""
        limits = [0.0]
        for name in ("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimitConstraints"):
            try:
                answer = self._call(name, self._handle)
            except MeterError as error:
                if error.reason == "lost":
                    raise
            else:
                milliwatts = answer if isinstance(answer, int) else answer[1]
                limits.append(float(milliwatts) / 1e3)
        return max(limits) or _UNKNOWN_LIMIT_WATTS

    def _call(self, name: str, *arguments: object) -> Any:
        function = getattr(self._nvml, name, None)
        if function is None:
            raise MeterError("nvml", "unsupported", f"{name} is not in this version of nvidia-ml-py")
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            raise self._refusal(name, error) from error

    def _refusal(self, name: str, error: Any) -> MeterError:
        reason = _REASONS.get(error.value, "failed")
        return MeterError("nvml", reason, f"gpu {self.index}: {name}: {error}")


def _text(value: str | bytes) -> str:
    # nvidia-ml-py before 11.515 hands out bytes.
    return value.decode(errors="replace") if isinstance(value, bytes) else value
