"""How far a run is and how long it will still take: a bar on a terminal, a line for each cell elsewhere.

Shown from the process that waits while cells are measured, so it is drawn once a second and not more often.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol, TextIO

from greeninfer.bench._records import Run
from greeninfer.bench._study import Cell


class Progress(Protocol):
    """Where a run says how far it is.

    Args:
        tick_seconds: how often ``tick`` is called while a cell runs; None for never.
    """

    tick_seconds: float | None

    def begin(self, total: int, kept: int) -> None:
        """A run begins: so many cells in all, so many of them measured before."""
        ...

    def say(self, text: str) -> None:
        """Something a person wants to know."""
        ...

    def start(self, cell: Cell) -> None:
        """A cell begins."""
        ...

    def tick(self, remaining_seconds: float | None) -> None:
        """A cell runs; so long is still to go, None where nobody knows yet."""
        ...

    def done(self, run: Run, seconds: float, remaining_seconds: float | None) -> None:
        """A cell ended, well or not, after so many seconds."""
        ...

    def end(self) -> None:
        """The run is over, finished or not."""
        ...


class Silence:
    """Says nothing."""

    tick_seconds: float | None = None

    def begin(self, total: int, kept: int) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def start(self, cell: Cell) -> None:
        """Say nothing."""

    def tick(self, remaining_seconds: float | None) -> None:
        """Say nothing."""

    def done(self, run: Run, seconds: float, remaining_seconds: float | None) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""


class Lines:
    """Writes one line for each cell that ended."""

    tick_seconds: float | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._total = self._number = 0

    def begin(self, total: int, kept: int) -> None:
        """Say how much there is to do."""
        self._total, self._number = total, kept
        self.say(f"{total} cells" + (f", {kept} of them measured before" if kept else ""))

    def say(self, text: str) -> None:
        """Write it as a line."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def start(self, cell: Cell) -> None:
        """Wait for its end."""

    def tick(self, remaining_seconds: float | None) -> None:
        """Wait for its end."""

    def done(self, run: Run, seconds: float, remaining_seconds: float | None) -> None:
        """Write what became of the cell."""
        self._number += 1
        width = len(str(self._total))
        left = _about(remaining_seconds) if self._number < self._total else ""
        self.say(f"[{self._number:{width}}/{self._total}] " + ", ".join(filter(None, (outcome(run, seconds), left))))

    def end(self) -> None:
        """Do nothing: every line is out."""


class Bar:
    """Draws a bar at the bottom of a terminal, failed cells as lines above it.

    Raises:
        ImportError: if rich is not installed.
    """

    tick_seconds: float | None = 1.0

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
                   TextColumn("{task.description}", markup=False))  # fmt: skip
        # No thread of its own that would draw ten times a second beside what is measured.
        self._bar: Any = RichProgress(*columns, console=Console(file=stream), auto_refresh=False, transient=True)
        self._task: Any = None

    def begin(self, total: int, kept: int) -> None:
        """Draw the bar."""
        self._bar.start()
        self._task = self._bar.add_task("", total=total, completed=kept, left="")
        self._bar.refresh()

    def say(self, text: str) -> None:
        """Write it as a line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def start(self, cell: Cell) -> None:
        """Name the cell beside the bar."""
        self._bar.update(self._task, description=cell.id, refresh=True)

    def tick(self, remaining_seconds: float | None) -> None:
        """Draw it anew."""
        self._bar.update(self._task, left=_about(remaining_seconds), refresh=True)

    def done(self, run: Run, seconds: float, remaining_seconds: float | None) -> None:
        """Move on by one cell; a failed one leaves a line."""
        if run.status == "failed":
            self.say(outcome(run, seconds))
        self._bar.update(self._task, advance=1, left=_about(remaining_seconds), refresh=True)

    def end(self) -> None:
        """Take the bar away; the cursor is back."""
        self._bar.stop()


def open_progress(stream: TextIO) -> Progress:
    """Return a bar if the stream is a terminal and rich is installed, else lines."""
    if not stream.isatty():
        return Lines(stream)
    try:
        return Bar(stream)
    except ImportError:
        return Lines(stream)


class Remaining:
    """Foretells how long cells still take: as long on average as those of the same model did, or as all did."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def add(self, cell: Cell, seconds: float) -> None:
        """Learn how long a cell took."""
        self._seconds[cell.model].append(seconds)

    def seconds(self, left: Sequence[Cell], running_seconds: float = 0.0) -> float | None:
        """Return how long the cells that are left take, None as long as no cell has ended.

        Args:
            left: in order.
            running_seconds: how long the first of them has been running.
        """
        if not left:
            return 0.0
        if not self._seconds:
            return None
        means = {model: statistics.fmean(each) for model, each in self._seconds.items()}
        of_all = statistics.fmean([each for one in self._seconds.values() for each in one])
        expected = [means.get(cell.model, of_all) for cell in left]
        return max(0.0, expected[0] - running_seconds) + sum(expected[1:])


def outcome(run: Run, seconds: float) -> str:
    """Return in one line what became of a cell."""
    if run.status == "failed":
        return f"{run.cell.id} FAILED: {run.reason}"
    return f"{run.cell.id} {seconds:.1f} s"


def duration(seconds: float) -> str:
    """Return a duration as people say it, to two figures or so."""
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    if seconds < 90.0 * 60.0:
        return f"{seconds / 60.0:.0f} min"
    return f"{seconds / 3600.0:.1f} h"


def _about(remaining_seconds: float | None) -> str:
    return "" if remaining_seconds is None else f"about {duration(remaining_seconds)} left"
