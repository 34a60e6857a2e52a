"""What every exporter is."""

from __future__ import annotations

from typing import Protocol

from greeninfer._records import Settlement


class Exporter(Protocol):
    """Carries settlements out of the process. Called from the sampler thread only, never on the request path."""

    name: str

    def export(self, settlement: Settlement) -> None:
        """Carry one settlement out. May raise: the monitor counts it, logs it once and goes on."""
        ...

    def close(self) -> None:
        """Write out what is buffered; a second call does nothing."""
        ...
