"""The program's own OpenTelemetry spans: which one a request is in, and the joules that can be told it.

OpenTelemetry is never imported here. Where the program has not imported it there is no span, and finding that out costs
one look into a dictionary; it is on the request path.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

from greeninfer._energy import Energy

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.util.types import AttributeValue

_log = logging.getLogger("greeninfer")


MODULE: Final = "opentelemetry.trace"
"""Where it is not imported there is no trace."""


def active() -> OtelSpan | None:
    """Return the span that is current in this context, if it is sampled and can still take attributes."""
    trace = sys.modules.get(MODULE)
    if trace is None:
        return None
    try:
        otel_span: OtelSpan = trace.get_current_span()
        if otel_span.is_recording() and otel_span.get_span_context().trace_flags.sampled:
            return otel_span
    except Exception as error:  # noqa: BLE001 - foreign code, in the middle of a request: it must not fail for a trace
        _log.debug("greeninfer.trace_unreadable error=%r", error)
    return None


def ids(otel_span: OtelSpan) -> tuple[str, str]:
    """Return the trace id as 32 hexadecimal digits and the span id as 16, or two "" where they cannot be read."""
    try:
        context = otel_span.get_span_context()
        return f"{context.trace_id:032x}", f"{context.span_id:016x}"
    except Exception as error:  # noqa: BLE001 - as above
        _log.debug("greeninfer.trace_unreadable error=%r", error)
        return "", ""


def annotate(otel_span: OtelSpan, energy: Energy) -> None:
    """Set the joules, how sure they are and where they come from on a span that is still being recorded.

    Joules that are not known set nothing. Called at the end of a request, the figure is provisional, and says so: the
    settled one follows at the next tick, as the event ``greeninfer.request``.
    """
    if energy.joules is None:
        return
    try:
        if otel_span.is_recording():
            otel_span.set_attributes(_attributes(energy.joules, energy))
    except Exception as error:  # noqa: BLE001 - as above
        _log.debug("greeninfer.annotate_failed error=%r", error)


def _attributes(joules: float, energy: Energy) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "greeninfer.energy.joules": joules,
        "greeninfer.energy.provisional": energy.provisional,
    }
    if energy.uncertainty_joules is not None:
        attributes["greeninfer.energy.uncertainty_joules"] = energy.uncertainty_joules
    if energy.quality is not None:
        attributes["greeninfer.energy.quality"] = energy.quality
    return attributes
