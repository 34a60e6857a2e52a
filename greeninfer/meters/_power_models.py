"""What a logical core draws, by processor: the coefficients of the ``estimate`` meter and where they come from.

Every figure is wall power of a whole server in SPECpower_ssj2008 (active idle, 100 % load) divided by its hardware
threads: memory, fans and the loss of the power supply are in it, disks and GPUs beyond the bare test system are not.

Sources:
    CCF: Cloud Carbon Footprint, ccf-coefficients, output/coefficients-aws-use.csv at commit b0032d9, the means over
        the SPECpower results of 2026-03-09 by microarchitecture. Two of its rows are left out: "Graviton" repeats
        EPYC 2nd Gen because nothing was measured, and "EPYC 5th Gen" (3.68 to 8.96 W) is the mean over *all* servers
        of the file, because its list of processors ends in blank lines that match everything.
    SPEC: our own means over rows of the same file (data/SPECpower-2026-03-09.csv), for what CCF lacks:
        Zen 5: EPYC 9755 and 9655, 4 results of Quanta and Lenovo; Zen 5c: EPYC 9965 and 9845, 15 results of
        ASUSTeK, Lenovo, Quanta, Supermicro and xFusion; Neoverse N1: Ampere Altra Max, 2 results of Supermicro.
    Average: MIN_WATTS_AVG and MAX_WATTS_AVG of Cloud Carbon Footprint, AwsFootprintEstimationConstants.ts.
    Model numbers: Linux, arch/x86/include/asm/intel-family.h, arch/x86/kernel/cpu/amd.c (Zen generations) and
        arch/arm64/include/asm/cputype.h; WikiChip amd/cpuid tells Turin from Turin Dense.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from greeninfer.errors import SettingsError

_CCF = "Cloud Carbon Footprint 2026-03 from SPECpower"
_SPEC = "SPECpower_ssj2008 2026-03"

FILE_KEY, FILE_FORMAT = "greeninfer_power_model", 1
"""What a file with a power model says that it is, and the version that is read."""


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Power of one logical core.

    Args:
        name: what it describes: a microarchitecture, or where the watts come from.
        idle_watts: at rest.
        full_watts: busy all the time.
        source: where the watts come from, for a person.
        gain: (low, high): the true joules lie between these multiples, where that was measured; else None.
    """

    name: str
    idle_watts: float
    full_watts: float
    source: str
    gain: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Processor:
    """What a processor says it is; family, model and stepping as Linux numbers them, -1 where it does not say."""

    vendor: str = ""
    family: int = -1
    model: int = -1
    stepping: int = -1
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    vendor: str
    family: int
    models: tuple[int, ...]
    power: PowerModel
    steppings: tuple[int, ...] = ()
    # AMD sells the dies of its servers as Ryzen and Threadripper too, which draw several times as much per thread.
    brand: str = ""


AVERAGE = PowerModel("average of all processors", 0.74, 3.5, "Cloud Carbon Footprint average")
"""What stands in for a processor that is not in the table."""


def _intel(
    name: str, models: tuple[int, ...], idle_watts: float, full_watts: float, steppings: tuple[int, ...] = ()
) -> _Entry:
    return _Entry("GenuineIntel", 6, models, PowerModel(name, idle_watts, full_watts, _CCF), steppings)


def _epyc(family: int, models: range, name: str, idle_watts: float, full_watts: float, source: str = _CCF) -> _Entry:
    power = PowerModel(name, idle_watts, full_watts, source)
    return _Entry("AuthenticAMD", family, tuple(models), power, brand="EPYC")


# Only dies that are sold for servers: SPECpower has no laptops, so those take the average and the meter says so.
_TABLE = (
    _intel("Sandy Bridge", (0x2A, 0x2D), 2.212, 8.631),
    _intel("Ivy Bridge", (0x3A, 0x3E), 1.707, 5.557),
    _intel("Haswell", (0x3C, 0x3F), 1.857, 5.595),
    _intel("Broadwell", (0x4F, 0x56), 0.7128, 3.685),
    _intel("Skylake", (0x55,), 0.6130, 4.104, steppings=tuple(range(5))),
    _intel("Cascade Lake", (0x55,), 0.6903, 4.063, steppings=(5, 6, 7)),
    _intel("Coffee Lake", (0x9E,), 1.138, 5.422, steppings=(10, 11, 12, 13)),
    _intel("Ice Lake", (0x6A, 0x6C), 0.7668, 3.758),
    _intel("Sapphire Rapids", (0x8F,), 1.036, 4.160),
    _intel("Emerald Rapids", (0xCF,), 0.8140, 4.482),
    _intel("Granite Rapids", (0xAD, 0xAE), 0.5816, 2.527),
    _epyc(0x17, range(0x10), "EPYC 1st Gen (Zen)", 0.8468, 2.604),
    _epyc(0x17, range(0x30, 0x40), "EPYC 2nd Gen (Zen 2)", 0.4743, 1.693),
    _epyc(0x19, range(0x10), "EPYC 3rd Gen (Zen 3)", 0.4556, 1.957),
    _epyc(0x19, range(0x10, 0x20), "EPYC 4th Gen (Zen 4)", 0.7391, 2.282),
    _epyc(0x19, range(0xA0, 0xB0), "EPYC 4th Gen (Zen 4c)", 0.7391, 2.282),
    _epyc(0x1A, range(0x10), "EPYC 5th Gen (Zen 5)", 0.3274, 1.887, _SPEC),
    _epyc(0x1A, range(0x10, 0x20), "EPYC 5th Gen (Zen 5c)", 0.2096, 1.128, _SPEC),
    _Entry("0x41", -1, (0xD0C,), PowerModel("Neoverse N1", 0.6141, 1.633, _SPEC)),
)


