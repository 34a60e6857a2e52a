"""What holds for every exporter. A new one enters MAKE, or the first test fails."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from greeninfer._records import Failure
from greeninfer.exporters import EXPORTERS, Exporter, JsonlExporter, LogExporter, PrometheusExporter

from .builders import WEIRD, full, line, measurement, settlement, short

MAKE: dict[str, Callable[[Path], Exporter]] = {
    "jsonl": lambda folder: JsonlExporter(str(folder / "requests.jsonl")),
    "log": lambda folder: LogExporter(),
    "otel": lambda folder: otel(),
    "prometheus": lambda folder: PrometheusExporter(CollectorRegistry()),
}


def otel() -> Exporter:
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")
    from .otel_sdk import Sdk

    return Sdk().exporter()


def test_the_suite_holds_every_exporter() -> None:
    assert MAKE.keys() == EXPORTERS.keys()


@pytest.fixture(params=MAKE)
def exporter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Exporter]:
    before = threading.active_count()
    made = MAKE[request.param](tmp_path)
    assert made.name == request.param
    yield made
    made.close()
    made.close()
    assert threading.active_count() == before


def test_nothing_happened(exporter: Exporter) -> None:
    exporter.export(settlement())


def test_everything_happened_again_and_again(exporter: Exporter) -> None:
    for instant in range(5):
        exporter.export(full(float(instant)))


def test_closed_before_it_was_used(exporter: Exporter) -> None:
    exporter.close()


@pytest.mark.parametrize("text", WEIRD, ids=short)
def test_any_text_is_a_label(exporter: Exporter, text: str) -> None:
    each = measurement(
        *(text, text),
        tokens={text: 1},
        messages={text: 1},
        phases={text: 1},
        attributes={text: text},
        trace_id=text,
        trace_span_id=text,
        origin=text,
    )
    exporter.export(
        settlement(
            line(1, name=text, model=text, domain=text),
            line(1, "unattributed", reason=text),
            each,
            Failure(text, text),
            watts={text: 1.0},
            in_flight={text: 1},
        )
    )


@pytest.mark.parametrize("figure", [0.0, 5e-324, 1e300, math.inf, math.nan], ids=repr)
def test_any_figure_is_carried(exporter: Exporter, figure: float) -> None:
    exporter.export(
        settlement(
            measurement(seconds=figure, first_byte_seconds=figure, tokens={"output": 1}),
            watts={"rapl/0/package": figure},
        )
    )


def test_a_request_of_a_route_that_no_meter_saw(exporter: Exporter) -> None:
    exporter.export(settlement(measurement(nanojoules=None), measurement(nanojoules=0), measurement(complete=False)))
