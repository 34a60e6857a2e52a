"""Figures of two looks, against pages whose difference was worked out by hand (see builders.AFTER)."""

from __future__ import annotations

import dataclasses
import json

import pytest

from greeninfer.top import SORTS
from greeninfer.top._json import as_json
from greeninfer.top._latency import Quantile
from greeninfer.top._report import FailureRow, Line, MeterRow, Reason, Report, sort
from greeninfer.top._rows import Row, worst
from top.builders import AFTER, BEFORE, EMPTY, as_estimated, durations, energy, reported, scaled


def row(report: Report, name: str) -> Row:
    (found,) = [each for each in report.rows if each.name == name]
    return found


def test_a_route_that_works() -> None:
    found = row(reported(), "classify")
    assert (found.model, found.requests, found.in_flight) == ("minilm", 146.0, 3.0)
    assert found.requests_per_second == pytest.approx(44 / 4)
    assert found.joules == pytest.approx(22 / 44)
    assert found.joules_overall == pytest.approx(42 / 146)
    assert found.watts == pytest.approx(18 / 4)
    assert found.share == pytest.approx(18 / 20)
    assert found.p50 == Quantile(pytest.approx(0.01 + 0.015 * (22 - 10) / (30 - 10)))
    assert found.p95 == Quantile(pytest.approx(0.025 + 0.025 * (0.95 * 44 - 30) / (44 - 30)))
    assert (found.errors, found.cancelled) == (4.0, 2.0)
    assert (found.errors_lately, found.cancelled_lately) == (2.0, 2.0)
    assert found.tokens == {"input": 1400.0, "output": 144.0, "reasoning": 44.0}
    assert found.tokens_per_second == pytest.approx((400 + 44 + 44) / 4)
    assert found.joules_per_token == pytest.approx(22 / (44 + 44))
    assert found.quality == "measured"


def test_a_route_whose_requests_are_all_still_open() -> None:
    found = row(reported(), "rerank")
    assert (found.requests_per_second, found.watts, found.share) == (0.0, 0.5, pytest.approx(0.1))
    assert (found.joules, found.joules_overall) == (None, 0.5)
    assert (found.p50, found.p95) == (None, None)
    assert (found.tokens, found.tokens_per_second, found.joules_per_token) == ({}, None, None)


def test_a_name_of_which_nothing_is_known_but_that_a_request_is_open() -> None:
    found = row(reported(), "warm-up")
    assert (found.model, found.requests, found.in_flight) == ("", 0.0, 1.0)
    figures = (found.joules, found.joules_overall, found.watts, found.share, found.p50, found.p95, found.quality)
    assert figures == (None,) * 7


def test_a_service_that_has_stopped_measuring_does_not_know_what_is_in_flight() -> None:
    page = AFTER.replace('in_flight{name="classify"} 3.0', 'in_flight{name="classify"} NaN')
    assert row(reported(after=page), "classify").in_flight is None


def test_a_name_with_no_request_open_any_more_and_none_settled_has_no_row() -> None:
    page = AFTER.replace('in_flight{name="warm-up"} 1.0', 'in_flight{name="warm-up"} 0.0')
    assert [each.name for each in reported(after=page).rows] == ["classify", "rerank"]


def test_the_four_lines() -> None:
    assert reported().lines == (
        Line("attributed", pytest.approx(5.0), pytest.approx(0.25), 37.0),
        Line("idle", pytest.approx(12.0), pytest.approx(0.60), 168.0),
        Line("other", pytest.approx(2.0), pytest.approx(0.10), 38.0),
        Line("unattributed", pytest.approx(1.0), pytest.approx(0.05), 5.0),
    )


def test_all_the_rest_of_the_page() -> None:
    found = reported()
    assert found.seconds == 4.0
    assert found.reasons == (Reason("late", 4.0, 1.0), Reason("reset", 1.0, 0.0))
    assert found.power == {"rapl/0/dram": None, "rapl/0/package": 18.5}
    assert found.meters == (MeterRow("rapl", "measured", "0.001", ("rapl/0/dram", "rapl/0/package")),)
    assert found.failures == (FailureRow("rapl", "garbage", 3.0, 1.0),)
    assert found.overhead_cpu_seconds == 1.4
    assert found.overhead_cores == pytest.approx(0.1)
    assert found.overhead_per_request == pytest.approx(0.4 / 44)
    assert found.qualities == {"measured"}


