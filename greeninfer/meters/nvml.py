"""NVIDIA boards through NVML: ``import pynvml``, from the distribution nvidia-ml-py.

**Which joules.** The board's energy counter, where it has one that moves (Volta and newer); else power, integrated:
the samples that the driver buffers and stamps, or without them its power at each read. How far the counter is
trusted: ``_nvml_check.py``. With MIG, too, NVML counts the whole board: one domain per board, and the source says so.

**A board that is lost** must not blind the others. ``read`` raises only if no board can be read. Else a board that
cannot be read gives a reading that stands still, with the fault (``lost``), and so does its first reading after it
came back: that one brings all joules since the board was last seen, which nobody can divide among the requests of one
tick. So the books stay complete, and what it used meanwhile stands under "unattributed, lost". What we give up: a log
line of our own, since nobody above can tell that one board of several is away.

**Coming back.** The same handle is tried at each read. Every ten seconds the handle is fetched anew and, if no board
answers, NVML is shut down and initialised again, as it must be after a driver reload.

NVML is called by whoever calls ``read``: the sampler's thread, never a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from greeninfer._clock import Clock
from greeninfer._records import MeterInfo, Reading
from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters._nvml_board import Board
from greeninfer.meters._nvml_channel import Channel, open_channel
from greeninfer.meters._nvml_check import judge, watch

_MEND_SECONDS = 10.0
"""Between two tries to get a lost board's handle again: initialising NVML can take seconds on a sick machine."""

_PERMISSION = "let this user read and write /dev/nvidiactl and /dev/nvidia[0-9]*"
_CONTAINER = "in a container, start it with the GPU: docker run --gpus all"
_INIT = {
    4: ("the driver does not let this user in", _PERMISSION),
    9: ("the NVIDIA driver is installed but not loaded", "modprobe nvidia"),
    12: ("no NVIDIA driver here: libnvidia-ml.so.1 is missing", f"install the NVIDIA driver; {_CONTAINER}"),
    18: ("driver library and kernel module differ in version", "reload the nvidia module, or reboot"),
}
"""(reason, remedy) by ``nvmlReturn_t``."""


def open_nvml(settings: Settings, clock: Clock) -> NvmlMeter:
    """Open all NVIDIA boards that NVML shows; takes up to half a second, to see how often their counters change.

    Raises:
        MeterUnavailable: if nvidia-ml-py, the driver, a board, the permission or every sensor is missing.
    """
    try:
        import pynvml
    except ImportError as error:
        raise MeterUnavailable(
            "nvml", f"the Python module pynvml is missing ({error}).", "pip install 'greeninfer[nvidia]'"
        ) from error
    return NvmlMeter(pynvml, clock, max_gap_seconds=max(5.0, 3.0 * settings.tick_seconds))


