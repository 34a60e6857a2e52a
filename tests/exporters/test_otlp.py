"""The OpenTelemetry exporter over the wire: what a receiver of OTLP decodes, and receivers that fail in every way."""

from __future__ import annotations

import asyncio
import logging
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from live import Live, play, spin

pytest.importorskip("opentelemetry.sdk.metrics", reason="opentelemetry-sdk is not installed")

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import greeninfer
from greeninfer._records import NANO
from greeninfer.asgi import EnergyMiddleware
from greeninfer.exporters import OtelExporter

from .otlp_receiver import Received, free_port, grpc_receiver, http_receiver, silent_receiver

RESOURCE = Resource({"service.name": "shop"})


@dataclass
class Program:
    """The SDK of a program, sending all three signals to one endpoint: when told to, or every so often."""

    meters: MeterProvider
    events: LoggerProvider
    spans: TracerProvider

    def exporter(self) -> OtelExporter:
        return OtelExporter(self.meters, self.events)

    def flush(self) -> None:
        self.meters.force_flush()
        self.events.force_flush()
        self.spans.force_flush()


@contextmanager
def program(address: str, protocol: str, *, seconds: float = 3600.0, timeout: float = 10.0) -> Iterator[Program]:
    """Set an SDK up, and take it down again."""
    exporters = _http(address, timeout) if protocol == "http" else _grpc(address, timeout)
    metrics, logs, traces = exporters
    before = set(threading.enumerate())
    milliseconds = seconds * 1e3
    reader = PeriodicExportingMetricReader(
        metrics, export_interval_millis=milliseconds, export_timeout_millis=timeout * 1e3
    )
    meters = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    events = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    events.add_log_record_processor(BatchLogRecordProcessor(logs, schedule_delay_millis=milliseconds))
    spans = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    spans.add_span_processor(BatchSpanProcessor(traces, schedule_delay_millis=milliseconds))
    try:
        yield Program(meters, events, spans)
    finally:
        meters.shutdown(timeout_millis=timeout * 1e3)
        events.shutdown()
        spans.shutdown()
        left = {thread for thread in threading.enumerate() if not thread.name.startswith("receiver")} - before
        for thread in left:
            thread.join(5.0)
        assert not [thread.name for thread in left if thread.is_alive()], "still running"


def _http(address: str, timeout: float) -> tuple[Any, Any, Any]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the OTLP exporter over HTTP is not installed")
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return (
        OTLPMetricExporter(f"{address}/v1/metrics", timeout=timeout),
        OTLPLogExporter(f"{address}/v1/logs", timeout=timeout),
        OTLPSpanExporter(f"{address}/v1/traces", timeout=timeout),
    )


def _grpc(address: str, timeout: float) -> tuple[Any, Any, Any]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc", reason="the OTLP exporter over gRPC is not installed")
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    options: dict[str, Any] = {"endpoint": address, "insecure": True, "timeout": timeout}
    return OTLPMetricExporter(**options), OTLPLogExporter(**options), OTLPSpanExporter(**options)


@pytest.fixture(params=["http", "grpc"])
def wire(request: pytest.FixtureRequest) -> Iterator[tuple[Program, Received]]:
    receiver = http_receiver if request.param == "http" else grpc_receiver
    with receiver() as received, program(received.address, request.param) as sdk:
        yield sdk, received


async def answer(app: Any, path: str = "/classify") -> None:
    """Make one request of an ASGI application."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None: ...

    await app({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send)


def burning(live: Live, joules: float, *, input: int = 0, output: int = 0) -> Any:
    """Return an application each request of which burns so much."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        live.burn_apart(joules)
        span = greeninfer.current()
        assert span is not None
        span.add_tokens(input=input, output=output)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"yes"})

    return app


