"""The applications that `serving.py` loads, and the process that serves one of them.

    python _serving_apps.py CASE

Serves on a free port of 127.0.0.1 until standard input ends. Standard output gets one line of JSON: {"port": ...}, or
{"unavailable": why, "remedy": what to type}. Every case is the same FastAPI application but for what is mounted on it,
and a process of its own, so that nothing is patched for a neighbour.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

MODEL_SECONDS = 0.005


def application(own_telemetry: bool = False) -> Any:
    """Return the service without anything mounted.

    FastAPI from 0.165 on has OpenTelemetry of its own, which wakes up as soon as a provider is set; it would be charged
    to whoever set that, so it is off but for the case that shows it.

    Raises:
        ImportError: if FastAPI is not here, or has none of its own where that is asked for.
    """
    from fastapi import FastAPI

    if "telemetry" not in inspect.signature(FastAPI).parameters:
        if own_telemetry:
            raise ImportError("this FastAPI has no OpenTelemetry of its own, later ones do")
        app = FastAPI()
    else:
        app = FastAPI(telemetry=None if own_telemetry else {"tracing": False, "metrics": False, "logs": False})

    @app.get("/predict/{x}")
    async def predict(x: int) -> dict[str, int]:
        return {"x": x}

    @app.get("/sync/{x}")
    def predict_sync(x: int) -> dict[str, int]:
        return {"x": x}

    @app.get("/model/{x}")
    def model(x: int) -> dict[str, int]:
        """Compute for 5 ms in the thread pool, as a small classifier does."""
        until = time.thread_time() + MODEL_SECONDS
        while time.thread_time() < until:
            x = (x * 1_103_515_245 + 12_345) % 2_147_483_648
        return {"x": x}

    @app.get("/remote/{x}")
    async def remote(x: int) -> dict[str, int]:
        """Wait for 5 ms, as for a model that is served elsewhere."""
        await asyncio.sleep(MODEL_SECONDS)
        return {"x": x}

    return app


class NoOp:
    """The least that a middleware can be."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        await self.app(scope, receive, send)


def bare(_app: Any) -> None: ...


def no_op(app: Any) -> None:
    app.add_middleware(NoOp)


def greeninfer(app: Any) -> None:
    import greeninfer

    greeninfer.instrument(app)


def soak(app: Any) -> None:
    """Mount ours on a service that also streams and fails."""
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import StreamingResponse

    service: FastAPI = app

    @service.get("/stream/{x}")
    async def stream(x: int) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            for number in range(5):
                yield f"{x + number}\n"
                await asyncio.sleep(0.001)

        return StreamingResponse(parts())

    @service.get("/fail/{x}")
    async def fail(x: int) -> None:
        raise HTTPException(503, f"no {x}")

    greeninfer(app)


def greeninfer_otel(app: Any) -> None:
    """Mount ours, and set up OpenTelemetry as an application does that exports to its collector, or to nobody."""
    from opentelemetry import metrics

    import greeninfer

    exporter: Any = NullMetricExporter()
    if endpoint := os.environ.get("SERVING_OTLP_ENDPOINT"):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        exporter = OTLPMetricExporter(endpoint=endpoint)
    metrics.set_meter_provider(meter_provider(exporter))
    greeninfer.instrument(app)


def instrumentator(app: Any) -> None:
    from prometheus_fastapi_instrumentator import Instrumentator

    Instrumentator().instrument(app).expose(app)


def starlette_exporter(app: Any) -> None:
    from starlette_exporter import PrometheusMiddleware, handle_metrics

    app.add_middleware(PrometheusMiddleware)
    app.add_route("/metrics", handle_metrics)


def otel_provider(_app: Any) -> None:
    from opentelemetry import metrics

    metrics.set_meter_provider(meter_provider(NullMetricExporter()))


def otel_metrics(app: Any) -> None:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(app, meter_provider=meter_provider(NullMetricExporter()))


def otel_traces(app: Any) -> None:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class NullSpanExporter(SpanExporter):
        def export(self, _spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(NullSpanExporter()))
    meters = meter_provider(NullMetricExporter())
    FastAPIInstrumentor.instrument_app(app, tracer_provider=tracers, meter_provider=meters)


def meter_provider(exporter: Any) -> Any:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=1000)])


def NullMetricExporter() -> Any:  # noqa: N802 - a class, made where its package is
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult

    class Null(MetricExporter):
        def export(self, *_args: Any, **_options: Any) -> MetricExportResult:
            return MetricExportResult.SUCCESS

        def force_flush(self, timeout_millis: float = 0) -> bool:
            return True

        def shutdown(self, *_args: Any, **_options: Any) -> None: ...

    return Null()


@dataclass(frozen=True, slots=True)
class Case:
    """One row of a table.

    Args:
        title: of the row.
        mount: puts it on the application.
        packages: what it needs.
        own_telemetry: whether FastAPI's own OpenTelemetry is on.
    """

    title: str
    mount: Callable[[Any], None]
    packages: str = ""
    own_telemetry: bool = False


_SDK = "opentelemetry-sdk"
_OTEL = f"opentelemetry-instrumentation-fastapi {_SDK}"
CASES = {
    "bare": Case("bare", bare),
    "again": Case("bare, once more", bare),
    "noop": Case("an ASGI class that does nothing", no_op),
    "rapl": Case("greeninfer, meter rapl", greeninfer),
    "estimate": Case("greeninfer, meter estimate", greeninfer),
    "soak": Case("greeninfer on a service that also streams and fails", soak),
    "otel": Case("greeninfer, exporters prometheus and otel", greeninfer_otel, _SDK),
    "instrumentator": Case("prometheus-fastapi-instrumentator", instrumentator, "prometheus-fastapi-instrumentator"),
    "starlette": Case("starlette-exporter", starlette_exporter, "starlette-exporter"),
    "fastapi": Case("FastAPI's own OpenTelemetry, metrics", otel_provider, _SDK, own_telemetry=True),
    "otelmetrics": Case("OpenTelemetry FastAPI, metrics", otel_metrics, _OTEL),
    "oteltraces": Case("OpenTelemetry FastAPI, traces and metrics", otel_traces, _OTEL),
}


def serve(app: Any, listener: socket.socket) -> None:
    """Serve until standard input ends, with the event loop and the parser that uvicorn picks itself."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning", timeout_graceful_shutdown=2))

    def stop_at_the_end_of_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_at_the_end_of_input, daemon=True).start()
    server.run([listener])


def main() -> None:
    # What a case prints must not mix with the answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(**what: Any) -> None:
        print(json.dumps(what), file=answers, flush=True)

    case = CASES[sys.argv[1]]
    try:
        app = application(case.own_telemetry)
        case.mount(app)
        __import__("uvicorn")
    except ImportError as error:
        answer(unavailable=str(error), remedy=f"pip install fastapi 'uvicorn[standard]' {case.packages}".rstrip())
        return
    except Exception as error:
        answer(unavailable=f"{type(error).__name__}: {error}", remedy="")
        return
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    answer(port=listener.getsockname()[1])
    serve(app, listener)


if __name__ == "__main__":
    main()
