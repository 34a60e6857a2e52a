"""Mean power of domains, over times that are long enough to say something."""

from __future__ import annotations

from collections.abc import Iterable

from greeninfer._records import NANO, Interval

_MEAN_SECONDS = 1.0  # a tick is a moment, and a scrape every few seconds meets few moments of a power that jumps


class MeanPower:
    """Mean power by domain, of a second or of an interval that is longer; the first figure is the first interval's."""

    def __init__(self) -> None:
        self._counted: dict[str, tuple[int, float]] = {}  # nanojoules and seconds since the last figure, by domain id

    def watts(self, intervals: Iterable[Interval]) -> dict[str, float]:
        """Return what has become known; a delta that is booked under a fault tells nothing of it."""
        watts: dict[str, float] = {}
        for interval in intervals:
            for delta in interval.deltas:
                if delta.fault or interval.seconds <= 0.0:
                    continue
                domain = delta.domain.id
                first = domain not in self._counted
                nanojoules, seconds = self._counted.get(domain, (0, 0.0))
                nanojoules, seconds = nanojoules + delta.nanojoules, seconds + interval.seconds
                if first or seconds >= _MEAN_SECONDS:
                    watts[domain] = nanojoules / NANO / seconds
                    nanojoules, seconds = 0, 0.0
                self._counted[domain] = nanojoules, seconds
        return watts
