"""One board that is counted: the way its joules are read, what they are worth, and whether it is away."""

from __future__ import annotations

import logging
from collections.abc import Callable

from greeninfer._clock import Clock
from greeninfer._records import Domain, Reading
from greeninfer.errors import MeterError
from greeninfer.meters._nvml_board import Board
from greeninfer.meters._nvml_check import Finding
from greeninfer.meters._nvml_sources import BufferedPower, CountedEnergy, Look, PolledPower, Source

_log = logging.getLogger("greeninfer")

_GAIN = (0.95, 1.05)
"""+-5 % is what NVML documents for power, for Fermi and Kepler; for newer boards it states nothing."""

_PERIOD_SECONDS = 0.1
"""Where watching the board does not tell: the refresh of current data-centre boards."""


class Channel:
    """One board and the source of its joules.

    Args:
        board: which.
        source: how its joules are read.
        period_seconds: how often they change.
        gain: (low, high): the true joules lie between low and high times those read.
        words: the same for a person.
    """

    def __init__(
        self, board: Board, source: Source, period_seconds: float, gain: tuple[float, float], words: str
    ) -> None:
        self.board = board
        self.domain = Domain("nvml", board.index, "gpu", device="gpu")
        self.period_seconds = period_seconds
        self.gain = gain
        self.words = words
        self._source = source
        self._joules = 0.0
        self._away = ""

    def look(self) -> Look | MeterError:
        """Return what the board says, or why it says nothing."""
        try:
            return self._source.look()
        except MeterError as error:
            return error

    def book(self, look: Look) -> Reading:
        """Take what the board said; after an absence its joules belong to all of it, and the fault says so."""
        self._joules, fault, guess = self._source.book(look)
        if self._away:
            _log.warning("greeninfer.meter_back meter=nvml domain=%s", self.domain.id)
            fault, self._away = fault or self._away, ""
        return Reading(self.domain, self._joules, look.instant, fault, guess)

    def hold(self, error: MeterError, instant: float) -> Reading:
        """Stand still while the other boards go on."""
        if not self._away:
            _log.warning("greeninfer.meter_lost meter=nvml domain=%s reason=%s", self.domain.id, error)
        self._away = error.reason
        return Reading(self.domain, self._joules, instant, error.reason)


def open_channel(board: Board, finding: Finding, clock: Clock, max_gap_seconds: float) -> Channel:
    """Return the best way to read this board.

    Raises:
        MeterError: if it has neither an energy counter nor power that this user may read.
    """
    period = finding.period_seconds or _PERIOD_SECONDS
    name = board.name + (", MIG on so joules of the whole board" if board.is_split() else "")
    why_not = _why_not_counted(board, finding)
    if not why_not:
        gain, opinion = _worth(board, finding)
        return Channel(board, CountedEnergy(board, clock, period), period, gain, f"{name}, energy counter, {opinion}")
    for make, words in _power_sources(board, clock, period, max_gap_seconds):
        try:
            source, seconds = make()
        except MeterError as error:
            refusal = error
        else:
            return Channel(board, source, seconds, _GAIN, f"{name}, {why_not}: integrates {words}")
    raise refusal


def _power_sources(
    board: Board, clock: Clock, period_seconds: float, max_gap_seconds: float
) -> tuple[tuple[Callable[[], tuple[Source, float]], str], ...]:
    def buffered() -> tuple[Source, float]:
        source = BufferedPower(board, clock, max_gap_seconds)
        return source, source.period_seconds

    def polled() -> tuple[Source, float]:
        board.watts()
        return PolledPower(board, clock, period_seconds, max_gap_seconds), period_seconds

    manner = "instantaneous" if board.is_power_instant else "on Ampere and newer a mean over 1 s"
    return (buffered, "the power samples of the driver"), (polled, f"power read at each tick ({manner})")


def _why_not_counted(board: Board, finding: Finding) -> str:
    if finding.agreement == "stuck":
        _log.warning("greeninfer.meter_doubtful meter=nvml domain=nvml/%d/gpu reason=stuck trusted=power", board.index)
        return "energy counter does not move"
    try:
        board.joules()
    except MeterError as error:
        if error.reason == "lost":
            raise
        return f"no energy counter ({error.reason})"
    return ""


def _worth(board: Board, finding: Finding) -> tuple[tuple[float, float], str]:
    """Return the gain of the energy counter and an opinion of it."""
    counter, power = finding.counter_watts, finding.power_watts
    if finding.agreement != "doubtful" or not counter or power is None:
        agrees = finding.agreement == "agrees"
        return _GAIN, "agrees with power within 10 %" if agrees else "not checked against power"
    _log.warning(
        "greeninfer.meter_doubtful meter=nvml domain=nvml/%d/gpu reason=disagrees trusted=counter "
        "counter_watts=%.1f power_watts=%.1f",
        board.index,
        counter,
        power,
    )
    low, high = _GAIN
    gain = low * min(1.0, power / counter), high * max(1.0, power / counter)
    return gain, f"doubtful: {counter:.0f} W by the counter, {power:.0f} W by power readings; the gain holds both"
