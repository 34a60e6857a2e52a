"""An OpenTelemetry SDK in memory: what an exporter hands to it, read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk.metrics", reason="opentelemetry-sdk is not installed")

from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric, MetricsData
from opentelemetry.sdk.metrics.view import View

from greeninfer.exporters import OtelExporter

Attributes = frozenset[tuple[str, Any]]


class Sdk:
    """What a program sets up, and the exporter that it gets."""

    def __init__(self, *, temporality: Mapping[type, Any] | None = None, views: tuple[View, ...] = ()) -> None:
        self.reader = InMemoryMetricReader(preferred_temporality=dict(temporality or {}))
        self.meters = MeterProvider([self.reader], views=views, shutdown_on_exit=False)
        self.log = InMemoryLogRecordExporter()
        self.events_of = LoggerProvider(shutdown_on_exit=False)
        self.events_of.add_log_record_processor(SimpleLogRecordProcessor(self.log))

    def exporter(self, **options: Any) -> OtelExporter:
        return OtelExporter(self.meters, self.events_of, **options)

    def collect(self) -> Collection:
        return Collection(self.reader.get_metrics_data())

    @property
    def events(self) -> list[ReadableLogRecord]:
        return list(self.log.get_finished_logs())


class Collection:
    """One collection of all metrics."""

    def __init__(self, data: MetricsData | None) -> None:
        self.data = data
        self.metrics: dict[str, Metric] = {metric.name: metric for metric in _metrics(data)}

    def points(self, name: str) -> dict[Attributes, Any]:
        """Return the points of a metric by their attributes."""
        metric = self.metrics.get(name)
        points = metric.data.data_points if metric is not None else ()
        return {frozenset((each.attributes or {}).items()): each for each in points}

    def values(self, metric: str, /, *keys: str) -> dict[Any, Any]:
        """Return the values of a counter or gauge by those of its attributes that matter."""
        found: dict[Any, Any] = {}
        for attributes, point in self.points(metric).items():
            given = dict(attributes)
            key = given.get(keys[0], "") if len(keys) == 1 else tuple(given.get(each, "") for each in keys)
            found[key] = found.get(key, 0) + point.value
        return found

    def total(self, metric: str, /, **labels: str) -> float:
        """Return the sum over all points with these attributes: of values, or of what a histogram observed."""
        points = [point for attributes, point in self.points(metric).items() if labels.items() <= attributes]
        return sum(point.sum if hasattr(point, "bucket_counts") else point.value for point in points)

    def count(self, metric: str, /, **labels: str) -> int:
        """Return how often a histogram was recorded."""
        return sum(point.count for attributes, point in self.points(metric).items() if labels.items() <= attributes)


def _metrics(data: MetricsData | None) -> Iterator[Metric]:
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            yield from scope.metrics
