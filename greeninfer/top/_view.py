"""Where reports go: a live table on a terminal with Rich, else text, or lines of JSON."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from greeninfer.top._columns import Line
from greeninfer.top._json import as_json
from greeninfer.top._report import Report
from greeninfer.top._table import lines_of, plain, rich_text, wrapped

if TYPE_CHECKING:
    from rich.live import Live


class View(Protocol):
    """Shows what there is to show."""

    def show(self, report: Report) -> None:
        """Show a report."""
        ...

    def complain(self, problem: str) -> None:
        """Say why there is none now; the same problem is said once."""
        ...


@contextmanager
def open_view(url: str, interval: float, *, once: bool, as_json: bool, sort: str) -> Iterator[View]:
    """Give the view that fits what was asked for and where standard output goes."""
    if as_json:
        yield _Json(url, sort)
    elif once or not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:
        yield _Plain(url, sort, once=once)
    else:
        from rich.live import Live

        with Live(auto_refresh=False, vertical_overflow="crop") as live:
            yield _Table(live, f"{url}   every {interval:g} s", sort)


class _Json:
    """A line of JSON for each report."""

    def __init__(self, url: str, sort: str) -> None:
        self._url = url
        self._sort = sort
        self._stderr = _Complaints(url)

    def show(self, report: Report) -> None:
        self._stderr.end()
        print(json.dumps(as_json(report, url=self._url, unix_seconds=time.time(), by=self._sort)), flush=True)

    def complain(self, problem: str) -> None:
        self._stderr.complain(problem)


class _Plain:
    """A block of text for each report."""

    def __init__(self, url: str, sort: str, *, once: bool) -> None:
        self._url = url
        self._sort = sort
        self._once = once
        self._stderr = _Complaints(url)

    def show(self, report: Report) -> None:
        self._stderr.end()
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(plain([_status(self._url, report), *lines_of(report, by=self._sort, columns=columns)]))
        print("" if self._once else "\n", end="", flush=True)

    def complain(self, problem: str) -> None:
        self._stderr.complain(problem)


class _Table:
    """A table that stays where it is."""

    def __init__(self, live: Live, status: str, sort: str) -> None:
        self._live = live
        self._status = status
        self._sort = sort
        self._last: Report | None = None
        self._problem = ""

    def show(self, report: Report) -> None:
        self._last, self._problem = report, ""
        self._draw(report)

    def complain(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._draw(self._last)

    def _draw(self, report: Report | None) -> None:
        columns, rows = self._live.console.size
        head: list[Line] = [_status(self._status, report, "   Ctrl-C ends")]
        if self._problem:
            last = " Below is what was seen last." if report else ""
            head += wrapped(f"{time.strftime('%H:%M:%S')} {self._problem}.{last}", columns, "bold red")
        body = lines_of(report, by=self._sort, columns=columns, height=rows - len(head) - 1) if report else []
        self._live.update(rich_text([*head, *body]), refresh=True)


class _Complaints:
    """Says on standard error what is wrong, once, and when it is not any more."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._problem = ""

    def complain(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            print(f"greeninfer top: {self._url}: {problem}", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._problem:
            self._problem = ""
            print(f"greeninfer top: {self._url} is there again", file=sys.stderr, flush=True)


def _status(url: str, report: Report | None, more: str = "") -> Line:
    over = "" if report is None or report.seconds is None else f"   over {report.seconds:.1f} s"
    return [(f"{url}   {time.strftime('%H:%M:%S')}{over}{more}", "dim")]
