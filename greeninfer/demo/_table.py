"""The demo's tables and books, rendered from plain data: aligned text for everybody, Rich for a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from greeninfer._records import NANO
from greeninfer.demo._books import Totals
from greeninfer.demo._report import Report
from greeninfer.demo._rows import Row, ServingRow, mean_joules
from greeninfer.demo._sentences import number

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 80
_HEAD = (
    ("", "model"),
    ("", "requests"),
    ("right", "%"),
    ("joules per", "request"),
    ("J per", "1,000"),
    ("times the", "cheapest"),
    ("p50", "ms"),
    ("p95", "ms"),
)
_SERVING_HEAD = (
    ("what serving itself costs", "route"),
    ("", ""),
    ("HTTP", "requests"),
    ("joules per", "request"),
    ("J per", "1,000"),
    ("CPU", "ms"),
)
_BOOKS_HEAD = ("where the joules went", "joules", "share")
_STATES = (
    ("attributed", "attributed to requests"),
    ("idle", "idle: no request ran"),
    ("other", "other: work outside requests"),
    ("unattributed", "unattributed"),
)


def plain_report(report: Report) -> str:
    """Return the whole report as aligned text, lines of about ``WIDTH`` columns."""
    books = _plain_books(report.totals) if report.totals.domains else _verdict(report.totals)
    parts = [_plain_table(report), _plain_serving(report.serving), books]
    parts += [textwrap.fill(sentence, WIDTH) for sentence in _notes(report)]
    return "\n\n".join(filter(None, parts))


def progress_line(report: Report) -> str:
    """Return one line: seconds, requests, joules by state of knowledge, mean joules of each model and of serving."""
    rows = [row for group in report.groups for row in group.rows]
    models = dict.fromkeys(row.model for row in rows)
    means = [(model, mean_joules([row for row in rows if row.model == model])) for model in models]
    known = [
        f"{what} {number(joules)}" for what, joules in (*means, ("serving", mean_joules(report.serving))) if joules
    ]
    return (
        f"{report.seconds:4.0f} s {sum(row.requests for row in rows):6,} requests {report.totals.metered / NANO:8.1f} J"
        f"{_knowledge(report.totals)}; J per request: {', '.join(known) or 'none settled yet'}"
    )


def rich_report(report: Report, status: str) -> RenderableType:
    """Return the live view for Rich, in 24 lines: a line of status, the table and the books."""
    from rich.console import Group as Stack
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for over, under in _HEAD:
        head = f"{over}\n{under}"
        table.add_column(head, justify="left" if under == "model" else "right", no_wrap=True)
    for group in report.groups:
        table.add_row(Text(group.title, style="bold cyan"))
        for row in group.rows:
            table.add_row(*_cells(row))
    table.add_row(Text("serving itself", style="bold cyan"), *_serving_cells(report.serving))
    books = Table(box=None, pad_edge=False, header_style="bold")
    for head in _BOOKS_HEAD:
        books.add_column(head, justify="left" if head == _BOOKS_HEAD[0] else "right", no_wrap=True)
    *lines, total, meters = _book_lines(report.totals)
    for line in lines:
        books.add_row(*line)
    books.add_row(*total, style="bold")
    books.add_row(*meters)
    verdict = Text(_verdict(report.totals), style="green" if report.totals.closed else "bold red")
    origins = (
        Text(f"{meter.name}: {meter.quality}; {meter.source}", style="dim", no_wrap=True, overflow="ellipsis")
        for meter in report.totals.meters
    )
    return Stack(Text(status, style="dim"), table, "", books, verdict, *origins)


def _cells(row: Row) -> tuple[str, ...]:
    right = "-"
    if row.accuracy is not None and row.accuracy_half_width is not None:
        right = f"{100 * row.accuracy:.0f} ± {100 * row.accuracy_half_width:.0f}"
    return (
        row.model,
        f"{row.requests:,}",
        right,
        with_half_width(row.joules, row.half_width_joules),
        number(None if row.joules is None else 1000 * row.joules, 3),
        number(row.times),
        _milliseconds(row.p50_seconds),
        _milliseconds(row.p95_seconds),
    )


def _serving_cells(rows: Sequence[ServingRow]) -> tuple[str, ...]:
    """Return the cells of all routes together, as far as they have a meaning together."""
    joules = mean_joules(rows)
    return (
        f"{sum(row.requests for row in rows):,}",
        "",
        number(joules),
        number(None if joules is None else 1000 * joules, 3),
    )


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1000 * seconds:.1f}" if seconds < 0.1 else f"{1000 * seconds:.0f}"


def with_half_width(value: float | None, half_width: float | None) -> str:
    """Return ``0.0043 ± 0.0004``: as many decimals as the half width bears, two digits of it where it begins with 1."""
    if value is None:
        return "-"
    if half_width is None or half_width <= 0:
        return number(value) + " ± ?"
    exponent = math.floor(math.log10(half_width))
    leading = half_width / 10**exponent
    decimals = max(0, -exponent + (1 if leading < 1.95 else 0))
    return f"{value:,.{decimals}f} ± {half_width:,.{decimals}f}"


def _plain_table(report: Report) -> str:
    blocks = [[_cells(row) for row in group.rows] for group in report.groups]
    heads = [tuple(over for over, _ in _HEAD), tuple(under for _, under in _HEAD)]
    widths = _widths([*heads, *(cells for block in blocks for cells in block)])
    lines = [_aligned(head, widths) for head in heads]
    for group, block in zip(report.groups, blocks, strict=True):
        known = f"{group.labels} labels; always guessing the commonest is right for {100 * group.majority:.0f} %"
        lines += ["-" * (sum(widths) + len(widths) - 1), f"{group.title} ({known})"]
        lines += [_aligned(cells, widths) for cells in block]
    return "\n".join(line.rstrip() for line in lines)


def _plain_serving(rows: Sequence[ServingRow]) -> str:
    if not rows:
        return ""
    heads = [tuple(over for over, _ in _SERVING_HEAD), tuple(under for _, under in _SERVING_HEAD)]
    block = [
        (
            row.name,
            row.title.ljust(max(len(each.title) for each in rows)),
            f"{row.requests:,}",
            with_half_width(row.joules, row.half_width_joules),
            number(None if row.joules is None else 1000 * row.joules, 3),
            number(1000 * row.cpu_seconds),
        )
        for row in rows
    ]
    widths = _widths([*heads, *block])
    lines = [_aligned(cells, widths) for cells in (*heads, *block)]
    lines.insert(2, "-" * (sum(widths) + len(widths) - 1))
    return "\n".join(line.rstrip() for line in lines)


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return " ".join((first.strip().ljust(widths[0]), *rest))


def _plain_books(totals: Totals) -> str:
    lines = [_BOOKS_HEAD, *_book_lines(totals)]
    names, joules, shares = (max(len(line[column]) for line in lines) for column in range(3))
    text = [f"{a.ljust(names)}  {b.rjust(joules)}  {c.rjust(shares)}".rstrip() for a, b, c in lines]
    rule = "-" * (names + joules + shares + 4)
    return "\n".join([text[0], rule, *text[1:-2], rule, *text[-2:], _verdict(totals)])


def _book_lines(totals: Totals) -> list[tuple[str, str, str]]:
    """Return the four lines, their sum and the meters' joules, as (name, joules, share)."""
    lines = []
    for state, name in _STATES:
        reasons = ", ".join(sorted(reason for reason, joules in totals.reasons.items() if joules))
        shown = f"{name}: {reasons}" if state == "unattributed" and reasons else name
        share = f"{100 * totals.states[state] / totals.metered:.1f} %" if totals.metered else "-"
        lines.append((shown, exact_joules(totals.states[state]), share))
    lines.append(("sum of the four", exact_joules(totals.settled), ""))
    lines.append((f"counted by the meters{_knowledge(totals)}", exact_joules(totals.metered), ""))
    return lines


