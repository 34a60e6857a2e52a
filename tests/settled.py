"""A settled request made by hand, for whatever takes measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from greeninfer._energy import Energy, Outcome, Quality


@dataclass(frozen=True, slots=True)
class Settled:
    """Meets the protocol ``Measurement``."""

    key: tuple[str, str]
    figures: Energy
    nanojoules: int
    unix_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    outcome: Outcome = "ok"
    tokens: Mapping[str, int] = field(default_factory=dict)
    phases: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, object] | None = None
    trace_id: str = ""
    trace_span_id: str = ""
    origin: str = ""
    first_byte_seconds: float | None = None
    messages: Mapping[str, int] = field(default_factory=dict)
    escalated: bool = False

    @property
    def quality(self) -> Quality | None:
        return self.figures.quality

    @property
    def static_joules(self) -> float | None:
        return self.figures.static_joules

    def energy(self) -> Energy:
        return self.figures
