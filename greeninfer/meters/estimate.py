"""The meter for machines without a sensor: a power model of the processor, fed with CPU time. An estimate.

    joules = idle_watts * cores * seconds + (full_watts - idle_watts) * busy core seconds

Linear in use, as Cloud Carbon Footprint has it: W = min + use * (max - min) for each logical core. CPU time is a
cumulative counter, so the sum over any interval is exact for the model, however seldom it is read: no use is ever
sampled. What is uncertain is the model itself: the true joules lie between 0.6 and 1.7 times these, or where the file
with the model says (`greeninfer bench` measures that as it fits one).

It covers the whole machine that /proc/stat shows, which inside a container is the host with all its cores and all its
processes, unless lxcfs or a virtual machine shows less.

Finer than the kernel's clock. /proc/stat counts in hundredths of a second and samples at the scheduler's tick, so over
20 ms it says 0, 10, 20 or 30. The CPU time of our own process is known to the nanosecond and is part of the same busy
time. So between two steps of /proc/stat the busy time goes on by our own, but never runs ahead of /proc/stat by
more than ``lead``, one step for each core, which is how late the kernel's own books can be:

    busy = max(stat, min(busy before + own, stat + lead))

Hence stat <= busy <= stat + lead for ever, so it never drifts; stat and own never fall, so it never goes back; and own
time that the kernel counts later is not counted twice.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from greeninfer._clock import Clock
from greeninfer._records import Domain, MeterInfo, Reading
from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters._power_models import (
    AVERAGE,
    PowerModel,
    Processor,
    parse_cpuinfo,
    parse_platform,
    parse_power_model,
    recognise,
)

NAME = "estimate"
DOMAIN = Domain(NAME, 0, "cpu", "cpu")

GAIN = (0.6, 1.7)
"""How far the truth is taken to lie from a linear model on averaged coefficients. A judgement, not a measurement:
models of this kind are off by up to 40 % (arXiv 2509.22092), and the coefficients are published without an interval."""

_PSUTIL_PERIOD_SECONDS = 1 / 64
"""The scheduler's tick on Windows, the coarsest of those that psutil reads."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """The busy time of all cores of a machine.

    Args:
        busy_seconds: returns cumulative core seconds; raises ``MeterError``.
        cores: logical cores it covers.
        period_seconds: its resolution.
        source: where it comes from, for a person.
    """

    busy_seconds: Callable[[], float]
    cores: int
    period_seconds: float
    source: str


class EstimateMeter:
    """Counts joules of all cores together by a power model.

    Args:
        model: watts per logical core.
        description: says in one line where the model comes from.
        cpu: busy time of the machine.
        clock: monotonic time.
        process_seconds: CPU seconds of this process, fine-grained.

    Raises:
        MeterError: if the CPU time cannot be read.
    """

    def __init__(
        self,
        model: PowerModel,
        description: str,
        cpu: CpuTime,
        clock: Clock,
        process_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        self._cpu = cpu
        self._clock = clock
        self._process_seconds = process_seconds
        self._rest_watts = model.idle_watts * cpu.cores
        self._core_watts = model.full_watts - model.idle_watts
        self._lead = cpu.period_seconds * cpu.cores
        self._start, raw, self._own = self._sample()
        self._instant = self._start
        self._closed = False
        self._offset = -raw
        self._stat = self._busy = self._joules = 0.0
        self._info = MeterInfo(
            NAME,
            (DOMAIN,),
            "estimated",
            cpu.period_seconds,
            model.gain or GAIN,
            description,
            idle_watts=self._rest_watts,
        )

    @property
    def info(self) -> MeterInfo:
        """Return what the meter is; constant for its life."""
        return self._info

    def read(self) -> tuple[Reading, ...]:
        """Return the joules since the meter was opened.

        Raises:
            MeterError: if the CPU time cannot be read now.
            ValueError: if the meter is closed.
        """
        if self._closed:
            raise ValueError("read of a closed meter")
        instant, raw, own_now = self._sample()
        own = max(0.0, own_now - self._own)  # the clock of a process starts anew in a forked child
        lost = raw + self._offset < self._stat - self._lead
        if lost:
            # The counter restarted (lxcfs, a restored virtual machine). Our own part is all that is known.
            self._offset = self._busy + own - raw
        self._stat = max(self._stat, raw + self._offset)
        self._busy = max(self._stat, min(self._busy + own, self._stat + self._lead))
        self._own, self._instant = own_now, instant
        before, self._joules = self._joules, self._model_joules()
        if lost:
            return (Reading(DOMAIN, self._joules, instant, "reset", self._joules - before),)
        return (Reading(DOMAIN, self._joules, instant),)

    def close(self) -> None:
        """End the meter; it holds no descriptor. A second call does nothing."""
        self._closed = True

    def _model_joules(self) -> float:
        return self._rest_watts * (self._instant - self._start) + self._core_watts * self._busy

    def _sample(self) -> tuple[float, float, float]:
        before = self._clock.now()
        raw = self._cpu.busy_seconds()
        own = self._process_seconds()
        return (before + self._clock.now()) / 2, raw, own


def open_estimate(
    settings: Settings, clock: Clock, *, process_seconds: Callable[[], float] = time.process_time
) -> EstimateMeter:
    """Open the power model of this machine.

    Raises:
        MeterUnavailable: if the CPU time of the machine cannot be read.
        SettingsError: if ``settings.power_model`` is malformed.
    """
    model, heading = _choose_model(settings)
    cpu = open_cpu_time(settings)
    description = (
        f"power model, no sensor: {heading}, {model.idle_watts:g} to {model.full_watts:g} W per logical core"
        f" ({model.source}), {cpu.cores} logical cores, all of {cpu.source}"
    )
    try:
        return EstimateMeter(model, description, cpu, clock, process_seconds)
    except MeterError as error:
        raise MeterUnavailable(NAME, f"{cpu.source} cannot be read: {error}.") from error


def open_cpu_time(settings: Settings) -> CpuTime:
    """Find the busy time of this machine: ``stat`` under ``settings.proc_root``, or psutil where there is no /proc.

    Raises:
        MeterUnavailable: if neither can be read.
    """
    path = Path(settings.proc_root) / "stat"
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        if not _is_here(settings):
            reason = f"there is no {path}, though the settings say that /proc of the machine is there."
            raise MeterUnavailable(NAME, reason, "unset GREENINFER_PROC_ROOT") from None
        return _open_psutil()
    except OSError as error:
        raise MeterUnavailable(NAME, f"{path} cannot be read: {error.strerror}.") from error
    try:
        jiffies = _jiffies(text.split("\n", 1)[0])
    except ValueError as error:
        raise MeterUnavailable(NAME, f"{path} is not what Linux writes: {error}.") from error
    if not any(jiffies):
        raise MeterUnavailable(NAME, f"{path} counts nothing, as in some sandboxes (gVisor).")
    cores = len(re.findall(r"^cpu\d", text, re.MULTILINE))
    tick = 1 / os.sysconf("SC_CLK_TCK")
    return CpuTime(lambda: _stat_busy_seconds(path, tick), max(1, cores), tick, str(path))


def _stat_busy_seconds(path: Path, tick: float) -> float:
    try:
        # Opened anew each time: the kernel's work for one read is ten times that, and a tree that is
        # mounted again or gone is noticed.
        with path.open(encoding="ascii", errors="replace") as file:
            user, nice, system, _idle, _iowait, irq, softirq = _jiffies(file.readline())
    except FileNotFoundError as error:
        raise MeterError(NAME, "vanished", str(error)) from error
    except PermissionError as error:
        raise MeterError(NAME, "permission", str(error)) from error
    except OSError as error:
        raise MeterError(NAME, "unreadable", str(error)) from error
    except ValueError as error:
        raise MeterError(NAME, "garbage", str(error)) from error
    return (user + nice + system + irq + softirq) * tick


def _jiffies(line: str) -> list[int]:
    """Return the seven counters of the "cpu" line that partition the machine's own time; proc_stat(5).

    What follows is not counted: steal is another guest's time, guest and guest_nice are in user and nice already.
    """
    words = line.split()
    if len(words) < 8 or words[0] != "cpu" or not all(word.isdecimal() for word in words[1:]):
        raise ValueError(f"no line of CPU times: {line.strip()!r:.60}")
    return [int(word) for word in words[1:8]]


def _open_psutil() -> CpuTime:
    try:
        import psutil
    except ImportError:
        remedy = "pip install 'greeninfer[estimate]'"
        raise MeterUnavailable(NAME, "there is no /proc/stat, and psutil is not installed.", remedy) from None
    return psutil_cpu_time(psutil.cpu_times, psutil.cpu_count() or 1)


def psutil_cpu_time(cpu_times: Callable[[], object], cores: int) -> CpuTime:
    """Return the busy time that ``psutil.cpu_times`` tells; what Windows calls interrupt and dpc is in its system."""

    def busy_seconds() -> float:
        times = cpu_times()
        parts = (getattr(times, part, 0.0) for part in ("user", "nice", "system", "irq", "softirq"))
        return float(sum(parts))

    return CpuTime(busy_seconds, cores, _PSUTIL_PERIOD_SECONDS, "psutil.cpu_times")


def _choose_model(settings: Settings) -> tuple[PowerModel, str]:
    if settings.power_model:
        model = parse_power_model(settings.power_model)
        return model, model.name
    processor = _processor(settings)
    found = recognise(processor)
    if found is not None:
        return found, found.name
    label = processor.name or processor.vendor or "it does not say its name"
    return AVERAGE, f"processor not recognised ({label}), {AVERAGE.name}"


def _processor(settings: Settings) -> Processor:
    try:
        return parse_cpuinfo((Path(settings.proc_root) / "cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return parse_platform(platform.processor() or platform.machine()) if _is_here(settings) else Processor()


def _is_here(settings: Settings) -> bool:
    """Tell whether the settings mean this machine; whoever names a root means the machine that is mounted there."""
    return settings.proc_root == Settings().proc_root
