"""What ``greeninfer top`` prints, to the letter, for figures that were worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeninfer.top._columns import COLUMNS, table
from greeninfer.top._latency import Quantile
from greeninfer.top._numbers import width
from greeninfer.top._report import Report
from greeninfer.top._rows import Row
from greeninfer.top._table import lines_of, plain, rich_text
from top.builders import AFTER, BEFORE, EMPTY, as_estimated, reported


def shown(report: Report, columns: int | None = 80, height: int | None = None, by: str = "watts") -> str:
    return plain(lines_of(report, by=by, columns=columns, height=height))


WIDE = """\
                requests    J per the same          share    p50    p95   errors+     in tokens    J per
name     model        /s  request  overall    watts     %     ms     ms cancelled flight     /s    token  quality
classify minilm     11.0    0.500    0.288     4.50  90.0   19.0   46.1       4+2      3    122    0.250 measured
rerank                 0        -    0.500    0.500  10.0      -      -       0+0      0      -        - measured
warm-up                0        -        -        -     -      -      -       0+0      1      -        -        -

where the joules go           watts  share %  joules so far
attributed to requests         5.00     25.0           37.0
idle: no request ran           12.0     60.0          168.0
other: work outside requests   2.00     10.0           38.0
unattributed                   1.00      5.0           5.00
all four together              20.0                   248.0

power now rapl/0/dram not known; rapl/0/package 18.5 W
meters    rapl measured, new figures every 0.001 s: rapl/0/dram rapl/0/package
reasons   late 4.00 J unattributed (1.00 W now); reset 1.00 J unattributed
failures  rapl garbage 3 (1 since the last look)
measuring takes 10.0 % of a core; 9,091 us a request; 1.40 CPU seconds so far
J per request: own joules, without measured parts inside it. p50, p95: interpolated between the bounds of a histogram's buckets. In flight:
of a name, all models. - not known, or no request."""  # noqa: E501

NARROW_ESTIMATED = """\
                requests    J per the same             p95   errors+    J per
name     model        /s  request  overall    watts     ms cancelled    token
classify minilm     11.0   ~0.500   ~0.288    ~4.50   46.1       4+2   ~0.250
rerank                 0        -   ~0.500   ~0.500      -       0+0        -
warm-up                0        -        -        -      -       0+0        -

where the joules go           watts  share %  joules so far
attributed to requests        ~5.00     25.0          ~37.0
idle: no request ran          ~12.0     60.0         ~168.0
other: work outside requests  ~2.00     10.0          ~38.0
unattributed                  ~1.00      5.0          ~5.00
all four together             ~20.0                  ~248.0

power now rapl/0/dram not known; rapl/0/package ~18.5 W
meters    rapl ESTIMATED, new figures every 0.001 s: rapl/0/dram rapl/0/package
reasons   late ~4.00 J unattributed (~1.00 W now); reset ~1.00 J unattributed
failures  rapl garbage 3 (1 since the last look)
measuring takes 10.0 % of a core; 9,091 us a request; 1.40 CPU seconds so far
J per request: own joules, without measured parts inside it. p50, p95:
interpolated between the bounds of a histogram's buckets. In flight: of a name,
all models. - not known, or no request.
~ ESTIMATED by a power model, not measured."""

FIRST_LOOK = """\
The service has started anew: what happens in a second is known from the next
look on.

                requests    J per the same             p95   errors+    J per
name     model        /s  request  overall    watts     ms cancelled    token
classify minilm        -        -    0.196        -      -       2+0        -
rerank                 -        -    0.500        -      -       0+0        -

where the joules go           watts  share %  joules so far
attributed to requests            -        -           17.0
"""

NOTHING_YET = """\
No request yet.
No joules on this page: no meter has counted any yet. On the service's machine,
greeninfer doctor tells which meters work, and the line that mends the others.

