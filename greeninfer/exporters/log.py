"""Settlements to the program's own log: a summary line at most once a second, and each kind of failure once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from greeninfer._energy import Measurement, Quality
from greeninfer._records import NANO, Settlement

MAX_ROUTES: Final = 10
"""Routes named in one line, those with the most joules first; the rest is a number."""

_WORSE: Final[dict[Quality | None, int]] = {None: 0, "measured": 1, "shared": 2, "estimated": 3}
_log = logging.getLogger("greeninfer")


@dataclass(slots=True)
class _Tally:
    requests: int = 0
    metered: int = 0
    partial: int = 0
    nanojoules: int = 0
    quality: Quality | None = None

    def add(self, measurement: Measurement) -> None:
        energy = measurement.energy()
        self.requests += 1
        if energy.joules is None:
            return
        self.metered += 1
        self.partial += not energy.complete
        self.nanojoules += measurement.nanojoules
        self.quality = max(self.quality, energy.quality, key=_WORSE.__getitem__)

    def __str__(self) -> str:
        words = [f"requests={self.requests}"]
        if self.metered:
            joules = self.nanojoules / NANO
            words += [f"joules={joules:.4g}", f"mean_joules={joules / self.metered:.4g}", f"quality={self.quality}"]
        if self.metered < self.requests:
            words.append(f"without_joules={self.requests - self.metered}")
        if self.partial:
            words.append(f"partial={self.partial}")
        return " ".join(words)


class LogExporter:
    """Log what requests used, and what went wrong with the meters, to the logger "greeninfer".

    Args:
        every_seconds: the least time between two summaries; what comes in between is in the next one.
    """

    name = "log"

    def __init__(self, *, every_seconds: float = 1.0) -> None:
        self._every_seconds = every_seconds
        self._last: float | None = None
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._failures: set[tuple[str, str]] = set()

    def export(self, settlement: Settlement) -> None:
        """Log a settlement, or keep it for the next summary."""
        for failure in settlement.failures:
            kind = (failure.meter, failure.reason)
            if kind not in self._failures:
                self._failures.add(kind)
                _log.warning("greeninfer.meter_failure meter=%s reason=%s count=%d", *kind, failure.count)
        for measurement in settlement.measurements:
            self._tallies.setdefault(measurement.key, _Tally()).add(measurement)
        if self._last is None or settlement.instant - self._last >= self._every_seconds:
            self._summarise(settlement.instant)

    def close(self) -> None:
        """Log the summary that was kept."""
        self._summarise(self._last)

    def _summarise(self, instant: float | None) -> None:
        if not self._tallies:
            return
        routes = sorted(self._tallies.items(), key=lambda item: -item[1].nanojoules)
        shown = [f"name={name!r} model={model!r} {tally}" for (name, model), tally in routes[:MAX_ROUTES]]
        if len(routes) > MAX_ROUTES:
            shown.append(f"more_routes={len(routes) - MAX_ROUTES}")
        _log.info("greeninfer.requests %s", "; ".join(shown))
        self._tallies.clear()
        self._last = instant
