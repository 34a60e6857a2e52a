"""What the timeline and the ledgers know of whatever can run and be charged for it: an account.

A ``Span`` is one (`_span.py`), so are a ``Phase`` and a ``Batch`` (`_parts.py`). Only the sampler thread credits them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from greeninfer._records import Outcome, Quality

Key = tuple[str, str]
"""A route: (name, model)."""

_WORST_LAST: Mapping[Quality, int] = {"measured": 0, "shared": 1, "estimated": 2}


@dataclass(slots=True)
class Entry:
    """What one account got from one domain in one tick.

    Args:
        domain: id.
        quality: of the joules.
        gain: (low, high) of the meter.
        nanojoules: the share.
        static: joules of it that are a share of static power.
        spread: one standard error, joules, which repeats from tick to tick of the same span.
        variance: joules squared, independent from tick to tick.
    """

    domain: str
    quality: Quality
    gain: tuple[float, float]
    nanojoules: int
    static: float
    spread: float
    variance: float


class Credit:
    """Everything credited to one span so far, over all ticks and domains."""

    __slots__ = ("gain", "missing", "nanojoules", "phases", "quality", "spread", "static", "variance")

    def __init__(self) -> None:
        self.nanojoules: dict[str, int] = {}
        self.phases: dict[str, int] = {}
        self.static = 0.0
        self.spread = 0.0
        self.variance = 0.0
        self.quality: Quality = "measured"
        self.gain = (1.0, 1.0)
        self.missing = False

    def add(self, entry: Entry) -> None:
        """Add one entry; quality and gain are those of the worst part."""
        self.nanojoules[entry.domain] = self.nanojoules.get(entry.domain, 0) + entry.nanojoules
        self.static += entry.static
        self.spread += entry.spread
        self.variance += entry.variance
        if _WORST_LAST[entry.quality] > _WORST_LAST[self.quality]:
            self.quality = entry.quality
        self.gain = min(self.gain[0], entry.gain[0]), max(self.gain[1], entry.gain[1])


class Account(Protocol):
    """What the timeline and the ledgers need to know of whatever ran."""

    record: Callable[[Edge], None]
    key: Key
    device: str
    stepwise: bool
    resume: Account | None
    opened: float
    closed: float | None
    children: int
    cpu_seconds: float

    @property
    def covers(self) -> Sequence[Account]:
        """Return the accounts that are not innermost while this one is open."""
        ...

    def begun(self) -> None:
        """Note in the sampler thread that the open edge was seen."""
        ...

    def ended(self) -> None:
        """Note in the sampler thread that the close edge was seen."""
        ...

    def credit(self, entry: Entry, totals: dict[Key, int]) -> None:
        """Take an entry; add its nanojoules to ``totals`` under the route that they are booked to."""
        ...

    def lack(self) -> None:
        """Note that joules are missing from a tick in which this ran."""
        ...


class SpanAccount(Account, Protocol):
    """What running and the parts of a span need to know of a span."""

    parent: SpanAccount | None
    outcome: Outcome
    door: object
    held: int
    nested: int
    settled_at: float | None

    def tally(self) -> Credit:
        """Return what is credited so far, to add to it (sampler thread only)."""
        ...


Edge = tuple[float, float, int, Account | None, Account | None]
"""(instant, CPU seconds of the thread, thread, account that runs there from now on, account opened or closed)."""

Record = Callable[[Edge], None]
"""Takes an edge; all that the request path ever calls."""
