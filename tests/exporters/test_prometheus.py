"""The Prometheus page: its text, its agreement with the books, and what must not break it."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import shutil
import subprocess
import sys
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import environment
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from prometheus_client.registry import Collector

from greeninfer._energy import Quality
from greeninfer._records import NANO, Domain, Failure, Line, MeterInfo, Settlement
from greeninfer.exporters._labels import OVERFLOW
from greeninfer.exporters.prometheus import PrometheusExporter

from .builders import DRAM, PACKAGE, RAPL, TRACE, WEIRD, full, line, measurement, settlement, short

GOLDEN = Path(__file__).parent / "golden"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page(registry: CollectorRegistry) -> str:
    """Return the page without the creation times, which are the clock's and prometheus_client's own."""
    lines = generate_latest(registry).decode().split("\n")
    return "\n".join(each for each in lines if "_created" not in each)


def samples(registry: Collector) -> Samples:
    """Return all that is on the page, before it is text."""
    return of(registry.collect())


def read(registry: CollectorRegistry) -> Samples:
    """Return what a reader makes of the page's text."""
    return of(parse(page(registry)))


def of(families: Iterable[Metric]) -> Samples:
    found = [sample for family in families for sample in family.samples]
    return {(each.name, frozenset(each.labels.items())): each.value for each in found}


def total(found: Samples, metric: str, /, **labels: str) -> float:
    """Return the sum over all series that have these labels."""
    return math.fsum(value for (each, own), value in found.items() if each == metric and labels.items() <= set(own))


def series(found: Samples, name: str, label: str) -> dict[str, float]:
    return {dict(own)[label]: value for (each, own), value in found.items() if each == name}


def test_the_page_is_the_contract() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter.export(full())
    assert page(registry) == (GOLDEN / "page.txt").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_no_complaint() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(full())
    checked = check_metrics(generate_latest(registry))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    assert check_metrics(b"# TYPE bad counter\nbad 1\n").returncode != 0, "promtool does not check"


def check_metrics(text: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=60)


def test_the_sum_of_requests_equals_what_the_books_attribute() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    route = {"name": "classify", "model": "minilm"}

    def both() -> tuple[float, float]:
        found = samples(registry)
        books = total(found, "greeninfer_energy_joules_total", state="attributed", quality="measured", **route)
        return total(found, "greeninfer_request_energy_joules_sum", quality="measured", **route), books

    exporter.export(settlement(line(123_456_789), line(11, domain=DRAM), line(5_000, "idle")))
    requests, books = both()
    assert (requests, books) == (0.0, pytest.approx(0.1234568, rel=1e-15)), "the span is still open"

    exporter.export(settlement(line(3), measurement(nanojoules=123_456_700), measurement(nanojoules=103)))
    requests, books = both()
    assert requests == pytest.approx(0.123456803, rel=1e-15)
    assert books == pytest.approx(requests, rel=1e-15)


def test_over_domains_of_two_qualities_the_sums_agree_over_all_qualities() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(
        settlement(
            line(2_000_000_000),
            line(500_000_000, domain="estimate/0/dram", quality="estimated"),
            measurement(nanojoules=2_500_000_000, quality="estimated"),
        )
    )
    found = samples(registry)
    books = {
        quality: total(found, "greeninfer_energy_joules_total", state="attributed", quality=quality)
        for quality in ("measured", "estimated")
    }
    assert books == {"measured": 2.0, "estimated": 0.5}
    requests = {
        quality: total(found, "greeninfer_request_energy_joules_sum", quality=quality)
        for quality in ("measured", "estimated")
    }
    assert requests == {"measured": 0.0, "estimated": 2.5}, "whole, and under the worse of the two"