def test_what_a_receiver_decodes_is_what_was_burnt(wire: tuple[Program, Received]) -> None:
    sdk, received = wire
    tracer = sdk.spans.get_tracer("shop")
    with Live(1.0, sdk.exporter()) as live:
        classify = EnergyMiddleware(burning(live, 3.0), name="/classify", model="tfidf", follow=False)
        generate = EnergyMiddleware(burning(live, 5.0, input=7, output=2), name="/generate", follow=False)
        with tracer.start_as_current_span("POST /classify") as span:
            asyncio.run(answer(classify))
        asyncio.run(answer(classify))
        asyncio.run(answer(generate))
        live.settle()
        sdk.flush()
        counted = live.kept.readings[-1][0].joules - live.kept.readings[0][0].joules
        books = {state: live.collected.nanojoules(state) / NANO for state in ("attributed", "idle", "other")}
        traced, *_ = live.named("/classify")
    context = span.get_span_context()
    trace_id, span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"

    assert received.total("greeninfer.energy") == pytest.approx(counted, abs=1e-8)
    assert received.total("hw.energy") == pytest.approx(counted, abs=1e-8)
    for state, joules in books.items():
        assert received.total("greeninfer.energy", state=state) == pytest.approx(joules, abs=1e-8)
    for name, requests, burnt in (("/classify", 2, 6.0), ("/generate", 1, 5.0)):
        [energy] = received.last("greeninfer.request.energy", name=name).values()
        assert (energy.kind, energy.unit, energy.count, len(energy.bounds)) == ("histogram", "J", requests, 22)
        assert burnt <= energy.value + 1e-8 <= burnt + 0.5, "what was burnt in it, and a little idle power"
        assert energy.value == pytest.approx(received.total("greeninfer.energy", name=name), abs=1e-8)
        [seconds] = received.last("greeninfer.request.first_byte", name=name).values()
        assert (seconds.unit, seconds.count) == ("s", requests)
    assert received.total("gen_ai.client.token.usage", **{"gen_ai.token.type": "input"}) == 7
    [energy, *_] = received.last("greeninfer.energy").values()
    assert (energy.kind, energy.unit, energy.monotonic) == ("sum", "J", True)

    for metric in ("energy", "duration", "first_byte"):
        assert {each[1:] for each in received.exemplars(f"greeninfer.request.{metric}")} == {(trace_id, span_id)}
    [(_, exemplar_trace, _)] = received.exemplars("greeninfer.request.energy")
    [(sent, attributes)] = received.spans
    assert sent.trace_id.hex() == exemplar_trace == trace_id
    [(event, told)] = received.logs
    assert (event.trace_id.hex(), event.span_id.hex(), event.event_name) == (trace_id, span_id, "greeninfer.request")
    assert told["greeninfer.energy.joules"] == pytest.approx(traced.nanojoules / NANO)
    assert (told["greeninfer.name"], told["greeninfer.energy.quality"]) == ("/classify", "measured")
    assert told["greeninfer.energy.complete"] is True
    assert 3.0 <= told["greeninfer.energy.joules"] + 1e-8 <= 3.5
    assert attributes.get("greeninfer.energy.provisional", True) is True


def test_counters_are_cumulative_over_many_settlements(wire: tuple[Program, Received]) -> None:
    sdk, received = wire
    with Live(1.0, sdk.exporter()) as live:
        for step in range(1, 5):
            with greeninfer.measure("classify"):
                live.burn_apart(1.0)
            live.settle()
            sdk.flush()
            attributed = live.collected.nanojoules("attributed") / NANO
            assert received.total("greeninfer.energy", state="attributed") == pytest.approx(attributed, abs=1e-8)
            [requests] = received.last("greeninfer.request.duration").values()
            assert (requests.count, requests.temporality) == (step, 2), "2 is cumulative in the protocol"
    sent = [point for point in received.points("greeninfer.energy") if ("state", "attributed") in point.attributes]
    assert [point.value for point in sent] == sorted(point.value for point in sent)
    assert len({point.start for point in sent}) == 1


