"""Learns idle power, activation power and watts per route, online, by a small regression on ticks.

    joules of a row ~ sum over routes(watts * running seconds) + other_watts * other seconds + P0*dT + Pact*dA

Recursive ridge regression with forgetting; each row is weighted by 1/dT, because the noise of a counter's difference
grows with the interval. Rows of one tick are merged up to ``row_seconds``. The result goes to the ledger as frozen
``Weights``: the only feedback in the house. Wrong weights misplace joules inside a tick and never break closure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greeninfer._account import Key
from greeninfer._ledger import Row
from greeninfer._records import Weights
from greeninfer._virtual_clocks import Floats

OWN_WEIGHTS = 32
"""Routes with a weight of their own, the busiest; the rest share one."""

ENOUGH_ROWS = 30
"""Rows before the regression is believed (attribution method, section 5)."""

_FORGETTING_SECONDS = 600.0
_RIDGE = 1e-6  # of the mean diagonal: enough to keep collinear columns finite
_LEAST_SHARE = 0.05  # no route is believed to draw less than this share of the hungriest one
_WORST_CONDITION = 1e10  # beyond this the columns say nothing; the last good weights stay
_OTHER, _IDLE, _ACTIVE, _SHARED = range(4)
_FIXED = 4  # columns that are always there; those of routes follow


@dataclass(slots=True)
class _Sums:
    """What is kept per domain: the right-hand side and what tells the spread."""

    products: Floats
    lowest_watts: float = math.inf
    residuals: float = 0.0
    squares: float = 0.0
    noise: float = 0.0


class Calibration:
    """Learns the weights of one ledger's domains.

    Args:
        domains: ids.
        row_seconds: length of a row: 0.1 s on CPUs; 1 s on GPUs, whose counters sample part of the time.
        idle_watts: idle power of all domains together where the user knows it, else None.
    """

    def __init__(self, domains: Sequence[str], row_seconds: float = 0.1, idle_watts: float | None = None) -> None:
        self._row_seconds = row_seconds
        self._known_idle_watts = idle_watts
        self._columns: dict[Key, int] = {}
        self._ran: dict[Key, float] = {}  # running seconds by route, faded
        self._gram = np.zeros((_FIXED, _FIXED))
        self._sums = {domain: _Sums(np.zeros(_FIXED)) for domain in domains}
        self._pending: Row | None = None
        self._weight = 0.0  # rows in memory, faded
        self._rows = 0
        self.weights: Mapping[str, Weights] = {}

    def learn(self, row: Row) -> Mapping[str, Weights]:
        """Take a row; return the weights to settle the next tick with."""
        if len(row.joules) < len(self._sums) or row.seconds <= 0.0:
            return self.weights  # a domain is lost or the tick was dropped: nothing to learn from
        merged = _merge(self._pending, row)
        if merged.seconds < self._row_seconds:
            self._pending = merged
            if self._rows == 0:
                # Not kept: a short tick may show any power. It is better than nothing for the very first ticks.
                self.weights = {name: Weights(idle_watts=got / merged.seconds) for name, got in merged.joules.items()}
            return self.weights
        self._pending = None
        self._take(merged)
        self.weights = self._solve()
        return self.weights

    def _take(self, row: Row) -> None:
        """Fade what is known and add a row."""
        self._note_lowest(row)
        sample = self._sample(row)
        fade = self._fade(row)
        self._gram = self._gram * fade + np.outer(sample, sample) / row.seconds
        self._weight = self._weight * fade + 1.0
        self._rows += 1
        for domain, sums in self._sums.items():
            joules = row.joules[domain]
            sums.products = sums.products * fade + sample * (joules / row.seconds)
            weights = self.weights.get(domain)
            if weights is None or not weights.learned:
                continue
            missed = joules - float(sample @ self._coefficients(weights, len(sample)))
            sums.residuals = sums.residuals * fade + missed * missed
            sums.squares = sums.squares * fade + row.squares.get(domain, 0.0)
            sums.noise = sums.noise * fade + missed * missed / row.seconds

    def _note_lowest(self, row: Row) -> None:
        for domain, sums in self._sums.items():
            sums.lowest_watts = min(sums.lowest_watts, row.joules[domain] / row.seconds)

    def _sample(self, row: Row) -> Floats:
        """Return a row's columns."""
        self._ran = {key: ran for key, faded in self._ran.items() if (ran := faded * self._fade(row)) > 1e-6}
        columns = [(self._column(key, ran), ran) for key, ran in row.ran.items()]
        sample = np.zeros(_FIXED + len(self._columns))
        sample[_OTHER], sample[_IDLE], sample[_ACTIVE] = row.other, row.seconds, row.active
        for column, ran in columns:
            sample[column] += ran
        return sample

    def _column(self, key: Key, ran: float) -> int:
        """Return a route's column: its own if it is among the busiest, else the shared one."""
        self._ran[key] = self._ran.get(key, 0.0) + ran
        if key not in self._columns:
            if len(self._columns) < OWN_WEIGHTS:
                self._columns[key] = _FIXED + len(self._columns)
                self._gram = np.pad(self._gram, (0, 1))
                for sums in self._sums.values():
                    sums.products = np.append(sums.products, 0.0)
            else:
                least = min(self._columns, key=lambda other: self._ran.get(other, 0.0))
                if self._ran[key] <= 2.0 * self._ran.get(least, 0.0):
                    return _SHARED
                self._columns[key] = self._share_column(self._columns.pop(least))
        return self._columns[key]

    def _share_column(self, column: int) -> int:
        """Merge a route's column into the shared one, as if it had never had its own; return the free column."""
        self._gram[_SHARED] += self._gram[column]
        self._gram[:, _SHARED] += self._gram[:, column]
        self._gram[column] = 0.0
        self._gram[:, column] = 0.0
        for sums in self._sums.values():
            sums.products[_SHARED] += sums.products[column]
            sums.products[column] = 0.0
        return column

    def _fade(self, row: Row) -> float:
        return math.exp(-row.seconds / _FORGETTING_SECONDS)

    def _coefficients(self, weights: Weights, count: int) -> Floats:
        values = np.zeros(count)
        values[_OTHER], values[_SHARED] = weights.other_watts, weights.shared_watts
        values[_IDLE], values[_ACTIVE] = weights.idle_watts, weights.active_watts
        for key, column in self._columns.items():
            if column < count:
                values[column] = weights.watts.get(key, weights.shared_watts)
        return values

    def _solve(self) -> dict[str, Weights]:
        """Return fresh weights, or the last good ones where the rows do not tell the columns apart."""
        if self._rows < ENOUGH_ROWS:
            return {domain: self._fallback(domain) for domain in self._sums}
        used = np.flatnonzero(np.diag(self._gram) > 0.0)
        gram = self._gram[np.ix_(used, used)]
        gram = gram + np.eye(len(used)) * (_RIDGE * float(np.trace(gram)) / len(used))
        if float(np.linalg.cond(gram)) > _WORST_CONDITION:
            return dict(self.weights)
        inverse: Floats = np.linalg.inv(gram).astype(np.float64)
        return {domain: self._fitted(domain, used, gram, inverse) for domain in self._sums}

    def _fitted(self, domain: str, used: npt.NDArray[np.intp], gram: Floats, inverse: Floats) -> Weights:
        sums = self._sums[domain]
        idle = int(np.searchsorted(used, _IDLE))
        fixed = {} if self._known_idle_watts is None else {idle: self._idle_share(domain)}
        fit = _not_negative(gram, sums.products[used], fixed)
        values = np.zeros(_FIXED + len(self._columns))
        values[used] = fit
        routes = values[_FIXED:]
        hungriest = max(float(routes.max(initial=0.0)), float(values[_SHARED]), 1e-9)
        least = _LEAST_SHARE * hungriest
        known = [max(float(value), least) for value in routes if value > 0.0]
        usual = sum(known) / len(known) if known else hungriest
        rows = max(self._weight - len(used), 1.0)
        variance = sums.noise / rows * float(inverse[idle, idle])
        return Weights(
            idle_watts=float(values[_IDLE]),
            active_watts=float(values[_ACTIVE]),
            watts={key: max(float(values[column]), least) for key, column in self._columns.items()},
            shared_watts=max(float(values[_SHARED]), least) if values[_SHARED] > 0.0 else usual,
            other_watts=max(float(values[_OTHER]), least) if values[_OTHER] > 0.0 else usual,
            sigma=math.sqrt(sums.residuals / sums.squares) if sums.squares > 0.0 else 0.0,
            sigma_idle_watts=math.sqrt(max(variance, 0.0)),
            learned=True,
        )

    def _fallback(self, domain: str) -> Weights:
        """Uniform weights, and the lowest power seen for idle: nothing is learned yet."""
        lowest = self._sums[domain].lowest_watts
        idle = self._idle_share(domain) if self._known_idle_watts is not None else lowest
        return Weights(idle_watts=idle if math.isfinite(idle) else 0.0, sigma_idle_watts=0.1 * idle)

    def _idle_share(self, domain: str) -> float:
        """Return a domain's part of the idle power that the user gave, in proportion to the lowest power seen."""
        lowest = {name: sums.lowest_watts for name, sums in self._sums.items()}
        total = sum(lowest.values())
        share = lowest[domain] / total if math.isfinite(total) and total > 0.0 else 1.0 / len(lowest)
        return (self._known_idle_watts or 0.0) * share


