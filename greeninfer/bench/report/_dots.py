"""A dot plot as SVG: a row for each model, a colour for each phase or machine, joules on a logarithmic axis."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

from greeninfer.bench.report._plot import log_ticks, text, tick

WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _FOOT = 860, 210, 24, 12, 26, 48
_NAME = 28


@dataclass(frozen=True, slots=True)
class Dot:
    """One mark: joules above 0."""

    series: int
    joules: float
    tip: str


@dataclass(frozen=True, slots=True)
class Dots:
    """Rows of marks; ``legend`` names the series."""

    title: str
    x_title: str
    rows: tuple[tuple[str, tuple[Dot, ...]], ...]
    legend: tuple[str, ...]


def draw_dots(plot: Dots) -> str:
    """Return the plot as an SVG element, every text escaped."""
    values = [dot.joules for _, dots in plot.rows for dot in dots]
    low, high = min(values) / 1.6, max(values) * 1.6
    foot = _TOP + _ROW * len(plot.rows)

    def at_x(value: float) -> float:
        return _LEFT + math.log(value / low) / math.log(high / low) * (WIDTH - _LEFT - _RIGHT)

    height = foot + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{html.escape(plot.title)}">',
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
    ]
    for value in log_ticks(low, high):
        parts.append(f'<line class="grid" x1="{at_x(value):.1f}" x2="{at_x(value):.1f}" y1="{_TOP}" y2="{foot}"/>')
        parts.append(text(at_x(value), foot + 18, tick(value, "J"), "soft", "middle"))
    for index, (name, dots) in enumerate(plot.rows):
        y = _TOP + _ROW * (index + 0.5)
        told = name if len(name) <= _NAME else name[: _NAME - 1] + "…"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(_LEFT - 10, y + 4, told, "name", "end"))
        parts += [
            f'<g class="mark s{dot.series % 7}" data-series="{dot.series}"><title>{html.escape(dot.tip)}</title>'
            f'<circle class="disc on-front" cx="{at_x(dot.joules):.1f}" cy="{y:.1f}" r="5.5"/></g>'
            for dot in dots
        ]
    parts.append(text((_LEFT + WIDTH - _RIGHT) / 2, height - 8, plot.x_title, "", "middle"))
    return "\n".join(parts) + "\n</svg>"
