"""Figures and names as a person reads them, in a column of text."""

from __future__ import annotations

import math
import unicodedata

from greeninfer.top._latency import Quantile

UNKNOWN = "-"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with some significant digits, or a dash; an exponent only where it would be long without."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def count(value: float | None) -> str:
    """Return a whole number, or a dash."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """Return a share of 1 as a percentage without its sign, or a dash."""
    return UNKNOWN if share is None else f"{100.0 * share:.1f}"


def milliseconds(quantile: Quantile | None) -> str:
    """Return a quantile in milliseconds, ``>`` before one that lies beyond the last bound, or a dash."""
    if quantile is None:
        return UNKNOWN
    return (">" if quantile.beyond else "") + number(1000.0 * quantile.seconds)


def estimated(figure: str, quality: str | None) -> str:
    """Return a figure of joules or watts with ``~`` before it, unless it comes from a sensor."""
    return figure if figure == UNKNOWN or quality in ("measured", "shared") else f"~{figure}"


def clean(text: str) -> str:
    """Return a name from a page without what would move a terminal's cursor or colour its text."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes (Unicode Standard Annex 11)."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def shortened(text: str, columns: int) -> str:
    """Return a text that fits into so many columns; the middle is left out, for routes differ at both ends."""
    if width(text) <= columns:
        return text
    head, tail = "", ""
    while True:
        end = text[len(text) - len(tail) - 1] + tail
        start = head + text[len(head)]
        if len(tail) <= len(head) and width(head + end) < columns:
            tail = end
        elif width(start + tail) < columns:
            head = start
        else:
            return f"{head}…{tail}" if columns > 0 else ""
