"""The table's columns: what stands in each, and which of them fit into a width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from greeninfer.top._numbers import UNKNOWN, clean, count, estimated, milliseconds, number, percent, shortened, width
from greeninfer.top._rows import Row

Line = list[tuple[str, str]]
"""Pieces of a line, each with its style in Rich's words, "" for none."""


def _plain(_row: Row) -> str:
    return ""


def _bold(_row: Row) -> str:
    return "bold"


def _failed(row: Row) -> str:
    return f"{count(row.errors)}+{count(row.cancelled)}"


def _alarm(row: Row) -> str:
    return "bold red" if row.errors_lately else ""


def _doubt(row: Row) -> str:
    return "" if row.quality in ("measured", "shared", None) else "yellow"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        over, under: its head, in two lines.
        cell: what stands in it.
        drop: the column with the highest is left out first where not all fit; 0: never.
        style: how it looks.
        least: of a name, which is set from the left and may be shortened: the width that it keeps before other
            columns are left out for it. 0: it is a figure, which is never shortened.
        room: the width that it has at least, so that the table stands still while figures change.
        needed: whether any row has something to say in it.
    """

    over: str
    under: str
    cell: Callable[[Row], str]
    drop: int = 0
    style: Callable[[Row], str] = _plain
    least: int = 0
    room: int = 0
    needed: Callable[[Row], object] = bool


COLUMNS: Final = (
    Column("", "name", lambda row: clean(row.name), least=24),
    Column("", "model", lambda row: clean(row.model), least=16, needed=lambda row: row.model),
    Column("requests", "/s", lambda row: number(row.requests_per_second)),
    Column("J per", "request", lambda row: estimated(number(row.joules), row.quality), style=_bold, room=8),
    Column("the same", "overall", lambda row: estimated(number(row.joules_overall), row.quality), 4, room=8),
    Column("", "watts", lambda row: estimated(number(row.watts), row.quality), style=_bold, room=8),
    Column("share", "%", lambda row: percent(row.share), 7, room=5),
    Column("p50", "ms", lambda row: milliseconds(row.p50), 6, room=6),
    Column("p95", "ms", lambda row: milliseconds(row.p95), 1, room=6),
    Column("errors+", "cancelled", _failed, 3, _alarm),
    Column("in", "flight", lambda row: count(row.in_flight), 5),
    Column("tokens", "/s", lambda row: number(row.tokens_per_second), 8, needed=lambda row: row.tokens),
    Column("J per", "token", lambda row: estimated(number(row.joules_per_token), row.quality), 2,
           needed=lambda row: row.tokens, room=8),
    Column("", "quality", lambda row: clean(row.quality or UNKNOWN), 9, _doubt),
)  # fmt: skip


class _Laid:
    """A column with its cells and its width."""

    def __init__(self, column: Column, rows: Sequence[Row]) -> None:
        self.column = column
        self.cells = [column.over, column.under, *map(column.cell, rows)]
        self.width = max(column.room, *map(width, self.cells))

    @property
    def least(self) -> int:
        return min(self.width, self.column.least or self.width)


def table(rows: Sequence[Row], columns: int | None) -> list[Line]:
    """Return aligned lines, two of them the head, within so many columns of a terminal if that is possible."""
    laid = [_Laid(column, rows) for column in COLUMNS if any(map(column.needed, rows))]
    if columns is not None:
        while sum(each.least + 1 for each in laid) - 1 > columns and any(each.column.drop for each in laid):
            laid.remove(max(laid, key=lambda each: each.column.drop))
        _shrink(laid, columns)
    heads: list[Line] = [[(_set(each, place), "bold") for each in laid] for place in (0, 1)]
    body = [
        [(_set(each, place), each.column.style(row)) for each in laid] for place, row in enumerate(rows, len(heads))
    ]
    return [_spaced(line) for line in heads + body]


def _shrink(laid: list[_Laid], columns: int) -> None:
    """Take from the widest name, again and again, until all fit."""
    names = [each for each in laid if each.column.least]
    while names and sum(each.width + 1 for each in laid) - 1 > columns:
        widest = max(names, key=lambda each: each.width)
        if widest.width <= 1:
            return
        widest.width -= 1


def _set(laid: _Laid, place: int) -> str:
    text = shortened(laid.cells[place], laid.width)
    blanks = " " * (laid.width - width(text))
    return text + blanks if laid.column.least else blanks + text


def _spaced(line: Line) -> Line:
    return [piece for each in line for piece in ((" ", ""), each)][1:]