def test_at_the_first_look_only_what_there_was_so_far_is_known() -> None:
    found = reported(before=None)
    each = row(found, "classify")
    assert (each.requests, each.joules_overall, each.errors, each.in_flight) == (
        146.0,
        pytest.approx(42 / 146),
        4.0,
        3.0,
    )
    lately = (each.requests_per_second, each.joules, each.watts, each.share, each.p50, each.errors_lately)
    assert lately == (None,) * 6
    assert found.lines[0] == Line("attributed", None, None, 37.0)
    assert found.failures == (FailureRow("rapl", "garbage", 3.0, None),)
    assert (found.overhead_cores, found.overhead_per_request, found.overhead_cpu_seconds) == (None, None, 1.4)
    assert found.reasons[0] == Reason("late", 4.0, None)


def test_after_a_restart_the_same_holds() -> None:
    found = reported(AFTER, BEFORE)
    assert found.restarted
    assert (found.seconds, row(found, "classify").watts, row(found, "classify").joules_overall) == (
        None,
        None,
        20 / 102,
    )


def test_where_meters_counted_nothing_power_is_not_0_but_not_known() -> None:
    found = reported(AFTER, AFTER)
    assert (found.seconds, found.lines[0].watts, found.lines[1].share) == (4.0, None, None)
    assert (row(found, "classify").watts, row(found, "classify").share) == (None, None)
    assert (row(found, "classify").requests_per_second, found.overhead_cores) == (0.0, 0.0)
    assert [reason.watts for reason in found.reasons] == [None, None]


def test_a_service_without_meters_has_requests_and_no_joules() -> None:
    pages = ["\n".join(line for line in page.splitlines() if "joules" not in line) for page in (BEFORE, AFTER)]
    found = reported(*pages)
    each = row(found, "classify")
    assert (each.requests_per_second, each.p50 is not None) == (11.0, True)
    assert (each.joules, each.joules_overall, each.watts, each.joules_per_token, each.quality) == (None,) * 5
    assert found.lines == ()


def test_before_the_first_request() -> None:
    found = reported(None, EMPTY)
    assert (found.rows, found.lines, found.meters, found.overhead_cpu_seconds) == ((), (), (), 0.0)


def test_an_outcome_and_a_token_that_nobody_has_heard_of_count() -> None:
    page = AFTER + durations((0, 0, 6.0, 6.0), "classify", "minilm", "shed") + "\n"
    assert row(reported(after=page), "classify").requests_per_second == 50 / 4
    page = AFTER + 'greeninfer_tokens_total{kind="image",model="minilm",name="classify"} 40\n'
    found = row(reported(after=page), "classify")
    assert found.tokens_per_second == 132.0
    assert found.joules_per_token == pytest.approx(0.25)


def test_several_services_on_one_page_are_added_up() -> None:
    def together(page: str) -> str:
        return "".join(page.replace("{", f'{{instance="{each}",') for each in ("a", "b"))

    found = reported(together(BEFORE), together(AFTER))
    one = reported()
    assert [line.watts for line in found.lines] == [pytest.approx(2 * (line.watts or 0.0)) for line in one.lines]
    assert row(found, "classify").joules == pytest.approx(0.5)
    assert row(found, "classify").p95 == Quantile(pytest.approx(0.025 + 0.025 * (0.95 * 44 - 30) / (44 - 30)))
    assert found.power == {"rapl/0/dram": None, "rapl/0/package": 37.0}


@pytest.mark.parametrize(
    ("qualities", "expected"),
    [
        ((), None),
        (("measured",), "measured"),
        (("measured", "shared"), "shared"),
        (("estimated", "measured"), "estimated"),
        (("estimated", "guessed"), "guessed"),
    ],
)
def test_the_worst_quality_is_told(qualities: tuple[str, ...], expected: str | None) -> None:
    assert worst(qualities) == expected


def test_joules_over_a_sensor_and_a_model_are_estimated() -> None:
    mixed = AFTER + energy("attributed", 1.0, "classify", "minilm", "estimate/0/cpu").replace("measured", "estimated")
    found = reported(after=mixed + "\n")
    assert row(found, "classify").quality == "estimated"
    assert row(found, "classify").qualities == {"measured", "estimated"}
    assert row(found, "rerank").quality == "measured"
    assert found.qualities == {"measured", "estimated"}


