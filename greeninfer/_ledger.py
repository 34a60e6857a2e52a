"""Divides an interval's joules among the accounts that ran in it. One ledger per meter.

Per domain and tick of length dT with dE joules (docs/how-it-works.md has the proof that this closes):

    base = P0*dT + Pact*dA            P0 idle watts, Pact watts that appear as soon as anything runs
    s    = min(1, dE/base)            static part really seen;  D = max(0, dE - base) the dynamic part
    r    = D / sum(w*c)               joules per weighted running second; w watts learned per route
    E_i += w_i*c_i*r + s*(P0+Pact)*s_i
    idle += s*P0*(dT - dA)

with c_i the seconds that i ran and s_i its expected static seconds (`_virtual_clocks.py`). Work that no span covers
is one more player on each core that it keeps busy, so it gets its share of both parts: the line "other".

In company, where other processes of ours keep books of the same joules, each is such a player, too, and what it gets is
on its own books. All must agree on that without talking, so both parts are divided among processes by running seconds
alone; weights, and when it was that something ran, count inside this one. What belongs to none of ours (idle,
strangers, faults of the meter) is divided equally (docs/decisions/0005-siblings.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from greeninfer._account import Account, Key, Source
from greeninfer._activity import Activity, Company, cores, settle_among_processes, summed
from greeninfer._energy import Quality
from greeninfer._records import NANO, Delta, Interval, Line, Row, Weights
from greeninfer._timeline import Pieces
from greeninfer._virtual_clocks import Floats

_UNKNOWN = Weights()  # of the first tick: all joules go to what ran
_FALLBACK_SPREAD = 0.5  # relative; before anything is learned, routes may differ by this much
_COMPANY_SPREAD = 0.2  # at least, in company: a third of the 61 % that 95 % of requests were within (0005-siblings.md)


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
        self._pieces = Pieces()
        self._shared = False
        self._rests: dict[tuple[str, str], float] = {}  # what dividing left over, by domain and line
        self.weights: Mapping[str, Weights] = {}
        self.settled_until = -math.inf
        self.began = math.inf
        self.whole_since = math.inf

    def add(self, pieces: Pieces) -> None:
        """Take pieces; they wait for the interval that covers them."""
        self._pieces.extend(pieces)

    def settle(
        self, interval: Interval, other_seconds: float = 0.0, company: Company | None = None
    ) -> tuple[list[Line], Row]:
        """Divide an interval's joules and credit the accounts; return the lines and what can be learned.

        Args:
            interval: follows the one settled before; joules before the first one are nobody's.
            other_seconds: CPU seconds, in the interval, of whatever neither a span nor ``company`` covers.
            company: other processes that divide the same joules; the lines add up to this one's part of them.
        """
        activity = self._activity(interval, other_seconds, company or Company())
        if company is not None:
            settle_among_processes(activity, interval)
        self.settled_until = interval.end
        count = len(activity.accounts)
        by_route = np.bincount(activity.route_of, activity.ran[:count]).tolist()
        row = Row(
            interval.seconds,
            activity.active,
            dict(zip(activity.routes, by_route, strict=True)),
            float(activity.ran[count:].sum()),
        )
        lines: list[Line] = []
        good = {delta.domain.id for delta in interval.deltas if not delta.fault}
        self.began = min(self.began, interval.start)
        self.whole_since = min(self.whole_since, interval.start)
        if len(good) < len(self._domains):
            self.whole_since = interval.end
            for account in activity.accounts:
                account.lack()
        self._shared = company is not None
        for delta in interval.deltas:
            delta = replace(delta, quality=self._seen_as(delta.quality))
            if delta.fault:
                part = self._part(delta, delta.nanojoules, company, delta.fault)
                lines.append(Line("unattributed", delta.domain.id, delta.quality, part, reason=delta.fault))
            else:
                lines.extend(self._divide(delta, interval, activity, row, company))
        return lines, row

    def credit_nothing(self, account: Account) -> None:
        """Credit 0 joules of each domain to what did not run."""
        for domain in self._domains:
            account.credit(Source(domain, self._seen_as(self._quality), self._gain), (0, 0.0, 0.0, 0.0), {})

    def _seen_as(self, quality: Quality) -> Quality:
        return "shared" if self._shared and quality == "measured" else quality

    def _part(self, delta: Delta, nanojoules: int, company: Company | None, line: str) -> int:
        """Return this process's part of what belongs to none of ours; what is left over counts the next time."""
        if company is None:
            return nanojoules
        exact = nanojoules * company.part + self._rests.get((delta.domain.id, line), 0.0)
        whole = math.floor(exact)
        self._rests[delta.domain.id, line] = exact - whole
        return whole

    def _activity(self, interval: Interval, other_seconds: float, company: Company) -> Activity:
        accounts, begin, end, ran = self._take(interval)
        index: dict[Account, int] = {}
        who = [index.setdefault(account, len(index)) for account in accounts]
        kinds = [cores(seconds, interval) for seconds in (company.own, other_seconds)]
        kinds.append([core for seconds in company.siblings for core in cores(seconds, interval)])
        return summed(list(index), who, (begin, end, ran), kinds)

    def _take(self, interval: Interval) -> tuple[list[Account], Floats, Floats, Floats]:
        """Take the pieces, or parts of pieces, that are within an interval; later ones wait, earlier ones are lost."""
        pieces, self._pieces = self._pieces, Pieces()
        accounts, begin, end, ran = pieces.accounts, *map(np.array, (pieces.begin, pieces.end, pieces.ran))
        away: set[int] = set()
        for row in np.flatnonzero((begin < interval.start) | (end > interval.end)).tolist():
            piece_begin, piece_end, piece_ran = pieces.begin[row], pieces.end[row], pieces.ran[row]
            first, last = max(piece_begin, interval.start), min(piece_end, interval.end)
            length = piece_end - piece_begin or 1.0
            if piece_end > interval.end:
                cut = max(piece_begin, interval.end)
                self._pieces.add(accounts[row], cut, piece_end, piece_ran * ((piece_end - cut) / length))
            if last < first or piece_begin >= interval.end:
                away.add(row)
            begin[row], end[row], ran[row] = first, last, piece_ran * ((last - first) / length)
        if away:
            accounts = [account for row, account in enumerate(accounts) if row not in away]
            begin, end, ran = (np.delete(column, list(away)) for column in (begin, end, ran))
        return accounts, begin, end, ran

    def _divide(
        self, delta: Delta, interval: Interval, activity: Activity, row: Row, company: Company | None
    ) -> list[Line]:
        domain = delta.domain.id
        joules = delta.nanojoules / NANO
        known = self.weights.get(domain, _UNKNOWN)
        row.joules[domain] = joules
        count = len(activity.accounts)
        if activity.active <= 0.0:
            return [Line("idle", domain, delta.quality, self._part(delta, delta.nanojoules, company, "idle"))]

        base = known.idle_watts * interval.seconds + known.active_watts * activity.active
        seen = min(1.0, joules / base) if base > 0.0 else 1.0
        dynamic_joules = max(0.0, joules - base)
        watts = np.array([known.watts.get(key, known.shared_watts) for key in activity.routes])
        players = activity.ends[-1] - count
        weighted = np.concatenate((watts[activity.route_of], np.full(players, known.other_watts))) * activity.ran
        if not weighted.any():  # weights of nothing say nothing: go by running seconds
            weighted = activity.ran
        row.squares[domain] = float(weighted[:count] @ weighted[:count])
        if company is not None:
            weighted = _by_process(weighted, activity.ran, count)
        dynamic = weighted * (dynamic_joules / float(weighted.sum()))
        static_watts = seen * (known.idle_watts + known.active_watts)
        static = static_watts * activity.static
        idle = seen * known.idle_watts * max(0.0, interval.seconds - activity.active)

        shares = np.concatenate((dynamic[:count] + static[:count], [idle, *activity.others(dynamic + static)]))
        nanojoules = whole_nanojoules(shares, delta.nanojoules)
        rest, own, strangers = nanojoules[count : count + 3]

        spread = _FALLBACK_SPREAD if not known.learned else known.sigma
        spread = spread if company is None else max(spread, _COMPANY_SPREAD)
        part = dynamic / dynamic_joules if dynamic_joules > 0.0 else dynamic
        repeats = spread * dynamic * (1.0 - part) + known.sigma_idle_watts * activity.static
        variance = np.square(static_watts * activity.placement)
        source = Source(domain, delta.quality, self._gain)
        totals: dict[Key, int] = {}
        shares_out = zip(nanojoules, static.tolist(), repeats.tolist(), variance.tolist(), strict=False)
        refused: dict[str, int] = {}
        for account, share in zip(activity.accounts, shares_out, strict=False):
            left = account.credit(source, share, totals)
            if left:
                refused[account.refusal] = refused.get(account.refusal, 0) + left
        lines = [Line("attributed", domain, delta.quality, got, *key) for key, got in totals.items()]
        lines.append(Line("idle", domain, delta.quality, self._part(delta, rest, company, "idle")))
        own += self._part(delta, strangers, company, "other")
        lines.append(Line("other", domain, delta.quality, own))
        lines.extend(Line("unattributed", domain, delta.quality, got, reason=why) for why, got in refused.items())
        return lines


def _by_process(weighted: Floats, ran: Floats, count: int) -> Floats:
    """Return weights by which this process's spans, the first ``count``, have together what their seconds are worth."""
    total = float(weighted[:count].sum())
    ours = weighted[:count] * (float(ran[:count].sum()) / total) if total > 0.0 else ran[:count]
    return np.concatenate((ours, ran[count:]))


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
