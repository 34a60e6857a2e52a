"""Who ran in an interval, summed up: spans, and the work that no span covers as further players.

Where pieces run in turn, plain sums do: a tick of a few requests would spend most of its time in calls of NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from greeninfer._account import Account, Key
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
        accounts: each once.
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


def summed(pieces: Pieces, interval: Interval, cores: Sequence[list[float]]) -> Activity:
    """Sum pieces up by account.

    Args:
        pieces: within the interval.
        interval: throughout which ``cores`` are kept busy.
        cores: the work that no span covers, as ``Activity`` has it.
    """
    rows: dict[Account, int] = {}
    ran: list[float] = []
    doubt: list[float] = []
    in_turn, total, last = True, 0.0, interval.start
    for account, begin, end, seconds in pieces:
        length = end - begin
        # A thread cannot run for longer than the piece lasts; clocks read one after the other say so by microseconds.
        idle = length - seconds
        if idle <= 0.0:
            seconds = length
        if begin < last:
            in_turn = False
        last = end
        total += seconds
        row = rows.setdefault(account, len(ran))
        # Where in its piece it ran is a guess unless it ran all the time.
        guess = seconds * seconds * (idle / length) if idle > 0.0 else 0.0
        if row == len(ran):
            ran.append(seconds)
            doubt.append(guess)
        else:
            ran[row] += seconds
            doubt[row] += guess
    accounts, keys = list(rows), [account.key for account in rows]
    if not in_turn:
        return Activity(accounts, keys, ran, *_overlapped(pieces, rows, interval, cores))
    shares = [seconds / interval.seconds for kind in cores for seconds in kind]
    part, others, active = static_seconds_in_turn(total, shares, interval.seconds)
    static = [part * seconds for seconds in ran]
    factor = min(part, 1.0 - part) ** 2  # nor is it a guess where it was always alone
    return Activity(
        accounts, keys, ran, static, [factor * each for each in doubt], cores, _by_kind(others, cores), active
    )


def _overlapped(
    pieces: Pieces, rows: dict[Account, int], interval: Interval, cores: Sequence[list[float]]
) -> tuple[list[float], list[float], Sequence[list[float]], list[float], float]:
    """Return the last five columns of ``Activity`` where pieces overlap."""
    others, own = list(chain.from_iterable(cores)), len(pieces)
    begin = np.array(pieces.begin + [interval.start] * len(others))
    end = np.array(pieces.end + [interval.end] * len(others))
    length = end - begin
    ran = np.minimum(pieces.ran + others, length)
    rho = np.divide(ran, length, out=np.zeros_like(ran), where=length > 0.0)
    static, active = static_seconds(begin, end, rho)
    doubt = (1.0 - rho) * np.square(np.minimum(static, np.maximum(ran - static, 0.0)))
    of = [rows[account] for account in pieces.accounts]
    by_account = [np.bincount(of, column[:own], len(rows)).tolist() for column in (static, doubt)]
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
