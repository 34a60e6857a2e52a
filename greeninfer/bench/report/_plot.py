"""A scatter plot as SVG, drawn here: no script library of a megabyte in every page, and every text escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from greeninfer.bench.report._numbers import si

WIDTH, HEIGHT = 860, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 34, 52
_MOST_LABELS = 24
COLOURS = {"ink": "#1c2321", "soft": "#5f6b67", "grid": "#dfe5e2", "paper": "#ffffff", "series": ("#00755e", "#b35900",
           "#5a4fcf", "#b3215e", "#2874a6", "#7a6a00", "#4d4d4d")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """One mark: x above 0 (the axis is logarithmic), intervals where they are known."""

    name: str
    series: int
    x: float
    y: float
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    shape: Literal["disc", "diamond"] = "disc"
    front: bool = False
    tip: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """Marks on axes.

    Args:
        x_title, y_title, x_unit, y_unit: of the axes.
        log_y: y is logarithmic as well, and has SI prefixes; else it is a share from 0 to 1.
        rules: heights of horizontal lines, with their names.
        lines: paths through (x, y), such as the front.
    """

    title: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]
    x_unit: str = "J"
    y_unit: str = ""
    log_y: bool = False
    rules: tuple[tuple[str, float], ...] = ()
    lines: tuple[tuple[tuple[float, float], ...], ...] = ()


def stepped(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Return the staircase below which nothing is: right first, then up."""
    ordered, path = sorted(points), []
    for index, (x, y) in enumerate(ordered):
        if index:
            path.append((x, ordered[index - 1][1]))
        path.append((x, y))
    return tuple(path)


def draw(plot: Plot, style: str = "") -> str:
    """Return the plot as an SVG element; ``style`` goes into it, for a picture that stands alone."""
    xs = [value for each in plot.points for value in (each.x, *(each.x_range or ())) if value > 0.0]
    ys = [value for each in plot.points for value in (each.y, *(each.y_range or ()))] + [y for _, y in plot.rules]
    low_x, high_x = _decades(xs)
    low_y, high_y = _decades(ys) if plot.log_y else (max(0.0, math.floor(min(ys) * 20 - 0.5) / 20),
                                                     min(1.0, math.ceil(max(ys) * 20 + 0.5) / 20))  # fmt: skip

    def at_x(value: float) -> float:
        part = math.log(max(value, low_x) / low_x) / math.log(high_x / low_x)
        return _LEFT + part * (WIDTH - _LEFT - _RIGHT)

    def at_y(value: float) -> float:
        part = math.log(max(value, low_y) / low_y) / math.log(high_y / low_y) if plot.log_y else (
            (value - low_y) / (high_y - low_y))  # fmt: skip
        return HEIGHT - _BOTTOM - part * (HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(plot.title)}">',
        f"<style>{style}</style>" if style else "",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        *_axes(plot, (low_x, high_x), (low_y, high_y), at_x, at_y),
    ]
    for path in plot.lines:
        told = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in path)
        parts.append(f'<polyline class="front-line" points="{told}"/>')
    parts += [_mark(each, at_x, at_y) for each in plot.points]
    parts += _labels(plot.points, at_x, at_y)
    return "\n".join(part for part in parts if part) + "\n</svg>"


def standalone_style() -> str:
    """Return the style of a picture outside the page, in light colours."""
    series = "".join(f".s{n}{{color:{colour}}}" for n, colour in enumerate(_series()))
    return (
        f"text{{font:12px sans-serif;fill:{COLOURS['ink']}}}.paper{{fill:{COLOURS['paper']}}}.grid{{stroke:"
        f"{COLOURS['grid']}}}.rule{{stroke:{COLOURS['soft']};stroke-dasharray:5 4}}.front-line{{fill:none;stroke:"
        f"{COLOURS['soft']};stroke-width:1.5}}.whisker{{stroke:currentColor;stroke-opacity:.55;stroke-width:1.5}}"
        f".disc{{fill:{COLOURS['paper']};stroke:currentColor;stroke-width:2}}.on-front{{fill:currentColor}}"
        f".soft{{fill:{COLOURS['soft']}}}{series}"
    )


def _series() -> tuple[str, ...]:
    return tuple(COLOURS["series"])


def _decades(values: Sequence[float]) -> tuple[float, float]:
    known = [value for value in values if value > 0.0] or [1.0]
    return min(known) / 1.6, max(known) * 2.2