def recognise(processor: Processor) -> PowerModel | None:
    """Return the power model of a processor, or None if the table does not have it."""
    for entry in _TABLE:
        if (
            (entry.vendor, entry.family) == (processor.vendor, processor.family)
            and processor.model in entry.models
            and (not entry.steppings or processor.stepping in entry.steppings)
            and entry.brand in processor.name
        ):
            return entry.power
    return None


def parse_cpuinfo(text: str) -> Processor:
    """Return the processor that /proc/cpuinfo describes, the last where cores differ; what it lacks stays unknown."""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    if "CPU implementer" in fields:
        return Processor(vendor=fields["CPU implementer"], model=_number(fields.get("CPU part", "")))
    return Processor(
        vendor=fields.get("vendor_id", ""),
        family=_number(fields.get("cpu family", "")),
        model=_number(fields.get("model", "")),
        stepping=_number(fields.get("stepping", "")),
        name=fields.get("model name", ""),
    )


def parse_platform(text: str) -> Processor:
    """Return the processor that ``platform.processor()`` names; Windows says "Intel64 Family 6 Model 85 Stepping 7,
    GenuineIntel", others no more than a name.
    """
    found = re.fullmatch(r"\S+ Family (\d+) Model (\d+) Stepping (\d+), (\w+)", text.strip())
    if found is None:
        return Processor(name=text.strip())
    family, model, stepping, vendor = found.groups()
    return Processor(vendor, int(family), int(model), int(stepping), text.strip())


def parse_power_model(text: str) -> PowerModel:
    """Return the power model of a setting "IDLE:FULL", watts per logical core, or the path of a file with one.

    Raises:
        SettingsError: if it is malformed, negative, not finite, or full is below idle or 0; or if the file is.
    """
    try:
        idle_watts, full_watts = (float(part) for part in text.split(":"))
    except ValueError:
        if text.endswith(".json") or "/" in text or _is_file(text):
            return _read_power_model(text)
        raise _wrong(text, "write two numbers with a colon between them, such as 0.7:3.5, or a path") from None
    fault = _fault(idle_watts, full_watts)
    if fault:
        raise _wrong(text, fault)
    return PowerModel("setting power_model", idle_watts, full_watts, "given by the user")


def _read_power_model(text: str) -> PowerModel:
    """Return the power model in a file that ``greeninfer bench`` wrote."""
    remedy = "name a file that greeninfer bench saved, or write watts, such as 0.7:3.5"
    try:
        tree = json.loads(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(text, remedy, f"the file cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _wrong(text, remedy, f"the file is no JSON: {error}") from error
    if not isinstance(tree, dict) or tree.get(FILE_KEY) != FILE_FORMAT:
        found = tree.get(FILE_KEY) if isinstance(tree, dict) else None
        raise _wrong(text, remedy, f"the file has {FILE_KEY} {found!r}, not {FILE_FORMAT}")
    for key in ("idle_watts", "full_watts"):
        if not _is_number(tree.get(key)):
            raise _wrong(text, remedy, f"{key} is {tree.get(key)!r}, not a number")
    fault = _fault(tree["idle_watts"], tree["full_watts"])
    if fault:
        raise _wrong(text, fault, f"the file has {tree['idle_watts']!r} and {tree['full_watts']!r} watts")
    gain = tree.get("gain")
    if not (
        isinstance(gain, list) and len(gain) == 2 and all(map(_is_number, gain)) and 0.0 < gain[0] <= 1.0 <= gain[1]
    ):
        raise _wrong(text, remedy, f"gain is {gain!r}, not [low, high] with 1 between them")
    source = ", ".join(f"{part}" for part in (tree.get("source"), tree.get("date")) if part) or "source not told"
    return PowerModel(f"file {text}", float(tree["idle_watts"]), float(tree["full_watts"]), source, (gain[0], gain[1]))


def _fault(idle_watts: float, full_watts: float) -> str:
    """Return what mends two watts that make no sense, "" for two that do."""
    if not (math.isfinite(idle_watts) and math.isfinite(full_watts)):
        return "give finite watts, such as 0.7:3.5"
    if idle_watts < 0.0 or full_watts < idle_watts or full_watts == 0.0:
        return "give idle watts of 0 or more first, then full watts, no smaller and above 0"
    return ""


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long for a name
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return -1


def _wrong(text: str, remedy: str, reason: str = "") -> SettingsError:
    allowed = '"", IDLE:FULL watts per logical core, or the path of a power model file'
    why = f" ({reason})" if reason else ""
    return SettingsError(f"power_model={text!r} is not possible{why}; allowed: {allowed}; remedy: {remedy}")