def _verdict(totals: Totals) -> str:
    if totals.closed:
        return "The books close to the last nanojoule."
    if not totals.domains:
        return "No meter counted anything: there are no books to close."
    wrong = [
        f"{domain} by {lines - deltas:+,} nJ" for domain, (lines, deltas) in totals.domains.items() if lines != deltas
    ]
    return f"THE BOOKS DO NOT CLOSE: {', '.join(wrong)}"


def _knowledge(totals: Totals) -> str:
    qualities = {meter.quality for meter in totals.meters}
    return " (ESTIMATED)" if "estimated" in qualities else ""


def exact_joules(nanojoules: int) -> str:
    """Return all nine decimals, by integer arithmetic alone."""
    joules, rest = divmod(abs(nanojoules), NANO)
    return f"{'-' if nanojoules < 0 else ''}{joules:,}.{rest:09d}"


def _notes(report: Report) -> list[str]:
    refused = [] if report.totals.domains else [f"Not read: {reason}" for reason in report.refused]
    left_out = [f"Left out: {model} ({reason})." for model, reason in report.left_out.items()]
    failures = [
        f"Meter trouble: {meter} {reason}, {count} times." for (meter, reason), count in report.totals.failures.items()
    ]
    return [*report.sentences, *refused, *left_out, *failures]
