"""The way in: every meter by name, and which of them count this machine together without counting it twice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from greeninfer._clock import Clock
from greeninfer._settings import Settings
from greeninfer.errors import MeterUnavailable, SettingsError
from greeninfer.meters._contract import Meter
from greeninfer.meters._power_models import parse_power_model
from greeninfer.meters.estimate import open_estimate
from greeninfer.meters.nvml import open_nvml
from greeninfer.meters.pyrapl import open_pyrapl
from greeninfer.meters.rapl import open_rapl
from greeninfer.meters.simulated import open_simulated

__all__ = ["METERS", "Constructor", "Meter", "Opened", "check_names", "open_meters"]

_log = logging.getLogger("greeninfer")

Constructor = Callable[[Settings, Clock], Meter]
"""Opens a meter of this machine, or raises ``MeterUnavailable``."""

METERS: Final[dict[str, Constructor]] = {
    "rapl": open_rapl,
    "nvml": open_nvml,
    "pyrapl": open_pyrapl,
    "estimate": open_estimate,
    "simulated": open_simulated,
}
"""Constructors of the meters by the name that settings know them by. Optional packages are imported inside them."""

AUTO: Final = "auto"
_AUTO_NAMES: Final = ("rapl", "estimate", "nvml")

_COVERS: Final[Mapping[str, frozenset[str]]] = {
    "rapl": frozenset({"cpu"}),
    "pyrapl": frozenset({"cpu"}),
    "estimate": frozenset({"cpu"}),
    "simulated": frozenset({"cpu"}),
    "nvml": frozenset({"gpu"}),
}
"""What each meter counts the joules of. Two that share a part would count it twice, so the first that works has it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The meters that were chosen.

    Args:
        meters: those that work, disjoint, in order of preference; empty where nothing measures: then there are no
            joules at all, which is not the same as 0.
        refused: the others that were asked for, each with its reason.
    """

    meters: tuple[Meter, ...]
    refused: tuple[MeterUnavailable, ...]


def check_names(settings: Settings, constructors: Mapping[str, Constructor] = METERS) -> tuple[str, ...]:
    """Return the names of the meters to try, in order of preference: "auto" stands for sensors, then the estimate.

    Raises:
        SettingsError: if a name is unknown or "auto" stands beside another, or the power model is malformed.
    """
    if settings.power_model:
        parse_power_model(settings.power_model)
    if settings.meters == (AUTO,):
        return tuple(name for name in _AUTO_NAMES if name in constructors)
    for name in settings.meters:
        if name == AUTO:
            raise _wrong(settings, constructors, "leave auto alone, or name every meter")
        if name not in constructors:
            raise _wrong(settings, constructors, f"there is no {name!r}; correct the name, or leave it out")
    return tuple(dict.fromkeys(settings.meters))


def open_meters(
    settings: Settings, clock: Clock, constructors: Mapping[str, Constructor] = METERS, log: logging.Logger = _log
) -> Opened:
    """Open the meters that the settings ask for; of several that cover the same, the first that works.

    Logged is what somebody should know: an estimate that stands in for a sensor, a meter that was asked for by name
    and does not work, or that nothing works.

    Raises:
        SettingsError: if ``check_names`` does.
    """
    meters: list[Meter] = []
    refused: list[MeterUnavailable] = []
    failed: list[MeterUnavailable] = []
    holders: dict[str, str] = {}
    with ExitStack() as unless_all_is_well:
        for name in check_names(settings, constructors):
            parts = _parts(name)
            held = sorted({holders[part] for part in parts if part in holders})
            if held:
                refused.append(MeterUnavailable(name, f"covered by {', '.join(held)}"))
                continue
            try:
                meter = constructors[name](settings, clock)
            except MeterUnavailable as error:
                refused.append(error)
                failed.append(error)
                if settings.meters != (AUTO,):
                    log.warning("greeninfer.meter_refused meter=%s reason=%s", name, error)
                continue
            unless_all_is_well.callback(meter.close)
            meters.append(meter)
            holders.update(dict.fromkeys(parts, name))
            missed = any(_parts(error.meter) & parts for error in failed)
            if meter.info.quality == "estimated" and missed:
                log.warning(
                    "greeninfer.estimated meter=%s: no sensor, a power model; `greeninfer doctor` says why", name
                )
        unless_all_is_well.pop_all()
    if not meters:
        log.warning("greeninfer.no_meter reasons=%s", "; ".join(str(error) for error in refused))
    return Opened(tuple(meters), tuple(refused))


def _parts(name: str) -> frozenset[str]:
    return _COVERS.get(name, frozenset({name}))


def _wrong(settings: Settings, constructors: Mapping[str, Constructor], remedy: str) -> SettingsError:
    value = ",".join(settings.meters)
    allowed = f"auto, or a comma list of {', '.join(sorted(constructors))}"
    return SettingsError(f"meters={value!r} is not possible; allowed: {allowed}; remedy: {remedy}")
