"""A report as lines of text, each in pieces with a style: for a terminal with Rich, or plain."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from greeninfer.top._columns import Line, table
from greeninfer.top._numbers import clean, count, estimated, number, percent, width
from greeninfer.top._report import Report, sort
from greeninfer.top._rows import Row, worst

if TYPE_CHECKING:
    from rich.text import Text

_LABEL: Final = 10
_LINES: Final = {
    "attributed": "attributed to requests",
    "idle": "idle: no request ran",
    "other": "other: work outside requests",
    "unattributed": "unattributed",
}
_LEAST_ROWS: Final = 3


def lines_of(report: Report, *, by: str = "watts", columns: int | None = None, height: int | None = None) -> list[Line]:
    """Return the whole report in lines.

    Args:
        report: what to show.
        by: what its rows are sorted by.
        columns: how wide a line may be; None for as wide as it is.
        height: how many lines may be there; rows that do not fit are left out and counted. None for all.
    """
    below = [*_books(report), *_rest(report, columns), *_legend(report, columns)]
    top = _state(report, columns)
    rows = sort(report.rows, by)
    shown = rows
    if height is not None:
        room = max(_LEAST_ROWS, height - len(below) - len(top) - 3)
        shown = rows if len(rows) <= room else rows[: room - 1]
    middle = table(shown, columns) if shown else []
    if len(shown) < len(rows):
        middle.append(_left_out(rows[len(shown) :]))
    return [*top, *middle, *([_blank()] if middle else []), *below]


def plain(lines: Sequence[Line]) -> str:
    """Return lines as text."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def rich_text(lines: Sequence[Line]) -> Text:
    """Return lines as Rich shows them."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop")
    for place, line in enumerate(lines):
        text.append("\n" if place else "")
        for piece, style in line:
            text.append(piece, style or None)
    return text


def _state(report: Report, columns: int | None) -> list[Line]:
    """Say what cannot be shown, and why."""
    said = []
    if report.restarted:
        said.append(
            ("The service has started anew: what happens in a second is known from the next look on.", "yellow")
        )
    if not report.rows:
        said.append(("No request yet.", "yellow"))
    if not report.lines:
        said.append(
            ("No joules on this page: no meter has counted any yet. On the service's machine, greeninfer doctor tells "
             "which meters work, and the line that mends the others.", "yellow")
        )  # fmt: skip
    return [line for text, style in said for line in wrapped(text, columns, style)] + ([_blank()] if said else [])


def _left_out(rows: Sequence[Row]) -> Line:
    watts = [row.watts for row in rows if row.watts is not None]
    quality = worst([row.quality for row in rows if row.quality])
    total = f", {estimated(number(sum(watts)), quality)} W together" if watts else ""
    return [(f"... and {len(rows)} more{total}", "dim")]


def _books(report: Report) -> list[Line]:
    """Return the four lines with their sum, and why joules are unattributed."""
    if not report.lines:
        return []
    quality = worst(report.qualities)
    cells = [("where the joules go", "watts", "share %", "joules so far")]
    for line in report.lines:
        watts, joules = estimated(number(line.watts), quality), estimated(_joules(line.joules), quality)
        cells.append((_LINES[line.state], watts, percent(line.share), joules))
    known = [line.watts for line in report.lines if line.watts is not None]
    watts = estimated(number(sum(known) if known else None), quality)
    joules = estimated(_joules(sum(line.joules for line in report.lines)), quality)
    cells.append(("all four together", watts, "", joules))
    names, *rooms = (max(len(row[place]) for row in cells) for place in range(4))
    lines: list[Line] = []
    for place, (name, *figures) in enumerate(cells):
        row = [name.ljust(names), *(each.rjust(room) for each, room in zip(figures, rooms, strict=True))]
        lines.append([("  ".join(row), "bold" if place in (0, len(cells) - 1) else "")])
    return [*lines, _blank()]


def _rest(report: Report, columns: int | None) -> list[Line]:
    """Return what else the page tells, in one paragraph for each kind."""
    poor = {
        domain for meter in report.meters if meter.quality not in ("measured", "shared") for domain in meter.domains
    }
    power = [
        f"{clean(domain)} "
        + ("not known" if watts is None else f"{estimated(number(watts), _quality(domain, poor))} W")
        for domain, watts in report.power.items()
    ]
    meters = [
        f"{clean(each.meter)} {_loud(clean(each.quality))}, new figures {_pace(each.period_seconds)}: "
        + " ".join(map(clean, each.domains))
        for each in report.meters
    ]
    quality = worst(report.qualities)
    reasons = [
        f"{clean(each.reason)} {estimated(number(each.joules), quality)} J unattributed"
        + (f" ({estimated(number(each.watts), quality)} W now)" if each.watts else "")
        for each in report.reasons
    ]
    failures = [
        f"{clean(each.meter)} {clean(each.reason)} {count(each.count)}"
        + (f" ({count(each.lately)} since the last look)" if each.lately else "")
        for each in report.failures
    ]
    return [
        *_paragraph(
            "power now", power or ["not on this page (of several processes on a machine, one tells it)"], columns
        ),
        *_paragraph("meters", meters or ["not known"], columns),
        *(_paragraph("reasons", reasons, columns) if reasons else []),
        *(_paragraph("failures", failures, columns, "red") if failures else []),
        *_paragraph("measuring", _overhead(report), columns),
    ]


def _overhead(report: Report) -> list[str]:
    if report.overhead_cpu_seconds is None:
        return ["costs: not known"]
    said = [f"{number(report.overhead_cpu_seconds)} CPU seconds so far"]
    if report.overhead_cores is not None:
        said.insert(0, f"takes {percent(report.overhead_cores)} % of a core")
    if report.overhead_per_request is not None:
        said.insert(1, f"{number(1e6 * report.overhead_per_request)} us a request")
    return said


def _legend(report: Report, columns: int | None) -> list[Line]:
    """Say what the figures are."""
    said = []
    if report.rows:
        said.append(
            "J per request: own joules, without measured parts inside it. p50, p95: interpolated between the bounds of "
            "a histogram's buckets. In flight: of a name, all models. - not known, or no request."
        )
    if report.qualities - {"measured", "shared"}:
        said.append("~ ESTIMATED by a power model, not measured.")
    if "shared" in report.qualities:
        said.append("shared: measured, and divided among the processes that measure this machine.")
    return [line for text in said for line in wrapped(text, columns, "yellow" if text.startswith("~") else "dim")]


def _quality(domain: str, poor: set[str]) -> str | None:
    return None if domain in poor else "measured"


def _loud(quality: str) -> str:
    return quality if quality in ("measured", "shared") else quality.upper()


def _pace(period_seconds: str) -> str:
    return "at each read" if period_seconds == "0" else f"every {clean(period_seconds)} s"


def _joules(joules: float) -> str:
    return f"{joules:,.1f}" if joules >= 100.0 else number(joules)


def _paragraph(label: str, parts: Sequence[str], columns: int | None, style: str = "") -> list[Line]:
    lines: list[Line] = []
    room = None if columns is None else max(20, columns - _LABEL)
    text = ""
    for part in parts:
        longer = f"{text}; {part}" if text else part
        if text and room is not None and width(longer) > room:
            lines.append([(" " * _LABEL, ""), (f"{text};", style)])
            longer = part
        text = longer
    lines.append([(" " * _LABEL, ""), (text, style)])
    lines[0][0] = (label.ljust(_LABEL), "bold")
    return lines


def wrapped(text: str, columns: int | None, style: str) -> list[Line]:
    """Return a sentence in lines of so many columns."""
    return [[(line, style)] for line in textwrap.wrap(text, columns or 10_000, break_on_hyphens=False)]


def _blank() -> Line:
    return [("", "")]
