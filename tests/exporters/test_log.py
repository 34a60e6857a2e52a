"""What the log exporter says, and how seldom."""

from __future__ import annotations

import logging

import pytest

from greeninfer._records import NANO, Failure, Settlement
from greeninfer.exporters.log import LogExporter

from .builders import WEIRD, line, measurement, settlement, short

Said = list[tuple[str, str]]


def said(caplog: pytest.LogCaptureFixture, *settlements: Settlement, close: bool = False) -> Said:
    """Return what a new exporter logs for these settlements, as (level, message)."""
    caplog.clear()
    exporter = LogExporter()
    with caplog.at_level(logging.INFO, "greeninfer"):
        for each in settlements:
            exporter.export(each)
        if close:
            exporter.close()
            exporter.close()
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_summary_by_name_and_model(caplog: pytest.LogCaptureFixture) -> None:
    one = settlement(
        measurement("classify", "minilm", NANO),
        measurement("rerank", "", 8 * NANO, quality="shared"),
        measurement("classify", "minilm", 2 * NANO),
        measurement("classify", "tfidf", NANO // 4),
    )
    assert said(caplog, one) == [
        (
            "INFO",
            "greeninfer.requests name='rerank' model='' requests=1 joules=8 mean_joules=8 quality=shared; "
            "name='classify' model='minilm' requests=2 joules=3 mean_joules=1.5 quality=measured; "
            "name='classify' model='tfidf' requests=1 joules=0.25 mean_joules=0.25 quality=measured",
        )
    ]


def test_an_estimate_says_so_wherever_it_has_a_part(caplog: pytest.LogCaptureFixture) -> None:
    mixed = [measurement(quality="measured"), measurement(quality="estimated"), measurement(quality="shared")]
    for order in (mixed, mixed[::-1]):
        [(_, message)] = said(caplog, settlement(*order))
        assert message.endswith("quality=estimated")


def test_missing_joules_are_no_zero(caplog: pytest.LogCaptureFixture) -> None:
    [(_, nothing)] = said(caplog, settlement(measurement(nanojoules=None)))
    assert nothing == "greeninfer.requests name='classify' model='minilm' requests=1 without_joules=1"
    mixed = settlement(measurement(nanojoules=None), measurement(nanojoules=NANO, complete=False))
    [(_, message)] = said(caplog, mixed)
    assert message.endswith(" requests=2 joules=1 mean_joules=1 quality=measured without_joules=1 partial=1")


def test_at_most_one_summary_a_second_and_no_request_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    ticks = [settlement(measurement(nanojoules=NANO), instant=50.0 + i / 8) for i in range(17)]
    counts = [message.split()[3:5] for _, message in said(caplog, *ticks)]
    assert counts == [["requests=1", "joules=1"], ["requests=8", "joules=8"], ["requests=8", "joules=8"]]


def test_what_was_kept_is_said_by_a_later_settlement_or_by_close(caplog: pytest.LogCaptureFixture) -> None:
    first, second = (settlement(measurement(), instant=instant) for instant in (50.0, 50.5))
    assert len(said(caplog, first, second)) == 1
    assert len(said(caplog, first, second, settlement(instant=51.0), settlement(instant=53.0))) == 2
    assert len(said(caplog, first, second, close=True)) == 2


def test_nothing_is_said_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert said(caplog, settlement(line(NANO, "idle"), watts={"rapl/0/package": 30.0}), close=True) == []


def test_a_failure_is_said_once_for_each_meter_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    failures = [Failure("rapl", "garbage", 2), Failure("rapl", "lost"), Failure("nvml", "lost")]
    assert said(caplog, settlement(*failures), settlement(*failures), settlement(Failure("rapl", "garbage", 9))) == [
        ("WARNING", "greeninfer.meter_failure meter=rapl reason=garbage count=2"),
        ("WARNING", "greeninfer.meter_failure meter=rapl reason=lost count=1"),
        ("WARNING", "greeninfer.meter_failure meter=nvml reason=lost count=1"),
    ]


def test_a_thousand_routes_stay_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    [(_, message)] = said(caplog, settlement(*(measurement(f"route {i}", nanojoules=i) for i in range(1_000))))
    assert message.startswith("greeninfer.requests name='route 999'")
    assert message.count("name=") == 10
    assert message.endswith("; more_routes=990")


@pytest.mark.parametrize("name", WEIRD, ids=short)
def test_no_name_makes_a_second_line(caplog: pytest.LogCaptureFixture, name: str) -> None:
    [(_, message)] = said(caplog, settlement(measurement(name, name)))
    assert len(message.splitlines()) == 1
    message.encode("utf-8")
