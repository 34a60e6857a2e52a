"""Intervals for joules and seconds: where the same figure, measured again, would lie with 95 % probability.

Two measurements of the same thing differ by the noise of both, hence the factor of 2 in the variances. Energies are
ratios by nature (twice as much, a tenth), are skewed and lie near 0, so their noise is taken on the log scale, and an
interval of theirs never reaches below 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from greeninfer.bench._candidates import Figure
from greeninfer.bench._records import Results, Run

Z = 1.959964
"""97.5 % quantile of the normal distribution."""

_T = (math.inf, 12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
"""97.5 % quantiles of Student's t at 1 to 10 degrees of freedom; Abramowitz and Stegun, table 26.10."""

_PRIOR_FREEDOM = 2
"""How many degrees of freedom the usual spread of a model counts beside what is seen of one model (a judgement)."""


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t.

    Above 10 degrees of freedom by the expansion of Abramowitz and Stegun, 26.7.5, right to 4 decimals there.
    """
    if freedom < len(_T):
        return _T[max(0, freedom)]
    z = Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / float(freedom) ** (power + 1) for power, term in enumerate(terms))


def over_splits(values: Sequence[float]) -> Figure:
    """Return the mean over splits; with two and more, its interval: t(k-1) * sd * sqrt(2/k), on the log scale.

    Where a value is 0 or negative (idle-subtracted joules may be), it is taken as it is, and no interval of figures
    that are all 0 or more reaches below 0.
    """
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Figure(mean)
    return _around(mean, values, t_quantile(count - 1) * math.sqrt(2 / count))


def over_blocks(value: float, rates: Sequence[float]) -> Figure:
    """Return a figure of one run with an interval from the consecutive blocks of that run.

    Neighbouring blocks resemble each other, so they count for fewer: n (1 - r) / (1 + r), with r their correlation at
    lag 1, mended by (1 + 4 r) / n because a short series shows too little of it (Marriott and Pope, Biometrika 1954).
    Nothing here sees what changes between two runs: such an interval is a lower bound of the truth.
    """
    if len(rates) < 4:
        return Figure(value)
    free = _worth(np.asarray(rates, float))
    return _around(value, rates, t_quantile(max(1, math.floor(free) - 1)) * math.sqrt(2 / free))


def repeat_half(drawn: npt.NDArray[np.float64], freedom: int = 10_000) -> float:
    """Return half the width of the interval of a repeat, from draws of what a figure might have been."""
    return t_quantile(freedom) * math.sqrt(2) * float(np.std(drawn))


def log_spread(figure: Figure | None) -> float:
    """Return the standard deviation of a figure's logarithm that its interval stands for; 0 where it has none."""
    half = None if figure is None else _log_half(figure)
    return 0.0 if half is None else half / (Z * math.sqrt(2))


def ratio(over: Mapping[int, float], under: Mapping[int, float], value: float, widths: tuple[Figure, Figure]) -> Figure:
    """Return how many times one figure is another, ``value``, with an interval.

    From positive values of both by split; with two common splits and more, they are paired, which takes away what a
    split does to both. Else from ``widths``: both figures with intervals of their own.
    """
    common = sorted(over.keys() & under.keys())
    logs = [math.log(over[each] / under[each]) for each in common if over[each] > 0.0 and under[each] > 0.0]
    if len(logs) >= 2:
        half = t_quantile(len(logs) - 1) * math.sqrt(2 / len(logs)) * float(np.std(logs, ddof=1))
        return Figure(value, value * math.exp(-half), value * math.exp(half))
    halves = [_log_half(each) for each in widths]
    if None in halves:
        return Figure(value)
    half = math.hypot(*(each for each in halves if each is not None))
    return Figure(value, value * math.exp(-half), value * math.exp(half))


def cell_intervals(results: Results) -> Mapping[str, Figure]:
    """Return gross joules per request of every cell, with the interval in which a second run of that cell would lie.

    The spread is that of the cell's model over its splits, drawn a little towards the usual spread of a model (the
    geometric mean of all, which counts for 2 degrees of freedom): few splits say little of one model, and models
    differ. What splits differ in (their texts) is in the spread and would not change in a second run, so the interval
    is rather too wide. It has no bounds where no model has two splits.
    """
    groups: dict[tuple[str, str, str, str, int], dict[str, float]] = {}
    for run in results.runs:
        joules = run.joules_per_item
        if run.status == "ok" and joules is not None and joules > 0.0:
            groups.setdefault(_kin(run), {})[run.cell.id] = joules
    squares = {kin: _squares(list(each.values())) for kin, each in groups.items()}
    spreads = [square / (len(groups[kin]) - 1) for kin, square in squares.items() if square > 0.0]
    usual = math.exp(sum(map(math.log, spreads)) / len(spreads)) if spreads else None
    found: dict[str, Figure] = {}
    for kin, cells in groups.items():
        free = len(cells) - 1 + _PRIOR_FREEDOM
        for name, joules in cells.items():
            if usual is None:
                found[name] = Figure(joules)
                continue
            half = t_quantile(free) * math.sqrt(2 * (squares[kin] + _PRIOR_FREEDOM * usual) / free)
            found[name] = Figure(joules, joules * math.exp(-half), joules * math.exp(half))
    return found


def relative_spread(values: Sequence[float]) -> float | None:
    """Return the standard deviation over the mean; None for fewer than two values or a mean of 0 and less."""
    if len(values) < 2 or float(np.mean(values)) <= 0.0:
        return None
    return float(np.std(values, ddof=1) / np.mean(values))


def block_rates(run: Run, amounts: Sequence[float]) -> list[float]:
    """Return what each block of a run took per request; empty where the blocks do not have it."""
    if len(amounts) != len(run.block_items):
        return []
    return [amount / items for amount, items in zip(amounts, run.block_items, strict=True) if items]


def _kin(run: Run) -> tuple[str, str, str, str, int]:
    return run.machine, run.cell.dataset, run.cell.model, run.cell.device, run.cell.batch_size


def _squares(values: Sequence[float]) -> float:
    logs = np.log(values)
    return float(np.sum((logs - logs.mean()) ** 2))


def _around(value: float, values: Sequence[float], width: float) -> Figure:
    if value > 0.0 and min(values) > 0.0:
        # Past e^50 no double is of use; such an interval says that nothing is known, and says it with a number.
        half = min(50.0, width * float(np.std(np.log(values), ddof=1)))
        return Figure(value, value * math.exp(-half), value * math.exp(half))
    half = width * float(np.std(values, ddof=1))
    low = value - half
    return Figure(value, low if min(values) < 0.0 else max(0.0, low), value + half)


def _worth(rates: npt.NDArray[np.float64]) -> float:
    count = len(rates)
    around = rates - rates.mean()
    total = float(np.sum(around**2))
    if total == 0.0:
        return float(count)
    seen = float(np.sum(around[1:] * around[:-1])) / total
    lag = min(0.95, max(0.0, seen + (1 + 4 * max(0.0, seen)) / count))
    return max(2.0, count * (1 - lag) / (1 + lag))


def _log_half(figure: Figure) -> float | None:
    if figure.low is None or figure.high is None or figure.low <= 0.0:
        return None
    return math.log(figure.high / figure.low) / 2
