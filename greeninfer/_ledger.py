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

from greeninfer._account import Account, Key, Source
from greeninfer._activity import Activity, Company, busy_cores, settle_among_processes, summed
from greeninfer._brief import Brief, Shares
from greeninfer._energy import Quality
from greeninfer._records import NANO, Delta, Interval, Line, Row, Weights, whole_nanojoules
from greeninfer._timeline import Pieces

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
        self,
        interval: Interval,
        other_seconds: float = 0.0,
        company: Company | None = None,
        brief: Brief | None = None,
    ) -> tuple[list[Line], Row]:
        """Divide an interval's joules and credit the accounts; return the lines and what can be learned.

        Args:
            interval: follows the one settled before; joules before the first one are nobody's.
            other_seconds: CPU seconds, in the interval, of whatever neither a span nor ``company`` covers.
            company: other processes that divide the same joules; the lines add up to this one's part of them.
            brief: requests that ran wholly within the interval, of whose domains none is missing or at fault.
        """
        brief = brief or Brief()
        activity = self._activity(interval, other_seconds, company or Company(), brief)
        if company is not None:
            settle_among_processes(activity, interval)
        self.settled_until = interval.end
        row = Row(interval.seconds, activity.active, other=sum(map(sum, activity.cores)))
        for key, ran in zip(activity.keys, activity.ran, strict=True):
            row.ran[key] = row.ran.get(key, 0.0) + ran
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
            if self._seen_as(delta.quality) != delta.quality:
                delta = replace(delta, quality=self._seen_as(delta.quality))
            if delta.fault:
                part = self._part(delta, delta.nanojoules, company, delta.fault)
                lines.append(Line("unattributed", delta.domain.id, delta.quality, part, reason=delta.fault))
            else:
                lines.extend(self._divide(delta, interval, activity, row, company, brief))
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

    def _activity(self, interval: Interval, other_seconds: float, company: Company, brief: Brief) -> Activity:
        siblings = [core for seconds in company.siblings for core in busy_cores(seconds, interval)]
        cores = [busy_cores(company.own, interval), busy_cores(other_seconds, interval), siblings]
        return summed(self._take(interval), brief, interval, cores)

    def _take(self, interval: Interval) -> Pieces:
        """Take the pieces, or parts of pieces, that are within an interval; later ones wait, earlier ones are lost."""
        pieces, self._pieces = self._pieces, Pieces()
        start, stop = interval.start, interval.end
        spans = enumerate(zip(pieces.begin, pieces.end, strict=True))
        outside = [row for row, (begin, end) in spans if begin < start or end > stop]
        for row in reversed(outside):
            account, begin, end, ran = pieces.row(row)
            length = end - begin or 1.0
            if end > stop:
                cut = max(begin, stop)
                self._pieces.add(account, cut, end, ran * ((end - cut) / length))
            first, last = max(begin, start), min(end, stop)
            if last < first or begin >= stop:
                pieces.remove(row)
            else:
                pieces.begin[row], pieces.end[row], pieces.ran[row] = first, last, ran * ((last - first) / length)
        return pieces

    def _divide(
        self,
        delta: Delta,
        interval: Interval,
        activity: Activity,
        row: Row,
        company: Company | None,
        brief: Brief,
    ) -> list[Line]:
        domain = delta.domain.id
        joules = delta.nanojoules / NANO
        known = self.weights.get(domain, _UNKNOWN)
        row.joules[domain] = joules
        if activity.active <= 0.0:
            none = [0.0] * len(brief)
            brief.shares.append(Shares(Source(domain, delta.quality, self._gain), [0] * len(brief), none, none, none))
            return [Line("idle", domain, delta.quality, self._part(delta, delta.nanojoules, company, "idle"))]

        base = known.idle_watts * interval.seconds + known.active_watts * activity.active
        seen = min(1.0, joules / base) if base > 0.0 else 1.0
        dynamic_joules = max(0.0, joules - base)
        weighted, others = _weighted(known, activity)
        row.squares[domain] = math.fsum(each * each for each in weighted)
        if company is not None:
            weighted, others = _by_process(weighted, activity)
        weight = sum(weighted) + sum(others)
        per_weight = dynamic_joules / weight
        static_watts = seen * (known.idle_watts + known.active_watts)
        idle = seen * known.idle_watts * max(0.0, interval.seconds - activity.active)
        own = [each * per_weight + static_watts * s for each, s in zip(weighted, activity.static, strict=True)]
        rest = [each * per_weight + static_watts * s for each, s in zip(others, activity.rest, strict=True)]
        *nanojoules, left, beside, strangers, _ = whole_nanojoules([*own, idle, *rest], delta.nanojoules)

        spread = _FALLBACK_SPREAD if not known.learned else known.sigma
        spread = spread if company is None else max(spread, _COMPANY_SPREAD)
        shares = Shares(
            Source(domain, delta.quality, self._gain),
            *(nanojoules, weighted, activity.static, activity.doubt),
            *(weight, spread * per_weight, static_watts, known.sigma_idle_watts),
        )
        totals, refused = _credit(activity.accounts, brief, shares)
        lines = [Line("attributed", domain, delta.quality, got, *key) for key, got in totals.items()]
        lines.append(Line("idle", domain, delta.quality, self._part(delta, left, company, "idle")))
        beside += self._part(delta, strangers, company, "other")
        lines.append(Line("other", domain, delta.quality, beside))
        lines.extend(Line("unattributed", domain, delta.quality, got, reason=why) for why, got in refused.items())
        return lines


def _credit(accounts: Sequence[Account], brief: Brief, shares: Shares) -> tuple[dict[Key, int], dict[str, int]]:
    """Give accounts, and the brief requests after them, their shares; return nanojoules by route, and refused ones."""
    totals: dict[Key, int] = {}
    refused: dict[str, int] = {}
    for row, account in enumerate(accounts):
        late = account.credit(shares.source, shares.share(row), totals)
        if late:
            refused[account.refusal] = refused.get(account.refusal, 0) + late
    if brief.keys:
        theirs = shares.after(len(accounts))
        brief.shares.append(theirs)
        for key, got in zip(brief.keys, theirs.nanojoules, strict=True):
            totals[key] = totals.get(key, 0) + got
    return totals, refused


def _weighted(known: Weights, activity: Activity) -> tuple[list[float], list[float]]:
    """Return running seconds times watts, of the accounts and of the three kinds of work that no span covers."""
    watts, shared = known.watts, known.shared_watts
    weighted = [watts.get(key, shared) * ran for key, ran in zip(activity.keys, activity.ran, strict=True)]
    others = [known.other_watts * sum(kind) for kind in activity.cores]
    if any(weighted) or any(others):
        return weighted, others
    return activity.ran, [sum(kind) for kind in activity.cores]  # weights of nothing say nothing: go by running seconds


def _by_process(weighted: list[float], activity: Activity) -> tuple[list[float], list[float]]:
    """Return weights by which this process's spans have together what their running seconds are worth."""
    total = sum(weighted)
    factor = sum(activity.ran) / total if total > 0.0 else 0.0
    ours = [each * factor for each in weighted] if total > 0.0 else activity.ran
    return ours, [sum(kind) for kind in activity.cores]