def _merge(first: Row | None, second: Row) -> Row:
    """Return two rows that follow each other as one."""
    if first is None:
        return second
    merged = Row(
        first.seconds + second.seconds, first.active + second.active, dict(first.ran), first.other + second.other
    )
    for key, ran in second.ran.items():
        merged.ran[key] = merged.ran.get(key, 0.0) + ran
    for domain, joules in second.joules.items():
        merged.joules[domain] = first.joules.get(domain, 0.0) + joules
        merged.squares[domain] = first.squares.get(domain, 0.0) + second.squares.get(domain, 0.0)
    return merged


def _not_negative(gram: Floats, products: Floats, fixed: dict[int, float]) -> Floats:
    """Solve the normal equations with every coefficient at 0 or above; ``fixed`` ones stay as given.

    A short active-set loop: what comes out negative is set to 0, the most negative first, and the rest solved again.
    """
    fixed = dict(fixed)
    while True:
        free = [column for column in range(len(products)) if column not in fixed]
        values = np.zeros(len(products))
        for column, value in fixed.items():
            values[column] = value
        if not free:
            return values
        target = (
            products[free] - gram[np.ix_(free, list(fixed))] @ np.array(list(fixed.values())) if fixed else products
        )
        values[free] = np.linalg.solve(gram[np.ix_(free, free)], target)
        worst = min(free, key=lambda column: float(values[column]))
        if values[worst] >= 0.0:
            return values
        fixed[worst] = 0.0
