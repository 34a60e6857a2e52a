"""What is seen while the load runs: a live table on a terminal, else a line every few seconds, or nothing."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from greeninfer.demo._report import Report
from greeninfer.demo._table import progress_line, rich_report

Show = Callable[[Report], None]

_LINE_SECONDS = 5.0
_FIRST_LINE_SECONDS = 2.0


@contextmanager
def open_view(*, silent: bool, seconds: float, url: str) -> Iterator[Show]:
    """Give a function that shows a report, in the way that fits where standard output goes.

    Args:
        silent: show nothing.
        seconds: how long the load will last.
        url: where the live page is.
    """
    if silent:
        yield _show_nothing
    elif sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        from rich.live import Live

        with Live(auto_refresh=False, transient=True, vertical_overflow="crop") as live:
            yield lambda report: live.update(
                rich_report(report, f"{report.seconds:.0f} of {seconds:g} s    {url}    Ctrl-C ends"), refresh=True
            )
    else:
        yield _lines()


def _lines() -> Show:
    due = _FIRST_LINE_SECONDS

    def show(report: Report) -> None:
        nonlocal due
        if report.seconds >= due:
            print(progress_line(report), flush=True)
            due = report.seconds - report.seconds % _LINE_SECONDS + _LINE_SECONDS

    return show


def _show_nothing(report: Report) -> None:
    """Show nothing."""
