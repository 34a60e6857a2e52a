"""What passes between a server and an ASGI application for one request, and what it tells of that request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from sys import modules
from time import perf_counter, thread_time
from typing import Any, Final

from greeninfer import _tracing
from greeninfer._energy import Energy, Outcome
from greeninfer._records import Failure
from greeninfer._route_name import RouteNames
from greeninfer._running import current, outcome_of
from greeninfer._span import Span

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADER: Final = b"x-energy-joules"
"""The response header that ``EnergyMiddleware(header=True)`` adds."""

_SLOW_SECONDS = 0.1  # who waits longer may be gone by the time the answer is there
_GONE = ("ClientDisconnect", "ClientDisconnected")  # what Starlette and uvicorn raise for a client that left


class Exchange:
    """Passes messages on, and notes on the span what they tell.

    Args:
        span: of the request.
        scope, receive, send: as the server gave them.
        names: of routes.
        header: whether the answer is to tell the joules.
        annotates: whether the program's own trace span is to.
    """

    # Defaults stand on the class: this is made for each request.
    _complete = False
    _gone = False
    _traced: Any = None

    def __init__(
        self, span: Span, scope: Scope, receive: Receive, send: Send, names: RouteNames, header: bool, annotates: bool
    ) -> None:
        self._span = span
        self._scope = scope
        self._receive = receive
        self._send = send
        self._names = names
        self._websocket = scope["type"] == "websocket"
        self._header = header
        self._annotates = annotates
        if _tracing.MODULE in modules:
            self._trace()

    async def receive(self) -> Message:
        """Pass on the next message from the server, and note a client that left."""
        span = current.get()
        current.set(None)  # a server keeps this context for what it does on the connection from then on
        try:
            message = await self._receive()
        finally:
            current.set(span)
        kind = message["type"]
        if kind == "http.disconnect":
            self._gone = self._gone or not self._complete
        elif kind == "websocket.receive":
            self._count("received")
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on to the server, and note what it tells."""
        kind = message["type"]
        span = self._span
        if kind == "http.response.body" or kind == "http.response.zerocopysend":
            more = message.get("more_body", False)
            seconds = perf_counter() - span.opened
            if span.first_byte_seconds is None and (not more or message.get("body") or "file" in message):
                span.first_byte_seconds = seconds
            if not more:
                self._end(seconds)
        elif kind == "http.response.start" or kind == "websocket.http.response.start":
            status = message.get("status")
            span.answered = True
            span.status = int(status) if isinstance(status, int) else None
            if self._traced is None and _tracing.MODULE in modules:
                self._trace()  # again: a trace that is made further inside is there by now, and may be over at the end
                self.annotate()
            if self._header:
                message = self._with_header(message)
        elif kind == "websocket.send":
            self._count("sent")
        elif kind == "websocket.accept":
            span.answered = True
        elif kind == "http.response.pathsend":
            span.first_byte_seconds = seconds = perf_counter() - span.opened
            self._end(seconds)
        return self._send(message)

    def judge(self, error: BaseException) -> Outcome:
        """Tell how the request ended, from what ended the application and from what it sent."""
        span = self._span
        if span.scope is not None:
            self._name(span)
        if type(error) is StopIteration and self._complete and not self._gone and (span.status or 200) < 500:
            return "ok"
        outcome, name = outcome_of(error), type(error).__name__
        if name == "StopAsyncIteration":
            outcome = "error"
        if self._websocket:
            if outcome == "ok" and (span.status or 0) >= 500:
                return "error"
            return "ok" if name in ("WebSocketDisconnect", *_GONE) else outcome
        if (outcome == "error" and name in _GONE) or (outcome != "cancelled" and self._gone):
            return "cancelled"
        return "error" if outcome == "ok" else outcome

    def annotate(self) -> None:
        """Tell the program's own trace span what is known of the joules by now, if it is to be told."""
        if self._annotates and self._traced is not None:
            energy = _provisional(self._span)
            if energy is not None:
                _tracing.annotate(self._traced, energy)

    def _name(self, span: Span) -> None:
        """Name the request, and let go of its scope.

        The scope holds all that the framework made for the request. To keep it until the next tick would keep hundreds
        of such requests in memory that could be used again at once; a cold cache costs more than all of this.
        """
        try:
            span.key = self._names.key(self._scope, span.root_path)
        except Exception as error:  # noqa: BLE001 - a framework's objects: foreign code
            span.settler.note(Failure("asgi", "route_name"), str(error) or repr(error))
        span.scope = None

    def _trace(self) -> None:
        """Note which of the program's sampled traces the request is in."""
        self._traced = _tracing.active()
        if self._traced is not None:
            self._span.trace = _tracing.ids(self._traced)
            self._span.rated = self._span.rated or self._annotates

    def _count(self, direction: str) -> None:
        counts = self._span.message_counts
        if counts is None:
            counts = self._span.message_counts = {}
        counts[direction] = counts.get(direction, 0) + 1

    def _with_header(self, message: Message) -> Message:
        energy = _provisional(self._span)
        if energy is None or not energy.joules:
            return message
        value = f"{energy.joules:.6g};quality={energy.quality};provisional"
        return {**message, "headers": [*message.get("headers", ()), (HEADER, value.encode())]}

    def _end(self, seconds: float) -> None:
        """Note the end of the answer, and whether anybody is there to read it, if that took long."""
        self._complete = True
        if seconds > _SLOW_SECONDS:
            # uvicorn knows, and tells it to nobody who does not wait for a message; asking it could lose one.
            cycle = getattr(self._receive, "__self__", None)
            self._gone = self._gone or getattr(cycle, "disconnected", False) is True


def _provisional(span: Span) -> Energy | None:
    """Return an early figure of a request, or None while its route has none.

    It is CPU seconds so far times joules per CPU second of the route's settled requests of late, child spans included
    in both; how far off that is, is not known.
    """
    rate = span.settler.rate(span.key) if span.is_routed() else None
    if rate is None:
        return None
    step_seconds = thread_time() - span.step_cpu if span.step_cpu else 0.0
    joules = (span.ran_seconds + step_seconds) * rate.watts
    return Energy(joules, joules, {}, None, None, None, rate.gain, rate.quality, span.seconds, True, False)
