"""Says what this machine can measure, why it cannot measure the rest, and the line that mends it.

``examine`` looks and returns plain data; ``render`` turns it into text of at most 80 columns. Nothing is changed.
"""

from __future__ import annotations

import logging
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from greeninfer._clock import Clock
from greeninfer._settings import PREFIX, Settings
from greeninfer._timeline import ThreadCpu, system_thread_cpu
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters import METERS, Constructor, Meter, open_meters
from greeninfer.meters.estimate import open_cpu_time

_WIDTH = 80
_INDENT = 2
_LABEL = 15


@dataclass(frozen=True, slots=True)
class MeterReport:
    """One meter as the doctor found it.

    Args:
        name: as settings know it.
        used: whether the settings in force choose it.
        works: whether it was opened and gave a reading.
        reason: why it is not used or does not work; "" for one that is used and works.
        remedy: the line that mends it, or "".
        domains, devices, quality, period_seconds, gain, source: of a meter that was opened, else empty or None.
    """

    name: str
    used: bool
    works: bool
    reason: str = ""
    remedy: str = ""
    domains: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    quality: str | None = None
    period_seconds: float | None = None
    gain: tuple[float, float] | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing about the machine that attribution needs, and what follows from it."""

    name: str
    ok: bool
    finding: str


@dataclass(frozen=True, slots=True)
class SettingReport:
    """A setting in force and where it came from: the variable, or "default"."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that the doctor found; ``verdict`` is one line, ``healthy`` whether any meter that is used works."""

    verdict: str
    healthy: bool
    meters: tuple[MeterReport, ...]
    checks: tuple[Check, ...]
    settings: tuple[SettingReport, ...]


def examine(
    settings: Settings, environ: Mapping[str, str], clock: Clock, constructors: Mapping[str, Constructor] = METERS
) -> Report:
    """Try every meter of this machine and look at what else attribution needs.

    Raises:
        SettingsError: if the settings name no meter.
    """
    meters = tuple(_examine_meters(settings, clock, constructors))
    in_use = [meter for meter in meters if meter.used and meter.works]
    checks = (_check_cpu_time(settings), check_threads(system_thread_cpu()), check_suspend())
    return Report(_verdict(in_use), bool(in_use), meters, checks, tuple(_origins(settings, environ)))


def _examine_meters(settings: Settings, clock: Clock, constructors: Mapping[str, Constructor]) -> Iterator[MeterReport]:
    # What the library would log when it opens meters is what this report says at length.
    silent = logging.Logger("greeninfer.doctor", logging.CRITICAL + 1)
    opened = open_meters(settings, clock, constructors, silent)
    for meter in opened.meters:
        yield _examine_meter(meter, used=True)
    used = {meter.info.name for meter in opened.meters}
    reasons = {error.meter: error.reason for error in opened.refused}
    for name, constructor in constructors.items():
        if name in used:
            continue
        choice = f"chosen only by {PREFIX}METERS={name}"
        try:
            meter = constructor(settings, clock)
        except MeterUnavailable as error:
            yield MeterReport(name, used=False, works=False, reason=error.reason, remedy=error.remedy)
        else:
            yield _examine_meter(meter, used=False, reason=f"works, but is {reasons.get(name, choice)}")


def _examine_meter(meter: Meter, *, used: bool, reason: str = "") -> MeterReport:
    info = meter.info
    try:
        meter.read()
        works = True
    except MeterError as error:
        works, reason = False, f"opened, but cannot be read: {error}"
    finally:
        meter.close()
    return MeterReport(
        name=info.name,
        used=used,
        works=works,
        reason=reason,
        domains=tuple(domain.id for domain in info.domains),
        devices=tuple(dict.fromkeys(domain.device for domain in info.domains)),
        quality=info.quality,
        period_seconds=info.period_seconds,
        gain=info.gain,
        source=info.source,
    )


def _verdict(in_use: list[MeterReport]) -> str:
    if not in_use:
        return "no joules here: no meter works"
    if any(meter.name == "simulated" for meter in in_use):
        return "joules here are SIMULATED: they belong to no machine"
    by_quality: dict[str, list[str]] = {}
    for meter in in_use:
        by_quality.setdefault(str(meter.quality).upper(), []).extend(meter.devices)
    parts = [f"{quality} ({', '.join(devices)})" for quality, devices in sorted(by_quality.items(), reverse=True)]
    return f"joules here are {' and '.join(parts)}"


