"""Figures of the machine as a whole for OpenTelemetry: power, and device truth as ``hw.energy`` and ``hw.power``.

https://opentelemetry.io/docs/specs/semconv/hardware/common/ (status: development). ``hw.*`` holds only what a sensor
counted: an estimate is no component's own figure, and stands in ``greeninfer.energy`` under its quality. A sensor that
is lost leaves a gap, and comes back with what it counted meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from greeninfer._records import Domain, Interval, Settlement
from greeninfer.exporters._labels import Labels
from greeninfer.exporters._otel_totals import Totals

_MEMORY = ("dram", "memory")


class Machine:
    """Follows the meters, as long as it is for this process to tell of them: with two that do, sums would count twice.

    Args:
        totals: where its figures go.
        stale_seconds: how long a power is shown without a new figure.
    """

    def __init__(self, totals: Totals, stale_seconds: float) -> None:
        self._energy = totals.sums["hw.energy"]
        self._now = totals.now
        self._stale_seconds = stale_seconds
        self._components: dict[str, Labels] = {}  # by domain id, of those that a sensor counts
        self._of_meter: dict[str, set[str]] = {}  # domain ids by meter
        self._watts: dict[str, tuple[float, float]] = {}  # figure and instant by domain id

    def add(self, settlement: Settlement) -> None:
        """Add the intervals of a settlement."""
        if settlement.speaks_for_machine:
            for interval in settlement.intervals:
                self._count(interval)
            self._know(settlement.watts, settlement.instant)
        else:
            self.end()

    def end(self) -> None:
        """Tell no more of the machine."""
        for component in self._components.values():
            self._energy.silence(component)
        self._watts.clear()
        self._show()

    def _count(self, interval: Interval) -> None:
        seen: set[str] = set()
        for delta in interval.deltas:
            seen.add(delta.domain.id)
            if delta.quality == "estimated":  # also the guess that bridges a reset of a sensor
                continue
            component = self._components.get(delta.domain.id)
            if component is None:
                component = self._components[delta.domain.id] = _component(delta.domain)
            self._energy.add(component, delta.nanojoules)
        known = self._of_meter.setdefault(interval.meter, set())
        for lost in known - seen:
            self._watts.pop(lost, None)
            if lost in self._components:
                self._energy.silence(self._components[lost])
        known |= seen

    def _know(self, watts: Mapping[str, float], instant: float) -> None:
        self._watts.update({domain: (figure, instant) for domain, figure in watts.items() if math.isfinite(figure)})
        for domain in [each for each, (_, at) in self._watts.items() if instant - at > self._stale_seconds]:
            del self._watts[domain]
        self._show()

    def _show(self) -> None:
        self._now["greeninfer.power"] = {(domain,): figure for domain, (figure, _) in self._watts.items()}
        self._now["hw.power"] = {
            self._components[domain]: figure
            for domain, (figure, _) in self._watts.items()
            if domain in self._components
        }


def _component(domain: Domain) -> Labels:
    """Return ``hw.id`` and ``hw.type``."""
    if domain.device == "gpu":
        return domain.id, "gpu"
    return domain.id, "memory" if domain.name.startswith(_MEMORY) else "cpu"
