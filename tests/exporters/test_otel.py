"""The OpenTelemetry exporter on an SDK in memory: its metrics and events, how they agree with the books, their gaps."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import weakref
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import Live, play
from prometheus_client import CollectorRegistry
from settled import Settled

pytest.importorskip("opentelemetry.sdk.metrics", reason="opentelemetry-sdk is not installed")

from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter, ObservableUpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

import greeninfer
from greeninfer._records import NANO, Domain, Failure, Line, MeterInfo
from greeninfer.exporters import PrometheusExporter
from greeninfer.exporters._labels import OVERFLOW
from greeninfer.exporters.otel import MAX_ROUTES

from .builders import (
    DRAM,
    PACKAGE,
    RAPL,
    TRACE,
    TRACE_SPAN,
    WEIRD,
    full,
    interval,
    line,
    measurement,
    settlement,
    short,
)
from .otel_sdk import Collection, Sdk

GOLDEN = Path(__file__).parent / "golden"
DELTA = dict.fromkeys((Counter, Histogram, ObservableCounter, ObservableUpDownCounter), AggregationTemporality.DELTA)
GPU = MeterInfo("nvml", (Domain("nvml", 1, "gpu", "gpu"),), "measured", 0.1, (0.95, 1.05), "made up")
ESTIMATE = MeterInfo("estimate", (Domain("estimate", 0, "cpu"),), "estimated", 0.1, (0.6, 1.7), "made up")


def test_the_metrics_are_the_contract() -> None:
    sdk = Sdk()
    sdk.exporter().export(full())
    assert page(sdk.collect()) == (GOLDEN / "otel.txt").read_text(encoding="utf-8")


def page(collection: Collection) -> str:
    """Return all metrics as text, without times."""
    lines = []
    for name, metric in collection.metrics.items():
        kind = type(metric.data).__name__.lower()
        if getattr(metric.data, "is_monotonic", True) is False:
            kind = "updown sum"
        lines.append(f"{name} [{metric.unit}] {kind}: {metric.description}")
        for attributes, point in collection.points(name).items():
            pairs = " ".join(f"{key}={value}" for key, value in sorted(attributes))
            if isinstance(point.value if hasattr(point, "value") else None, int | float):
                lines.append(f"    {{{pairs}}} {point.value!r}")
                continue
            filled = {
                bound: count
                for bound, count in zip((*point.explicit_bounds, math.inf), point.bucket_counts, strict=True)
                if count
            }
            lines.append(f"    {{{pairs}}} count={point.count} sum={point.sum!r} {filled}")
            lines.append(f"        bounds {list(point.explicit_bounds)}")
    return "\n".join(lines) + "\n"


def test_every_metric_has_the_name_that_prometheus_has_for_it() -> None:
    sdk, registry = Sdk(), CollectorRegistry()
    for exporter in (sdk.exporter(), PrometheusExporter(registry)):
        exporter.export(settlement(measurement(messages={"sent": 1})))
        exporter.export(full())
    native = {
        family.name: {label for sample in family.samples for label in sample.labels} - {"le"}
        for family in registry.collect()
    }
    bridged: dict[str, set[str]] = {}
    for name, metric in sdk.collect().metrics.items():
        if name.startswith("greeninfer."):
            # What a bridge makes of a name and a unit; "_total" is not in the name of a prometheus_client family.
            words = {"J": "_joules", "s": "_seconds", "W": "_watts"}
            labels = {key for point in metric.data.data_points for key in point.attributes}
            bridged[name.replace(".", "_") + words.get(metric.unit, "")] = labels
    assert bridged == native


@pytest.mark.parametrize(("module", "prefix"), [("gen_ai", "gen_ai."), ("hw", "hw.")])
def test_the_names_and_units_are_those_of_the_conventions(module: str, prefix: str) -> None:
    conventions = pytest.importorskip(f"opentelemetry.semconv._incubating.metrics.{module}_metrics")
    attributes = pytest.importorskip(f"opentelemetry.semconv._incubating.attributes.{module}_attributes")
    names = {value for name, value in vars(conventions).items() if name.isupper()}
    keys = {value for name, value in vars(attributes).items() if name.isupper()} | {"error.type"}
    theirs, ours = Sdk(), Sdk()
    for name, create in vars(conventions).items():
        if name.startswith("create_"):  # the conventions' own makers know kind and unit
            made = create(theirs.meters.get_meter("theirs"), *([()] if "callbacks" in create.__annotations__ else []))
            names.add((made.name, made.unit))
    ours.exporter().export(full())
    ours.exporter().export(settlement(measurement(outcome="error", tokens={"output": 1})))
    collection = ours.collect()
    found = [name for name in collection.metrics if name.startswith(prefix)]
    assert len(found) == {"gen_ai": 3, "hw": 2}[module]
    for name in found:
        assert {name, (name, collection.metrics[name].unit)} <= names
        assert all(key in keys for attributes in collection.points(name) for key, _ in attributes)


def test_the_sums_are_the_books_to_the_last_unit() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter.export(settlement(line(20_000_000 * NANO)))
    for _ in range(5):
        exporter.export(settlement(line(1)))
    assert sdk.collect().total("greeninfer.energy") == 20_000_000.000000005


@given(
    ticks=st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 10**15),
                st.sampled_from(["attributed", "idle", "other", "unattributed"]),
                st.sampled_from(["a", "b"]),
                st.sampled_from([PACKAGE, DRAM]),
            ),
            max_size=6,
        ),
        max_size=6,
    ),
    delta=st.booleans(),
)
def test_all_lines_arrive_whoever_collects_whenever(ticks: Any, delta: bool) -> None:
    """Cumulative figures are the sum of all ticks; deltas add up to it."""
    sdk = Sdk(temporality=DELTA if delta else None)
    exporter = sdk.exporter()
    truth: dict[tuple[str, ...], Fraction] = {}
    told: dict[tuple[str, ...], Fraction] = {}
    for tick in ticks:
        records = [line(amount, state, name, name, domain=domain) for amount, state, name, domain in tick]
        exporter.export(settlement(*records))
        for each in records:
            key = each.state, each.name, each.domain
            truth[key] = truth.get(key, Fraction(0)) + Fraction(each.nanojoules, NANO)
        values = sdk.collect().values("greeninfer.energy", "state", "name", "domain")
        for key, value in values.items():
            told[key] = Fraction(value) + (told.get(key, Fraction(0)) if delta else 0)
    assert told.keys() == truth.keys()
    for key, joules in truth.items():
        assert float(abs(told[key] - joules)) <= 1e-9 * len(ticks) * delta + float(joules) * 2**-50


def test_a_live_monitor_its_meter_and_what_arrives_agree() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    with Live(1.0, exporter) as live:
        with greeninfer.measure("classify", model="minilm"):
            live.burn_apart(3.0)
        with greeninfer.measure("rerank") as span:
            span.add_tokens(input=7, output=2)
            live.burn_apart(5.0)
        live.settle()
        collection = sdk.collect()
        counted = live.kept.readings[-1][0].joules - live.kept.readings[0][0].joules
        books = {state: live.collected.nanojoules(state) for state in ("attributed", "idle", "other")}
    assert collection.total("hw.energy", **{"hw.id": "simulated/0/package", "hw.type": "cpu"}) == pytest.approx(
        counted, abs=2e-9
    )
    assert collection.total("greeninfer.energy") == pytest.approx(counted, abs=2e-9)
    for state, nanojoules in books.items():
        assert collection.total("greeninfer.energy", state=state) == pytest.approx(nanojoules / NANO, abs=1e-9)
    for name, burnt in {"classify": 3.0, "rerank": 5.0}.items():
        arrived = collection.total("greeninfer.energy", name=name)
        assert burnt <= arrived + 1e-9 <= burnt + 0.5, "what was burnt in it, and a little idle power"
        assert collection.total("greeninfer.request.energy", name=name) == pytest.approx(arrived, abs=1e-9)
        assert collection.count("greeninfer.request.duration", name=name, outcome="ok") == 1
        assert 0.0 <= collection.total("greeninfer.static_energy", name=name) <= arrived
    assert collection.values("greeninfer.tokens", "kind") == {"input": 7, "output": 2}
    assert exporter.name == "otel"


def test_a_line_below_zero_is_held_back_until_it_is_made_up() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    seen = []
    for nanojoules in (5 * NANO, -2 * NANO, NANO, 2 * NANO):
        exporter.export(settlement(line(nanojoules)))
        seen.append(sdk.collect().total("greeninfer.energy"))
    assert seen == [5.0, 5.0, 5.0, 6.0]


def test_a_request_without_a_meter_has_a_duration_and_no_energy() -> None:
    sdk = Sdk()
    sdk.exporter().export(settlement(measurement(nanojoules=None, seconds=0.25)))
    collection = sdk.collect()
    assert collection.total("greeninfer.request.duration") == 0.25
    assert not {"greeninfer.request.energy", "greeninfer.static_energy", "hw.energy"} & collection.metrics.keys()


def test_a_request_of_0_joules_is_recorded() -> None:
    sdk = Sdk()
    sdk.exporter().export(settlement(measurement(nanojoules=0)))
    assert sdk.collect().count("greeninfer.request.energy", quality="measured") == 1


@pytest.mark.parametrize("figure", [math.nan, math.inf, -1.0])
def test_a_figure_that_no_histogram_takes_is_left_out_without_a_word(
    figure: float, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = Sdk()
    sdk.exporter().export(settlement(measurement(seconds=figure, first_byte_seconds=figure, tokens={"output": 3})))
    collection = sdk.collect()
    assert "greeninfer.request.duration" not in collection.metrics
    assert "gen_ai.server.request.duration" not in collection.metrics
    assert collection.count("greeninfer.request.energy") == 1
    assert not caplog.records


# The machine as a whole.


def test_a_sensor_that_is_lost_is_a_gap_and_comes_back_with_all_it_counted() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter.export(settlement(interval({PACKAGE: 2 * NANO, DRAM: NANO}), watts={PACKAGE: 2.0, DRAM: 1.0}))
    assert sdk.collect().values("hw.energy", "hw.id") == {PACKAGE: 2.0, DRAM: 1.0}
    exporter.export(settlement(interval({PACKAGE: 3 * NANO}), watts={PACKAGE: 3.0}))
    for metric in ("hw.energy", "hw.power"):
        assert sdk.collect().values(metric, "hw.id").keys() == {PACKAGE}
    assert sdk.collect().values("greeninfer.power", "domain") == {PACKAGE: 3.0}
    exporter.export(settlement(interval({})))
    collection = sdk.collect()
    assert not {"hw.energy", "hw.power", "greeninfer.power"} & collection.metrics.keys()
    exporter.export(settlement())
    assert "hw.energy" not in sdk.collect().metrics, "a tick without this meter changes nothing"
    exporter.export(settlement(interval({PACKAGE: 4 * NANO, DRAM: 7 * NANO}, fault="sensor_lost")))
    collection = sdk.collect()
    assert collection.values("hw.energy", "hw.id") == {PACKAGE: 9.0, DRAM: 8.0}
    assert "hw.power" not in collection.metrics, "over how long this was used is not known"


def test_the_guess_that_bridges_a_reset_is_no_device_truth() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter.export(settlement(interval({PACKAGE: NANO}), line(NANO)))
    exporter.export(
        settlement(
            interval({PACKAGE: 5 * NANO}, fault="reset", quality="estimated"),
            line(5 * NANO, "unattributed", quality="estimated", reason="reset"),
        )
    )
    exporter.export(settlement(interval({PACKAGE: 2 * NANO}), line(2 * NANO, "idle")))
    collection = sdk.collect()
    assert collection.total("hw.energy") == 3.0
    assert collection.total("greeninfer.energy", quality="measured") == 3.0
    assert collection.total("greeninfer.energy", quality="estimated", reason="reset") == 5.0


def test_an_estimate_is_no_device_truth() -> None:
    sdk = Sdk()
    cpu = "estimate/0/cpu"
    sdk.exporter().export(
        settlement(
            interval({cpu: NANO}, quality="estimated", meter=ESTIMATE),
            line(NANO, domain=cpu, quality="estimated"),
            watts={cpu: 20.0},
            meters=(ESTIMATE,),
        )
    )
    collection = sdk.collect()
    assert not {"hw.energy", "hw.power"} & collection.metrics.keys()
    assert collection.total("greeninfer.energy", quality="estimated") == 1.0
    assert collection.values("greeninfer.power", "domain") == {cpu: 20.0}
    assert collection.values("greeninfer.meter.info", "meter", "quality") == {("estimate", "estimated"): 1}


def test_each_component_says_what_it_is() -> None:
    sdk = Sdk()
    die = MeterInfo("dies", (Domain("dies", 0, "dram-die-1"),), "measured", 0.001, (1.0, 1.0), "made up")
    sdk.exporter().export(
        settlement(
            interval({PACKAGE: 1, DRAM: 1}),
            interval({"dies/0/dram-die-1": 1}, meter=die),
            interval({"nvml/1/gpu": 1}, meter=GPU),
        )
    )
    assert sdk.collect().values("hw.energy", "hw.id", "hw.type").keys() == {
        (PACKAGE, "cpu"),
        (DRAM, "memory"),
        ("dies/0/dram-die-1", "memory"),
        ("nvml/1/gpu", "gpu"),
    }


def test_one_process_of_a_machine_tells_of_the_machine() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    machine = {"hw.energy", "hw.power", "greeninfer.power"}
    exporter.export(settlement(interval({PACKAGE: NANO}), line(NANO), watts={PACKAGE: 1.0}, speaks_for_machine=False))
    assert not machine & sdk.collect().metrics.keys()
    assert sdk.collect().total("greeninfer.energy") == 1.0
    exporter.export(settlement(interval({PACKAGE: 2 * NANO}), watts={PACKAGE: 2.0}))
    assert [sdk.collect().total(name) for name in sorted(machine)] == [2.0, 2.0, 2.0]
    exporter.export(settlement(interval({PACKAGE: 4 * NANO}), watts={PACKAGE: 4.0}, speaks_for_machine=False))
    assert not machine & sdk.collect().metrics.keys()
    exporter.export(settlement(interval({PACKAGE: 8 * NANO})))
    assert sdk.collect().total("hw.energy") == 10.0, "what it told goes on; what another one told is not in it"


def test_a_power_without_a_new_figure_is_not_known_after_a_while() -> None:
    sdk = Sdk()
    exporter = sdk.exporter(stale_seconds=30.0)
    exporter.export(settlement(interval({PACKAGE: 1, DRAM: 1}), instant=0.0, watts={PACKAGE: 90.0, DRAM: 4.0}))
    exporter.export(settlement(instant=30.0, watts={PACKAGE: 91.0}))
    assert sdk.collect().values("greeninfer.power", "domain") == {PACKAGE: 91.0, DRAM: 4.0}
    exporter.export(settlement(instant=30.5, watts={PACKAGE: math.nan}))
    for metric, key in (("greeninfer.power", "domain"), ("hw.power", "hw.id")):
        assert sdk.collect().values(metric, key) == {PACKAGE: 91.0}


def test_a_meter_is_info_while_it_is_read() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter.export(settlement(meters=(RAPL, ESTIMATE)))
    assert sdk.collect().values("greeninfer.meter.info", "domain") == {PACKAGE: 1, DRAM: 1, "estimate/0/cpu": 1}
    exporter.export(settlement(meters=(ESTIMATE,)))
    assert sdk.collect().values("greeninfer.meter.info", "domain") == {"estimate/0/cpu": 1}


def test_in_flight_is_what_the_last_settlement_says() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter.export(settlement(in_flight={"classify": 3, "rerank": 1}))
    exporter.export(settlement(in_flight={"classify": 2, "rerank": 0}))
    assert sdk.collect().values("greeninfer.requests_in_flight", "name") == {"classify": 2, "rerank": 0}


def test_failures_and_overhead_add_up() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter.export(settlement(Failure("rapl", "garbage", 2), Failure("nvml", "lost"), overhead_cpu_seconds=0.25))
    exporter.export(settlement(Failure("rapl", "garbage"), overhead_cpu_seconds=0.5))
    collection = sdk.collect()
    failures = collection.values("greeninfer.meter.failures", "meter", "reason")
    assert failures == {("rapl", "garbage"): 3, ("nvml", "lost"): 1}
    assert collection.total("greeninfer.overhead.cpu") == 0.75


# Routes.


def test_routes_beyond_the_ceiling_keep_their_joules(caplog: pytest.LogCaptureFixture) -> None:
    sdk = Sdk()
    exporter = sdk.exporter(max_routes=2)
    names = ["a", "b", "c", "d"]
    for _ in range(2):
        exporter.export(
            settlement(
                *(line(NANO, name=name, model=name) for name in names),
                line(5, "idle"),
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
    collection = sdk.collect()
    for metric, each in {
        "greeninfer.energy": 2.0,
        "greeninfer.static_energy": 0.5,
        "greeninfer.phase.energy": 2.0,
        "greeninfer.tokens": 2,
        "greeninfer.messages": 2,
        "greeninfer.escalations": 2,
        "greeninfer.requests_in_flight": 3,
        "greeninfer.request.energy": 2.0,
        "greeninfer.request.first_byte": 1.0,
    }.items():
        for name, factor in {"a": 1, "b": 1, OVERFLOW: 2}.items():
            assert collection.total(metric, name=name) == factor * each, metric
    assert collection.total("gen_ai.client.token.usage", **{"gen_ai.operation.name": OVERFLOW}) == 4
    assert [each.getMessage() for each in caplog.records] == [
        "greeninfer.labels_overflow kind=route limit=2 first=('c', 'c')"
    ]


def test_the_ceiling_is_below_that_of_an_sdk() -> None:
    """An SDK takes 2000 sets of attributes; beyond that it knows no names at all."""
    sdk = Sdk()
    routes = [f"route {number}" for number in range(MAX_ROUTES + 50)]
    sdk.exporter().export(
        settlement(
            *(line(NANO, name=name, domain=domain) for name in routes for domain in (PACKAGE, DRAM, "nvml/0/gpu")),
            *(measurement(name, outcome=outcome) for name in routes for outcome in ("ok", "error", "cancelled")),
        )
    )
    collection = sdk.collect()
    assert len(collection.points("greeninfer.energy")) == 3 * (MAX_ROUTES + 1)
    assert collection.total("greeninfer.energy") == 3 * len(routes)
    assert collection.count("greeninfer.request.duration") == 3 * len(routes)
    assert "otel.metric.overflow" not in {
        key for name in collection.metrics for point in collection.points(name) for key, _ in point
    }


def test_phase_names_made_up_per_request_are_bounded() -> None:
    sdk = Sdk()
    sdk.exporter().export(settlement(*(measurement(phases={f"step {i}": NANO}) for i in range(100))))
    found = sdk.collect().values("greeninfer.phase.energy", "phase")
    assert (len(found), found[OVERFLOW]) == (33, 68.0)


@pytest.mark.parametrize("text", WEIRD, ids=short)
def test_any_text_can_be_sent(text: str, caplog: pytest.LogCaptureFixture) -> None:
    metrics_encoder = pytest.importorskip("opentelemetry.exporter.otlp.proto.common.metrics_encoder")
    log_encoder = pytest.importorskip("opentelemetry.exporter.otlp.proto.common._log_encoder")
    sdk = Sdk()
    sdk.exporter().export(
        settlement(
            line(NANO, name=text, model=text, domain=text),
            measurement(
                *(text, text),
                tokens={text: 1, "input": 1},
                phases={text: 1},
                attributes={text: text, "big": 10**30, "object": object()},
                trace_id=TRACE,
                trace_span_id=TRACE_SPAN,
                origin=text,
            ),
            in_flight={text: 1},
        )
    )
    collection = sdk.collect()
    sent = metrics_encoder.encode_metrics(collection.data).SerializeToString()
    logged = log_encoder.encode_logs(sdk.events).SerializeToString()
    assert text.encode("utf-8", "backslashreplace") in sent
    assert (b"greeninfer.name" in logged) == bool(text)
    assert text.encode("utf-8", "backslashreplace") in logged
    assert not caplog.records, "an SDK loses what it cannot encode, and logs an error"


# Generative AI.


def test_tokens_are_told_as_the_conventions_have_them() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    each = measurement(
        *("chat", "qwen3"), seconds=2.0, tokens={"input": 412, "output": 33, "reasoning": 128}, first_byte_seconds=0.5
    )
    exporter.export(settlement(each, measurement("health")))
    exporter.export(settlement(each))
    collection = sdk.collect()
    of = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "self_hosted", "gen_ai.request.model": "qwen3"}
    usage = "gen_ai.client.token.usage"
    assert collection.total(usage, **of, **{"gen_ai.token.type": "input"}) == 2 * 412
    assert collection.total(usage, **of, **{"gen_ai.token.type": "output"}) == 2 * (33 + 128), "reasoning is output"
    assert collection.count(usage) == 4
    assert collection.total("gen_ai.server.request.duration", **of) == 4.0
    assert collection.count("gen_ai.server.request.duration") == 2, "none of what has no tokens"
    assert collection.total("gen_ai.server.time_to_first_token", **of) == 1.0


@pytest.mark.parametrize(("outcome", "told"), [("ok", None), ("error", "_OTHER"), ("cancelled", "cancelled")])
def test_a_failed_generation_says_so_and_has_no_time_to_its_first_token(outcome: Any, told: str | None) -> None:
    sdk = Sdk()
    sdk.exporter().export(settlement(measurement(outcome=outcome, tokens={"output": 3}, first_byte_seconds=0.1)))
    collection = sdk.collect()
    [attributes] = collection.points("gen_ai.server.request.duration")
    assert dict(attributes).get("error.type") == told
    assert collection.count("gen_ai.server.time_to_first_token") == (outcome == "ok")


# Traces.


def test_a_traced_request_leaves_an_exemplar_in_each_of_its_histograms() -> None:
    sdk = Sdk()
    sdk.exporter().export(
        settlement(
            measurement(
                tokens={"input": 3}, first_byte_seconds=0.01, trace_id=TRACE, trace_span_id=TRACE_SPAN, seconds=0.02
            ),
            measurement(nanojoules=7 * NANO, seconds=3.0),
        )
    )
    found = exemplars(sdk.collect())
    ids = (int(TRACE, 16), int(TRACE_SPAN, 16))
    assert found == {
        "greeninfer.request.duration": [(0.02, *ids)],
        "greeninfer.request.energy": [(0.25, *ids)],
        "greeninfer.request.first_byte": [(0.01, *ids)],
        "gen_ai.client.token.usage": [(3, *ids)],
        "gen_ai.server.request.duration": [(0.02, *ids)],
        "gen_ai.server.time_to_first_token": [(0.01, *ids)],
    }


def exemplars(collection: Collection) -> dict[str, list[Any]]:
    """Return all exemplars that belong to a trace, by metric."""
    found: dict[str, list[Any]] = {}
    for name in collection.metrics:
        for point in collection.points(name).values():
            for each in point.exemplars:
                if each.trace_id:
                    found.setdefault(name, []).append((each.value, each.trace_id, each.span_id))
    return found


@pytest.mark.parametrize("trace_id", ["", "none", "0" * 32, "f" * 33, "caf\udce9"])
def test_a_trace_id_that_is_none_makes_no_exemplar_and_no_event(trace_id: str) -> None:
    sdk = Sdk()
    sdk.exporter().export(settlement(measurement(trace_id=trace_id, trace_span_id=TRACE_SPAN)))
    assert sdk.collect().count("greeninfer.request.energy") == 1
    assert exemplars(sdk.collect()) == {}
    assert sdk.events == []


def test_a_traced_request_has_an_event_with_its_settled_figures() -> None:
    sdk = Sdk()
    sdk.exporter().export(full())
    [event] = sdk.events
    record = event.log_record
    assert (record.trace_id, record.span_id) == (int(TRACE, 16), int(TRACE_SPAN, 16))
    assert record.trace_flags == 1
    assert (record.event_name, record.severity_text) == ("greeninfer.request", "INFO")
    assert record.timestamp == pytest.approx(1_700_000_000_270_000_000, abs=1000), "when it closed"
    assert dict(record.attributes or {}) == {
        "batch": 4,
        "greeninfer.name": "classify",
        "greeninfer.model": "minilm",
        "greeninfer.outcome": "ok",
        "greeninfer.seconds": 0.02,
        "greeninfer.energy.joules": 0.28,
        "greeninfer.energy.total_joules": 0.28,
        "greeninfer.energy.uncertainty_joules": 0.28 / 10,
        "greeninfer.energy.quality": "measured",
        "greeninfer.energy.complete": True,
    }
    assert event.instrumentation_scope is not None
    assert event.instrumentation_scope.name == "greeninfer"


def test_an_event_leaves_out_what_is_not_known() -> None:
    sdk = Sdk()
    each = measurement(
        *("/x", "", None),
        seconds=math.nan,
        complete=False,
        outcome="cancelled",
        trace_id=TRACE,
        trace_span_id=TRACE_SPAN,
        origin="/search",
        attributes={"nan": math.nan, "list": [1], "greeninfer.name": "mine", "": 1, "http.route": "/x", "huge": 2**63},
    )
    sdk.exporter().export(settlement(each))
    [event] = sdk.events
    attributes = dict(event.log_record.attributes or {})
    assert math.isnan(attributes.pop("nan"))
    assert attributes == {
        "http.route": "/x",
        "greeninfer.name": "/x",
        "greeninfer.origin": "/search",
        "greeninfer.outcome": "cancelled",
        "greeninfer.energy.complete": False,
    }
    assert event.log_record.timestamp is None


def test_no_event_is_made_for_nobody() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter._events._logger = type("Deaf", (), {"enabled": lambda self, **of: False})()
    exporter.export(full())
    assert sdk.collect().count("greeninfer.request.energy") == 2


# Several exporters, providers that come late, and the end.


def test_two_exporters_on_one_provider_add_up() -> None:
    sdk = Sdk()
    first, second = sdk.exporter(), sdk.exporter()
    first.export(settlement(line(2 * NANO), measurement(), in_flight={"classify": 1}, watts={PACKAGE: 5.0}))
    second.export(settlement(line(NANO), measurement(), in_flight={"classify": 2}, watts={PACKAGE: 6.0}))
    collection = sdk.collect()
    assert collection.total("greeninfer.energy") == 3.0
    assert collection.count("greeninfer.request.energy") == 2
    assert collection.total("greeninfer.requests_in_flight") == 3
    assert collection.values("greeninfer.power", "domain") == {PACKAGE: 6.0}, "the last one shows"


def test_after_close_the_counters_stay_and_the_gauges_say_nothing() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter.export(full())
    before = sdk.collect()
    exporter.close()
    after = sdk.collect()
    assert before.metrics.keys() - after.metrics.keys() == {
        *("greeninfer.power", "hw.power", "hw.energy"),
        *("greeninfer.requests_in_flight", "greeninfer.meter.info"),
    }
    assert after.total("greeninfer.energy") == before.total("greeninfer.energy") > 0.0
    exporter.close()
    assert sdk.collect().total("greeninfer.energy") == after.total("greeninfer.energy"), "closed twice, counted once"


@pytest.mark.parametrize("temporality", [None, DELTA])
def test_the_next_exporter_goes_on_where_the_last_one_ended(temporality: Mapping[type, Any] | None) -> None:
    sdk = Sdk(temporality=temporality)
    told = {"greeninfer.energy": 0.0, "hw.energy": 0.0}
    for amount in (1, 2, 4):
        exporter = sdk.exporter()
        exporter.export(settlement(line(amount * NANO), interval({PACKAGE: amount * NANO})))
        collection = sdk.collect()
        exporter.close()
        for name in told:
            told[name] = collection.total(name) + (told[name] if temporality else 0.0)
    assert told == {"greeninfer.energy": 7.0, "hw.energy": 7.0}


def test_what_is_done_with_does_not_pile_up() -> None:
    sdk = Sdk()
    for _ in range(20):
        exporter = sdk.exporter()
        exporter.export(full())
        exporter.close()
    assert len(exporter._instruments._sources) == 1


def test_the_instruments_go_when_the_provider_goes() -> None:
    sdk = Sdk()
    sdk.exporter().export(full())
    gone = weakref.ref(sdk.meters)
    del sdk
    gc.collect()
    assert gone() is None


LATE = """
import json, sys
from greeninfer.exporters import OtelExporter
from exporters.builders import TRACE, TRACE_SPAN, full, line, settlement
from opentelemetry import metrics, _logs
early = OtelExporter()
early.export(full())
from exporters.otel_sdk import Sdk
sdk = Sdk()
metrics.set_meter_provider(sdk.meters)
_logs.set_logger_provider(sdk.events_of)
early.export(full())
other = OtelExporter()
other.export(settlement(line(1_000_000_000)))
third = OtelExporter(sdk.meters)
third.export(settlement(line(1_000_000_000)))
found = sdk.collect()
print(json.dumps([
    found.total("greeninfer.energy", name="rerank"),
    found.total("greeninfer.energy", name="classify"),
    found.count("greeninfer.request.energy"),
    len(sdk.events),
]))
"""


def test_a_provider_that_is_set_late_gets_every_counter(tmp_path: Path) -> None:
    rerank, classify, requests, events = play(LATE, tmp_path)
    assert rerank == pytest.approx(2.4), "both settlements"
    assert classify == pytest.approx(2 * 0.28 + 2.0), "of all three exporters"
    assert (requests, events) == (2, 1), "histograms and events begin when there is somebody"


def test_nobody_collects(caplog: pytest.LogCaptureFixture) -> None:
    exporter = Sdk().exporter()
    for instant in (0.0, 180.0):
        exporter.export(settlement(instant=instant))
    assert not caplog.records
    for instant in (180.1, 400.0, 600.0):
        exporter.export(settlement(instant=instant))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("greeninfer.otel_not_collected seconds=180 remedy='set up the OpenTelemetry")


def test_somebody_collects(caplog: pytest.LogCaptureFixture) -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter.export(settlement(instant=0.0))
    sdk.collect()
    exporter.export(settlement(instant=1000.0))
    assert not caplog.records


WITHOUT = """
import json, sys
sys.modules["opentelemetry.metrics"] = None
import greeninfer
from greeninfer.exporters import OtelExporter
try:
    OtelExporter()
