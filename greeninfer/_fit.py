"""The regression of one domain: sums that fade, solved with every coefficient at zero or above."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from greeninfer._virtual_clocks import Floats

OTHER, IDLE, ACTIVE, SHARED = range(4)
"""Columns that are always there; those of routes follow from ``FIXED`` on."""
FIXED = 4

ENOUGH_ROWS = 30
"""Rows before the regression is believed (docs/how-it-works.md)."""

_RIDGE = 1e-6  # of the mean diagonal: keeps collinear columns finite, and splits what they share evenly
_LEAST_SHARE = 0.05  # no route is believed to draw less than this share of the hungriest one
_LEAST_REST = 1e-9  # of the length of the rows that activity must leave unexplained for idle power to be told apart

# Idle power wanders with temperature, faster than the rows forget: by this share of itself per square root of a second.
_WANDER = 0.001
_LAG_SECONDS = 1e-3  # what a counter is late by, at most
_USUAL_SPREAD = 0.3  # relative, of dynamic joules about their fit


class Fit:
    """Learns one domain's coefficients, watts per column."""

    def __init__(self) -> None:
        self._gram = np.zeros((FIXED, FIXED))
        self._products = np.zeros(FIXED)
        self._values = np.zeros(FIXED)
        self._solved = False
        self._idle_known = False
        self._rows = 0
        self._weight = 0.0  # rows in memory, faded
        self._noise = 0.0  # of rows since the first solution, and how many those are, faded
        self._missed = 0.0
        self._residuals = 0.0
        self._squares = 0.0
        self._sigma_idle = 0.0
        self._wandered = 0.0  # watts of idle power since the rows in memory, and the variance of that
        self._wander_variance = 0.0
        self.lowest_watts = math.inf

    @property
    def ready(self) -> bool:
        """Return whether there are rows enough to believe."""
        return self._rows >= ENOUGH_ROWS

    @property
    def solved(self) -> bool:
        """Return whether there is a solution."""
        return self._solved

    def add(self, sample: Floats, joules: float, seconds: float, squares: float, fade: float) -> None:
        """Take a row; ``squares`` is the sum over its requests of their squared dynamic joules."""
        short = len(sample) - len(self._products)
        if short > 0:
            self._gram = np.pad(self._gram, (0, short))
            self._products = np.pad(self._products, (0, short))
            self._values = np.pad(self._values, (0, short))
        if self._solved:
            missed = joules - float(sample @ self._values) - self._wandered * seconds
            self._follow_idle(missed, joules, seconds, squares)
            self._noise = self._noise * fade + missed * missed / seconds
            self._missed = self._missed * fade + 1.0
            self._residuals = self._residuals * fade + missed * missed
            self._squares = self._squares * fade + squares
        self._gram = self._gram * fade + np.outer(sample, sample) / seconds
        self._products = self._products * fade + sample * (joules / seconds)
        self._weight = self._weight * fade + 1.0
        self._rows += 1
        self.lowest_watts = min(self.lowest_watts, joules / seconds)

    def _follow_idle(self, missed: float, joules: float, seconds: float, squares: float) -> None:
        """Take what a row missed as a sign that idle power moved: a scalar Kalman filter on a random walk.

        The row's own doubt is what its counter and its requests explain, and no less than what rows usually miss.
        """
        if self._idle_known or seconds <= 0.0:
            return
        usual = self._noise / self._missed * seconds if self._missed else 0.0
        self._wander_variance += (_WANDER * float(self._values[IDLE])) ** 2 * seconds
        noise = max(usual, (_LAG_SECONDS * joules / seconds) ** 2 + _USUAL_SPREAD**2 * squares)
        doubt = self._wander_variance * seconds**2 + noise
        gain = self._wander_variance * seconds / doubt if doubt > 0.0 else 0.0
        self._wandered += gain * missed
        self._wander_variance *= 1.0 - gain * seconds

    def share(self, column: int) -> None:
        """Merge a route's column into the shared one, as if it had never had its own."""
        if column >= len(self._products):
            return
        self._gram[SHARED] += self._gram[column]
        self._gram[:, SHARED] += self._gram[:, column]
        self._gram[column] = self._gram[:, column] = 0.0
        self._products[SHARED] += self._products[column]
        self._products[column] = 0.0

    def solve(self, idle_watts: float | None) -> bool:
        """Solve; return False and keep the last solution where the rows cannot tell idle power from activity."""
        used = np.flatnonzero(np.diag(self._gram) > 0.0)
        if idle_watts is None and not self._tells_idle_apart(used):
            return False
        gram = self._gram[np.ix_(used, used)]
        gram = gram + np.eye(len(used)) * (_RIDGE * float(np.trace(gram)) / len(used))
        idle = int(np.searchsorted(used, IDLE))
        self._values = np.zeros(len(self._products))
        self._values[used] = not_negative(gram, self._products[used], {} if idle_watts is None else {idle: idle_watts})
        spare = max(self._weight - len(used), 1.0)
        # Requests share the sum of idle and activation power, which may be known well where neither is by itself.
        free = np.arange(len(used)) if idle_watts is None else np.delete(np.arange(len(used)), idle)
        static = np.flatnonzero(np.isin(used[free], (IDLE, ACTIVE)))
        variance = self._noise / spare * float(np.linalg.inv(gram[np.ix_(free, free)])[np.ix_(static, static)].sum())
        self._sigma_idle = math.sqrt(max(variance, 0.0))
        self._solved = True
        self._idle_known = idle_watts is not None
        return True

    def _tells_idle_apart(self, used: npt.NDArray[np.intp]) -> bool:
        """Return whether the length of the rows says anything that their activity does not.

        Under a load that never changes, the same watts may be idle power or the work's: any split would be invented.
        (Activation power is left out: told apart or not, it is shared out in the same way as idle power.)
        """
        others = [column for column in used if column not in (IDLE, ACTIVE)]
        if not others:
            return True
        between = self._gram[IDLE, others]
        explained = float(between @ np.linalg.pinv(self._gram[np.ix_(others, others)], rcond=1e-12) @ between)
        return 1.0 - explained / float(self._gram[IDLE, IDLE]) > _LEAST_REST

    def coefficient(self, column: int) -> float:
        """Return a column's watts as solved."""
        if column == IDLE:
            return max(0.0, float(self._values[IDLE]) + self._wandered)
        return float(self._values[column]) if column < len(self._values) else 0.0

    @property
    def hungriest(self) -> float:
        """Return the watts of the route that draws most."""
        return max(float(self._values[FIXED:].max(initial=0.0)), self.coefficient(SHARED), 1e-9)

    def watts(self, column: int) -> float:
        """Return a route's watts, believed to be no less than a twentieth of the hungriest one's."""
        return max(self.coefficient(column), _LEAST_SHARE * self.hungriest)

    @property
    def spread(self) -> float:
        """Return the relative spread of power inside a route, 1 at most (docs/how-it-works.md).

        More than that is no spread of power but a fit that explains nothing, as on a machine that others keep full.
        """
        return min(1.0, math.sqrt(self._residuals / self._squares)) if self._squares > 0.0 else 0.0

    @property
    def sigma_idle_watts(self) -> float:
        """Return the standard error of idle power."""
        return self._sigma_idle


def not_negative(gram: Floats, products: Floats, fixed: dict[int, float]) -> Floats:
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
        target = products - gram @ values
        values[free] = np.linalg.solve(gram[np.ix_(free, free)], target[free])
        worst = min(free, key=lambda column: float(values[column]))
        if values[worst] >= 0.0:
            return values
        fixed[worst] = 0.0