ROUTES = st.tuples(st.sampled_from(["classify", "rerank", ""]), st.sampled_from(["minilm", ""]))
NANOJOULES = st.one_of(st.integers(0, 1_000), st.integers(0, 10**12), st.integers(0, 10**18))
SHARES = st.lists(st.tuples(st.sampled_from([PACKAGE, DRAM]), NANOJOULES), min_size=1, max_size=4)
SPANS = st.lists(st.tuples(ROUTES, st.sampled_from(["measured", "shared"]), SHARES), max_size=8)
REST = st.lists(st.tuples(st.sampled_from(["idle", "other", "unattributed"]), NANOJOULES), max_size=4)


@st.composite
def runs(draw: st.DrawFn) -> list[Settlement]:
    """Draw ticks whose attributed lines are shares of spans, each of which is settled with the last of its shares."""
    ticks: list[list[object]] = [[] for _ in range(4)]
    for (name, model), quality, shares in draw(SPANS):
        for tick, (domain, nanojoules) in zip(ticks, shares, strict=False):
            tick.append(line(nanojoules, name=name, model=model, domain=domain, quality=quality))
        own = sum(nanojoules for _, nanojoules in shares)
        ticks[len(shares) - 1].append(measurement(name, model, own, quality=quality))
    for tick in ticks:
        tick.extend(line(nanojoules, state, reason=state[:2]) for state, nanojoules in draw(REST))
    return [settlement(*tick) for tick in ticks]  # type: ignore[arg-type]


@given(runs())
@settings(deadline=None, max_examples=60)
def test_after_any_run_the_counters_are_the_books(run: list[Settlement]) -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    books: defaultdict[tuple[str, ...], int] = defaultdict(int)
    own: defaultdict[tuple[str, str, Quality | None], int] = defaultdict(int)
    before: dict[tuple[str, ...], float] = {}
    for tick in run:
        exporter.export(tick)
        for each in tick.lines:
            books[each.state, each.name, each.model, each.domain, each.quality, each.reason] += each.nanojoules
        for each_measurement in tick.measurements:
            key = (*each_measurement.key, each_measurement.quality)
            own[key] += each_measurement.nanojoules
        now = energy_counters(registry)
        assert all(now[labels] >= value for labels, value in before.items()), "a counter went back"
        before = now

    assert before.keys() == books.keys()
    for labels, nanojoules in books.items():
        exact = Fraction(nanojoules, NANO)
        assert abs(Fraction(before[labels]) - exact) <= 2 * Fraction(math.ulp(float(exact)))
    found = samples(registry)
    for (name, model, quality), nanojoules in own.items():
        labels = {"name": name, "model": model, "quality": str(quality)}
        requests = total(found, "greeninfer_request_energy_joules_sum", **labels)
        assert requests == pytest.approx(nanojoules / NANO, rel=1e-14)
        attributed = total(found, "greeninfer_energy_joules_total", state="attributed", **labels)
        assert attributed == pytest.approx(requests, rel=1e-14)


