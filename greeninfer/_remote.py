"""A request in another process, as the parent of what this process does for it.

It is an account that never runs: no edge names it, so no timeline gives it a piece and no ledger a share; whatever
comes its way all the same is refused, and booked as unattributed. It only says whose work it is. Many threads may have
the same one as a parent: what the books add up on it is never read. It holds nothing, and lives as long as the spans
opened below it do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from greeninfer._account import Account, Edge, Inbox, Key, Record, Share, Source, SpanAccount
from greeninfer._energy import Outcome

_KEY: Key = ("(remote)", "")  # never what the carrier says: a client may have written that


class Remote:
    """A request in another process; ``greeninfer.extract`` makes it the parent of the spans opened inside.

    Args:
        name, model: of the request, "" where not known.
        trace_id, trace_span_id: of the sampled trace that it belongs to, or "".
        parent: a request in another process that was the parent here before, or None.
    """

    device = "cpu"  # so that a GPU's timeline, which counts who is open and innermost, never takes it for present
    stepwise = False
    resume: Account | None = None
    opened = 0.0
    closed: float | None = None
    outcome: Outcome = "ok"
    door: object = None
    lasted_until: float | None = None
    settled_at: float | None = -math.inf  # told long ago: the books add nothing to what was told
    parts_closed = 0.0
    nested = 0
    nested_cpu_seconds = 0.0
    ran_seconds = 0.0
    step_cpu = 0.0
    served = False
    cpu_seconds = 0.0
    children = 0
    held = 0
    inbox: Inbox | None = None
    wanted = False
    key = _KEY
    refusal = "remote"
    covers: Sequence[Account] = ()

    def __init__(
        self,
        name: str = "",
        model: str = "",
        trace_id: str = "",
        trace_span_id: str = "",
        parent: SpanAccount | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.trace_id = trace_id
        self.trace_span_id = trace_span_id
        self.parent = parent
        self.record: Record = _ignore

    def begun(self) -> None:
        """Do nothing."""

    def ended(self) -> None:
        """Do nothing."""

    def credit(self, source: Source, share: Share, totals: dict[Key, int]) -> int:
        """Refuse all nanojoules."""
        return share[0]

    def lack(self) -> None:
        """Do nothing."""

    def credit_phase(self, name: str, nanojoules: int) -> None:
        """Do nothing."""


def _ignore(_edge: Edge) -> None:
    """Take an edge of what never runs."""