def _check_cpu_time(settings: Settings) -> Check:
    try:
        cpu = open_cpu_time(settings)
    except MeterUnavailable as error:
        return Check("CPU time", False, f"{error.reason} Other processes cannot be told apart from ours.")
    finding = f"{cpu.source} is readable: {cpu.cores} logical cores, steps of {cpu.period_seconds * 1e3:g} ms"
    mounts = Path(settings.proc_root) / "self" / "mountinfo"
    try:
        # lxcfs mounts a file of its own over /proc/stat, which shows one container: proc_pid_mountinfo(5), field 5.
        points = {line.split(" ")[4] for line in mounts.read_text(errors="replace").splitlines() if line.count(" ") > 4}
    except OSError:
        return Check("CPU time", True, f"{finding}; whether it is host-wide is not known (no {mounts})")
    if "/proc/stat" in points:
        return Check("CPU time", False, f"{finding}, but of this container alone (lxcfs), not of the machine")
    return Check("CPU time", True, f"{finding}, host-wide")


def check_threads(thread_cpu: ThreadCpu) -> Check:
    """Tell whether the CPU clock of one thread can be read from another, by trying it."""
    seconds: list[float | None] = []
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="greeninfer-doctor", daemon=True)
    thread.start()
    try:
        seconds.append(thread_cpu(thread.native_id or 0))
    finally:
        stop.set()
        thread.join()
    if seconds[0] is not None and seconds[0] >= 0.0:
        return Check("thread clocks", True, "CPU time of a request is known while it runs")
    return Check("thread clocks", False, "CPU time of a request is known only when it ends or pauses")


def check_suspend(has_boottime: bool = hasattr(time, "CLOCK_BOOTTIME")) -> Check:
    """Tell whether time asleep can be told from time awake."""
    if has_boottime:
        return Check("suspend", True, "joules of a suspend are told apart from those of requests")
    return Check("suspend", False, "no CLOCK_BOOTTIME here: joules of a suspend go to whatever ran before it")


def _origins(settings: Settings, environ: Mapping[str, str]) -> Iterator[SettingReport]:
    for each in fields(settings):
        value = getattr(settings, each.name)
        text = ",".join(value) if isinstance(value, tuple) else "-" if value is None or value == "" else str(value)
        variable = PREFIX + each.name.upper()
        yield SettingReport(each.name, text, variable if variable in environ else "default")


def render(report: Report) -> str:
    """Return the report as plain text, no line longer than 80 columns as far as words allow."""
    blocks = [
        report.verdict,
        _block("in use", [line for meter in report.meters if meter.used for line in _meter_lines(meter)]),
        _block("not in use", [line for meter in report.meters if not meter.used for line in _meter_lines(meter)]),
        _block("this machine", [line for check in report.checks for line in _check_lines(check)]),
        _block("settings", [f"{each.name:<{_LABEL}}{each.origin:<26}{each.value}" for each in report.settings]),
    ]
    long = [f"{meter.name}: {meter.remedy}" for meter in report.meters if not _fits(meter.remedy)]
    if long:
        # A command that is broken over lines cannot be copied.
        blocks.append("\n".join(["remedies, each one line", *long]))
    return "\n\n".join(blocks)


def _block(title: str, lines: list[str]) -> str:
    return "\n".join([title, *(" " * _INDENT + line for line in lines or ["nothing"])])


def _meter_lines(meter: MeterReport) -> list[str]:
    paragraphs = [meter.reason] if meter.reason else []
    if meter.used and meter.period_seconds is not None and meter.gain is not None:
        pace = f"each {meter.period_seconds * 1e3:g} ms" if meter.period_seconds else "at each read"
        low, high = meter.gain
        paragraphs.append(f"{meter.quality}; the truth is {low:g} to {high:g} times the joules read")
        paragraphs.append(f"covers {', '.join(meter.domains)}; new figures {pace}")
    if meter.source:
        paragraphs.append(f"source: {meter.source}")
    if meter.remedy:
        paragraphs.append(f"remedy: {meter.remedy if _fits(meter.remedy) else 'see below'}")
    return _hang(meter.name, paragraphs)


def _check_lines(check: Check) -> list[str]:
    return _hang(check.name, [f"{'yes' if check.ok else 'no'}: {check.finding}"])


def _fits(remedy: str) -> bool:
    return len(remedy) <= _WIDTH - _INDENT - _LABEL - len("remedy: ")


def _hang(label: str, paragraphs: list[str]) -> list[str]:
    lines = [
        line
        for paragraph in paragraphs
        for line in textwrap.wrap(paragraph, _WIDTH - _INDENT - _LABEL, break_long_words=False, break_on_hyphens=False)
    ]
    return [f"{label if place == 0 else '':<{_LABEL}}{line}" for place, line in enumerate(lines)]
