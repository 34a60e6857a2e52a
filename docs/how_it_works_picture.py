"""Draws docs/how-it-works.svg: power over one tick, and who is charged for which part of it.

python docs/how_it_works_picture.py
"""

from __future__ import annotations

from pathlib import Path

IDLE, ACTIVE = 40.0, 15.0
HEAVY, CHEAP, GREY, INK = "#3b6fb6", "#e08a2e", "#d9d9d9", "#222222"
HEAVY_WATTS, CHEAP_WATTS = 22.0, 10.0
# (begin ms, end ms, what runs)
STEPS = [(0, 4, ""), (4, 7, "h"), (7, 10, "hc"), (10, 14, "h"), (14, 16, "hc"), (16, 20, "c"), (20, 24, "")]
LEFT, TOP, WIDE, HIGH = 70.0, 40.0, 620.0, 230.0


def x(milliseconds: float) -> float:
    return LEFT + WIDE * milliseconds / 24.0


def y(watts: float) -> float:
    return TOP + HIGH * (1.0 - watts / 100.0)


def box(begin: float, end: float, low: float, high: float, colour: str, pattern: str = "") -> str:
    fill = f"url(#{pattern})" if pattern else colour
    return f'<rect x="{x(begin):.1f}" y="{y(high):.1f}" width="{x(end) - x(begin):.1f}" height="{y(low) - y(high):.1f}" fill="{fill}"/>'


def text(at: float, height: float, words: str, anchor: str = "start", size: int = 13) -> str:
    return f'<text x="{at:.1f}" y="{height:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{INK}">{words}</text>'


def stack(begin: float, end: float, runs: str) -> list[str]:
    """Return the boxes of one step: static power in equal shares, then what each adds by itself."""
    if not runs:
        return [box(begin, end, 0, IDLE, GREY)]
    boxes, low, share = [], 0.0, (IDLE + ACTIVE) / len(runs)
    for one in runs:
        boxes.append(box(begin, end, low, low + share, "", f"static-{one}"))
        low += share
    for one in runs:
        watts = HEAVY_WATTS if one == "h" else CHEAP_WATTS
        boxes.append(box(begin, end, low, low + watts, HEAVY if one == "h" else CHEAP))
        low += watts
    return boxes


def stripes(name: str, colour: str) -> str:
    return (
        f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="6" height="6" fill="{colour}" opacity="0.35"/><rect width="2" height="6" fill="{colour}" opacity="0.6"/></pattern>'
    )


def lane(height: float, name: str, colour: str, open_: tuple[float, float], key: str) -> list[str]:
    """Return a request's lane: a thin line while it is open, a thick one while it runs."""
    begin, end = open_
    parts = [
        text(LEFT - 8, height + 5, name, "end"),
        f'<line x1="{x(begin):.1f}" x2="{x(end):.1f}" y1="{height}" y2="{height}" stroke="{colour}" stroke-width="2"/>',
    ]
    parts += [
        f'<line x1="{x(one):.1f}" x2="{x(two):.1f}" y1="{height}" y2="{height}" stroke="{colour}" stroke-width="11"/>'
        for one, two, runs in STEPS
        if key in runs
    ]
    return parts


def picture() -> str:
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 440" font-family="sans-serif">',
        '<rect width="760" height="440" fill="white"/>',
        f"<defs>{stripes('static-h', HEAVY)}{stripes('static-c', CHEAP)}</defs>",
        text(LEFT, 22, "Power in one tick, and who is charged for it", size=15),
    ]
    for begin, end, runs in STEPS:
        parts += stack(begin, end, runs)
    for watts in (0, 20, 40, 60, 80, 100):
        parts.append(text(LEFT - 8, y(watts) + 4, f"{watts} W", "end", 11))
    parts.append(f'<line x1="{LEFT}" x2="{LEFT + WIDE}" y1="{y(0)}" y2="{y(0)}" stroke="{INK}"/>')
    parts += lane(300.0, "heavy", HEAVY, (4, 16), "h")
    parts += lane(328.0, "cheap", CHEAP, (5, 20), "c")
    parts.append(text(LEFT, 356, "thin: open, waiting (free)    thick: running on a CPU", size=12))
    legend = [
        (GREY, "idle: nothing runs"),
        ("url(#static-h)", "static power, shared equally by whoever runs"),
        (HEAVY, "dynamic power of the heavy request"),
        (CHEAP, "dynamic power of the cheap request"),
    ]
    for row, (fill, words) in enumerate(legend):
        at, height = LEFT + 330.0 * (row % 2), 378.0 + 24.0 * (row // 2)
        parts.append(f'<rect x="{at}" y="{height}" width="16" height="14" fill="{fill}"/>')
        parts.append(text(at + 22, height + 12, words, size=12))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    Path(__file__).with_name("how-it-works.svg").write_text(picture(), encoding="utf-8")
