"""The settings: one frozen dataclass, filled once from ``GREENINFER_*`` variables by whoever builds the monitor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from greeninfer.errors import SettingsError

PREFIX = "GREENINFER_"


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _flag(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("", "0", "false", "no", "off"):
        return False
    raise ValueError("allowed: 1, true, yes, on, 0, false, no, off")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a monitor measures.

    Args:
        meters: names in order of preference; ("auto",) picks a disjoint cover of what the machine has.
        exporters: names of the exporters that get each settlement.
        powercap_root: where the powercap tree is.
        proc_root: where /proc is.
        tick_seconds: how often meters are read while something runs; slower at rest.
        idle_watts: known idle power of the CPU domains together, or None to learn it.
        power_model: what ``estimate`` takes for this machine: "" to recognise the processor,
            "IDLE:FULL" watts per logical core, or the path of a power model that ``greeninfer bench`` saved.
        jsonl_path: file that the ``jsonl`` exporter appends to; "-" is standard error.
        disabled: every door becomes a plain pass-through.

    Raises:
        SettingsError: if a value is out of its range.
    """

    meters: tuple[str, ...] = ("auto",)
    exporters: tuple[str, ...] = ("prometheus",)
    powercap_root: str = "/sys/class/powercap"
    proc_root: str = "/proc"
    tick_seconds: float = 0.02
    idle_watts: float | None = None
    power_model: str = ""
    jsonl_path: str = "greeninfer.jsonl"
    disabled: bool = False

    def __post_init__(self) -> None:
        if not self.meters:
            raise _wrong("meters", self.meters, "at least one name, or auto", "unset it")
        if not (math.isfinite(self.tick_seconds) and 0.001 <= self.tick_seconds <= 10.0):
            raise _wrong("tick_seconds", self.tick_seconds, "0.001 to 10 seconds", "0.02 is the default")
        if self.idle_watts is not None and not (math.isfinite(self.idle_watts) and self.idle_watts >= 0.0):
            raise _wrong("idle_watts", self.idle_watts, "0 or more watts", "unset it, to learn the idle power")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Build the settings from ``GREENINFER_*`` variables.

        Raises:
            SettingsError: for an unknown variable with our prefix, or a malformed value.
        """
        allowed = {PREFIX + each.name.upper(): each.name for each in fields(cls)}
        values: dict[str, object] = {}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX):
                continue
            if variable not in allowed:
                raise _wrong(variable, text, ", ".join(sorted(allowed)), "unset it or correct its name")
            try:
                values[allowed[variable]] = _PARSERS.get(allowed[variable], str)(text)
            except ValueError as error:
                raise _wrong(variable, text, str(error), "correct or unset it") from error
        return cls(**values)  # type: ignore[arg-type]


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "meters": _names,
    "exporters": _names,
    "tick_seconds": float,
    "idle_watts": float,
    "disabled": _flag,
}


def _wrong(name: str, value: object, allowed: str, remedy: str) -> SettingsError:
    return SettingsError(f"{name}={value!r} is not possible; allowed: {allowed}; remedy: {remedy}")
