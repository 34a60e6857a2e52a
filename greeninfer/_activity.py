"""Who ran in an interval, summed up: spans, and the work that no span covers as further players."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from greeninfer._account import Account, Key
from greeninfer._records import Interval
from greeninfer._virtual_clocks import Floats, static_seconds, static_seconds_in_turn

Run = tuple[float, float, float]
"""(begin, end, seconds that it ran in between)."""


@dataclass(frozen=True, slots=True)
class Company:
    """What other processes of ours that read the same meter mean for one interval.

    Args:
        own: running seconds of this process outside its spans; they stay on its books.
        siblings: running seconds of each of the others; they are on theirs.
        part: of what belongs to none of ours, that is on the books of this process.
    """

    own: float = 0.0
    siblings: tuple[float, ...] = ()
    part: float = 1.0


@dataclass(slots=True)
class Activity:
    """Who ran in an interval, summed up by account; further rows are work that no span covers.

    Args:
        accounts: of the first rows, in order.
        routes: theirs, each once.
        route_of: each account's place among the routes.
        ran: running seconds.
        static: expected static seconds (`_virtual_clocks.py`).
        placement: standard error of that, as the clocks do not tell where in a piece it ran.
        ends: where further rows begin: of this process outside its spans, of strangers, of siblings; and their end.
        active: expected seconds in which anything ran.
    """

    accounts: list[Account]
    routes: list[Key]
    route_of: npt.NDArray[np.intp]
    ran: Floats
    static: Floats
    placement: Floats
    ends: tuple[int, int, int, int]
    active: float

    def others(self, values: Floats) -> list[float]:
        """Sum a column up for each of the three kinds."""
        return [float(values[begin:end].sum()) for begin, end in pairwise(self.ends)]


def summed(
    accounts: list[Account], who: list[int], pieces: tuple[Floats, Floats, Floats], kinds: Sequence[list[Run]]
) -> Activity:
    """Sum pieces up by account.

    Args:
        accounts: each once.
        who: which of them each piece is of.
        pieces: begins, ends and running seconds.
        kinds: the work that no span covers.
    """
    ends = list(accumulate(map(len, kinds), initial=len(accounts)))
    count, own = ends[-1], len(who)
    if not count:
        return Activity([], [], np.zeros(0, np.intp), np.zeros(0), np.zeros(0), np.zeros(0), (0, 0, 0, 0), 0.0)
    more = [run for kind in kinds for run in kind]
    begin, end, ran = (
        np.concatenate((column, extra)) for column, extra in zip(pieces, np.array(more).reshape(-1, 3).T, strict=True)
    )
    length = end - begin
    # A thread cannot run for longer than the piece lasts; clocks read one after the other say so by microseconds.
    ran = np.minimum(ran, length)
    rho = np.divide(ran, length, out=np.zeros_like(ran), where=length > 0.0)
    if own < 2 or (begin[1:own] >= end[: own - 1]).all():
        seconds = float(length[own]) if len(length) > own else 0.0
        own_static, other_static, active = static_seconds_in_turn(ran[:own], rho[own:], seconds)
        static = np.concatenate((own_static, other_static))
    else:
        static, active = static_seconds(begin, end, rho)
    # Where in its piece it ran is a guess unless it ran all the time or always alone: one standard error.
    placement = np.sqrt(1.0 - rho) * np.minimum(static, np.maximum(ran - static, 0.0))
    if own > len(accounts):  # some have several pieces
        rows = np.array(who + list(range(len(accounts), count)), dtype=np.intp)
        ran, static = _by_row(rows, ran, count), _by_row(rows, static, count)
        placement = np.sqrt(_by_row(rows, np.square(placement), count))
    routes: dict[Key, int] = {}
    route_of = [routes.setdefault(account.key, len(routes)) for account in accounts]
    return Activity(
        accounts,
        list(routes),
        np.array(route_of, dtype=np.intp),
        ran,
        static,
        placement,
        (ends[0], ends[1], ends[2], ends[3]),
        active,
    )


def settle_among_processes(activity: Activity, interval: Interval) -> None:
    """Give this process the static seconds that its running seconds are worth beside those of the others.

    All processes know the same running seconds of each other, but only one knows when inside an interval its own spans
    ran, or on how many threads. So that their books add up, that tells only apart what ran inside the process.
    """
    _, own_end, _, _ = activity.ends
    ours = cores(float(activity.ran[:own_end].sum()), interval)
    theirs = [(interval.start, interval.end, ran) for ran in activity.ran[own_end:].tolist()]
    if not ours and not theirs:
        return
    begin, end, ran = np.array(ours + theirs).T
    static, activity.active = static_seconds(begin, end, np.minimum(ran / (end - begin), 1.0))
    inside = float(activity.static[:own_end].sum())
    if inside > 0.0:
        factor = float(static[: len(ours)].sum()) / inside
        activity.static[:own_end] *= factor
        activity.placement[:own_end] *= factor
    activity.static[own_end:] = static[len(ours) :]


def cores(seconds: float, interval: Interval) -> list[Run]:
    """Return work that no span covers as pieces: whole cores that it keeps busy all the time, and one for the rest."""
    if interval.seconds <= 0.0:
        return []
    whole, rest = divmod(seconds, interval.seconds)
    pieces = [(interval.start, interval.end, interval.seconds)] * int(whole)
    return [*pieces, (interval.start, interval.end, rest)] if rest > 1e-9 else pieces


def _by_row(rows: npt.NDArray[np.intp], values: Floats, count: int) -> Floats:
    return np.bincount(rows, values, count).astype(np.float64)