def test_a_lost_sensor_is_a_gap_on_the_wire(wire: tuple[Program, Received]) -> None:
    sdk, received = wire

    def arrived() -> set[str]:
        before = len(received.messages)
        sdk.flush()
        fresh = Received("", received.messages[before:])
        return {name for name in ("hw.energy", "hw.power", "greeninfer.energy") if fresh.points(name)}

    with Live(1.0, sdk.exporter()) as live:
        live.tick()
        assert arrived() == {"hw.energy", "hw.power", "greeninfer.energy"}
        before = received.total("hw.energy")
        live.meter.vanish()
        live._clock.slow_seconds = -60.0  # a minute goes by
        live.tick()
        assert arrived() == {"greeninfer.energy"}
        live.meter.appear()
        live.meter.burn(11.0)
        live.tick()
        assert "hw.energy" in arrived()
        assert received.total("hw.energy") >= before + 11.0, "it counted all the time"
        counted = live.kept.readings[-1][0].joules - live.kept.readings[0][0].joules
        assert received.total("hw.energy") == pytest.approx(counted, abs=1e-8)
        assert received.total("greeninfer.energy", reason="sensor_lost") >= 11.0
    assert all(point.value > 0.0 for point in received.points("hw.energy")), "and it was never 0"


def test_a_trace_that_is_not_sampled_leaves_no_exemplar_and_no_event(wire: tuple[Program, Received]) -> None:
    sdk, received = wire
    tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("shop")
    with Live(1.0, sdk.exporter()) as live:
        with tracer.start_as_current_span("POST /classify"):
            asyncio.run(answer(EnergyMiddleware(burning(live, 3.0), name="/classify", follow=False)))
        live.settle()
        sdk.flush()
    assert [point.count for point in received.points("greeninfer.request.energy")] == [1]
    assert received.exemplars("greeninfer.request.energy") == set()
    assert received.logs == []


PAGE = Path(__file__).parents[2] / "docs" / "opentelemetry.md"
ONE_REQUEST = """
import greeninfer

with greeninfer.measure("classify"):
    sorted(range(100_000))
"""


def test_the_set_up_of_the_page_sends_the_last_request_of_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the OTLP exporter over HTTP is not installed")
    setup = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    with http_receiver() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.address)
        play(setup + ONE_REQUEST, tmp_path, EXPORTERS="otel", METERS="estimate", POWER_MODEL="5:20")
    [seconds] = received.last("greeninfer.request.duration", name="classify").values()
    assert (seconds.count, seconds.unit) == (1, "s")


def test_the_page_names_every_metric() -> None:
    text = PAGE.read_text(encoding="utf-8")
    golden = (Path(__file__).parent / "golden" / "otel.txt").read_text(encoding="utf-8")
    names = [line.split(" [")[0] for line in golden.splitlines() if line and not line.startswith(" ")]
    assert len(names) == 19
    assert [name for name in names if f"`{name}`" not in text] == []


# Receivers that fail.


def garbage(handler: BaseHTTPRequestHandler) -> bool:
    handler.wfile.write(b"\x00\xff\x13garbage\r\n" * 50)
    handler.close_connection = True
    return True


def wrong_body(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"<html>this is no protobuf</html>")
    return True


