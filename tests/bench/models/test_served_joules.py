"""The page's figures are written by hand; the golden page of the Prometheus exporter shows that it looks so."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from greeninfer.bench.models._served_joules import ServedJoules
from greeninfer.errors import StudyError

GOLDEN = Path(__file__).parents[2] / "exporters" / "golden" / "page.txt"
LINE = 'greeninfer_energy_joules_total{{domain="d",model="{}",name="{}",quality="{}",reason="",state="{}"}} {}\n'
PAGE = (
    "process_start_time_seconds 1000.5\n# TYPE greeninfer_energy_joules_total counter\n"
    + LINE.format("llm", "ask", "measured", "attributed", 100.0)
    + LINE.format("llm", "ask", "shared", "attributed", 20.0)
    + LINE.format("tfidf", "ask", "estimated", "attributed", 3.0)
    + LINE.format("tfidf", "rank", "measured", "attributed", 0.5)
    + LINE.format("", "", "estimated", "idle", 5000.0)
    + LINE.format("", "", "measured", "other", 5000.0)
    + LINE.format("", "", "measured", "unattributed", 5000.0)
)


class Pages:
    """A service whose page the test exchanges; None is a service that is gone."""

    def __init__(self, page: str | None = PAGE) -> None:
        self.page = page

    def __call__(self) -> str:
        if self.page is None:
            raise StudyError("nobody there")
        return self.page


@pytest.mark.parametrize(
    ("name", "model", "joules", "quality"),
    [
        ("", "", 123.5, "estimated"),
        ("ask", "", 123.0, "estimated"),
        ("ask", "llm", 120.0, "shared"),
        ("", "tfidf", 3.5, "estimated"),
        ("rank", "", 0.5, "measured"),
    ],
)
def test_attributed_joules_add_up_and_the_worst_quality_stands(
    name: str, model: str, joules: float, quality: str
) -> None:
    served = ServedJoules(Pages(), name, model)
    assert served.quality is None
    assert served.joules() == pytest.approx(joules)
    assert served.quality == quality


def test_a_page_as_the_exporter_writes_it() -> None:
    served = ServedJoules(lambda: GOLDEN.read_text(encoding="utf-8"))
    served.check("here")
    assert served.joules() == pytest.approx(0.25 + 0.03 + 1.2)
    assert ServedJoules(lambda: GOLDEN.read_text(encoding="utf-8"), model="minilm").joules() == pytest.approx(0.28)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (None, "nobody there"),
        ("", "no such line"),
        (LINE.format("", "", "measured", "idle", 1.0), "no such line"),
        (LINE.format("m", "n", "measured", "attributed", "NaN"), "is nan"),
        (LINE.format("m", "n", "measured", "attributed", "-1"), "is -1"),
        (LINE.format("m", "n", "measured", "attributed", "+Inf"), "is inf"),
        (LINE.format("m", "n", "guessed", "attributed", 1.0), "guessed"),
        ('greeninfer_energy_joules_total{state="attributed"} 1.0\n', "quality"),
        ('greeninfer_energy_joules_total{state="attributed} oops', "Error"),
        ("greeninfer_energy_joules_total{", "Error"),
    ],
)
def test_what_is_not_known_is_none_and_said(page: str | None, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    pages = Pages(page)
    served = ServedJoules(pages)
    with caplog.at_level(logging.WARNING, "greeninfer"):
        assert served.joules() is None
    assert "greeninfer.bench.served_joules_unknown" in caplog.text
    assert reason in caplog.text
    pages.page = PAGE
    assert served.joules() == 123.5  # cumulative: nothing is lost by a page that did not come


def test_a_name_that_nobody_has_is_not_nought() -> None:
    assert ServedJoules(Pages(), name="aks").joules() is None


@pytest.mark.parametrize(
    "page",
    [
        PAGE.replace("100.0", "10.0"),
        PAGE.replace("1000.5", "2000.5").replace("100.0", "900.0"),
    ],
)
def test_a_service_that_was_started_anew_is_unknown_from_then_on(page: str, caplog: pytest.LogCaptureFixture) -> None:
    pages = Pages()
    served = ServedJoules(pages)
    assert served.joules() == 123.5
    pages.page = page
    assert served.joules() is None
    assert "started anew" in caplog.text
    pages.page = PAGE.replace("100.0", "900.0")
    assert served.joules() is None


def test_it_rises_with_the_page() -> None:
    pages = Pages(PAGE.replace("process_start_time_seconds 1000.5\n", ""))
    served = ServedJoules(pages)
    assert served.joules() == 123.5
    pages.page = PAGE.replace("100.0", "150.0")
    assert served.joules() == 173.5
    assert served.joules() == 173.5


def test_a_page_of_somebody_else_is_refused() -> None:
    with pytest.raises(
        StudyError, match=r"no metric of greeninfer is on http://x; remedy: greeninfer.instrument\(app\)"
    ):
        ServedJoules(Pages("python_info 1\n")).check("http://x")
    ServedJoules(Pages("# TYPE greeninfer_energy_joules_total counter\n")).check("http://x")
