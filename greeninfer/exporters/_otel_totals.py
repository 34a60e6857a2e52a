"""What one OpenTelemetry exporter has counted so far, and what it knows now, for whoever collects at any moment.

The sampler thread writes, the threads of metric readers read, and neither waits for the other: at the end of a tick the
writer publishes copies, so that a reader sees whole ticks only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from greeninfer.exporters._labels import Labels

_NOTHING: Final[Mapping[Labels, float]] = {}


class Sums:
    """One counter: whole numbers by label values, such as nanojoules, so that no sum loses its last unit.

    A counter cannot go back: an amount below zero is held back until later ones make it up.

    Attributes:
        published: what readers may see.
        silent: labels that leave a gap there for now; a frozen set, replaced as a whole.
    """

    __slots__ = ("_changed", "_highest", "_true", "published", "silent")

    def __init__(self) -> None:
        self._true: dict[Labels, int] = {}
        self._highest: dict[Labels, int] = {}
        self._changed = False
        self.published: Mapping[Labels, int] = {}
        self.silent: frozenset[Labels] = frozenset()

    def add(self, labels: Labels, amount: int) -> None:
        """Add an amount, which also ends a silence."""
        total = self._true[labels] = self._true.get(labels, 0) + amount
        self._highest[labels] = max(total, self._highest.get(labels, 0))
        self._changed = True
        if labels in self.silent:
            self.silent -= {labels}

    def silence(self, labels: Labels) -> None:
        """Leave a gap: show nothing under these labels until more is added."""
        self.silent |= {labels}

    def publish(self) -> None:
        """Let readers see what was added."""
        if self._changed:
            self.published = self._highest.copy()
            self._changed = False


class Totals:
    """All counters and gauges of one exporter, by the name of their instrument.

    Attributes:
        sums: counters.
        now: gauges; each is replaced as a whole, and what is not known is not in it.
    """

    __slots__ = ("now", "sums")

    def __init__(self, counters: Iterable[str]) -> None:
        self.sums = {name: Sums() for name in counters}
        self.now: dict[str, Mapping[Labels, float]] = {}

    def publish(self) -> None:
        """Let readers see the tick that has ended."""
        for sums in self.sums.values():
            sums.publish()

    def absorb(self, other: Totals) -> None:
        """Take over the counters of an exporter that counts no more."""
        for name, sums in other.sums.items():
            for labels, amount in sums.published.items():
                self.sums[name].add(labels, amount)
                if labels in sums.silent:
                    self.sums[name].silence(labels)
        self.publish()


def counted(sources: Iterable[Totals], instrument: str) -> dict[Labels, int]:
    """Return a counter over several exporters: what any of them shows now, with all that they ever counted."""
    merged: dict[Labels, int] = {}
    shown: set[Labels] = set()
    for sums in (totals.sums[instrument] for totals in sources):
        silent = sums.silent
        for labels, amount in sums.published.items():
            merged[labels] = merged.get(labels, 0) + amount
            if labels not in silent:
                shown.add(labels)
    return {labels: amount for labels, amount in merged.items() if labels in shown}


def known(sources: Iterable[Totals], instrument: str, *, adds_up: bool) -> dict[Labels, float]:
    """Return a gauge over several exporters: their sum where it adds up, else what the last of them says."""
    merged: dict[Labels, float] = {}
    for totals in sources:
        for labels, figure in totals.now.get(instrument, _NOTHING).items():
            merged[labels] = figure + (merged.get(labels, 0) if adds_up else 0)
    return merged
