"""Where settlements leave the monitor: the exporters, and what went wrong on the way to them."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections import Counter
from collections.abc import Sequence

from greeninfer._records import Failure, Settlement
from greeninfer.exporters._contract import Exporter

_log = logging.getLogger("greeninfer")


class Outlet:
    """Hands settlements to exporters; whatever those do, the books go on.

    Args:
        exporters: called one after the other, in the sampler thread.
    """

    def __init__(self, exporters: Sequence[Exporter]) -> None:
        self.exporters = tuple(exporters)
        self._complained: set[object] = set()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was noted: a forked child may find the lock held by nobody."""
        self._noting = threading.Lock()
        self._noted: Counter[tuple[str, str]] = Counter()

    def note(self, failure: Failure, detail: str = "") -> None:
        """Count a failure with the next settlement; with a detail, the first of its kind is logged. Any thread may."""
        kind = (failure.meter, failure.reason)
        with self._noting:
            self._noted[kind] += failure.count
        if detail and kind not in self._complained:
            self._complained.add(kind)
            _log.warning("greeninfer.failure meter=%s reason=%s detail=%s", *kind, detail)

    def complain(self, event: str, error: Exception) -> None:
        """Log an event once."""
        if event not in self._complained:
            self._complained.add(event)
            _log.warning("%s error=%r", event, error, exc_info=error)

    def complete(self, settlement: Settlement) -> Settlement:
        """Return a settlement with the failures noted since the last one."""
        with self._noting:
            noted = [Failure(*kind, count) for kind, count in self._noted.items()]
            self._noted.clear()
        if not noted:
            return settlement
        return dataclasses.replace(settlement, failures=(*settlement.failures, *noted))

    def send(self, settlement: Settlement) -> None:
        """Hand a settlement to all exporters; what one of them raises is counted and logged once."""
        for exporter in self.exporters:
            try:
                exporter.export(settlement)
            except Exception as error:  # noqa: BLE001 - foreign code: whatever it does must not stop the books
                self.note(Failure(exporter.name, "export"))
                self.complain(f"greeninfer.export_failed exporter={exporter.name}", error)

    def close(self) -> None:
        """Let all exporters write out what they hold."""
        for exporter in self.exporters:
            exporter.close()