def energy_counters(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    order = ("state", "name", "model", "domain", "quality", "reason")
    return {
        tuple(dict(labels)[each] for each in order): value
        for (name, labels), value in samples(registry).items()
        if name == "greeninfer_energy_joules_total"
    }


def test_a_counter_does_not_lose_single_nanojoules_beside_a_large_total() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter.export(settlement(line(20_000_000 * NANO)))
    for _ in range(5_000):
        exporter.export(settlement(line(1)))
    assert 20_000_000.0 + 1e-9 == 20_000_000.0, "a float alone would lose each of them"
    assert samples(registry)[
        "greeninfer_energy_joules_total",
        frozenset(
            {
                "state": "attributed",
                "name": "classify",
                "model": "minilm",
                "domain": PACKAGE,
                "quality": "measured",
            }.items()
        )
        | {("reason", "")},
    ] == pytest.approx(20_000_000.000005, rel=1e-16)


def test_a_counter_does_not_drift_over_many_nanojoules() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    for _ in range(30):
        exporter.export(settlement(*[line(1)] * 1_000))
    assert total(samples(registry), "greeninfer_energy_joules_total") == 0.00003


def test_a_line_below_zero_is_held_back_until_it_is_made_up() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    seen = []
    for nanojoules in (5 * NANO, -2 * NANO, NANO, 2 * NANO):
        exporter.export(settlement(line(nanojoules)))
        seen.append(total(samples(registry), "greeninfer_energy_joules_total"))
    assert seen == [5.0, 5.0, 5.0, 6.0]


def test_a_request_without_a_meter_has_a_duration_and_no_energy() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(settlement(measurement(nanojoules=None, seconds=0.25)))
    found = samples(registry)
    assert total(found, "greeninfer_request_duration_seconds_sum") == 0.25
    assert not [name for name, _ in found if name.startswith("greeninfer_request_energy")]


def test_a_request_of_0_joules_is_observed() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(settlement(measurement(nanojoules=0)))
    assert total(samples(registry), "greeninfer_request_energy_joules_count", quality="measured") == 1.0


def test_tokens_and_phases_add_up() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    each = measurement(tokens={"input": 3, "output": 5, "reasoning": 0}, phases={"prefill": 10, "decode": 1})
    exporter.export(settlement(each, each, measurement(tokens={"output": 7})))
    exporter.export(settlement(each))
    found = samples(registry)
    assert series(found, "greeninfer_tokens_total", "kind") == {"input": 9.0, "output": 22.0}
    assert series(found, "greeninfer_phase_energy_joules_total", "phase") == {"prefill": 30e-9, "decode": 3e-9}


def test_messages_add_up() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    each = measurement("/chat", messages={"received": 2, "sent": 5})
    exporter.export(settlement(each, each, measurement("/chat", messages={"received": 0, "sent": 1})))
    exporter.export(settlement(each))
    assert series(samples(registry), "greeninfer_messages_total", "direction") == {"received": 6.0, "sent": 16.0}


def test_requests_that_were_handed_on_are_counted_by_stage() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    small, large = measurement("ask", "small", escalated=True), measurement("ask", "large")
    exporter.export(settlement(small, large, small, measurement("ask", "small")))
    exporter.export(settlement(small))
    found = samples(registry)
    assert series(found, "greeninfer_escalations_total", "model") == {"small": 3.0}
    assert series(found, "greeninfer_escalations_total", "name") == {"ask": 3.0}


def test_the_first_byte_is_observed_where_there_was_one() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(
        settlement(measurement(), measurement(first_byte_seconds=0.25), measurement(first_byte_seconds=0.0))
    )
    found = samples(registry)
    name = "greeninfer_request_first_byte_seconds"
    assert total(found, name + "_count", name="classify", model="minilm") == 2.0
    assert total(found, name + "_sum") == 0.25
    of_durations = series(found, "greeninfer_request_duration_seconds_bucket", "le")
    assert series(found, name + "_bucket", "le").keys() == of_durations.keys()


def test_no_figure_of_static_energy_without_one() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter.export(settlement(measurement(nanojoules=None)))
    assert "greeninfer_static_energy_joules_total" not in {name for name, _ in samples(registry)}
    exporter.export(settlement(measurement(nanojoules=4 * NANO, static_joules=0.0)))
    assert total(samples(registry), "greeninfer_static_energy_joules_total") == 0.0


@given(
    requests=st.lists(
        st.integers(0, 10**13).flatmap(
            lambda whole: st.tuples(st.just(whole), st.floats(0.0, 1.0).map(lambda part: part * whole / NANO))
        ),
        max_size=20,
    )
)
def test_static_energy_is_a_part_of_what_is_attributed(requests: list[tuple[int, float]]) -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    for whole, static in requests:
        exporter.export(settlement(line(whole), measurement(nanojoules=whole, static_joules=static)))
        found = samples(registry)
        attributed = total(found, "greeninfer_energy_joules_total", state="attributed")
        assert total(found, "greeninfer_static_energy_joules_total") <= attributed * (1 + 1e-15)
    truth = sum(Fraction(static) for _, static in requests)
    told = Fraction(total(samples(registry), "greeninfer_static_energy_joules_total"))
    assert abs(told - truth) <= len(requests) * Fraction(1, 10**9) + truth / 2**50


def test_static_energy_beyond_the_whole_is_cut() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(settlement(measurement(nanojoules=5, static_joules=6e-9)))
    assert total(samples(registry), "greeninfer_static_energy_joules_total") == 5e-9


def test_failures_and_overhead_add_up() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter.export(settlement(Failure("rapl", "garbage", 2), Failure("nvml", "lost"), overhead_cpu_seconds=0.25))
    exporter.export(settlement(Failure("rapl", "garbage"), overhead_cpu_seconds=0.5))
    found = samples(registry)
    assert total(found, "greeninfer_meter_failures_total", meter="rapl", reason="garbage") == 3.0
    assert total(found, "greeninfer_meter_failures_total", meter="nvml", reason="lost") == 1.0
    assert total(found, "greeninfer_overhead_cpu_seconds_total") == 0.75


def test_in_flight_is_what_the_last_settlement_says() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter.export(settlement(in_flight={"classify": 3, "rerank": 1}))
    exporter.export(settlement(in_flight={"classify": 2, "rerank": 0}))
    assert series(samples(registry), "greeninfer_requests_in_flight", "name") == {"classify": 2.0, "rerank": 0.0}


def test_power_that_nobody_measures_any_more_is_not_known() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry, stale_seconds=30.0)

    def power() -> dict[str, float]:
        return series(samples(registry), "greeninfer_power_watts", "domain")

    exporter.export(settlement(instant=0.0, watts={PACKAGE: 90.0, DRAM: 4.0}))
    exporter.export(settlement(instant=30.0, watts={PACKAGE: 91.0}))
    assert power() == {PACKAGE: 91.0, DRAM: 4.0}
    exporter.export(settlement(instant=30.5, watts={PACKAGE: 92.0}))
    assert power()[PACKAGE] == 92.0
    assert math.isnan(power()[DRAM])
    exporter.export(settlement(instant=31.0, watts={DRAM: 5.0}))
    assert power() == {PACKAGE: 92.0, DRAM: 5.0}, "it came back"


