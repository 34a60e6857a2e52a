"""Who ran in an interval, summed up: spans, and the work that no span covers as further players.

Where pieces run in turn, plain sums do: a tick of a few requests would spend most of its time in calls of NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from operator import le, sub

import numpy as np

from greeninfer._account import Account, Key
from greeninfer._brief import Brief, Steps
from greeninfer._records import Interval
from greeninfer._timeline import Pieces
from greeninfer._virtual_clocks import static_seconds, static_seconds_in_turn


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
    """Who ran in an interval, a column per figure, and what else did.

    Args:
        accounts: each once; after them, in the other columns, come brief requests.
        keys: the route of each.
        ran: running seconds of each.
        static: expected static seconds of each (`_virtual_clocks.py`).
        doubt: variance of that, seconds squared, as the clocks do not tell where in a piece it ran.
        cores: running seconds of work that no span covers, core by core: of this process, of strangers, of siblings.
        rest: static seconds of the same three.
        active: expected seconds in which anything ran.
    """

    accounts: list[Account]
    keys: list[Key]
    ran: list[float]
    static: list[float]
    doubt: list[float]
    cores: Sequence[list[float]]
    rest: list[float]
    active: float


def summed(pieces: Pieces, brief: Brief, interval: Interval, cores: Sequence[list[float]]) -> Activity:
    """Sum pieces up by account, and add brief requests, each a row of its own.

    Args:
        pieces: within the interval.
        brief: likewise.
        interval: throughout which ``cores`` are kept busy.
        cores: the work that no span covers, as ``Activity`` has it.
    """
    rows: dict[Account, int] = {}
    of = [rows.setdefault(account, len(rows)) for account in pieces.accounts]
    if len(brief):
        theirs = brief.pieces()
        of += [len(rows) + row for row in theirs.of]
        steps = Steps(of, pieces.begin + theirs.begin, pieces.end + theirs.end, pieces.ran + theirs.ran)
    else:
        steps = Steps(of, pieces.begin, pieces.end, pieces.ran)
    accounts, keys = list(rows), [account.key for account in rows] + brief.keys
    # A thread cannot run for longer than the piece lasts; clocks read one after the other say so by microseconds.
    lengths = list(map(sub, steps.end, steps.begin))
    ran = list(map(min, steps.ran, lengths))
    pairs = zip(ran, lengths, strict=True)
    # Where in its piece it ran is a guess unless it ran all the time.
    doubt = [seconds * seconds * (1.0 - seconds / length) if seconds < length else 0.0 for seconds, length in pairs]
    if len(of) > len(keys):
        ran, doubt = _by_row(of, ran, len(keys)), _by_row(of, doubt, len(keys))
    if not _in_turn(steps):
        return Activity(accounts, keys, ran, *_overlapped(steps, len(keys), interval, cores))
    shares = [seconds / interval.seconds for kind in cores for seconds in kind]
    part, others, active = static_seconds_in_turn(sum(ran), shares, interval.seconds)
    static = [part * seconds for seconds in ran]
    factor = min(part, 1.0 - part) ** 2  # nor is it a guess where it was always alone
    return Activity(
        accounts, keys, ran, static, [factor * each for each in doubt], cores, _by_kind(others, cores), active
    )


def _by_row(of: list[int], values: list[float], count: int) -> list[float]:
    sums = [0.0] * count
    for row, value in zip(of, values, strict=True):
        sums[row] += value
    return sums


def _in_turn(steps: Steps) -> bool:
    """Return whether no two pieces overlap."""
    if all(map(le, steps.end, islice(steps.begin, 1, None))):
        return True
    order = sorted(range(len(steps.begin)), key=steps.begin.__getitem__)
    return all(steps.end[row] <= steps.begin[after] for row, after in pairwise(order))


def _overlapped(
    steps: Steps, count: int, interval: Interval, cores: Sequence[list[float]]
) -> tuple[list[float], list[float], Sequence[list[float]], list[float], float]:
    """Return the last five columns of ``Activity`` where pieces overlap."""
    others, own = list(chain.from_iterable(cores)), len(steps.of)
    begin = np.array(steps.begin + [interval.start] * len(others))
    end = np.array(steps.end + [interval.end] * len(others))
    length = end - begin
    ran = np.minimum(steps.ran + others, length)
    rho = np.divide(ran, length, out=np.zeros_like(ran), where=length > 0.0)
    static, active = static_seconds(begin, end, rho)
    doubt = (1.0 - rho) * np.square(np.minimum(static, np.maximum(ran - static, 0.0)))
    by_account = [np.bincount(steps.of, column[:own], count).tolist() for column in (static, doubt)]
    return by_account[0], by_account[1], cores, _by_kind(static[own:].tolist(), cores), active


def settle_among_processes(activity: Activity, interval: Interval) -> None:
    """Give this process the static seconds that its running seconds are worth beside those of the others.

    All processes know the same running seconds of each other, but only one knows when inside an interval its own spans
    ran, or on how many threads. So that their books add up, that tells only apart what ran inside the process.
    """
    own, *others = activity.cores
    ours = busy_cores(sum(activity.ran) + sum(own), interval)
    cores = [ours, *others]
    shares = [min(1.0, seconds / interval.seconds) for kind in cores for seconds in kind]
    if not shares:
        return
    _, static, activity.active = static_seconds_in_turn(0.0, shares, interval.seconds)
    whole, *rest = _by_kind(static, cores)
    inside = sum(activity.static) + activity.rest[0]
    if inside > 0.0:
        factor = whole / inside
        activity.static = [each * factor for each in activity.static]
        activity.doubt = [each * factor**2 for each in activity.doubt]
        activity.rest[0] *= factor
    activity.rest[1:] = rest


def busy_cores(seconds: float, interval: Interval) -> list[float]:
    """Return work that no span covers core by core: those that it keeps busy all the time, and one for the rest."""
    if interval.seconds <= 0.0:
        return []
    whole, rest = divmod(seconds, interval.seconds)
    cores = [interval.seconds] * int(whole)
    return [*cores, rest] if rest > 1e-9 else cores


def _by_kind(values: list[float], cores: Sequence[list[float]]) -> list[float]:
    """Sum figures of cores up by kind."""
    taken = iter(values)
    return [sum(next(taken) for _ in kind) for kind in cores]
