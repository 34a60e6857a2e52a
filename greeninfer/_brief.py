"""Requests that were over before the sampler looked: a row of figures is left of each, and they are settled in columns.

A span that waits for its tick is one more object for the garbage collector to go through, and out of the cache by the
time the sampler comes to it. Most requests of a service begin and end between two ticks, and nobody holds their span.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import add, sub
from typing import Any, NamedTuple

from greeninfer._account import ROW_FIELDS, Key, Share, Source, worst
from greeninfer._energy import Outcome, Quality
from greeninfer._records import NANO, Interval
from greeninfer._span import Span
from greeninfer._timeline import Cut, whole_steps

NewSpan = Callable[[Key], Span]


class Steps(NamedTuple):
    """When requests ran, a column per figure: row of the request, begin, end, CPU seconds in between."""

    of: list[int]
    begin: list[float]
    end: list[float]
    ran: list[float]


@dataclass(frozen=True, slots=True)
class Shares:
    """What some got from one source: columns, and what else of a share follows from them.

    Args:
        source: of the joules.
        nanojoules, weighted, static, doubt: of each; the last three as ``Activity`` has them, times watts the first.
        weight: of all that the dynamic joules were divided by.
        sigma: one standard error, in joules per weight.
        static_watts, sigma_watts: per static second, and its standard error.
    """

    source: Source
    nanojoules: list[int]
    weighted: list[float]
    static: list[float]
    doubt: list[float]
    weight: float = 1.0
    sigma: float = 0.0
    static_watts: float = 0.0
    sigma_watts: float = 0.0

    def share(self, row: int) -> Share:
        """Return one's share."""
        each, static, watts = self.weighted[row], self.static[row], self.static_watts
        repeats = self.sigma * each * (1.0 - each / self.weight) + self.sigma_watts * static
        return self.nanojoules[row], watts * static, repeats, watts * watts * self.doubt[row]

    def after(self, row: int) -> Shares:
        """Return those from a row on."""
        return replace(
            self,
            nanojoules=self.nanojoules[row:],
            weighted=self.weighted[row:],
            static=self.static[row:],
            doubt=self.doubt[row:],
        )


@dataclass(slots=True)
class Brief:
    """Brief requests, a column per figure.

    Args:
        opened, closed: instants, in seconds.
        ran: CPU seconds.
        keys, outcomes, first_bytes, methods, statuses: as a span has them.
        steps: instant and CPU seconds at the begin and end of each; None for what was one step.
        shares: by domain, once settled.
        settled_at: instant.
        unix_offset: seconds from instants to Unix time.
    """

    opened: list[float] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)
    ran: list[float] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    first_bytes: list[float | None] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)
    steps: list[tuple[float, ...] | None] = field(default_factory=list)
    shares: list[Shares] = field(default_factory=list)
    settled_at: float = 0.0
    unix_offset: float = 0.0

    def __len__(self) -> int:
        """Return how many requests these are."""
        return len(self.opened)

    @property
    def columns(self) -> tuple[list[Any], ...]:
        """Return what the request path tells, in the order in which it does."""
        return (
            *(self.opened, self.closed, self.ran, self.keys),
            *(self.outcomes, self.first_bytes, self.methods, self.statuses, self.steps),
        )

    def pick(self, rows: Sequence[int]) -> Brief:
        """Return some of them."""
        picked = Brief()
        for into, column in zip(picked.columns, self.columns, strict=True):
            into += [column[row] for row in rows]
        return picked

    def pieces(self) -> Steps:
        """Return when they ran."""
        if not any(self.steps):
            return Steps(list(range(len(self))), self.opened, self.closed, self.ran)
        pieces = Steps([], [], [], [])
        for row, steps in enumerate(self.steps):
            for begin, end, ran in whole_steps(steps or (self.opened[row], 0.0, self.closed[row], self.ran[row])):
                pieces.of.append(row)
                pieces.begin.append(begin)
                pieces.end.append(end)
                pieces.ran.append(ran)
        return pieces

    @property
    def seconds(self) -> list[float]:
        """Return how long each was open."""
        return list(map(sub, self.closed, self.opened))

    @property
    def quality(self) -> Quality:
        """Return the worst quality of the joules, which is the same for all of them."""
        return worst(shares.source.quality for shares in self.shares)

    @property
    def nanojoules(self) -> list[int]:
        """Return what each got of all sources."""
        first, *others = (shares.nanojoules for shares in self.shares)
        for column in others:
            first = list(map(add, first, column))
        return first

    @property
    def static_nanojoules(self) -> list[int]:
        """Return the part of it that is static power."""
        static = [0.0] * len(self)
        for shares in self.shares:
            nano = shares.static_watts * NANO
            static = [sum_ + nano * seconds for sum_, seconds in zip(static, shares.static, strict=True)]
        return [min(round(each), whole) for each, whole in zip(static, self.nanojoules, strict=True)]

    def spans(self, rows: Sequence[int], new_span: NewSpan) -> list[Span]:
        """Return some of them as the spans that they were, with what they got."""
        return [self._span(row, new_span) for row in rows]

    def _span(self, row: int, new_span: NewSpan) -> Span:
        span = new_span(self.keys[row])
        span.served = span.answered = True
        span.opened, span.closed, span.outcome = self.opened[row], self.closed[row], self.outcomes[row]
        span.first_byte_seconds, span.method, span.status = self.first_bytes[row], self.methods[row], self.statuses[row]
        for shares in self.shares:
            span.add_share(shares.source, shares.share(row))
        if self.shares:
            span.cpu_seconds, span.settled_at = self.ran[row], self.settled_at
            span.unix_seconds = span.opened + self.unix_offset
        return span


