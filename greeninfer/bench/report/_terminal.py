"""The report as plain text, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from greeninfer.bench._records import Results
from greeninfer.bench.report._facts import Facts, gather
from greeninfer.bench.report._tables import Table, answer_table, main_table, sure_words
from greeninfer.bench.report._words import failures

WIDE = 150
"""Columns from which the whole table fits; below, intervals, Wh and the rarer columns stay in the other formats."""
_NARROW = ("model", "accuracy", "J / 1,000 requests", "× least", "per request", "p95", "notes")


def render_terminal(results: Sequence[Results], width: int = 160) -> str:
    """Return a table for each data set and machine, with its notes in words, for a terminal so many columns wide."""
    return render_facts(gather(results), width)


def render_facts(facts: Facts, width: int = 160) -> str:
    """Return the same of facts that are there already."""
    parts = [_shown(plain(facts.title), [], width)] if facts.title else []
    for group in facts.groups:
        table, answer = main_table(group, 5), answer_table(group)
        lines = _grid(table if width >= WIDE else _narrowed(table), width)
        notes = [f"  {number}  {note}" for number, note in enumerate(table.notes, 1)]
        front = [*_grid(answer, width), ""] if answer else []
        parts.append(_shown(f"The answer for {group.title}", [*front, sure_words(group)], width))
        parts.append(_shown(group.title, [*lines, *table.above, *notes], width))
    if not facts.groups:
        parts.append("Nothing to report: no cell went well.")
    failed = failures(facts.results, 5)
    parts += [_shown("Cells that failed", [f"  {line}" for line in failed], width)] if failed else []
    return "\n\n".join(parts)


def plain(text: str) -> str:
    """Return text without control characters: names come from files, and a terminal obeys them."""
    return "".join(each if each.isprintable() else " " for each in text)


def _shown(title: str, lines: Sequence[str], width: int) -> str:
    out = [plain(title)]
    for line in lines:
        line = plain(line)
        out += [line] if len(line) <= width else textwrap.wrap(line, width, subsequent_indent="     ")
    return "\n".join(out)


def _narrowed(table: Table) -> Table:
    keep = [table.headers.index(each) for each in _NARROW]
    rows = tuple(tuple(row[index] for index in keep) for row in table.rows)
    return Table(table.title, _NARROW, rows, table.notes, above=table.above)


def _grid(table: Table, width: int) -> list[str]:
    columns = list(zip(table.headers, *table.rows, strict=True))
    sizes = [max(map(len, column)) for column in columns]
    spare = width - sum(sizes[1:]) - 2 * (len(sizes) - 1)
    sizes[0] = max(12, min(sizes[0], spare))
    lines = []
    for row in (table.headers, *table.rows):
        first = row[0] if len(row[0]) <= sizes[0] else row[0][: sizes[0] - 1] + "…"
        cells = [first.ljust(sizes[0]), *(cell.rjust(size) for cell, size in zip(row[1:], sizes[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "─" * min(width, sum(sizes) + 2 * (len(sizes) - 1)))
    return lines
