"""A stand-in for the module ``pynvml``: boards of known power on a clock that moves by hand.

Passed to ``NvmlMeter`` as its ``nvml``, with a ``StubClock``. It shares no code with the meter and keeps the truth:
``board.used(t)`` is what the board really used until then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, LOST = 3, 4, 6, 15


class StubClock:
    """Moves only when it is told to. ``unix_step`` is what the wall clock was set by at ``unix_set_at``."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.unix_step = 0.0
        self.unix_set_at = 0.0

    def now(self) -> float:
        return self.seconds

    def asleep(self) -> float:
        return 0.0

    def unix(self) -> float:
        return self.unix_at(self.seconds)

    def unix_at(self, seconds: float) -> float:
        return 1.7e9 + seconds + (self.unix_step if seconds >= self.unix_set_at else 0.0)


@dataclass
class StubBoard:
    """One board.

    Args:
        watts: its power now; ``draw`` changes it.
        period: refresh of counter and power; 0 is continuous.
        factor: the counter is wrong by this factor; 0: it does not move.
        code: what every call on the board fails with; 0: none.
        shown_watts: what the power calls say, if not the truth.
        sample_seconds: the driver buffers a power sample that often.
        stamp_offset: what the driver's stamps are off the wall clock by.
        call_seconds: how long each next call takes, then 0.
    """

    watts: float = 300.0
    period: float = 0.1
    factor: float = 1.0
    has_energy: bool = True
    has_power: bool = True
    has_instant: bool = True
    sample_seconds: float = 0.0
    stamp_offset: float = 0.0
    is_split: bool = False
    code: int = 0
    shown_watts: float | None = None
    limit_watts: float | None = 700.0
    name: str | bytes = "NVIDIA STUB"
    call_seconds: list[float] = field(default_factory=list)
    reset_joules: float = 0.0
    history: list[tuple[float, float, float]] = field(default_factory=list)

    def draw(self, seconds: float, watts: float) -> None:
        """Change the power from this second on."""
        self.history.append((seconds, self.used(seconds), watts))
        self.watts = watts

    def used(self, seconds: float) -> float:
        """Return the joules that the board really used until then."""
        since, joules, watts = next((each for each in reversed(self.history) if each[0] <= seconds), self.history[0])
        return joules + watts * (seconds - since)

    def power(self, seconds: float) -> float:
        return next((watts for since, _, watts in reversed(self.history) if since <= seconds), self.watts)

    def shown(self, seconds: float) -> float:
        """Return when the values that are shown now were refreshed."""
        return math.floor(round(seconds / self.period, 6)) * self.period if self.period else seconds

    def reload(self, seconds: float) -> None:
        """Restart the counter from 0, as a reload of the driver does."""
        self.reset_joules = self.used(seconds)


class StubNvml:
    """The module."""

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(f"code {value}")
            self.value = value

    def __init__(self, clock: StubClock, *boards: StubBoard) -> None:
        self.clock = clock
        self.boards = boards
        for board in boards:
            board.history = [(clock.seconds - 60.0, 1e6, board.watts)]
        self.references = 0
        self.starts = 0
        self.init_code = 0
        self.calls = 0
        self.samples = 0

    def sleep(self, seconds: float) -> None:
        self.clock.seconds += seconds

    def nvmlInit(self) -> None:  # noqa: N802
        self.starts += 1
        if self.init_code:
            raise self.NVMLError(self.init_code)
        self.references += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._check()
        self.references -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        self._check()
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> StubBoard:  # noqa: N802
        return self._check(self.boards[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> StubBoard:  # noqa: N802
        return self._check(self.boards[int(uuid)])

    def nvmlDeviceGetUUID(self, board: StubBoard) -> str:  # noqa: N802
        return str(self.boards.index(self._check(board)))

    def nvmlDeviceGetName(self, board: StubBoard) -> str | bytes:  # noqa: N802
        return self._check(board).name

    def nvmlDeviceGetMigMode(self, board: StubBoard) -> list[int]:  # noqa: N802
        return [int(self._check(board).is_split)] * 2

    def nvmlDeviceGetEnforcedPowerLimit(self, board: StubBoard) -> int:  # noqa: N802
        self._check(board, board.limit_watts is not None)
        return round(1e3 * (board.limit_watts or 0.0))

    def nvmlDeviceGetPowerManagementLimitConstraints(self, board: StubBoard) -> list[int]:  # noqa: N802
        self._check(board, board.limit_watts is not None)
        return [100_000, round(1e3 * (board.limit_watts or 0.0))]

    def nvmlDeviceGetTotalEnergyConsumption(self, board: StubBoard) -> int:  # noqa: N802
        self._check(board, board.has_energy)
        joules = board.used(board.shown(self.clock.seconds)) - board.reset_joules
        return int(max(0.0, joules) * board.factor * 1e3)

    def nvmlDeviceGetPowerUsage(self, board: StubBoard) -> int:  # noqa: N802
        self._check(board, board.has_power)
        watts = board.power(board.shown(self.clock.seconds)) if board.shown_watts is None else board.shown_watts
        return round(watts * 1e3)

    def nvmlDeviceGetFieldValues(self, board: StubBoard, fields: list[int]) -> list[SimpleNamespace]:  # noqa: N802
        self._check(board)
        assert fields == [186], "POWER_INSTANT"
        if not board.has_instant:
            return [SimpleNamespace(nvmlReturn=NOT_SUPPORTED)]
        value = SimpleNamespace(uiVal=self.nvmlDeviceGetPowerUsage(board))
        return [SimpleNamespace(nvmlReturn=0, valueType=1, value=value)]

    def nvmlDeviceGetSamples(  # noqa: N802
        self, board: StubBoard, kind: int, last: int
    ) -> tuple[int, list[SimpleNamespace]]:
        assert kind == 0, "TOTAL_POWER_SAMPLES"
        self._check(board, board.sample_seconds > 0.0)
        newest = math.floor(round(self.clock.seconds / board.sample_seconds, 6))
        found = []
        for number in range(newest - 119, newest + 1):
            seconds = number * board.sample_seconds
            stamp = int((self.clock.unix_at(seconds) + board.stamp_offset) * 1e6)
            if stamp > last:
                watts = board.power(seconds) if board.shown_watts is None else board.shown_watts
                found.append(SimpleNamespace(timeStamp=stamp, sampleValue=SimpleNamespace(uiVal=round(watts * 1e3))))
        if not found:
            raise self.NVMLError(NOT_FOUND)
        self.samples += len(found)
        return 1, found

    def _check(self, board: StubBoard | None = None, is_supported: bool = True) -> StubBoard:
        self.calls += 1
        if self.references < 1:
            raise self.NVMLError(1)
        if board is None:
            return StubBoard()
        if board.call_seconds:
            self.clock.seconds += board.call_seconds.pop(0)
        if board.code:
            raise self.NVMLError(board.code)
        if not is_supported:
            raise self.NVMLError(NOT_SUPPORTED)
        return board
