"""The report: texts, page and files, against facts made up by hand."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.results_builders import graded
from bench.results_builders import results as real_results
from bench.results_builders import run as real_run
from greeninfer.bench._candidates import Caveat, Figure
from greeninfer.bench.report import Facts
from greeninfer.bench.report._charts import energy_chart, kinds_of
from greeninfer.bench.report._csv import candidates_csv, cells_csv
from greeninfer.bench.report._markdown import render_markdown
from greeninfer.bench.report._numbers import between, percent, si, significant
from greeninfer.bench.report._page import render_page
from greeninfer.bench.report._plot import stepped
from greeninfer.bench.report._tables import answer_table, main_table, phase_table
from greeninfer.bench.report._terminal import render_facts
from greeninfer.bench.report._write import write, write_facts

from .report_builders import candidate, facts, results

EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.00123, "1.23 mJ"), (999.9, "1.00 kJ"), (0.0, "0 J"), (None, "–"), (123456.0, "123 kJ"), (float("nan"), "–")],
)
def test_si(value: float | None, told: str) -> None:
    assert si(value, "J") == told


def test_numbers() -> None:
    assert significant(99.96) == "100"
    assert between(Figure(1.5, 1.2, 1.8), "J", 1000.0) == "1.50 kJ [1.20–1.80]"
    assert between(None, "J") == "–"
    assert (percent(0.0), percent(0.0001), percent(0.0604), percent(None)) == ("0 %", "<0.1 %", "6.0 %", "–")


def test_staircase_goes_right_before_it_goes_up() -> None:
    assert stepped([(10.0, 0.8), (1.0, 0.5)]) == ((1.0, 0.5), (10.0, 0.5), (10.0, 0.8))


def small() -> Facts:
    shaky = (Caveat("estimated", "energy estimated"), Caveat("note", "only a trial"))
    return Facts(
        (results(),),
        (
            candidate("big", 0.8, 0.36, caveats=shaky[:1]),
            candidate("dark", 0.9, None, caveats=shaky[1:]),
            candidate("small", 0.7, 0.0036, caveats=shaky),
        ),
    )


def test_terminal_golden() -> None:
    assert render_facts(small(), 100) == (Path(__file__).parent / "golden.txt").read_text("utf-8").rstrip("\n")


def test_markdown_golden() -> None:
    assert render_markdown(small()) == (Path(__file__).parent / "golden.md").read_text("utf-8")


def test_candidates_csv_golden() -> None:
    assert candidates_csv(small()) == (Path(__file__).parent / "golden.csv").read_text("utf-8")


def test_the_most_frugal_first_and_without_joules_last() -> None:
    table = main_table(small().groups[0])
    assert [row[0] for row in table.rows] == ["● small", "● big", "  dark"]
    assert [row[5] for row in table.rows] == ["1.0×", "100×", "–"]
    assert [row[4] for row in table.rows] == ["1.00 mWh", "100 mWh", "–"]  # 3.6 J and 360 J by 3,600 J/Wh
    assert [row[-1] for row in table.rows] == ["1,2", "1", "2"]


def test_break_even_is_start_over_steady() -> None:
    # (7.2 + 1.8 + 3.0) J / 0.0036 J
    assert phase_table(small().groups[0]).rows[0][-1] == "3,333"


def test_the_baseline_is_no_yardstick_and_no_mark() -> None:
    group = facts().groups[0]
    assert main_table(group).rows[1][5] == "1.0×"
    chart = energy_chart(group, kinds_of(facts()))
    assert chart is not None
    assert "majority" not in {each.name for each in chart.points}
    answer = answer_table(group)
    assert answer is not None
    assert [row[0] for row in answer.rows] == ["wordllama-lr", "e5-lr", "cascade C1 wordllama-lr → e5-lr"]


def test_the_bar_is_that_of_the_models_which_were_asked_most() -> None:
    asked = [candidate("few", test_items=12, majority=0.3), candidate("many", test_items=2000, majority=0.48)]
    chart = energy_chart(Facts((results(),), tuple(asked)).groups[0], ("features",))
    assert chart is not None
    assert chart.rules == (("commonest label", 0.48),)


def test_the_answer_says_how_much_of_the_front_it_leaves_out() -> None:
    told = "Of cascades, 2 more are on the front"
    assert told not in render_facts(facts())
    many = Facts(facts().results, facts().candidates, facts().cascades * 5)
    assert told in render_facts(many)
    assert told in render_markdown(many)
    assert told in render_page(many)


def test_cascades_and_models_stand_on_one_front() -> None:
    group = facts().groups[0]
    assert [each.on_front for each in group.cascades] == [True]  # 0.79 at 40 J between 0.745 at 1.1 and 0.807 at 118


def test_missing_energy_is_told_and_never_nought() -> None:
    dark = Facts((results(),), (candidate(joules=None),))
    assert "no energy was measured" in render_facts(dark)
    assert "0 J" not in render_facts(dark)
    assert "<svg" not in render_page(dark)
    row = next(csv.DictReader(io.StringIO(candidates_csv(dark))))
    assert row["joules_per_request"] == row["watt_hours_per_1000_requests"] == ""


def test_every_format_tells_what_failed() -> None:
    told = "tomatoes.tfidf-lr.b1.cpu.s1 on node-a: it broke"
    assert told in render_facts(small())
    assert told in render_markdown(small())
    assert told in render_page(small())


def test_cells_csv_keeps_failures() -> None:
    rows = list(csv.DictReader(io.StringIO(cells_csv(small()))))
    assert [(row["status"], row["reason"]) for row in rows] == [("ok", ""), ("failed", "it broke")]
    assert float(rows[0]["joules_per_request"]) == pytest.approx(30.0 / 15000)
    assert rows[1]["joules_per_request"] == ""


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_names_from_files_are_text_everywhere() -> None:
    evil = Facts(
        (results(EVIL),), (candidate(EVIL, kind=EVIL, machine=EVIL, dataset=EVIL, caveats=(Caveat("note", EVIL),)),)
    )
    page = _Tags()
    page.feed(render_page(evil))
    assert [tag for tag, _ in page.seen].count("script") == 1
    assert EVIL not in render_markdown(evil)
    assert "\x1b" not in render_facts(Facts((), (candidate("a\x1b[31m"),)))
    assert "\n'=1+1," not in candidates_csv(small())
    assert ",'=1+1," in candidates_csv(Facts((), (candidate("=1+1"),)))


def test_page_loads_nothing() -> None:
    page = _Tags()
    text = render_page(facts(("a", "b"), ("x", "y")))
    page.feed(text)
    assert not [(tag, attrs) for tag, attrs in page.seen if {"src", "href", "srcset", "action"} & set(attrs)]
    assert not re.search(r"url\(|@import|fetch\(", text)
    assert "default-src 'none'" in text


def test_many_machines_and_models_stay_small() -> None:
    many = facts([f"node-{n}" for n in range(10)], copies=3)
    assert len(render_page(many)) < 1_500_000
    assert max(map(len, render_facts(many, 100).splitlines())) <= 100


def test_written_from_results_alone(tmp_path: Path) -> None:
    pairs = [
        (real_run(model, split, joules, count=40), graded([n % 10 < right for n in range(40)]))
        for model, joules, right in (("weak", 0.01, 6), ("strong", 1.0, 9))
        for split in range(3)
    ]
    written = write([real_results(pairs)], tmp_path / "out")
    names = {"report.html", "report.md", "candidates.csv", "cells.csv", "report.svg"}
    assert names <= {path.name for path in written.paths} == {path.name for path in (tmp_path / "out").iterdir()}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "candidates.csv").read_text("utf-8"))))
    assert {row["model"]: float(row["accuracy"]) for row in rows} == {"weak": 0.6, "strong": 0.9}


@pytest.mark.heavy
def test_charts_show_in_a_browser(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here to open the page in")
    write_facts(facts(), tmp_path)
    told = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
         "--virtual-time-budget=2000", "--dump-dom", f"file://{tmp_path}/report.html"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert told.count('class="mark') >= 10
    assert "<svg" in told