except greeninfer.SettingsError as error:
    print(json.dumps(str(error)))
"""


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path) -> None:
    message = play(WITHOUT, tmp_path)
    assert message.startswith("exporters='otel' is not possible")
    assert "remedy: pip install 'opentelemetry-api" in message


def test_opentelemetry_is_imported_by_who_asks_for_it(tmp_path: Path) -> None:
    script = "import sys, json, greeninfer; print(json.dumps([name for name in sys.modules if 'opentelem' in name]))"
    assert play(script, tmp_path) == []


def test_a_settings_name_opens_it(tmp_path: Path) -> None:
    script = """
import json, greeninfer
with greeninfer.Monitor() as monitor:
    with greeninfer.measure("a"):
        pass
    assert monitor.flush()
    print(json.dumps([exporter.name for exporter in monitor._outlet.exporters]))
"""
    assert play(script, tmp_path, EXPORTERS="otel", METERS="estimate", POWER_MODEL="5:20") == ["otel"]


# What an SDK may do.


def test_a_view_of_the_programs_goes_before_our_buckets() -> None:
    view = View(instrument_name="greeninfer.request.energy", aggregation=ExponentialBucketHistogramAggregation())
    sdk = Sdk(views=(view,))
    sdk.exporter().export(full())
    assert type(sdk.collect().metrics["greeninfer.request.energy"].data).__name__ == "ExponentialHistogram"


class Angry:
    """A processor of logs that breaks."""

    def on_emit(self, log_record: object) -> None:
        raise RuntimeError("no more logs today")

    def enabled(self, **of: object) -> bool:
        return True

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


def test_an_sdk_that_raises_takes_nothing_from_the_counters(caplog: pytest.LogCaptureFixture) -> None:
    sdk = Sdk()
    sdk.events_of.add_log_record_processor(Angry())  # type: ignore[arg-type]
    with Live(1.0, sdk.exporter()) as live:
        for _ in range(3):
            with greeninfer.measure("classify") as span:
                span.trace = (TRACE, TRACE_SPAN)
                live.burn_apart(1.0)
        live.settle()
        live.tick()
        attributed = live.collected.nanojoules("attributed")
        failures = live.collected.failures()
        collection = sdk.collect()
    assert failures["otel", "export"] >= 1
    assert collection.total("greeninfer.energy", state="attributed") == pytest.approx(attributed / NANO, abs=1e-9)
    assert collection.count("greeninfer.request.energy") == 3
    assert sum("greeninfer.export_failed exporter=otel" in each.getMessage() for each in caplog.records) == 1


def test_the_counters_are_there_before_an_sdk_can_raise() -> None:
    sdk = Sdk()
    sdk.events_of.add_log_record_processor(Angry())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no more logs"):
        sdk.exporter().export(full())
    assert sdk.collect().total("greeninfer.energy", state="idle") == 0.4


def test_a_collection_sees_whole_ticks() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    exporter.export(settlement(line(NANO), line(NANO, "idle")))
    seen = []

    def halfway() -> Iterator[Line]:
        yield line(2 * NANO)
        seen.append(sdk.collect().values("greeninfer.energy", "state"))
        yield line(3 * NANO, "idle")

    exporter.export(dataclasses.replace(settlement(), lines=halfway()))  # type: ignore[arg-type]
    seen.append(sdk.collect().values("greeninfer.energy", "state"))
    assert seen == [{"attributed": 1.0, "idle": 1.0}, {"attributed": 3.0, "idle": 4.0}]


class Fleeting(Settled):
    """A request that can be watched going."""


def test_a_request_is_not_kept() -> None:
    sdk = Sdk()
    exporter = sdk.exporter()
    each = measurement(trace_id=TRACE, trace_span_id=TRACE_SPAN, tokens={"input": 1})
    each = Fleeting(**{field: getattr(each, field) for field in Settled.__dataclass_fields__})
    gone = weakref.ref(each)
    exporter.export(settlement(each))
    del each
    gc.collect()
    assert gone() is None