def test_power_is_told_by_one_process_of_a_machine() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)

    def power() -> dict[str, float]:
        return series(samples(registry), "greeninfer_power_watts", "domain")

    exporter.export(settlement(line(NANO), instant=0.0, watts={PACKAGE: 90.0}, speaks_for_machine=False))
    assert power() == {}
    assert total(samples(registry), "greeninfer_energy_joules_total") == 1.0, "its own joules are its to tell"
    exporter.export(settlement(instant=1.0, watts={PACKAGE: 91.0}))
    assert power() == {PACKAGE: 91.0}
    exporter.export(settlement(instant=2.0, watts={PACKAGE: 92.0}, speaks_for_machine=False))
    assert math.isnan(power()[PACKAGE]), "another process tells it now"


def test_a_meter_is_info_while_it_is_read() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    estimate = MeterInfo("estimate", (Domain("estimate", 0, "cpu"),), "estimated", 0.1, (0.5, 1.5), "made up")

    def info() -> dict[str, float]:
        return series(samples(registry), "greeninfer_meter_info", "domain")

    exporter.export(settlement(meters=(RAPL, estimate)))
    assert info() == {PACKAGE: 1.0, DRAM: 1.0, "estimate/0/cpu": 1.0}
    exporter.export(settlement(meters=(estimate,)))
    assert info() == {PACKAGE: 0.0, DRAM: 0.0, "estimate/0/cpu": 1.0}


def test_after_close_the_counters_stay_and_the_gauges_say_nothing() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter.export(full())
    counters = energy_counters(registry)
    exporter.close()
    found = samples(registry)
    assert energy_counters(registry) == counters
    for gauge in ("greeninfer_power_watts", "greeninfer_requests_in_flight"):
        values = [value for (name, _), value in found.items() if name == gauge]
        assert values and all(map(math.isnan, values))
    assert set(series(found, "greeninfer_meter_info", "domain").values()) == {0.0}