class Waiting:
    """Brief requests that wait for the interval which covers them.

    Args:
        rows: where the request path puts them, field after field.
        domains: how many the one meter has.
        new_span: makes the span that one was, where it has to go on as one.
    """

    def __init__(self, rows: deque[Any], domains: int, new_span: NewSpan) -> None:
        self._rows = rows
        self._domains = domains
        self._brief = Brief()
        self._new_span = new_span

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._brief) + len(self._rows) // ROW_FIELDS

    def take(self, intervals: Sequence[Interval], cut: Cut) -> Brief:
        """Return those that ran wholly within the interval of the one meter, to be settled with it.

        Those that cross one of its ends, or for which a domain is missing, go on as spans: they are added to the cut.
        """
        self._draw()
        brief = self._brief
        if not brief.opened or not intervals:
            return Brief()
        (interval,) = intervals
        start, stop = interval.start, interval.end
        good = sum(not delta.fault for delta in interval.deltas)
        if good == self._domains and min(brief.opened) >= start and max(brief.closed) <= stop:
            self._brief = Brief()
            return brief
        places = [_place(begin, end, interval) for begin, end in zip(brief.opened, brief.closed, strict=True)]
        within, crossing, later = ([row for row, at in enumerate(places) if at == place] for place in range(3))
        self._brief = brief.pick(later)
        if good < self._domains:
            within, crossing = [], within + crossing
        self._go_on(brief, crossing, cut)
        return brief.pick(within)

    def _draw(self) -> None:
        """Take what the request path has left."""
        take = self._rows.popleft
        fields = [take() for _ in range(len(self._rows) // ROW_FIELDS * ROW_FIELDS)]
        for place, column in enumerate(self._brief.columns):
            column += fields[place::ROW_FIELDS]

    def _go_on(self, brief: Brief, rows: Sequence[int], cut: Cut) -> None:
        spans = brief.spans(rows, self._new_span)
        cut.opened += spans
        cut.closed += spans
        for row, *piece in zip(*brief.pick(rows).pieces(), strict=True):
            cut.ran.add(spans[row], *piece)


def _place(begin: float, end: float, interval: Interval) -> int:
    """Return 0 for within an interval, 1 for across an end of it or before it, 2 for after it."""
    if begin >= interval.end:
        return 2
    return 0 if begin >= interval.start and end <= interval.end else 1
