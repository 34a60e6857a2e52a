"""The cells of several results folders, brought together by candidate.

Two measurements of one cell on one machine are two machines here ("host" and "host (2)"), so that running a study
twice shows both beside each other and counts no split twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from greeninfer.bench._candidates import CandidateKey
from greeninfer.bench._records import Items, Results, Run
from greeninfer.errors import ResultsError


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A candidate all whose cells failed, so that nothing is known of it but the first reason."""

    key: CandidateKey
    cells: int
    reason: str


@dataclass(slots=True)
class Column:
    """The cells of one candidate while they are brought together: good ones with their predictions, failed ones."""

    key: CandidateKey
    results: Results
    runs: list[Run]
    items: list[Items]
    failed: list[Run]


def check_labels(results: Sequence[Results]) -> None:
    """Raise ``ResultsError`` if two folders mean different labels by one name of a data set."""
    seen: dict[str, tuple[tuple[str, ...], str]] = {}
    for each in results:
        for dataset, labels in each.labels.items():
            known, folder = seen.setdefault(dataset, (labels, each.folder))
            if known != labels:
                raise ResultsError(
                    f"{folder} and {each.folder} both have a data set {dataset!r}, with different labels; "
                    "remedy: report them apart, or name the data sets differently"
                )


def columns_of(results: Sequence[Results]) -> list[Column]:
    """Return the cells by candidate, in the order of the studies; a cell that lacks something counts as failed."""
    columns: dict[CandidateKey, Column] = {}
    for each in results:
        mine: dict[str, str] = {}
        for run in each.runs:
            if run.machine not in mine:
                mine[run.machine] = _machine(run.machine, each, columns)
            cell = run.cell
            key = CandidateKey(mine[run.machine], cell.dataset, cell.model, cell.device, cell.batch_size)
            column = columns.setdefault(key, Column(key, each, [], [], []))
            items = each.items.get(cell.id)
            reason = _unusable(run, items)
            if reason or items is None:
                column.failed.append(replace(run, status="failed", reason=reason))
            else:
                column.runs.append(run)
                column.items.append(items)
    return list(columns.values())


def left_out_of(columns: Sequence[Column]) -> Iterator[LeftOut]:
    """Yield the candidates without a single good cell."""
    for column in columns:
        if not column.runs:
            yield LeftOut(column.key, len(column.failed), column.failed[0].reason)


def _machine(machine: str, results: Results, columns: Mapping[CandidateKey, Column]) -> str:
    """Return the machine's name, with a number where a cell of its was measured in an earlier folder already."""
    mine = {run.cell.id for run in results.runs if run.machine == machine}
    name, number = machine, 1
    while any(
        column.key.machine == name and column.results is not results
        and any(run.cell.id in mine for run in (*column.runs, *column.failed))
        for column in columns.values()
    ):  # fmt: skip
        number += 1
        name = f"{machine} ({number})"
    return name


def _unusable(run: Run, items: Items | None) -> str:
    if run.status != "ok":
        return run.reason or "no reason was kept"
    if run.seconds_per_item is None:
        return "it has no steady phase"
    if items is None or not len(items):
        return "its predictions are missing"
    return ""
