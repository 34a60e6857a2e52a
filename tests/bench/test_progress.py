"""How far it is: what people read, and how long it will still take."""

from __future__ import annotations

import builtins
import io
import re
import threading
from collections.abc import Mapping, Sequence

import pytest

from greeninfer.bench._progress import Bar, Lines, Remaining, duration, open_progress
from greeninfer.bench._records import Run
from greeninfer.bench._study import Cell


def cell(model: str, split: int = 0) -> Cell:
    return Cell("texts", model, 1, "cpu", split)


def ran(model: str, reason: str = "") -> Run:
    return Run(cell(model), "host", "failed" if reason else "ok", reason)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# Lines


def test_lines_say_what_became_of_each_cell_and_how_long_the_rest_takes() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.begin(12, 9)
    lines.say("Measuring the machine at rest")
    for run, seconds, remaining in ((ran("a"), 3.21, 600.0), (ran("b", "crashed"), 0.5, 3.0), (ran("c"), 61.0, 0.0)):
        lines.start(run.cell)
        lines.tick(remaining)
        lines.done(run, seconds, remaining)
    lines.end()
    assert stream.getvalue() == (
        "12 cells, 9 of them measured before\n"
        "Measuring the machine at rest\n"
        "[10/12] texts.a.b1.cpu.s0 3.2 s, about 10 min left\n"
        "[11/12] texts.b.b1.cpu.s0 FAILED: crashed, about 3 s left\n"
        "[12/12] texts.c.b1.cpu.s0 61.0 s\n"
    )
    assert lines.tick_seconds is None, "nobody need be woken for lines"


def test_lines_leave_no_empty_words() -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    lines.begin(2, 0)
    lines.done(ran("a"), 1.0, None)
    assert stream.getvalue() == "2 cells\n[1/2] texts.a.b1.cpu.s0 1.0 s\n"


# Bar


def seen(stream: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_the_bar_shows_cell_count_and_remaining_time() -> None:
    stream = Terminal()
    bar = Bar(stream)
    bar.begin(3, 1)
    bar.start(cell("[red]a"))
    bar.tick(240.0)
    bar.done(ran("[red]a"), 2.0, 120.0)
    bar.end()
    assert "1/3" in seen(stream)
    assert "2/3" in seen(stream)
    assert "about 4 min left" in seen(stream)
    assert "texts.[red]a.b1" in seen(stream), "names are no markup"


def test_the_bar_leaves_a_line_for_what_failed_alone() -> None:
    stream = Terminal()
    bar = Bar(stream)
    bar.begin(2, 0)
    bar.done(ran("a"), 2.0, 1.0)
    bar.done(ran("b", "took [too] long"), 2.0, 0.0)
    bar.end()
    assert "FAILED: took [too] long\n" in seen(stream).replace("\r", "")
    assert "a.b1.cpu.s0 2.0 s" not in seen(stream)


def test_the_bar_draws_once_a_second_and_without_a_thread() -> None:
    stream = Terminal()
    bar = Bar(stream)
    threads = set(threading.enumerate())
    bar.begin(2, 0)
    bar.start(cell("a"))
    assert set(threading.enumerate()) == threads
    assert bar.tick_seconds is not None
    assert bar.tick_seconds >= 1.0
    bar.end()


def test_ending_a_bar_that_never_began_is_fine() -> None:
    Bar(Terminal()).end()


def test_a_terminal_gets_a_bar_and_a_file_lines() -> None:
    assert isinstance(open_progress(Terminal()), Bar)
    assert isinstance(open_progress(io.StringIO()), Lines)


def test_without_rich_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_rich(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> object:
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, globals, locals, fromlist or (), level)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    assert isinstance(open_progress(Terminal()), Lines)


# Remaining time


def test_nobody_knows_before_a_cell_has_ended() -> None:
    assert Remaining().seconds([cell("a")]) is None
    assert Remaining().seconds([]) == 0.0


def test_cells_take_as_long_as_those_of_their_model_did() -> None:
    remaining = Remaining()
    for model, seconds in (("quick", 1.0), ("quick", 3.0), ("slow", 100.0)):
        remaining.add(cell(model), seconds)
    assert remaining.seconds([cell("quick")]) == pytest.approx(2.0)
    assert remaining.seconds([cell("slow"), cell("quick"), cell("quick")]) == pytest.approx(104.0)


def test_a_model_that_nobody_has_seen_takes_as_long_as_all_did() -> None:
    remaining = Remaining()
    for seconds in (1.0, 1.0, 1.0, 9.0):
        remaining.add(cell("slow" if seconds > 5.0 else "quick"), seconds)
    assert remaining.seconds([cell("new")]) == pytest.approx(3.0)


def test_the_time_that_the_running_cell_has_had_is_off() -> None:
    remaining = Remaining()
    remaining.add(cell("a"), 10.0)
    assert remaining.seconds([cell("a"), cell("a")], running_seconds=4.0) == pytest.approx(16.0)
    assert remaining.seconds([cell("a"), cell("a")], running_seconds=40.0) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.6, "60 s"),
        (89.0, "89 s"),
        (91.0, "2 min"),
        (5390.0, "90 min"),
        (5410.0, "1.5 h"),
        (36e3, "10.0 h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
