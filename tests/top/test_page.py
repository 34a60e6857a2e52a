"""Metrics pages parsed: ours in both formats, and what is no page of ours."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from greeninfer.top._page import DURATIONS, ENERGY, IN_FLIGHT, POWER, REQUESTS, PageError, Snapshot, parse
from top.builders import AFTER, BEFORE, EMPTY

NAMES = ("/predict/{x}", 'quo"te', "back\\slash", "new\nline", "größe ⚡", '{a="1"} 5', 'a # {b="c"} 1', "", " ")


def test_a_page_by_hand() -> None:
    snapshot = parse(BEFORE, 7.0)
    assert snapshot.instant == 7.0
    assert snapshot.started == 1.7e9
    assert sum(snapshot.counters[ENERGY].values()) == 168.0
    assert snapshot.counters[REQUESTS] == {
        (("model", "minilm"), ("name", "classify"), ("outcome", "ok")): 100.0,
        (("model", "minilm"), ("name", "classify"), ("outcome", "error")): 2.0,
        (("model", ""), ("name", "rerank"), ("outcome", "ok")): 10.0,
    }
    assert snapshot.gauges[IN_FLIGHT] == {(("name", "classify"),): 1.0}
    assert not any("python" in name or name.endswith("_created") for name in (*snapshot.counters, *snapshot.gauges))


def test_a_gauge_may_be_unknown() -> None:
    watts = parse(AFTER, 0.0).gauges[POWER]
    assert math.isnan(watts[("domain", "rapl/0/dram"),])
    assert watts[("domain", "rapl/0/package"),] == 18.5


def test_a_service_without_a_request_yet() -> None:
    snapshot = parse(EMPTY, 0.0)
    assert dict(snapshot.gauges) == {}
    assert set(snapshot.counters) == {"greeninfer_overhead_cpu_seconds_total"}
    only_heads = "# TYPE greeninfer_energy_joules_total counter\n"
    assert parse(only_heads, 0.0) == Snapshot(0.0, {}, {})


def test_of_several_processes_nobody_knows_which_one_started_when() -> None:
    one = "process_start_time_seconds"
    page = BEFORE.replace(f"{one} 1.7e+09", f'{one}{{instance="a"}} 1.0\n{one}{{instance="b"}} 2.0')
    assert parse(page, 0.0).started is None


def test_what_others_write_on_the_page_is_theirs() -> None:
    page = "http_requests_total{ garbage\n" + BEFORE + "# TYPE\n\x00\n"
    assert parse(page, 0.0) == parse(BEFORE, 0.0)


def registry_with(names: tuple[str, ...]) -> CollectorRegistry:
    registry = CollectorRegistry()
    energy = Counter(ENERGY, "Joules.", ["name"], registry=registry)
    seconds = Histogram("greeninfer_request_duration_seconds", "s", ["name"], buckets=(0.1, 1.0), registry=registry)
    in_flight = Gauge(IN_FLIGHT, "Open.", ["name"], registry=registry)
    for place, name in enumerate(names):
        energy.labels(name).inc(place + 0.5, {"trace_id": 'quo"te # {x="y"} 3'})
        seconds.labels(name).observe(0.5, {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"})
        in_flight.labels(name).set(math.nan)
    return registry


@pytest.mark.parametrize("generate", [generate_latest, generate_openmetrics])
def test_both_formats_of_prometheus_client_with_exemplars_and_any_name(generate: object) -> None:
    page = generate(registry_with(NAMES)).decode()  # type: ignore[operator]
    snapshot = parse(page, 0.0)
    assert snapshot.counters[ENERGY] == {(("name", name),): place + 0.5 for place, name in enumerate(NAMES)}
    assert snapshot.counters[REQUESTS] == {(("name", name),): 1.0 for name in NAMES}
    buckets = {(name, le): value for ((_, le), (_, name)), value in snapshot.counters[DURATIONS].items()}
    assert buckets == {(name, le): count for name in NAMES for le, count in (("0.1", 0.0), ("1.0", 1.0), ("+Inf", 1.0))}


@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), unique=True, max_size=4))
def test_any_name_comes_back(names: list[str]) -> None:
    for generate in (generate_latest, generate_openmetrics):
        energy = parse(generate(registry_with(tuple(names))).decode(), 0.0).counters.get(ENERGY, {})
        assert energy == {(("name", name),): place + 0.5 for place, name in enumerate(names)}


def test_a_page_with_timestamps_windows_line_ends_and_labels_of_others() -> None:
    page = (
        "# HELP greeninfer_energy_joules_total x\r\n"
        'greeninfer_energy_joules_total{name="n",state="idle",instance="a:1",} 12.5 1700000000000\r\n'
        'greeninfer_energy_joules_total { name = "n" , state="idle",instance="b:1"} 1e1\r\n'
    )
    assert parse(page, 0.0).counters[ENERGY] == {
        (("instance", "a:1"), ("name", "n"), ("state", "idle")): 12.5,
        (("instance", "b:1"), ("name", "n"), ("state", "idle")): 10.0,
    }


@pytest.mark.parametrize(
    ("page", "looks"),
    [
        ("", "it is empty"),
        (" \n\n", "it is empty"),
        ("<!DOCTYPE html><html><body>greeninfer_energy_joules_total</body></html>", "it is a web page"),
        ('{"detail":"Not Found"}', "it looks like JSON"),
        ("# TYPE up gauge\nup 1\n", "it begins with '# TYPE up gauge"),
        ("\x00\x1b[31m" + "x" * 1000, r"it begins with '\x00\x1b[31mxxxx"),
        ("not_greeninfer_energy_joules_total 1", "it begins with"),
    ],
)
def test_a_page_that_is_not_ours_says_what_it_is_and_what_mends_it(page: str, looks: str) -> None:
    with pytest.raises(PageError) as refused:
        parse(page, 0.0)
    message = str(refused.value)
    assert message.startswith("no metric of greeninfer is on this page (")
    assert looks in message
    assert "remedy: greeninfer.instrument(app) in the service" in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("greeninfer_energy_joules_total{", "a line of this page is no metric: 'greeninfer_energy_joules_total{'"),
        ('greeninfer_energy_joules_total{name="n} 1', "is no metric"),
        ('greeninfer_energy_joules_total{name="n"} one', "is no metric"),
        ('greeninfer_energy_joules_total{name="n"}', "is no metric"),
        ('greeninfer_energy_joules_total{name="n", ="m"} 1', "is no metric"),
        ("greeninfer_energy_joules_total", "is no metric"),
        ('greeninfer_energy_joules_total{name="n"} NaN', "a counter on this page is nan"),
        ('greeninfer_energy_joules_total{name="n"} -1', "a counter on this page is -1.0"),
        ('greeninfer_energy_joules_total{name="n"} +Inf', "a counter on this page is inf"),
        ('greeninfer_energy_joules_total{name="n"} ' + "9" * 1000, "a counter on this page is inf"),
        ('greeninfer_request_duration_seconds_bucket{le="x"} 1', "a bucket on this page has no bound"),
        ('greeninfer_request_duration_seconds_bucket{le="NaN"} 1', "a bucket on this page has no bound"),
        ('greeninfer_request_duration_seconds_bucket{name="n"} 1', "a bucket on this page has no bound"),
    ],
)
def test_garbage_among_ours_is_no_page_of_ours(line: str, says: str) -> None:
    with pytest.raises(PageError) as refused:
        parse(BEFORE + line + "\n" + AFTER.replace("# TYPE", "# HELP"), 0.0)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 300


@given(page=st.text(max_size=300), cut=st.integers(0, len(BEFORE)))
def test_whatever_is_on_a_page_it_is_one_or_says_why_not(page: str, cut: int) -> None:
    for text in (page, "greeninfer_" + page, ENERGY + page, BEFORE[:cut] + page):
        try:
            snapshot = parse(text, 0.0)
        except PageError as error:
            assert str(error)
        else:
            values = [value for family in snapshot.counters.values() for value in family.values()]
            assert all(0.0 <= value < math.inf for value in values)


def test_a_huge_page_of_others_is_passed_over() -> None:
    others = "\n".join(f'http_requests_total{{path="/{each}"}} {each}' for each in range(300_000))
    assert parse(f"{others}\n{BEFORE}{others}", 0.0).counters == parse(BEFORE, 0.0).counters
