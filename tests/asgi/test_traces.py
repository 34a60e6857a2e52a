"""The program's own trace span is told what its request took, as far as that is known when it ends.

The truth: a node of 40 W that runs nothing but these requests, so a request takes 40 J per CPU second of its own.
"""

from __future__ import annotations

from typing import Any

import pytest
from live import spin

from asgi.wire import Scope, ask, body, start, watched
from greeninfer import EnergyMiddleware

WATTS = 40.0
WORK_SECONDS = 0.02
NEAR = 0.15  # what is done beside the work, a tick's cut and the CPU clock's own steps


class Traces:
    """Stands where the OpenTelemetry exporter stands: that one of this name is there is why spans are told."""

    name = "otel"

    def export(self, settlement: object) -> None:
        pass

    def close(self) -> None:
        pass


async def work(scope: Scope, receive: Any, send: Any) -> None:
    spin(WORK_SECONDS)
    await send(start(200))
    await send(body(b"x"))


async def test_the_trace_span_around_a_request_is_told_the_whole_of_it(tracer: Any, finished: list[Any]) -> None:
    async def late_work(scope: Scope, receive: Any, send: Any) -> None:
        await work(scope, receive, send)
        spin(WORK_SECONDS)  # after the answer: only the figure at the end has it

    with watched(WATTS, Traces()) as live:
        app = EnergyMiddleware(late_work, name="work")
        with tracer.start_as_current_span("first"):
            await ask(app)
        live.settle()
        with tracer.start_as_current_span("second"):
            await ask(app)
    first, second = finished
    assert dict(first.attributes) == {}
    assert second.attributes["greeninfer.energy.joules"] == pytest.approx(WATTS * 2 * WORK_SECONDS, rel=NEAR)
    assert second.attributes["greeninfer.energy.quality"] == "measured"
    assert second.attributes["greeninfer.energy.provisional"] is True


async def test_a_trace_span_that_begins_inside_the_request_is_told_by_its_answer(
    tracer: Any, finished: list[Any]
) -> None:
    async def traced(scope: Scope, receive: Any, send: Any) -> None:
        with tracer.start_as_current_span("inside"):
            await work(scope, receive, send)

    with watched(WATTS, Traces()) as live:
        app = EnergyMiddleware(traced, name="work")
        await ask(app)
        live.settle()
        await ask(app)
        _, second = live.named("work")
    assert second.trace_id == f"{finished[1].context.trace_id:032x}"
    assert finished[1].attributes["greeninfer.energy.joules"] == pytest.approx(WATTS * WORK_SECONDS, rel=NEAR)


async def test_without_the_exporter_a_trace_span_is_left_alone(tracer: Any, finished: list[Any]) -> None:
    with watched(WATTS) as live:
        app = EnergyMiddleware(work, name="work")
        for _ in range(2):
            with tracer.start_as_current_span("plain"):
                await ask(app)
            live.settle()
    assert [dict(each.attributes) for each in finished] == [{}, {}]
