"""Learns idle power, activation power and watts per route, online, by a small regression on ticks.

    joules of a row ~ sum over routes(watts * running seconds) + other_watts * other seconds + P0*dT + Pact*dA

Recursive ridge regression with forgetting; each row is weighted by 1/dT, because the noise of a counter's difference
grows with the interval. Rows of one tick are merged up to ``row_seconds``. The result goes to the ledger as frozen
``Weights``: the only feedback in the house. Wrong weights misplace joules inside a tick and never break closure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from greeninfer._account import Key
from greeninfer._fit import ACTIVE, FIXED, IDLE, OTHER, SHARED, Fit
from greeninfer._records import Row, Weights
from greeninfer._virtual_clocks import Floats

OWN_WEIGHTS = 32
"""Routes with a weight of their own, the busiest; the rest share one."""

_FORGETTING_SECONDS = 600.0
# Each row counts at once, but solving costs as much as a tick: it is done again when there are 2 % more of them.
_SOLVE_SECONDS = (0.1, 1.0)  # between two solutions, at least and at most
_SOLVE_PART = 0.02


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
        self._fits = {domain: Fit() for domain in domains}
        self._pending: Row | None = None
        self._since_solved = 0.0
        self._seconds = 0.0  # of all rows
        self.weights: Mapping[str, Weights] = {}

    @property
    def learned(self) -> bool:
        """Return whether the regression is believed, for any of the domains."""
        return any(weights.learned for weights in self.weights.values())

    def learn(self, row: Row) -> Mapping[str, Weights]:
        """Take a row; return the weights to settle the next tick with.

        A domain without joules in the row is lost for now; the others go on learning.
        """
        if row.seconds <= 0.0 or not row.joules:
            self._pending = None
            return self.weights
        if self._pending is not None and self._pending.joules.keys() == row.joules.keys():
            row = _merged(self._pending, row)
        self._pending = row if row.seconds < self._row_seconds else None
        if self._pending is None:
            self._take(row)
        elif not self.weights:
            # Of the very first ticks only: a short one may show any power, so it is not remembered.
            self.weights = {
                domain: self._fallback(domain, joules / row.seconds) for domain, joules in row.joules.items()
            }
        return self.weights

    def _take(self, row: Row) -> None:
        """Fade what is known, add a row and solve again."""
        fade = math.exp(-row.seconds / _FORGETTING_SECONDS)
        sample = self._sample(row, fade)
        weights = dict(self.weights)
        self._since_solved += row.seconds
        self._seconds += row.seconds
        least, most = _SOLVE_SECONDS
        after = min(most, max(least, _SOLVE_PART * self._seconds))
        due = self._since_solved >= after - 1e-9 or not any(each.learned for each in weights.values())
        if due:
            self._since_solved = 0.0
        for domain, joules in row.joules.items():
            fit = self._fits[domain]
            fit.add(sample, joules, row.seconds, row.squares.get(domain, 0.0), fade)
        for domain in row.joules:
            fit = self._fits[domain]
            known = None if self._known_idle_watts is None else self._idle_share(domain)
            if not fit.ready:
                weights[domain] = self._fallback(domain, fit.lowest_watts)
            elif (fit.solved and not due) or fit.solve(known):
                weights[domain] = self._learned(fit)
        self.weights = weights

    def _sample(self, row: Row, fade: float) -> Floats:
        """Return a row's columns."""
        self._ran = {key: ran for key, faded in self._ran.items() if (ran := faded * fade) > 1e-6}
        columns = [(self._column(key, ran), ran) for key, ran in row.ran.items()]
        sample = np.zeros(FIXED + len(self._columns))
        sample[OTHER], sample[IDLE], sample[ACTIVE] = row.other, row.seconds, row.active
        for column, ran in columns:
            sample[column] += ran
        return sample

    def _column(self, key: Key, ran: float) -> int:
        """Return a route's column: its own if it is among the busiest, else the shared one."""
        self._ran[key] = self._ran.get(key, 0.0) + ran
        if key in self._columns:
            return self._columns[key]
        if len(self._columns) < OWN_WEIGHTS:
            self._columns[key] = FIXED + len(self._columns)
            return self._columns[key]
        least = min(self._columns, key=lambda other: self._ran.get(other, 0.0))
        if self._ran[key] <= 2.0 * self._ran.get(least, 0.0):
            return SHARED
        column = self._columns[key] = self._columns.pop(least)
        for fit in self._fits.values():
            fit.share(column)
        return column

    def _learned(self, fit: Fit) -> Weights:
        routes = [fit.watts(column) for column in self._columns.values() if fit.coefficient(column) > 0.0]
        usual = sum(routes) / len(routes) if routes else fit.hungriest
        return Weights(
            idle_watts=fit.coefficient(IDLE),
            active_watts=fit.coefficient(ACTIVE),
            watts={key: fit.watts(column) for key, column in self._columns.items()},
            shared_watts=fit.watts(SHARED) if fit.coefficient(SHARED) > 0.0 else usual,
            other_watts=fit.watts(OTHER) if fit.coefficient(OTHER) > 0.0 else usual,
            sigma=fit.spread,
            sigma_idle_watts=fit.sigma_idle_watts,
            learned=True,
        )

    def _fallback(self, domain: str, lowest_watts: float) -> Weights:
        """Return uniform weights, and the lowest power seen for idle: nothing is learned yet."""
        idle = lowest_watts if self._known_idle_watts is None else self._idle_share(domain)
        return Weights(idle_watts=idle, sigma_idle_watts=0.1 * idle)

    def _idle_share(self, domain: str) -> float:
        """Return a domain's part of the idle power that the user gave, in proportion to the lowest power seen."""
        seen = {name: fit.lowest_watts for name, fit in self._fits.items() if math.isfinite(fit.lowest_watts)}
        total = sum(seen.values())
        share = seen[domain] / total if domain in seen and total > 0.0 else 1.0 / len(self._fits)
        return (self._known_idle_watts or 0.0) * share


def _merged(first: Row, second: Row) -> Row:
    """Return two rows that follow each other as one."""
    seconds, active = first.seconds + second.seconds, first.active + second.active
    merged = Row(seconds, active, dict(first.ran), first.other + second.other)
    for key, ran in second.ran.items():
        merged.ran[key] = merged.ran.get(key, 0.0) + ran
    for domain, joules in second.joules.items():
        merged.joules[domain] = first.joules[domain] + joules
        merged.squares[domain] = first.squares.get(domain, 0.0) + second.squares.get(domain, 0.0)
    return merged
