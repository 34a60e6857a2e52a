"""The program's own trace spans: found where they are, told what is known, and never a trouble to a request."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from live import play

from greeninfer import Energy, _tracing

SETTLED = Energy(
    joules=0.25,
    total_joules=0.5,
    by_domain={"rapl/0/package": 0.25},
    static_joules=0.1,
    dynamic_joules=0.15,
    uncertainty_joules=0.02,
    gain=(0.97, 1.03),
    quality="measured",
    seconds=0.02,
    provisional=True,
    complete=True,
)
UNKNOWN = Energy(None, None, {}, None, None, None, (1.0, 1.0), None, 0.02, True, False)


def test_the_span_of_this_context_is_found(tracer: Any) -> None:
    assert _tracing.active() is None
    with tracer.start_as_current_span("outer") as outer:
        assert _tracing.active() is outer
        with tracer.start_as_current_span("inner") as inner:
            assert _tracing.active() is inner
        assert _tracing.active() is outer
    assert _tracing.active() is None


def test_a_span_that_has_ended_is_none(tracer: Any) -> None:
    from opentelemetry import trace

    span = tracer.start_span("over")
    with trace.use_span(span):
        assert _tracing.active() is span
        span.end()
        assert _tracing.active() is None


@pytest.mark.parametrize("sampler", ["ALWAYS_OFF", "RECORD_ONLY"])
def test_a_span_that_is_not_sampled_is_none(sampler: str) -> None:
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")
    from opentelemetry.sdk.trace import sampling

    class RecordOnly(sampling.Sampler):
        def should_sample(self, *given: Any, **named: Any) -> sampling.SamplingResult:
            return sampling.SamplingResult(sampling.Decision.RECORD_ONLY)

        def get_description(self) -> str:
            return "records and does not sample"

    chosen = sampling.ALWAYS_OFF if sampler == "ALWAYS_OFF" else RecordOnly()
    tracer = sdk.TracerProvider(sampler=chosen, shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("a") as span:
        assert span.is_recording() == (sampler == "RECORD_ONLY")
        assert _tracing.active() is None


def test_a_remote_parent_alone_is_none() -> None:
    """A trace that came with the headers, and no span of this program in it: nothing here to tell anything."""
    trace = pytest.importorskip("opentelemetry.trace", reason="opentelemetry-api is not installed")
    remote = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1)))
    with trace.use_span(remote):
        assert _tracing.active() is None


def test_ids_are_as_long_as_the_protocol_has_them(tracer: Any) -> None:
    with tracer.start_as_current_span("a") as span:
        trace_id, span_id = _tracing.ids(span)
    assert (len(trace_id), len(span_id)) == (32, 16)
    context = span.get_span_context()
    assert (int(trace_id, 16), int(span_id, 16)) == (context.trace_id, context.span_id)


def test_leading_zeros_are_kept() -> None:
    trace = pytest.importorskip("opentelemetry.trace", reason="opentelemetry-api is not installed")
    span = trace.NonRecordingSpan(trace.SpanContext(0xAB, 0xC, is_remote=False))
    assert _tracing.ids(span) == ("0" * 30 + "ab", "0" * 15 + "c")


def test_a_span_is_told_the_joules_and_what_they_are_worth(tracer: Any, finished: list[Any]) -> None:
    with tracer.start_as_current_span("a") as span:
        span.set_attribute("mine", 1)
        _tracing.annotate(span, SETTLED)
    [kept] = finished
    assert dict(kept.attributes) == {
        "mine": 1,
        "greeninfer.energy.joules": 0.25,
        "greeninfer.energy.uncertainty_joules": 0.02,
        "greeninfer.energy.quality": "measured",
        "greeninfer.energy.provisional": True,
    }


def test_a_span_is_told_nothing_where_nothing_is_known(tracer: Any, finished: list[Any]) -> None:
    with tracer.start_as_current_span("a") as span:
        _tracing.annotate(span, UNKNOWN)
    assert dict(finished[0].attributes) == {}


def test_a_span_that_has_ended_is_left_alone(
    tracer: Any, finished: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with tracer.start_as_current_span("a") as span:
        pass
    _tracing.annotate(span, SETTLED)
    assert dict(finished[0].attributes) == {}
    assert not caplog.records, "an SDK complains of attributes that come late"


class Rude:
    """A span, or a whole package, that raises whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} today")


def test_a_foreign_span_may_do_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    rude: Any = Rude()
    _tracing.annotate(rude, SETTLED)
    assert _tracing.ids(rude) == ("", "")
    package = types.SimpleNamespace(get_current_span=lambda: rude)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", package)  # type: ignore[arg-type]
    assert _tracing.active() is None


def test_a_package_that_is_being_imported_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", types.ModuleType("opentelemetry.trace"))
    assert _tracing.active() is None


def test_nothing_is_imported_to_look(tmp_path: Path) -> None:
    script = """
import json, sys
from greeninfer import _tracing
print(json.dumps([_tracing.active(), [name for name in sys.modules if "opentelemetry" in name]]))
"""
    assert play(script, tmp_path) == [None, []]
