"""What the timeline and the ledgers know of whatever can run and be charged for it: an account.

A ``Span`` is one (`_span.py`), so are a ``Phase`` and a ``Batch`` (`_parts.py`). Only the sampler thread credits them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from greeninfer._energy import Outcome, Quality, Rate
from greeninfer._records import Failure

Key = tuple[str, str]
"""A route: (name, model)."""

_WORST_LAST: Sequence[Quality] = ("measured", "shared", "estimated")


def worst(qualities: Iterable[Quality]) -> Quality:
    """Return the worst of some qualities."""
    return max(qualities, key=_WORST_LAST.index)


@dataclass(frozen=True, slots=True)
class Source:
    """Where joules come from in one tick: a domain, with the quality of its figure and the gain of its meter."""

    domain: str
    quality: Quality
    gain: tuple[float, float]


Share = tuple[int, float, float, float]
"""What one account got from a source: nanojoules; joules of them that are static power; one standard error in joules
that repeats from tick to tick of a span; joules squared that are independent from tick to tick. A plain tuple, because
the settling of every request makes some."""


class Credited:
    """What a span is made of that joules are credited to, over all ticks and domains.

    It is no object of its own: what waits for its tick is gone through by the garbage collector, request by request.

    Attributes:
        nanojoules: its own, of all domains.
        static, spread, variance: sums of what shares say.
        quality: of the worst share, or None while no meter gave any.
        gain: (low, high) of all shares.
        missing: whether joules are missing from a tick in which it ran.
    """

    # Defaults stand on the class, and most requests get one share of one domain.
    nanojoules = 0
    static = 0.0
    spread = 0.0
    variance = 0.0
    quality: Quality | None = None
    gain = (1.0, 1.0)
    missing = False
    _domain = ""
    _others: dict[str, int] | None = None  # nanojoules by domain, from the second one on

    @property
    def by_domain(self) -> dict[str, int]:
        """Return its own nanojoules by domain."""
        others = self._others or {}
        return {self._domain: self.nanojoules - sum(others.values()), **others} if self._domain else {}

    def add_share(self, source: Source, share: Share) -> None:
        """Add one share; quality and gain are those of the worst part."""
        domain = source.domain
        if not self._domain:
            self._domain, self.quality, self.gain = domain, source.quality, source.gain
            self.nanojoules, self.static, self.spread, self.variance = share
            return
        nanojoules, static, spread, variance = share
        if domain != self._domain:
            others = self._others = self._others or {}
            others[domain] = others.get(domain, 0) + nanojoules
        self.nanojoules += nanojoules
        self.static += static
        self.spread += spread
        self.variance += variance
        if source.quality != self.quality:
            self.quality = worst((self.quality or source.quality, source.quality))
        if source.gain != self.gain:
            self.gain = min(self.gain[0], source.gain[0]), max(self.gain[1], source.gain[1])


class Account(Protocol):
    """What the timeline and the ledgers need to know of whatever ran."""

    record: Callable[[Edge], None]
    device: str
    stepwise: bool
    resume: Account | None
    opened: float
    closed: float | None
    children: int
    cpu_seconds: float

    @property
    def key(self) -> Key:
        """Return the route that it is booked to."""
        ...

    @property
    def refusal(self) -> str:
        """Return why ``credit`` refuses joules now, or ""."""
        ...

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

    def credit(self, source: Source, share: Share, totals: dict[Key, int]) -> int:
        """Take a share; add its nanojoules to ``totals`` under the route that they are booked to.

        Returns the nanojoules that it refuses, for the reason in ``refusal``: they come too late, because their span
        is settled and what was told of it stays.
        """
        ...

    def lack(self) -> None:
        """Note that joules are missing from a tick in which this ran."""
        ...


class SpanAccount(Account, Protocol):
    """What running and the parts of a span need to know of a span."""

    parent: SpanAccount | None
    outcome: Outcome
    door: object
    lasted_until: float | None
    held: int
    parts_closed: float
    nested: int
    nested_cpu_seconds: float
    ran_seconds: float
    served: bool
    step_cpu: float
    settled_at: float | None
    inbox: Inbox | None
    wanted: bool

    def credit_phase(self, name: str, nanojoules: int) -> None:
        """Count a part of what was credited as that of a phase (sampler thread only)."""
        ...


class Settler(Protocol):
    """What a span asks of the monitor that it belongs to."""

    def note(self, failure: Failure, detail: str = "") -> None:
        """Count a failure, and log the first of its kind."""
        ...

    def rate(self, key: Key) -> Rate | None:
        """Return what a route's requests took lately, or None."""
        ...

    def settle(self, span: Any, timeout: float) -> None:
        """Return when the span is settled, or after ``timeout`` seconds."""
        ...


Edge = tuple[float, float, int, Account | None, Account | None]
"""(instant, CPU seconds of the thread, thread, account that runs there from now on, account opened or closed)."""

EDGE_FIELDS = 5
"""How many places an edge takes where edges wait, field after field: a tuple for each is memory that another core has
to fetch. Without them and with pieces in columns a request took some 9 us less CPU in a server."""

ROW_FIELDS = 9
"""How many places a request takes that was over before the sampler looked: opened, closed, CPU seconds, key, outcome,
seconds to the first byte, method, status, its steps or None if it was one."""

Unseen = dict[Any, list[float]]
"""By span: its thread, then instant and CPU seconds of that thread at the begin and end of each of its steps so far."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """What the request path leaves for the sampler.

    Args:
        edges: field after field.
        rows: of requests that were over before the sampler looked, field after field.
        unseen: steps of requests that the sampler has not seen. Whoever takes one out, which only one can, tells them,
            or the row of the request once that is over.
        told: requests that the sampler is to follow from now on, with their steps that are over: instant and CPU
            seconds of begin and end, one after the other.
    """

    edges: deque[Any] = field(default_factory=deque)
    rows: deque[Any] = field(default_factory=deque)
    unseen: Unseen = field(default_factory=dict)
    told: deque[tuple[Any, Sequence[float]]] = field(default_factory=deque)

    @property
    def waiting(self) -> int:
        """Return how many edges and requests wait for the sampler."""
        edges, rows = len(self.edges) // EDGE_FIELDS, len(self.rows) // ROW_FIELDS
        return edges + rows + len(self.unseen) + len(self.told)


Record = Callable[[Edge], None]
"""Takes an edge; all that the request path ever calls."""
