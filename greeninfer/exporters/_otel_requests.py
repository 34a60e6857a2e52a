"""What OpenTelemetry gets of each single request: where it is in a trace, its event, and its generative AI metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from greeninfer._energy import Measurement
from greeninfer.exporters._labels import encodable
from greeninfer.exporters._otel_instruments import Attributes, Instruments, attributes, own_version

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

EVENT: Final = "greeninfer.request"
"""Name of the event that tells of one settled request whose trace is sampled."""

GEN_AI_DURATION_BUCKETS: Final = tuple(0.01 * 2**step for step in range(14))
GEN_AI_FIRST_TOKEN_BUCKETS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
GEN_AI_TOKEN_BUCKETS: Final = tuple(float(4**step) for step in range(14))
"""All three as the conventions ask for (status: development):
https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md."""

PROVIDER: Final = "self_hosted"
"""``gen_ai.provider.name``: none of the providers that the conventions list, for the model runs right here."""


class Traces:
    """Makes the context that puts a figure into a request's trace, from where an SDK takes its exemplars."""

    def __init__(self) -> None:
        from opentelemetry import trace
        from opentelemetry.context import Context

        self._trace = trace
        self._sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        self._empty = Context()

    def context(self, trace_id: str, span_id: str) -> Context | None:
        """Return a context in which that span is the current one; None if the ids are none."""
        try:
            numbers = int(trace_id, 16), int(span_id, 16)
        except ValueError:
            return None
        span_context = self._trace.SpanContext(*numbers, is_remote=False, trace_flags=self._sampled)
        if not span_context.is_valid:
            return None
        return self._trace.set_span_in_context(self._trace.NonRecordingSpan(span_context), self._empty)


class Events:
    """Emits one event per request, with its settled figures, through the program's logger provider."""

    def __init__(self, provider: LoggerProvider | None) -> None:
        from opentelemetry._logs import SeverityNumber, get_logger_provider

        self._logger = (provider or get_logger_provider()).get_logger("greeninfer", own_version())
        self._severity = SeverityNumber.INFO

    def wanted(self) -> bool:
        """Return whether anybody listens; an API that cannot tell emits into nothing where nobody does."""
        enabled = getattr(self._logger, "enabled", None)
        return enabled is None or bool(enabled(severity_number=self._severity, event_name=EVENT))

    def emit(self, each: Measurement, context: Context) -> None:
        """Emit the event of one request."""
        self._logger.emit(
            timestamp=_nanoseconds(each.unix_seconds + each.seconds),
            context=context,
            severity_number=self._severity,
            severity_text="INFO",
            event_name=EVENT,
            attributes=_event_attributes(each),
        )


class GenAi:
    """Records requests with tokens under the names of the conventions for generative AI."""

    def __init__(self, instruments: Instruments) -> None:
        self._tokens = instruments.histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", GEN_AI_TOKEN_BUCKETS
        )
        self._duration = instruments.histogram(
            "gen_ai.server.request.duration",
            "s",
            "Generative AI server request duration such as time-to-last byte or last output token.",
            GEN_AI_DURATION_BUCKETS,
        )
        self._first_token = instruments.histogram(
            "gen_ai.server.time_to_first_token",
            "s",
            "Time to generate first token for successful responses.",
            GEN_AI_FIRST_TOKEN_BUCKETS,
        )

    def record(self, each: Measurement, own: GenAiAttributes, context: Context | None) -> None:
        """Record one request; what it did not count of its tokens is not recorded."""
        read = each.tokens.get("input", 0)
        # In the conventions, reasoning is a part of the output; here it is counted beside it.
        written = each.tokens.get("output", 0) + each.tokens.get("reasoning", 0)
        if read:
            self._tokens.record(read, own.read, context)
        if written:
            self._tokens.record(written, own.written, context)
        if recordable(each.seconds):
            self._duration.record(each.seconds, own.outcomes[each.outcome], context)
        if each.outcome == "ok" and each.first_byte_seconds is not None and recordable(each.first_byte_seconds):
            self._first_token.record(each.first_byte_seconds, own.outcomes["ok"], context)


class GenAiAttributes:
    """Attributes of one route: the operation is the name of the span, so a span named "chat" is a chat."""

    __slots__ = ("outcomes", "read", "written")

    def __init__(self, name: str, model: str) -> None:
        common = {"gen_ai.operation.name": name, "gen_ai.provider.name": PROVIDER, "gen_ai.request.model": model}
        self.read = attributes(**common, **{"gen_ai.token.type": "input"})
        self.written = attributes(**common, **{"gen_ai.token.type": "output"})
        self.outcomes: dict[str, Attributes] = {
            "ok": attributes(**common),
            "error": attributes(**common, **{"error.type": "_OTHER"}),
            "cancelled": attributes(**common, **{"error.type": "cancelled"}),
        }


def recordable(figure: float) -> bool:
    """Return whether a histogram takes a figure; what it refuses it logs every time."""
    return 0.0 <= figure < math.inf


def _nanoseconds(unix_seconds: float) -> int | None:
    return int(unix_seconds * 1e9) if recordable(unix_seconds) and unix_seconds < 2**34 else None


def _event_attributes(each: Measurement) -> dict[str, AttributeValue]:
    """Return what an event tells; a figure that is not known is not there."""
    energy = each.energy()
    figures = {
        "greeninfer.seconds": each.seconds,
        "greeninfer.energy.joules": energy.joules,
        "greeninfer.energy.total_joules": energy.total_joules,
        "greeninfer.energy.uncertainty_joules": energy.uncertainty_joules,
    }
    words = {
        "greeninfer.name": each.key[0],
        "greeninfer.model": each.key[1],
        "greeninfer.origin": each.origin,
        "greeninfer.outcome": each.outcome,
        "greeninfer.energy.quality": energy.quality or "",
    }
    return {
        **_plain(each.attributes or {}),
        **{name: figure for name, figure in figures.items() if figure is not None and math.isfinite(figure)},
        **{name: encodable(word) for name, word in words.items() if word},
        "greeninfer.energy.complete": energy.complete,
    }


def _plain(given: Mapping[str, object]) -> dict[str, AttributeValue]:
    """Return what the program attached, as far as every exporter of OpenTelemetry can carry it."""
    plain: dict[str, AttributeValue] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not name:
            continue
        if isinstance(value, str):
            plain[encodable(name)] = encodable(value)
        elif isinstance(value, bool | float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
            plain[encodable(name)] = value  # of a wider integer OTLP makes an error in the log
    return plain