def unavailable(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_response(503)
    handler.end_headers()
    return True


def forbidden(handler: BaseHTTPRequestHandler) -> bool:
    handler.send_response(403)
    handler.end_headers()
    return True


BAD: dict[str, Callable[[BaseHTTPRequestHandler], bool] | None] = {
    "refuses": None,
    "hangs": None,
    "garbage": garbage,
    "wrong body": wrong_body,
    "unavailable": unavailable,
    "forbidden": forbidden,
}


@contextmanager
def bad_endpoint(kind: str) -> Iterator[str]:
    if kind == "refuses":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with silent_receiver() if kind == "hangs" else http_receiver(BAD[kind]) as received:
        yield received.address
    assert received.calls, "nobody called, so nothing was tested"


def serve(live: Live, requests: int, tracer: Any = None) -> list[float]:
    """Answer so many short requests, one of ten in a trace; return the seconds that each took its caller."""
    seconds = []
    for number in range(requests):
        with ExitStack() as stack:
            otel_span = None
            if tracer is not None and number % 10 == 0:
                otel_span = stack.enter_context(tracer.start_as_current_span("request"))
            begun = time.perf_counter()
            with greeninfer.measure("classify") as span:
                if otel_span is not None:
                    context = otel_span.get_span_context()
                    span.trace = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
                spin(0.0005)
            seconds.append(time.perf_counter() - begun)
        time.sleep(0.0005)
    return seconds


@pytest.mark.parametrize(
    ("kind", "protocol"), [*((kind, "http") for kind in BAD), ("refuses", "grpc"), ("hangs", "grpc")]
)
def test_an_endpoint_that_fails_is_not_noticed(kind: str, protocol: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "opentelemetry")  # an SDK says a lot of it
    with Live(1.0, tick_seconds=0.02) as live:
        alone = serve(live, 200)
    with bad_endpoint(kind) as address, program(address, protocol, seconds=0.05, timeout=0.4) as sdk:
        exporter = sdk.exporter()
        with Live(1.0, exporter, tick_seconds=0.02) as live:
            begun = len(live.collected.settlements)
            took = serve(live, 300, sdk.spans.get_tracer("shop"))
            ticks = len(live.collected.settlements) - begun
            settled = live.named("classify")
            failures = live.collected.failures()
            told = exporter._totals.sums["greeninfer.energy"].published
            books = live.collected.nanojoules()
    # Leaving the blocks has asserted that the books closed on the meter and that nothing is left running.
    assert len(settled) == 300
    assert all(each.outcome == "ok" for each in settled)
    assert sum(told.values()) == books
    assert not {key for key in failures if key[0] == "otel"}, failures
    assert not [each for each in caplog.records if each.name.startswith("greeninfer")]
    assert ticks >= 0.25 * sum(took) / 0.04, "ticks went on"
    assert max(took) < 0.3, "shorter than any wait for the endpoint"
    assert statistics.median(took) < 1.5 * statistics.median(alone) + 2e-4


# A foreign implementation.


@contextmanager
def rotel(to: str, folder: Path) -> Iterator[str]:
    """Run rotel, an OTLP collector written in Rust, between a gRPC port and another receiver."""
    package = pytest.importorskip("rotel", reason="rotel is not installed")
    agent = Path(package.__file__).with_name("rotel-agent")
    port, other = free_port(), free_port()
    command = [
        *(str(agent), "start"),
        *("--otlp-grpc-endpoint", f"127.0.0.1:{port}", "--otlp-http-endpoint", f"127.0.0.1:{other}"),
        *("--exporter", "otlp", "--otlp-exporter-endpoint", to, "--otlp-exporter-protocol", "http"),
        *("--pid-file", str(folder / "rotel.pid"), "--log-file", str(folder / "rotel.log")),
    ]
    with (folder / "out").open("wb") as out, subprocess.Popen(command, cwd=folder, stdout=out, stderr=out) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(20.0)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.mark.heavy
def test_a_foreign_collector_passes_all_of_it_on(tmp_path: Path) -> None:
    with (
        http_receiver() as received,
        rotel(received.address, tmp_path) as address,
        program(address, "grpc") as sdk,
        Live(1.0, sdk.exporter()) as live,
    ):
        with sdk.spans.get_tracer("shop").start_as_current_span("POST /classify") as span:
            asyncio.run(answer(EnergyMiddleware(burning(live, 3.0, output=4), name="/classify", follow=False)))
        live.settle()
        sdk.flush()
        received.wait(lambda now: now.points("hw.energy") and now.logs and now.spans)
        counted = live.kept.readings[-1][0].joules - live.kept.readings[0][0].joules
        assert received.total("greeninfer.energy") == pytest.approx(counted, abs=1e-8)
        assert received.total("hw.energy") == pytest.approx(counted, abs=1e-8)
        [energy] = received.last("greeninfer.request.energy").values()
        assert (energy.unit, energy.count, len(energy.bounds)) == ("J", 1, 22)
        assert 3.0 <= energy.value + 1e-8 <= 3.5
        context = span.get_span_context()
        trace_id = f"{context.trace_id:032x}"
        assert {each[1] for each in received.exemplars("greeninfer.request.energy")} == {trace_id}
        [(event, told)] = received.logs
        assert event.trace_id.hex() == trace_id
        assert told["greeninfer.energy.joules"] == pytest.approx(energy.value)
        [(sent, _)] = received.spans
        assert sent.trace_id.hex() == trace_id