def test_a_registry_that_holds_our_names_is_refused_and_left_as_it_was() -> None:
    registry = CollectorRegistry()
    foreign = Counter("greeninfer_tokens_total", "somebody's", registry=registry)
    with pytest.raises(ValueError, match=r"already holds greeninfer_tokens \(Counter.*registry=CollectorRegistry\(\)"):
        PrometheusExporter(registry)
    assert [family.name for family in registry.collect()] == ["greeninfer_tokens"]
    registry.unregister(foreign)
    PrometheusExporter(registry).export(full())
    assert page(registry) == (GOLDEN / "page.txt").read_text(encoding="utf-8")


def test_metrics_of_another_version_are_named_with_their_labels() -> None:
    registry = CollectorRegistry()
    Counter("greeninfer_tokens_total", "an older one's", ("name", "kind"), registry=registry)
    Gauge("greeninfer_power_watts", "likewise", registry=registry)
    with pytest.raises(ValueError, match="another version of greeninfer or other code put that there") as refusal:
        PrometheusExporter(registry)
    assert "greeninfer_tokens (Counter, with labels name+kind where ours has name+model+kind)" in str(refusal.value)
    assert "greeninfer_power_watts (Gauge, with labels none where ours has domain)" in str(refusal.value)
    assert "greeninfer_energy" not in str(refusal.value), "that one is free"
    assert [family.name for family in registry.collect()] == ["greeninfer_tokens", "greeninfer_power_watts"]


def test_a_name_taken_while_the_registry_was_empty_is_refused() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    for family in exporter._families._all:
        registry.unregister(family)
    Counter("greeninfer_tokens_total", "somebody's", registry=registry)
    with pytest.raises(ValueError, match="already holds greeninfer_tokens"):
        PrometheusExporter(registry)
    assert [family.name for family in registry.collect()] == ["greeninfer_tokens"]


TAKEN = """
import json, logging
from prometheus_client import Counter
logging.basicConfig()
Counter("greeninfer_tokens_total", "an older version's", ("name", "kind"))
import greeninfer

@greeninfer.measure
def double(number):
    return 2 * number

print(json.dumps([double(1), double(21)]))
"""