def routes(**figures: dict[str, object]) -> tuple[Row, ...]:
    plain = row(reported(), "rerank")
    return tuple(dataclasses.replace(plain, name=name, **each) for name, each in figures.items())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("by", "field", "values"),
    [
        ("watts", "watts", (1.0, 3.0, 2.0)),
        ("joules", "joules", (1.0, 3.0, 2.0)),
        ("requests", "requests_per_second", (1.0, 3.0, 2.0)),
        ("p95", "p95", (Quantile(1.0), Quantile(3.0), Quantile(2.0))),
        ("failed", "errors", (1.0, 3.0, 2.0)),
        ("tokens", "tokens_per_second", (1.0, 3.0, 2.0)),
    ],
)
def test_the_largest_comes_first_and_what_is_not_known_last(by: str, field: str, values: tuple[object, ...]) -> None:
    assert by in SORTS
    empty: dict[str, object] = {"joules_overall": None, field: 0.0 if field == "errors" else None}
    zero = {"joules_overall": None, field: Quantile(0.0) if field == "p95" else 0.0}
    rows = routes(none=empty, zero=zero, **{name: {field: value} for name, value in zip("abc", values, strict=True)})
    last = ["none", "zero"] if field == "errors" else ["zero", "none"]
    assert [each.name for each in sort(rows, by)] == ["b", "c", "a", *last]


def test_what_a_request_takes_overall_stands_in_for_what_it_takes_lately() -> None:
    rows = routes(a={"joules": 1.0}, b={"joules": None, "joules_overall": 2.0})
    assert [each.name for each in sort(rows, "joules")] == ["b", "a"]


def test_rows_of_equal_weight_stay_in_order_of_their_names() -> None:
    assert [each.name for each in sort(reported(AFTER, AFTER).rows, "watts")] == ["classify", "rerank", "warm-up"]
    assert [each.name for each in sort(reported().rows, "name")] == ["classify", "rerank", "warm-up"]


def test_as_json_to_the_letter() -> None:
    found = as_json(reported(), url="http://x/metrics", unix_seconds=1.7e9, by="watts")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    routes = found.pop("routes")
    assert isinstance(routes, list)
    assert [each["name"] for each in routes] == ["classify", "rerank", "warm-up"]
    assert routes[1] == {
        "name": "rerank",
        "model": "",
        "requests": 10.0,
        "requests_per_second": 0.0,
        "joules_per_request": None,
        "joules_per_request_overall": 0.5,
        "watts": 0.5,
        "share_of_attributed": pytest.approx(0.1),
        "latency_p50": None,
        "latency_p95": None,
        "errors": 0.0,
        "cancelled": 0.0,
        "errors_lately": 0.0,
        "cancelled_lately": 0.0,
        "in_flight": 0.0,
        "tokens": {},
        "tokens_per_second": None,
        "joules_per_generated_token": None,
        "quality": "measured",
        "qualities": ["measured"],
    }
    assert routes[0]["latency_p50"] == {"seconds": pytest.approx(0.019), "beyond": False}
    assert found == {
        "schema": "greeninfer-top/1",
        "url": "http://x/metrics",
        "unix_seconds": 1.7e9,
        "interval_seconds": 4.0,
        "restarted": False,
        "books": [
            {"state": "attributed", "watts": 5.0, "share": 0.25, "joules": 37.0},
            {"state": "idle", "watts": 12.0, "share": 0.6, "joules": 168.0},
            {"state": "other", "watts": 2.0, "share": 0.1, "joules": 38.0},
            {"state": "unattributed", "watts": 1.0, "share": 0.05, "joules": 5.0},
        ],
        "unattributed": [
            {"reason": "late", "joules": 4.0, "watts": 1.0},
            {"reason": "reset", "joules": 1.0, "watts": 0.0},
        ],
        "power_watts": {"rapl/0/dram": None, "rapl/0/package": 18.5},
        "meters": [
            {
                "meter": "rapl",
                "quality": "measured",
                "period_seconds": "0.001",
                "domains": ["rapl/0/dram", "rapl/0/package"],
            }
        ],
        "failures": [{"meter": "rapl", "reason": "garbage", "count": 3.0, "lately": 1.0}],
        "overhead": {
            "cpu_seconds": 1.4,
            "cores": pytest.approx(0.1),
            "cpu_seconds_per_request": pytest.approx(0.4 / 44),
        },
        "qualities": ["measured"],
    }


@pytest.mark.parametrize("times", [1e-9, 1.0, 1e9])
def test_json_has_no_number_that_json_does_not_know(times: float) -> None:
    pages = [scaled(as_estimated(page), times) for page in (BEFORE, AFTER)]
    for report in (reported(None, pages[0]), reported(*pages), reported(None, EMPTY), reported(pages[1], pages[1])):
        json.dumps(as_json(report, url="", unix_seconds=0.0, by="joules"), allow_nan=False)
