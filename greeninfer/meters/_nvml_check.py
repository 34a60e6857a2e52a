"""What a board's counter is worth, found by watching it for half a second at most: its period, and whether it agrees
with the power that the same board reads.

Both are needed. The period differs from board to board (10 to 100 ms, undocumented), and counters that disagree with
power are known: 187 J against 327 J in 5 s on an idle board (zeus issue 181).

Who is trusted: **the counter**, unless it does not move at all while there is power. Power is sampled for a quarter of
the time on A100 and H100 (Yang et al., SC24) and is a mean over 1 s on others, so a disagreement may well be the
power's fault. But it may not, so the gain, within which the true joules lie, is stretched to hold both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Literal, Protocol

from greeninfer._clock import Clock
from greeninfer.errors import MeterError
from greeninfer.meters._integrate import Integrator

WATCH_SECONDS = 0.5
_LEAST_SECONDS = 0.1
_POLL_SECONDS = 0.001
_ENOUGH_EDGES = 8
_TOLERANCE = 0.1

Agreement = Literal["agrees", "doubtful", "stuck", "unchecked"]


class Watched(Protocol):
    """What can be watched; a board."""

    def joules(self) -> float:
        """Return the energy counter."""
        ...

    def watts(self) -> float:
        """Return the power now."""
        ...


@dataclass(slots=True)
class Trace:
    """What one board said while it was watched; None is what it would not say.

    Args:
        instants: middle of each poll.
        joules, watts: at these instants.
        edges: which polls were the first to see a new value, of the counter or, without one, of power.
    """

    instants: list[float] = field(default_factory=list)
    joules: list[float | None] = field(default_factory=list)
    watts: list[float | None] = field(default_factory=list)
    edges: list[int] = field(default_factory=list)

    def add(self, instant: float, joules: float | None, watts: float | None) -> None:
        """Add one poll; one that failed is left out."""
        if joules is None and (watts is None or (self.joules and self.joules[-1] is not None)):
            return
        if self.instants and (joules, None if joules is not None else watts) != self._value(-1):
            self.edges.append(len(self.instants))
        self.instants.append(instant)
        self.joules.append(joules)
        self.watts.append(watts)

    def _value(self, index: int) -> tuple[float | None, float | None]:
        joules = self.joules[index]
        return joules, None if joules is not None else self.watts[index]


@dataclass(frozen=True, slots=True)
class Finding:
    """What watching one board brought.

    Args:
        period_seconds: between two changes of the counter (of power, without a counter); None if it changed too
            rarely to tell.
        agreement: agrees: within 10 %. doubtful: further apart, by more than the power moved. stuck: the counter did
            not move while there was power. unchecked: no power, too few changes, or power that moved too much.
        counter_watts: mean power by the counter, over whole periods; None where it could not be compared.
        power_watts: the same from the power readings.
    """

    period_seconds: float | None
    agreement: Agreement
    counter_watts: float | None = None
    power_watts: float | None = None


def watch(boards: Sequence[Watched], clock: Clock, sleep: Callable[[float], None]) -> list[Trace]:
    """Poll all boards about every millisecond: until each has changed a few times, for half a second at most."""
    traces = [Trace() for _ in boards]
    start = clock.now()
    for _ in range(round(WATCH_SECONDS / _POLL_SECONDS)):
        for board, trace in zip(boards, traces, strict=True):
            before = clock.now()
            joules = _ask(board.joules)
            after = clock.now()
            trace.add(0.5 * (before + after), joules, _ask(board.watts))
        seconds = clock.now() - start
        is_enough = all(len(trace.edges) >= _ENOUGH_EDGES for trace in traces)
        if seconds >= WATCH_SECONDS or (is_enough and seconds >= _LEAST_SECONDS):
            break
        sleep(_POLL_SECONDS)
    return traces


def judge(trace: Trace, is_power_instant: bool) -> Finding:
    """Return what a trace says of the board.

    The counter's joules between its first and its last change are compared with power integrated over the same time.
    Power that is a mean over 1 s lags behind, so it can accuse the counter only while it stands still.
    """
    edges = trace.edges
    period = median(trace.instants[b] - trace.instants[a] for a, b in pairwise(edges)) if len(edges) > 1 else None
    if None in trace.joules or not trace.joules:
        return Finding(period, "unchecked")
    if not edges:
        has_power = any(watts for watts in trace.watts)
        return Finding(None, "stuck" if has_power else "unchecked")
    first, last = edges[0], edges[-1]
    watts = [each for each in trace.watts[first : last + 1] if each is not None]
    used = (trace.joules[last] or 0.0) - (trace.joules[first] or 0.0)
    if len(edges) < 2 or len(watts) < last + 1 - first or used <= 0.0:
        return Finding(period, "unchecked")
    power = Integrator(math.inf)
    for each, instant in zip(watts, trace.instants[first : last + 1], strict=True):
        power.add(each, instant)
    seconds = trace.instants[last] - trace.instants[first]
    counter_watts, power_watts = used / seconds, power.joules / seconds
    low, high = min(watts), max(watts)
    agreement: Agreement = "doubtful"
    if _is_between(counter_watts, power_watts, power_watts):
        agreement = "agrees"
    elif _is_between(counter_watts, low, high) or (not is_power_instant and not _is_between(high, low, low)):
        agreement = "unchecked"
    return Finding(period, agreement, counter_watts, power_watts)


def _is_between(value: float, low: float, high: float) -> bool:
    return (1.0 - _TOLERANCE) * low <= value <= (1.0 + _TOLERANCE) * high


def _ask(question: Callable[[], float]) -> float | None:
    try:
        return question()
    except MeterError:
        return None