def test_a_request_does_not_notice_a_registry_that_is_taken(tmp_path: Path) -> None:
    done = subprocess.run(
        *([sys.executable, "-c", TAKEN],), env=environment(METERS="estimate", POWER_MODEL="5:20"), cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[2, 42]\n")
    assert done.stderr.count("greeninfer.disabled") == 1
    assert "already holds greeninfer_tokens (Counter, with labels name+kind where ours" in done.stderr


def test_two_exporters_on_one_registry_share_its_metrics() -> None:
    registry = CollectorRegistry()
    first, second = PrometheusExporter(registry), PrometheusExporter(registry)
    first.export(settlement(line(20_000_000 * NANO), measurement()))
    second.export(settlement(line(1), measurement()))
    first.export(settlement(line(4)))
    found = samples(registry)
    assert total(found, "greeninfer_energy_joules_total") == 20_000_000.000000005
    assert total(found, "greeninfer_request_energy_joules_count") == 2.0


def test_an_export_waits_for_another_on_the_same_registry() -> None:
    registry = CollectorRegistry()
    first, second = PrometheusExporter(registry), PrometheusExporter(registry)
    inside, leave = threading.Event(), threading.Event()

    def slowly() -> Iterator[Line]:
        yield line(NANO)
        inside.set()
        assert leave.wait(30.0)
        yield line(NANO)

    tick = dataclasses.replace(settlement(), lines=slowly())  # type: ignore[arg-type]
    slow = threading.Thread(target=first.export, args=(tick,))
    other = threading.Thread(target=second.export, args=(settlement(line(5 * NANO)),))
    slow.start()
    assert inside.wait(30.0)
    other.start()
    other.join(0.2)
    waited = other.is_alive()
    leave.set()
    slow.join(30.0)
    other.join(30.0)
    assert waited, "it went in while the other was inside"
    assert total(samples(registry), "greeninfer_energy_joules_total") == 7.0


def test_a_registry_that_was_emptied_gets_its_metrics_back() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter.export(full())
    for family in exporter._families._all:
        registry.unregister(family)
    assert page(registry) == ""
    PrometheusExporter(registry)
    assert page(registry) == (GOLDEN / "page.txt").read_text(encoding="utf-8")


def test_the_metrics_go_when_the_registry_goes() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(full())
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


def test_routes_beyond_the_ceiling_keep_their_joules(caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry, max_routes=2)
    names = ["a", "b", "c", "d"]
    with caplog.at_level(logging.WARNING, "greeninfer"):
        for _ in range(2):
            exporter.export(
                settlement(
                    *(line(NANO, name=name, model=name) for name in names),
                    *(
                        measurement(
                            *(name, name, NANO),
                            tokens={"input": 1},
                            messages={"sent": 1},
                            escalated=True,
                            phases={"decode": NANO},
                            first_byte_seconds=0.5,
                            static_joules=0.25,
                        )
                        for name in names
                    ),
                    in_flight=dict.fromkeys(names, 3),
                )
            )
    found = samples(registry)
    for metric, each in {
        "greeninfer_energy_joules_total": 2.0,
        "greeninfer_request_energy_joules_sum": 2.0,
        "greeninfer_request_duration_seconds_count": 2.0,
        "greeninfer_phase_energy_joules_total": 2.0,
        "greeninfer_request_first_byte_seconds_count": 2.0,
        "greeninfer_static_energy_joules_total": 0.5,
        "greeninfer_tokens_total": 2.0,
        "greeninfer_messages_total": 2.0,
        "greeninfer_escalations_total": 2.0,
        "greeninfer_requests_in_flight": 3.0,
    }.items():
        assert series(found, metric, "name") == {"a": each, "b": each, OVERFLOW: 2 * each}, metric
    assert total(found, "greeninfer_energy_joules_total", name=OVERFLOW, model="") == 4.0
    assert [record.getMessage() for record in caplog.records] == [
        "greeninfer.labels_overflow kind=route limit=2 first=('c', 'c')"
    ]


def test_idle_joules_take_no_place_below_the_ceiling() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry, max_routes=1)
    exporter.export(settlement(line(5, "idle"), line(7, "unattributed", reason="reset"), line(NANO)))
    assert total(samples(registry), "greeninfer_energy_joules_total", name="classify") == 1.0


def test_phase_names_made_up_per_request_are_bounded() -> None:
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter.export(settlement(*(measurement(phases={f"step {i}": NANO}) for i in range(100))))
    found = series(samples(registry), "greeninfer_phase_energy_joules_total", "phase")
    assert len(found) == 33
    assert found[OVERFLOW] == 68.0


def test_a_traced_request_leaves_an_exemplar() -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(
        settlement(measurement(seconds=0.02, first_byte_seconds=0.003, trace_id=TRACE), measurement(seconds=3.0))
    )
    text = generate_openmetrics(registry).decode()
    found = {
        (family.name, sample.labels["le"]): (sample.exemplar.labels, sample.exemplar.value)
        for family in parse_openmetrics(text)
        for sample in family.samples
        if sample.exemplar
    }
    assert found == {
        ("greeninfer_request_duration_seconds", "0.025"): ({"trace_id": TRACE}, 0.02),
        ("greeninfer_request_first_byte_seconds", "0.005"): ({"trace_id": TRACE}, 0.003),
        ("greeninfer_request_energy_joules", "0.5"): ({"trace_id": TRACE}, 0.25),
    }


@pytest.mark.parametrize("trace_id", ["f" * 121, "caf\udce9"])
def test_a_trace_id_that_no_exemplar_can_hold_is_left_out(trace_id: str) -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(settlement(measurement(trace_id=trace_id)))
    PrometheusExporter(registry).export(settlement(measurement(nanojoules=NANO, seconds=9.0, trace_id="f" * 120)))
    text = generate_openmetrics(registry).decode()
    assert total(samples(registry), "greeninfer_request_duration_seconds_count") == 2.0
    assert text.count("trace_id=") == 2, "of the other request's two histograms"


