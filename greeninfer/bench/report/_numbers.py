"""Figures as people read them: three significant digits, an SI prefix, and a dash for what is not known."""

from __future__ import annotations

import math

from greeninfer.bench._candidates import Figure

MISSING = "–"
JOULES_PER_WATT_HOUR = 3600.0
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def significant(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits and no exponent."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0.0:
        return "0"
    value = float(f"{value:.{digits - 1}e}")  # first, so that 99.96 gets the places of 100
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, places)}f}"


def si(value: float | None, unit: str) -> str:
    """Return a value with the SI prefix that leaves one to three digits before the point."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0.0:
        return f"0 {unit}"
    rounded = abs(float(f"{value:.2e}"))
    scale, prefix = next((each for each in _PREFIXES if rounded >= each[0]), _PREFIXES[-1])
    return f"{significant(value / scale)} {prefix}{unit}"


def between(figure: Figure | None, unit: str, times: float = 1.0) -> str:
    """Return a figure in its unit with its interval, both with one prefix."""
    if figure is None:
        return MISSING
    value = figure.value * times
    told = si(value, unit)
    if figure.low is None or figure.high is None or told == MISSING or value == 0.0:
        return told
    scale = next((each for each, _ in _PREFIXES if abs(float(f"{value:.2e}")) >= each), _PREFIXES[-1][0])
    return f"{told} [{significant(figure.low * times / scale)}–{significant(figure.high * times / scale)}]"


def share(figure: Figure | None) -> str:
    """Return an accuracy with three decimals and its interval."""
    if figure is None or not math.isfinite(figure.value):
        return MISSING
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}–{figure.high:.3f}]"


def percent(value: float | None) -> str:
    """Return a share as a percentage; what is small but not zero does not become 0."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0.0:
        return "0 %"
    return f"{100.0 * value:.1f} %" if value >= 0.0005 else "<0.1 %"


def times(value: float | None) -> str:
    """Return a multiple, such as "3.4×"."""
    return MISSING if value is None else f"{significant(value, 2 if value < 100.0 else 3)}×"
