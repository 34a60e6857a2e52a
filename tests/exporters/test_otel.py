"""The OpenTelemetry exporter on an SDK in memory: its metrics and events, their agreement with the books, their gaps."""

from __future__ import annotations

import gc
import logging
import math
import threading
import weakref
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import Live, environment, play
from prometheus_client import CollectorRegistry
from settled import Settled

pytest.importorskip("opentelemetry.sdk.metrics", reason="opentelemetry-sdk is not installed")

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter, ObservableUpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

import greeninfer
from greeninfer._records import NANO, Domain, Failure, MeterInfo
from greeninfer.errors import SettingsError
from greeninfer.exporters import OtelExporter, PrometheusExporter
from greeninfer.exporters._labels import OVERFLOW
from greeninfer.exporters.otel import MAX_ROUTES

from .builders import DRAM, PACKAGE, RAPL, TRACE, TRACE_SPAN, WEIRD, full, interval, line, measurement, settlement, short
from .otel_sdk import Collection, Sdk

GOLDEN = Path(__file__).parent / "golden"
DELTA = {
    kind: AggregationTemporality.DELTA for kind in (Counter, Histogram, ObservableCounter, ObservableUpDownCounter)
}
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
