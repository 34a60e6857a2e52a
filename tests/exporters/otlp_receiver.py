"""Receivers of OTLP, made of the protocol's own messages: over HTTP and over gRPC, well or badly behaved."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("opentelemetry.proto", reason="opentelemetry-proto is not installed")

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Message = ExportMetricsServiceRequest | ExportLogsServiceRequest | ExportTraceServiceRequest
Attributes = frozenset[tuple[str, Any]]
REQUESTS = {
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
}


@dataclass(frozen=True)
class Point:
    """One point of a metric."""

    unit: str
    kind: str
    attributes: Attributes
    value: float
    count: int
    bounds: tuple[float, ...]
    start: int
    time: int
    exemplars: tuple[tuple[float, str, str], ...]
    monotonic: bool | None
    temporality: int | None


@dataclass
class Received:
    """All that has arrived at one receiver, in its order."""

    address: str
    messages: list[Message] = field(default_factory=list)
    calls: int = 0
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, message: Message) -> None:
        with self.arrived:
            self.messages.append(message)
            self.arrived.notify_all()

    def wait(self, until: Callable[[Received], object], seconds: float = 30.0) -> None:
        """Return as soon as this is so."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: until(self), seconds), "it did not arrive"

    def points(self, metric: str) -> list[Point]:
        """Return all points of a metric, the oldest first."""
        return [
            point
            for message in self.messages
            if isinstance(message, ExportMetricsServiceRequest)
            for resource in message.resource_metrics
            for scope in resource.scope_metrics
            for each in scope.metrics
            if each.name == metric
            for point in _points(each)
        ]

    def last(self, metric: str, **labels: Any) -> dict[Attributes, Point]:
        """Return the newest point of each series with these attributes."""
        found = self.points(metric)
        return {point.attributes: point for point in found if labels.items() <= point.attributes}

    def total(self, metric: str, **labels: Any) -> float:
        """Return the sum over the newest points."""
        return sum(point.value for point in self.last(metric, **labels).values())

    def exemplars(self, metric: str) -> set[tuple[float, str, str]]:
        """Return (value, trace id, span id) of all exemplars that ever came: each is sent once."""
        return {each for point in self.points(metric) for each in point.exemplars}

    @property
    def logs(self) -> list[tuple[Any, dict[str, Any]]]:
        """Return log records with their attributes."""
        return [
            (record, dict(_attributes(record.attributes)))
            for message in self.messages
            if isinstance(message, ExportLogsServiceRequest)
            for resource in message.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def spans(self) -> list[tuple[Any, dict[str, Any]]]:
        """Return spans with their attributes."""
        return [
            (span, dict(_attributes(span.attributes)))
            for message in self.messages
            if isinstance(message, ExportTraceServiceRequest)
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def http_receiver(answer: Callable[[BaseHTTPRequestHandler], bool] | None = None) -> Iterator[Received]:
    """Receive over HTTP; ``answer`` may do something else with a call, and return True if it has."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.calls += 1
            if answer is not None and answer(self):
                return
            request, response = REQUESTS[self.path]
            received.take(
                request.FromString(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            )
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(response().SerializeToString())

        def log_message(self, *given: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    received = Received(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join(30.0)
        server.server_close()


@contextmanager
def grpc_receiver() -> Iterator[Received]:
    """Receive over gRPC."""
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    pool = ThreadPoolExecutor(4, thread_name_prefix="receiver")
    server = grpc.server(pool)
    services = {"metrics": "/v1/metrics", "logs": "/v1/logs", "trace": "/v1/traces"}
    for name, path in services.items():
        request, response = REQUESTS[path]

        def export(message: Message, context: object, response: Callable[[], Any] = response) -> Any:
            received.calls += 1
            received.take(message)
            return response()

        method = grpc.unary_unary_rpc_method_handler(export, request.FromString, response.SerializeToString)
        service = f"opentelemetry.proto.collector.{name}.v1.{name.capitalize()}Service"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    received = Received(f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    try:
        yield received
    finally:
        server.stop(None).wait(30.0)
        pool.shutdown()


@contextmanager
def silent_receiver() -> Iterator[Received]:
    """Take calls and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        received = Received(f"http://127.0.0.1:{server.getsockname()[1]}")
        callers: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    callers.append(server.accept()[0])
                except OSError:  # the end
                    return
                received.calls += 1

        thread = threading.Thread(target=accept, name="receiver")
        thread.start()
        try:
            yield received
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(30.0)
            for caller in callers:
                caller.close()


def free_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _points(metric: Any) -> Iterator[Point]:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    for each in data.data_points:
        histogram = kind == "histogram"
        yield Point(
            unit=metric.unit,
            kind=kind,
            attributes=frozenset(_attributes(each.attributes)),
            value=each.sum if histogram else getattr(each, each.WhichOneof("value")),
            count=each.count if histogram else 0,
            bounds=tuple(each.explicit_bounds) if histogram else (),
            start=each.start_time_unix_nano,
            time=each.time_unix_nano,
            exemplars=tuple(
                (getattr(found, found.WhichOneof("value")), found.trace_id.hex(), found.span_id.hex())
                for found in each.exemplars
            ),
            monotonic=getattr(data, "is_monotonic", None),
            temporality=getattr(data, "aggregation_temporality", None),
        )


def _attributes(given: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(each.key, getattr(each.value, each.value.WhichOneof("value"))) for each in given]