@pytest.mark.parametrize("value", WEIRD, ids=short)
def test_a_weird_label_is_read_back(value: str) -> None:
    registry = CollectorRegistry()
    PrometheusExporter(registry).export(
        settlement(line(NANO, name=value, model=value), measurement(value, value), in_flight={value: 1})
    )
    label = value.encode("utf-8", "backslashreplace").decode()
    found = read(registry)
    assert total(found, "greeninfer_energy_joules_total", name=label, model=label) == 1.0
    assert total(found, "greeninfer_requests_in_flight", name=label) == 1.0
    assert list(parse_openmetrics(generate_openmetrics(registry).decode()))


WORKER = """
import warnings
warnings.simplefilter("error")
warnings.simplefilter("ignore", ResourceWarning)  # prometheus_client leaves its files to the end of the process
from greeninfer.exporters.prometheus import PrometheusExporter
from tests_exporters.builders import full
exporter = PrometheusExporter()
exporter.export(full())
exporter.export(full())
"""


def test_several_workers_add_up(tmp_path: Path) -> None:
    (tmp_path / "tests_exporters").symlink_to(Path(__file__).parent)
    files = tmp_path / "files"
    files.mkdir()
    environ = {
        "PROMETHEUS_MULTIPROC_DIR": str(files),
        "PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(__file__).parents[1]}:{tmp_path}",
    }
    for _ in range(2):
        command = [sys.executable, "-c", WORKER]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(files))
    found = samples(registry)
    assert total(found, "greeninfer_energy_joules_total", state="attributed", name="classify", domain=PACKAGE) == 1.0
    assert total(found, "greeninfer_energy_joules_total", state="idle") == 1.6
    assert total(found, "greeninfer_request_energy_joules_sum", name="rerank") == 4.8
    assert total(found, "greeninfer_request_first_byte_seconds_sum", name="classify") == pytest.approx(4 * 0.008)
    assert series(found, "greeninfer_request_first_byte_seconds_bucket", "le")["0.01"] == 4.0
    assert total(found, "greeninfer_static_energy_joules_total", name="classify") == pytest.approx(4 * 0.07)
    assert series(found, "greeninfer_messages_total", "direction") == {"received": 8.0, "sent": 20.0}
    assert series(found, "greeninfer_escalations_total", "model") == {"minilm": 4.0}
    assert total(found, "greeninfer_tokens_total", kind="input") == 4 * 412
    assert series(found, "greeninfer_requests_in_flight", "name") == {"classify": 4.0, "rerank": 0.0}
    assert series(found, "greeninfer_power_watts", "domain") == {PACKAGE: 96.5, DRAM: 3.25}
    assert series(found, "greeninfer_meter_info", "domain") == {PACKAGE: 1.0, DRAM: 1.0}


@given(ticks=st.lists(st.lists(st.floats(0.0, 1e5) | st.sampled_from([0.001, 0.01, 10.0, 1e4])), max_size=5))
def test_a_histogram_is_what_the_library_itself_would_have_observed(ticks: list[list[float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    exporter = PrometheusExporter(ours)
    reference = PrometheusExporter(theirs)
    for joules in ticks:
        requests = [measurement(nanojoules=round(each * NANO)) for each in joules]
        exporter.export(settlement(*requests))
        for each in requests:  # one by one, through the histogram's own observe
            reference._families.observe_joules[*each.key, "measured"].observe_with(each.nanojoules / NANO, {})
    name = "greeninfer_request_energy_joules"
    mine, library = samples(ours), samples(theirs)
    assert series(mine, name + "_bucket", "le") == series(library, name + "_bucket", "le")
    assert total(mine, name + "_count") == total(library, name + "_count")
    assert total(mine, name + "_sum") == pytest.approx(total(library, name + "_sum"), rel=1e-12)