def _axes(
    plot: Plot, x: tuple[float, float], y: tuple[float, float], at_x: Callable[[float], float],
    at_y: Callable[[float], float],
) -> list[str]:  # fmt: skip
    right, foot = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for value in log_ticks(*x):
        parts.append(f'<line class="grid" x1="{at_x(value):.1f}" x2="{at_x(value):.1f}" y1="{_TOP}" y2="{foot}"/>')
        parts.append(text(at_x(value), foot + 18, tick(value, plot.x_unit), "soft", "middle"))
    for value in log_ticks(*y) if plot.log_y else _share_ticks(*y):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at_y(value):.1f}" y2="{at_y(value):.1f}"/>')
        told = tick(value, plot.y_unit) if plot.log_y else f"{value:.2f}"
        parts.append(text(_LEFT - 8, at_y(value) + 4, told, "soft", "end"))
    for name, height in plot.rules:
        told = f'y1="{at_y(height):.1f}" y2="{at_y(height):.1f}"'
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{right}" {told}/>')
        parts.append(text(right, at_y(height) - 5, name, "soft", "end"))
    parts.append(text((_LEFT + right) / 2, HEIGHT - 10, plot.x_title, "", "middle"))
    parts.append(text(_LEFT - 56, 13, plot.y_title, "", "start"))
    return parts


def tick(value: float, unit: str) -> str:
    """Return what stands at a tick."""
    number, prefixed = si(value, unit).split(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {prefixed}"


def log_ticks(low: float, high: float) -> list[float]:
    """Return at most some eight round values between two."""
    wide = math.log10(high / low)
    factors = (1,) if wide > 2.5 else (1, 3) if wide > 1.2 else (1, 2, 5)
    span = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in span for factor in factors if low <= factor * 10.0**power <= high]
    return ticks[:: max(1, len(ticks) // 7)]


def _share_ticks(low: float, high: float) -> list[float]:
    step = 0.05 if high - low <= 0.35 else 0.1
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _mark(point: Point, at_x: Callable[[float], float], at_y: Callable[[float], float]) -> str:
    x, y, parts = at_x(point.x), at_y(point.y), []
    if point.x_range:
        low, high = (at_x(value) for value in point.x_range)
        parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
    if point.y_range:
        low, high = (at_y(value) for value in point.y_range)
        parts.append(f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
    kind = "disc on-front" if point.front else "disc"
    if point.shape == "disc":
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>')
    else:
        corners = f"{x:.1f},{y - 6.5:.1f} {x + 6.5:.1f},{y:.1f} {x:.1f},{y + 6.5:.1f} {x - 6.5:.1f},{y:.1f}"
        parts.append(f'<polygon class="{kind}" points="{corners}"/>')
    series = point.series % len(_series())
    tip = html.escape(point.tip or point.name)
    return f'<g class="mark s{series}" data-series="{point.series}"><title>{tip}</title>{"".join(parts)}</g>'


def _labels(points: Sequence[Point], at_x: Callable[[float], float], at_y: Callable[[float], float]) -> list[str]:
    """Name the marks where there is room, those on the front first; a name without room is in tip and table only."""
    taken = [(at_x(each.x) - 6, at_y(each.y) - 6, at_x(each.x) + 6, at_y(each.y) + 6) for each in points]
    taken += [
        (at_x(each.x) - 2, at_y(each.y_range[1]), at_x(each.x) + 2, at_y(each.y_range[0]))
        for each in points
        if each.y_range
    ]
    parts = []
    for each in sorted(points, key=lambda each: (not each.front, each.shape != "disc"))[:_MOST_LABELS]:
        name = each.name if len(each.name) <= 30 else each.name[:29] + "…"
        x, y, wide = at_x(each.x), at_y(each.y), 7.0 * len(name)
        spots = [(x + 9, y + 17), (x + 9, y - 8), (x - 9 - wide, y - 8), (x - 9 - wide, y + 17)]
        if each.front and each.shape == "disc":  # every model on the front has its name, if need be at a distance
            spots += [(x + side, y + away) for far in range(30, 330, 15) for away in (far, -far)
                      for side in (14, -14 - wide)]  # fmt: skip
        for left, base in spots:
            box = (left, base - 10, left + wide, base + 3)
            inside = box[0] > _LEFT and box[2] < WIDTH - 2 and box[1] > _TOP - 6 and box[3] < HEIGHT - _BOTTOM
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                if abs(base - y) > 20:
                    parts.append(f'<line class="grid" x1="{x:.1f}" y1="{y:.1f}" x2="{left:.1f}" y2="{base - 4:.1f}"/>')
                parts.append(text(left, base, name, "name", "start"))
                break
    return parts


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def text(x: float, y: float, told: str, kind: str, anchor: str) -> str:
    """Return a text element, escaped."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(told)}</text>'
