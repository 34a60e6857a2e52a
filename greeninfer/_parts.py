"""Parts of the work on spans that are accounted for by themselves: a phase of one, or a batch that serves several."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import SupportsFloat, cast

from greeninfer._account import Account, Key, Record, Share, Source, SpanAccount
from greeninfer._records import whole_nanojoules
from greeninfer._running import enter, leave


class Phase:
    """A named part of a span, such as prefill or decode: its joules are the span's own, and counted apart as well."""

    device = "any"
    stepwise = False
    opened = 0.0
    closed: float | None = None
    children = 0

    def __init__(self, span: SpanAccount, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"phase name {name!r} is not possible; allowed: a string that is not empty")
        self.name = name
        self.span = span
        self.record = span.record
        self.device = span.device
        self.covers: Sequence[Account] = (span,)
        self.resume: Account | None = None

    @property
    def key(self) -> Key:
        """Return the route of the span, which may not be known yet when the phase begins."""
        return self.span.key

    @property
    def refusal(self) -> str:
        """Return why the span refuses joules."""
        return self.span.refusal

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU seconds of the span, which this one's count towards."""
        return self.span.cpu_seconds

    @cpu_seconds.setter
    def cpu_seconds(self, seconds: float) -> None:
        self.span.cpu_seconds = seconds

    def __enter__(self) -> Phase:
        """Begin the phase on this thread; it may be entered again after its end."""
        self.closed = None
        enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the phase."""
        leave(self)

    def begun(self) -> None:
        """Hold the span until this phase is settled too."""
        self.span.held += 1

    def ended(self) -> None:
        """Let the span settle, once what was used up to here is divided."""
        _release(self.span, self.closed)

    def credit(self, source: Source, share: Share, totals: dict[Key, int]) -> int:
        """Credit the span, and the phase within it; return the nanojoules that come too late."""
        late = self.span.credit(source, share, totals)
        if not late:
            self.span.credit_phase(self.name, share[0])
        return late

    def lack(self) -> None:
        """Note that joules are missing."""
        self.span.lack()


class Batch:
    """One piece of work done for several spans at once; what it costs is split among them by weight.

    Args:
        rows: (span, weight) pairs; weights are relative, such as tokens per row.

    Raises:
        TypeError: for a row that is not a (span, weight) pair.
        ValueError: for no rows, or a weight that is negative, not finite, or all of them 0.
    """

    stepwise = False
    opened = 0.0
    closed: float | None = None
    children = 0
    cpu_seconds = 0.0

    def __init__(self, rows: Iterable[tuple[SpanAccount, float]], record: Record) -> None:
        self.rows = tuple(_row(row) for row in rows)
        weights = [weight for _, weight in self.rows]
        wrong = [weight for weight in weights if not (math.isfinite(weight) and weight >= 0.0)]
        if wrong or not any(weights):
            raise ValueError(
                f"batch weights {wrong or weights!r} are not possible; "
                "allowed: finite numbers from 0 up, at least one of them above 0"
            )
        largest = max(weights)  # taken out first: the sum of large weights may not be finite
        total = math.fsum(weight / largest for weight in weights)
        self.parts = [weight / largest / total for weight in weights]
        self.record = record
        self.device = "any" if any(span.device == "any" for span, _ in self.rows) else "cpu"
        self.covers: Sequence[Account] = tuple(span for span, _ in self.rows)
        self.resume: Account | None = None

    @property
    def key(self) -> Key:
        """Return the route whose weight stands for the whole: that of the first row."""
        return self.rows[0][0].key

    @property
    def refusal(self) -> str:
        """Return why the first span that refuses joules does."""
        return next((span.refusal for span, _ in self.rows if span.refusal), "")

    def __enter__(self) -> Batch:
        """Begin the work on this thread."""
        self.closed = None
        enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the work."""
        leave(self)

    def begun(self) -> None:
        """Hold the spans until this batch is settled too; one that is settled already has left, and pays no more."""
        left = [(row, part) for row, part in zip(self.rows, self.parts, strict=True) if row[0].settled_at is None]
        if 0 < len(left) < len(self.rows) and (total := sum(part for _, part in left)) > 0.0:
            self.rows = tuple(row for row, _ in left)
            self.parts = [part / total for _, part in left]
        for span, _ in self.rows:
            span.held += 1

    def ended(self) -> None:
        """Let the spans settle, once what was used up to here is divided."""
        for span, _ in self.rows:
            _release(span, self.closed)

    def credit(self, source: Source, share: Share, totals: dict[Key, int]) -> int:
        """Split a share by weight; return the nanojoules that come too late."""
        nanojoules, static, spread, variance = share
        rows = zip(self.rows, self.parts, whole_nanojoules(self.parts, nanojoules), strict=True)
        return sum(
            span.credit(source, (got, static * part, spread * part, variance * part * part), totals)
            for (span, _), part, got in rows
        )

    def lack(self) -> None:
        """Note that joules are missing."""
        for span, _ in self.rows:
            span.lack()


def _release(span: SpanAccount, closed: float | None) -> None:
    span.held -= 1
    span.parts_closed = max(span.parts_closed, closed or 0.0)


def _row(row: object) -> tuple[SpanAccount, float]:
    """Return a row of a batch, checked.

    Raises:
        TypeError: if it is not a pair of a span and a number.
    """
    match row:
        case (span, SupportsFloat() as weight) if hasattr(span, "credit_phase"):
            return cast(SpanAccount, span), float(weight)
    raise TypeError(f"batch row {row!r} is not possible; allowed: (span, weight) pairs, weight a number")
