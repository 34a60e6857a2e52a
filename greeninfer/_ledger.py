"""Divides an interval's joules among the accounts that ran in it. One ledger per meter.

Per domain and tick of length dT with dE joules (docs/how-it-works.md has the proof that this closes):

    base = P0*dT + Pact*dA            P0 idle watts, Pact watts that appear as soon as anything runs
    s    = min(1, dE/base)            static part really seen;  D = max(0, dE - base) the dynamic part
    r    = D / sum(w*c)               joules per weighted running second; w watts learned per route
    E_i += w_i*c_i*r + s*(P0+Pact)*s_i
    idle += s*P0*(dT - dA)

with c_i the seconds that i ran and s_i its expected static seconds (`_virtual_clocks.py`). Work that no span covers
is one more player on each core that it keeps busy, so it gets its share of both parts: the line "other".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greeninfer._account import Account, Key, Source
from greeninfer._energy import Quality
from greeninfer._records import NANO, Delta, Interval, Line, Row, Weights
from greeninfer._timeline import Piece
from greeninfer._virtual_clocks import Floats, static_seconds

_UNKNOWN = Weights()  # of the first tick: all joules go to what ran
_FALLBACK_SPREAD = 0.5  # relative; before anything is learned, routes may differ by this much


@dataclass(slots=True)
class _Activity:
    """Who ran in an interval, summed up by account; the last ``players`` rows are work that no span covers."""

    accounts: list[Account]
    keys: list[Key]
    ran: Floats
    static: Floats
    placement: Floats
    players: int
    active: float


class Ledger:
    """Keeps the pieces that are not settled yet and settles them, interval by interval.

    Args:
        domains: ids of the domains of its meter.
        gain: (low, high) of its meter.
        quality: of its joules.

    Attributes:
        weights: by domain id; whoever learns them replaces them.
        settled_until: up to here everything is divided.
        began: start of the first interval; what ran before is not known.
        whole_since: since then no domain has been away.
    """

    def __init__(
        self, domains: Sequence[str], gain: tuple[float, float] = (1.0, 1.0), quality: Quality = "measured"
    ) -> None:
        self._domains = tuple(domains)
        self._quality = quality
        self._gain = gain
        self._pieces: list[Piece] = []
        self.weights: Mapping[str, Weights] = {}
        self.settled_until = -math.inf
        self.began = math.inf
        self.whole_since = math.inf

    def add(self, pieces: list[Piece]) -> None:
        """Take pieces; they wait for the interval that covers them."""
        self._pieces.extend(pieces)

    def settle(self, interval: Interval, other_seconds: float = 0.0) -> tuple[list[Line], Row]:
        """Divide an interval's joules and credit the accounts; return the lines and what can be learned.

        Args:
            interval: follows the one settled before; joules before the first one are nobody's.
            other_seconds: CPU seconds, in the interval, of whatever no span covers.
        """
        activity = self._activity(interval, other_seconds)
        self.settled_until = interval.end
        row = Row(interval.seconds, activity.active, other=float(activity.ran[len(activity.accounts) :].sum()))
        for key, ran in zip(activity.keys, activity.ran.tolist(), strict=False):
            row.ran[key] = row.ran.get(key, 0.0) + ran
        lines: list[Line] = []
        good = {delta.domain.id for delta in interval.deltas if not delta.fault}
        self.began = min(self.began, interval.start)
        self.whole_since = min(self.whole_since, interval.start)
        if len(good) < len(self._domains):
            self.whole_since = interval.end
            for account in activity.accounts:
                account.lack()
        for delta in interval.deltas:
            if delta.fault:
                lines.append(Line("unattributed", delta.domain.id, delta.quality, delta.nanojoules, reason=delta.fault))
            else:
                lines.extend(self._divide(delta, interval, activity, row))
        return lines, row

    def credit_nothing(self, account: Account) -> None:
        """Credit 0 joules of each domain to what did not run."""
        for domain in self._domains:
            account.credit(Source(domain, self._quality, self._gain), (0, 0.0, 0.0, 0.0), {})

    def _activity(self, interval: Interval, other_seconds: float) -> _Activity:
        pieces, self._pieces = self._pieces, []
        index: dict[Account, int] = {}
        who: list[int] = []
        clipped: list[tuple[float, float, float]] = []
        for account, begin, end, ran in pieces:
            if begin < interval.start or end > interval.end:
                share = 1.0 / (end - begin) if end > begin else 0.0
                if end > interval.end:
                    cut = max(begin, interval.end)
                    self._pieces.append((account, cut, end, ran * (end - cut) * share))
                    if begin >= interval.end:
                        continue
                first, last = max(begin, interval.start), min(end, interval.end)
                if last < first:
                    continue
                begin, end, ran = first, last, ran * (last - first) * share
            who.append(index.setdefault(account, len(index)))
            clipped.append((begin, end, ran))
        others = _cores(other_seconds, interval)
        return _summed(list(index), who, clipped + others, len(others))

    def _divide(self, delta: Delta, interval: Interval, activity: _Activity, row: Row) -> list[Line]:
        domain = delta.domain.id
        joules = delta.nanojoules / NANO
        known = self.weights.get(domain, _UNKNOWN)
        row.joules[domain] = joules
        count = len(activity.accounts)
        if activity.active <= 0.0:
            return [Line("idle", domain, delta.quality, delta.nanojoules)]

        base = known.idle_watts * interval.seconds + known.active_watts * activity.active
        seen = min(1.0, joules / base) if base > 0.0 else 1.0
        dynamic_joules = max(0.0, joules - base)
        watts = np.array([known.watts.get(key, known.shared_watts) for key in activity.keys])
        weighted = np.concatenate((watts, np.full(activity.players, known.other_watts))) * activity.ran
        if not weighted.any():  # weights of nothing say nothing: go by running seconds
            weighted = activity.ran
        dynamic = weighted * (dynamic_joules / float(weighted.sum()))
        static_watts = seen * (known.idle_watts + known.active_watts)
        static = static_watts * activity.static
        idle = seen * known.idle_watts * max(0.0, interval.seconds - activity.active)

        other = float(dynamic[count:].sum() + static[count:].sum())
        shares = np.concatenate((dynamic[:count] + static[:count], [idle, other]))
        nanojoules = whole_nanojoules(shares, delta.nanojoules)
        row.squares[domain] = float(weighted[:count] @ weighted[:count])

        spread = _FALLBACK_SPREAD if not known.learned else known.sigma
        part = dynamic / dynamic_joules if dynamic_joules > 0.0 else dynamic
        repeats = spread * dynamic * (1.0 - part) + known.sigma_idle_watts * activity.static
        variance = np.square(static_watts * activity.placement)
        source = Source(domain, delta.quality, self._gain)
        totals: dict[Key, int] = {}
        shares_out = zip(nanojoules, static.tolist(), repeats.tolist(), variance.tolist(), strict=False)
        late = 0
        for account, share in zip(activity.accounts, shares_out, strict=False):
            late += account.credit(source, share, totals)
        lines = [Line("attributed", domain, delta.quality, got, *key) for key, got in totals.items()]
        lines.append(Line("idle", domain, delta.quality, nanojoules[count]))
        lines.append(Line("other", domain, delta.quality, nanojoules[count + 1]))
        if late:
            lines.append(Line("unattributed", domain, delta.quality, late, reason="late"))
        return lines


def _summed(
    accounts: list[Account], who: list[int], pieces: list[tuple[float, float, float]], players: int
) -> _Activity:
    """Sum pieces up by account."""
    if not pieces:
        return _Activity([], [], np.zeros(0), np.zeros(0), np.zeros(0), 0, 0.0)
    begin, end, ran = np.array(pieces).T
    length = end - begin
    # A thread cannot run for longer than the piece lasts; clocks read one after the other say so by microseconds.
    ran = np.minimum(ran, length)
    rho = np.divide(ran, length, out=np.zeros_like(ran), where=length > 0.0)
    static, active = static_seconds(begin, end, rho)
    count = len(accounts) + players
    rows = np.array(who + list(range(len(accounts), count)), dtype=np.intp)
    # Where in its piece it ran is a guess unless it ran all the time or always alone: one standard error.
    placement = np.sqrt(1.0 - rho) * np.minimum(static, np.maximum(ran - static, 0.0))
    return _Activity(
        accounts,
        [account.key for account in accounts],
        _by_row(rows, ran, count),
        _by_row(rows, static, count),
        np.sqrt(_by_row(rows, np.square(placement), count)),
        players,
        active,
    )


def _cores(seconds: float, interval: Interval) -> list[tuple[float, float, float]]:
    """Return work that no span covers as pieces: whole cores that it keeps busy all the time, and one for the rest."""
    if interval.seconds <= 0.0:
        return []
    whole, rest = divmod(seconds, interval.seconds)
    pieces = [(interval.start, interval.end, interval.seconds)] * int(whole)
    return [*pieces, (interval.start, interval.end, rest)] if rest > 1e-9 else pieces


def _by_row(rows: npt.NDArray[np.intp], values: Floats, count: int) -> Floats:
    return np.bincount(rows, values, count).astype(np.float64)


def whole_nanojoules(joules: Floats, total: int) -> list[int]:
    """Round shares to whole nanojoules that add up to ``total`` exactly, by largest remainder."""
    weight = float(joules.sum())
    # Shares that say nothing are equal shares; in what this ledger hands out they do not occur.
    exact = joules * (total / weight) if weight > 1e-200 else np.full(len(joules), total / len(joules))
    whole = np.floor(exact).astype(np.int64)
    short = total - int(whole.sum())
    if short > 0:
        # Rounding leaves fewer than one unit per share; what float arithmetic leaves beyond that goes round again.
        by_remainder = np.argsort(whole - exact, kind="stable")
        each, rest = divmod(short, len(whole))
        whole += each
        whole[by_remainder[:rest]] += 1
    elif short < 0:
        whole[int(np.argmax(whole))] += short
    result: list[int] = whole.tolist()
    return result