class NvmlMeter:
    """Count the joules of NVIDIA boards.

    Args:
        nvml: the module ``pynvml``; initialised here, shut down by ``close``.
        clock: where instants come from.
        sleep: waits between the polls while the boards are watched.
        max_gap_seconds: of boards without a counter: the longest time over which power is interpolated without fault.

    Raises:
        MeterUnavailable: as for ``open_nvml``.
    """

    def __init__(
        self,
        nvml: Any,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
        max_gap_seconds: float = 5.0,
    ) -> None:
        self._nvml = nvml
        self._clock = clock
        self._is_closed = False
        self._mend_at = clock.now()
        _initialise(nvml)
        self._is_initialised = True
        try:
            self._channels, notes = _open_channels(nvml, clock, sleep, max_gap_seconds)
        except BaseException:
            self.close()
            raise
        gains = [channel.gain for channel in self._channels]
        self._info = MeterInfo(
            name="nvml",
            domains=tuple(channel.domain for channel in self._channels),
            quality="measured",
            period_seconds=max(channel.period_seconds for channel in self._channels),
            gain=(min(low for low, _ in gains), max(high for _, high in gains)),
            source=f"NVML: {notes}",
        )

    @property
    def info(self) -> MeterInfo:
        """Return the boards; period and gain are those of the worst of them."""
        return self._info

    def read(self) -> tuple[Reading, ...]:
        """Return cumulative joules since the first read, per board; for a board that is lost see the module.

        Raises:
            MeterError: if no board can be read: lost, permission, unsupported, late, garbage or failed.
            ValueError: if the meter is closed.
        """
        if self._is_closed:
            raise ValueError("read of a closed meter")
        looks = [channel.look() for channel in self._channels]
        errors = [look for look in looks if isinstance(look, MeterError)]
        if any(error.reason not in ("late", "garbage") for error in errors):
            self._mend([channel for channel, look in zip(self._channels, looks, strict=True) if look in errors])
        if len(errors) == len(looks):
            raise errors[0]
        now = self._clock.now()
        return tuple(
            channel.hold(look, now) if isinstance(look, MeterError) else channel.book(look)
            for channel, look in zip(self._channels, looks, strict=True)
        )

    def close(self) -> None:
        """Give NVML back; a second call does nothing."""
        self._is_closed = True
        self._shut_down()

    def _mend(self, lost: Sequence[Channel]) -> None:
        now = self._clock.now()
        if now < self._mend_at:
            return
        self._mend_at = now + _MEND_SECONDS
        if len(lost) == len(self._channels):
            self._shut_down()
            with suppress(MeterUnavailable):
                _initialise(self._nvml)
                self._is_initialised = True
        for channel in lost:
            with suppress(MeterError):
                channel.board.reopen()

    def _shut_down(self) -> None:
        if not self._is_initialised:
            return
        self._is_initialised = False
        with suppress(self._nvml.NVMLError):  # somebody else in this process shut NVML down once too often
            self._nvml.nvmlShutdown()


def _initialise(nvml: Any) -> None:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        reason, remedy = _INIT.get(error.value, (f"NVML does not start: {error}", "see what nvidia-smi says"))
        raise MeterUnavailable("nvml", f"{reason}.", remedy) from error


def _open_channels(
    nvml: Any, clock: Clock, sleep: Callable[[float], None], max_gap_seconds: float
) -> tuple[list[Channel], str]:
    """Return the boards that can be counted, and a line on all boards for a person."""
    boards: list[Board] = []
    channels: list[Channel] = []
    refused: list[tuple[int, MeterError]] = []
    for index in range(_count(nvml)):
        try:
            boards.append(Board(nvml, index))
        except MeterError as error:
            refused.append((index, error))
    for board, trace in zip(boards, watch(boards, clock, sleep), strict=True):
        try:
            channels.append(open_channel(board, judge(trace, board.is_power_instant), clock, max_gap_seconds))
        except MeterError as error:
            refused.append((board.index, error))
    if not channels:
        raise _unavailable([error for _, error in refused])
    notes = [(channel.board.index, channel.words) for channel in channels]
    notes += [(index, f"not counted: {error.reason}") for index, error in refused]
    return channels, _grouped(sorted(notes))


def _count(nvml: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetCount())
    except nvml.NVMLError as error:
        raise MeterUnavailable("nvml", f"the driver does not count its boards: {error}.") from error


def _unavailable(errors: Sequence[MeterError]) -> MeterUnavailable:
    if not errors:
        return MeterUnavailable("nvml", "the driver is there but shows no board.", _CONTAINER)
    reason = "; ".join(error.detail for error in errors)
    may_not = any(error.reason == "permission" for error in errors)
    return MeterUnavailable("nvml", f"no board can be counted: {reason}.", _PERMISSION if may_not else "")


def _grouped(notes: Iterable[tuple[int, str]]) -> str:
    """Return one line in which boards of which the same is to be said stand together."""
    boards: dict[str, list[str]] = {}
    for index, words in notes:
        boards.setdefault(words, []).append(str(index))
    return "; ".join(f"gpu {','.join(indices)} {words}" for words, indices in boards.items())