power now not on this page (of several processes on a machine, one tells it)
meters    not known
measuring 0 CPU seconds so far"""


def test_a_wide_terminal() -> None:
    assert shown(reported(), 140) == WIDE


def test_a_narrow_terminal_and_a_power_model() -> None:
    assert shown(reported(as_estimated(BEFORE), as_estimated(AFTER))) == NARROW_ESTIMATED


def test_the_look_after_a_restart() -> None:
    text = shown(reported(AFTER, BEFORE))
    assert text.startswith(FIRST_LOOK)
    assert "idle: no request ran              -        -          120.0" in text


def test_before_the_first_request() -> None:
    assert shown(reported(None, EMPTY)) == NOTHING_YET


def test_shared_joules_say_so_at_any_width() -> None:
    pages = [page.replace('quality="measured"', 'quality="shared"') for page in (BEFORE, AFTER)]
    for columns in (60, 80, 140, None):
        text = " ".join(shown(reported(*pages), columns).split())
        assert "shared: measured, and divided among the processes that measure this machine." in text
        assert "rapl shared, new" in text
        assert "~" not in text


@pytest.mark.parametrize("columns", [30, 40, 60, 80, 100, 140, None])
def test_an_estimate_says_so_at_any_width(columns: int | None) -> None:
    text = shown(reported(as_estimated(BEFORE), as_estimated(AFTER)), columns)
    words = " ".join(text.split())
    assert "~0.500" in text
    assert "~4.50" in text
    assert " 4.50" not in text
    assert "~168.0" in text
    assert "ESTIMATED by a power model, not measured." in words
    assert "rapl ESTIMATED" in words


def test_a_quality_that_nobody_knows_passes_for_no_measurement() -> None:
    pages = [page.replace('quality="measured"', 'quality="guessed"') for page in (BEFORE, AFTER)]
    text = shown(reported(*pages), 160)
    assert "~4.50" in text
    assert "guessed" in text
    assert "rapl GUESSED" in text


def rows(count: int, **figures: object) -> tuple[Row, ...]:
    first = reported().rows[0]
    return tuple(
        dataclasses.replace(first, name=f"/route/{place:03d}", watts=float(place), **figures)  # type: ignore[arg-type]
        for place in range(count)
    )


def test_rows_that_do_not_fit_are_counted_with_what_they_use() -> None:
    report = dataclasses.replace(reported(), rows=rows(50))
    text = shown(report, 80, height=30)
    assert len(text.splitlines()) == 30
    listed = [line for line in text.splitlines() if line.startswith("/route/")]
    assert [line[:10] for line in listed] == [f"/route/{place:03d}" for place in range(49, 49 - len(listed), -1)]
    left = 50 - len(listed)
    assert f"... and {left} more, {sum(range(left)):.0f}" in text.replace(",0", "0").replace(",1", "1")
    assert len([line for line in shown(report, 80).splitlines() if line.startswith("/route/")]) == 50


def test_a_terminal_that_is_much_too_low_still_shows_some_rows() -> None:
    text = shown(dataclasses.replace(reported(), rows=rows(50)), 80, height=5)
    assert len([line for line in text.splitlines() if line.startswith("/route/")]) == 2


def test_names_keep_their_ends_and_all_columns_stay_aligned() -> None:
    long = dataclasses.replace(
        reported().rows[0], name="/api/v1/organisations/{id}/documents/{id}/summaries", model="模型" * 20
    )
    lines = plain(table([long, *rows(2)], 100)).splitlines()
    assert all(width(line) <= 100 for line in lines)
    assert lines[2].startswith("/api/")
    assert "}/summaries " in lines[2]
    assert "…" in lines[2]
    assert {width(line) for line in lines[1:]} == {width(lines[1])}


@pytest.mark.parametrize("columns", [48, 60, 80, 100, 120, 140, 200])
def test_what_stays_in_a_narrow_table(columns: int) -> None:
    lines = plain(table(reported().rows, columns)).splitlines()
    heads = lines[1].split()
    assert heads[:3] == ["name", "model", "/s"]
    assert "request" in heads
    assert "watts" in heads
    assert all(len(line) <= columns for line in lines)
    if columns >= 140:
        assert len(heads) == len(COLUMNS)


def test_columns_of_which_nothing_is_known_are_not_there() -> None:
    bare = [dataclasses.replace(row, model="", tokens={}) for row in reported().rows]
    heads = plain(table(bare, None)).splitlines()[1].split()
    assert "model" not in heads
    assert "token" not in heads


def test_a_latency_beyond_the_last_bound_says_so() -> None:
    (row,) = rows(1, p95=Quantile(100.0, beyond=True))
    assert ">100,000" in plain(table([row], None))


def test_failures_of_requests_are_seen_as_they_come() -> None:
    (failing,) = rows(1, errors=3.0, cancelled=1.0, errors_lately=1.0)
    (quiet,) = rows(1, errors=3.0, cancelled=1.0, errors_lately=0.0)
    assert ("3+1", "bold red") in [(text.strip(), style) for text, style in table([failing], None)[2]]
    assert ("3+1", "") in [(text.strip(), style) for text, style in table([quiet], None)[2]]


def test_a_name_with_control_characters_stays_on_its_line() -> None:
    weird = dataclasses.replace(reported().rows[0], name="a\x1b[2Jb\nc", model="\r\x07")
    text = plain(table([weird], 80))
    assert len(text.splitlines()) == 3
    assert "a�[2Jb�c" in text


def test_rich_shows_the_same_text() -> None:
    pytest.importorskip("rich", reason="needs rich")
    from rich.console import Console

    report = reported(as_estimated(BEFORE), as_estimated(AFTER))
    for columns in (80, 140):
        console = Console(width=columns, height=60, record=True, file=open("/dev/null", "w"), force_terminal=True)  # noqa: SIM115
        with console.file:
            console.print(rich_text(lines_of(report, columns=columns)))
            text = console.export_text()
        assert [line.rstrip() for line in text.splitlines()] == shown(report, columns).splitlines()


@given(
    names=st.lists(st.text(max_size=60), min_size=1, max_size=5),
    columns=st.integers(48, 200),
    watts=st.floats(0.0, 1e9),
)
def test_no_name_and_no_figure_breaks_the_table(names: list[str], columns: int, watts: float) -> None:
    first = dataclasses.replace(reported().rows[1], watts=watts)
    made = [dataclasses.replace(first, name=name, model=name[::-1]) for name in names]
    lines = plain(table(made, columns)).split("\n")
    assert len(lines) == len(names) + 2
    assert all(width(line) <= columns for line in lines)
