"""A door: ``EnergyMiddleware`` measures every request of an ASGI application, and ``MetricsApp`` shows the figures.

Pure ASGI: no framework is imported. The application's coroutine is stepped, so that only its time on the event loop
counts as running; what it hands on to thread pools and tasks is followed (`_following.py`). The name of a request is
its route template; the sampler thread looks for it when it settles, so that it costs the request nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from time import perf_counter
from types import CoroutineType
from typing import Any, Final

from greeninfer import _tracing
from greeninfer._energy import Energy, Outcome
from greeninfer._following import following
from greeninfer._installed import check_environment, installed
from greeninfer._monitor import in_use
from greeninfer._route_name import UNMATCHED, what_names
from greeninfer._running import Stepper, outcome_of
from greeninfer._span import Span
from greeninfer._steps import run_coroutine

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

EXCLUDED: Final[tuple[str, ...]] = (
    *("/metrics", "/health", "/healthz", "/health/live", "/health/ready", "/livez", "/readyz", "/live", "/ready"),
    *("/ping", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/schema", "/favicon.ico"),
)
"""Paths that are not measured by default: they say nothing of what the service is for."""

HEADER: Final = b"x-energy-joules"
"""The response header that ``header=True`` adds."""

_MARK = "greeninfer"  # in the scope of a request that is being measured: a second middleware lets it pass
_SLOW_SECONDS = 0.1  # who waits longer may be gone by the time the answer is there
_GONE = ("ClientDisconnect", "ClientDisconnected")  # what Starlette and uvicorn raise for a client that left


def _check(app: object, name: object, model: object, header: object, follow: object) -> None:
    if not callable(app):
        raise TypeError(f"app={app!r} is not possible; allowed: an ASGI application")
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(f"name={name!r} is not possible; allowed: a string that is not empty, or None")
    if not isinstance(model, str):
        raise TypeError(f"model={model!r} is not possible; allowed: a string")
    for option, value in (("header", header), ("follow", follow)):
        if not isinstance(value, bool):
            raise TypeError(f"{option}={value!r} is not possible; allowed: True, False")


def _paths(exclude: object) -> tuple[str, ...]:
    if isinstance(exclude, str) or not isinstance(exclude, Iterable):
        exclude = (exclude,)
    paths = tuple(exclude)
    wrong = [path for path in paths if not (isinstance(path, str) and path.startswith("/"))]
    if wrong:
        raise ValueError(f"exclude={wrong!r} is not possible; allowed: paths that begin with /")
    return paths


class EnergyMiddleware:
    """Measure every request of an ASGI application.

    Args:
        app: the application.
        name: of all requests; default: each one's route template, "(unmatched)" where there is none.
        model: which model answers, a metric label; for several, measure the calls of each inside.
        exclude: paths that are not measured.
        header: answer with ``X-Energy-Joules``, a provisional figure. It is off because fine-grained power tells a
            client more than it should know (docs/in-production.md).
        follow: charge a request also for what it hands on to thread pools and tasks (``greeninfer.threads``).

    Raises:
        TypeError, ValueError: for an argument that is not possible.
        SettingsError: while a ``GREENINFER_*`` variable is wrong.
    """

    def __init__(
        self,
        app: App,
        *,
        name: str | None = None,
        model: str = "",
        exclude: Iterable[str] = EXCLUDED,
        header: bool = False,
        follow: bool = True,
    ) -> None:
        _check(app, name, model, header, follow)
        paths = _paths(exclude)
        check_environment()
        self.app = app
        self._named = name is not None
        self._key = (name or UNMATCHED, model)
        self._exclude = frozenset(path.rstrip("/") for path in paths)
        self._header = header
        self._follow = follow
        self._followed: object = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, and measure it."""
        kind = scope["type"]
        if kind == "lifespan":
            installed().start(timeout=0.0)  # so that the first request finds the meters read
        if (kind != "http" and kind != "websocket") or _MARK in scope or self._excludes(scope):
            await self.app(scope, receive, send)
            return
        monitor = in_use[-1] if in_use else installed()
        record = monitor.record
        if record is None:
            await self.app(scope, receive, send)
            return
        if self._follow and (self._followed is not _running_loop() or not following.follows_threads):
            self._follow_this_loop()
        scope[_MARK] = True
        span = Span(self._key, record, monitor)
        span.served, span.method = True, scope.get("method", "")
        if not self._named:
            span.scope, span.root_path = scope, scope.get("root_path", "")
        exchange = _Exchange(span, scope, receive, send, self._header, monitor.annotates)
        work = self.app(scope, exchange.receive, exchange.send)
        stepper = Stepper(span, work if type(work) is CoroutineType else _awaiting(work), exchange.judge)
        if self._header:
            exchange.stepper = stepper
        try:
            await run_coroutine(stepper)
        finally:
            exchange.stepper = None  # a circle would keep all of the request's objects until they are collected
            exchange.annotate()

    def _excludes(self, scope: Scope) -> bool:
        path: str = scope.get("path", "")
        root: str = scope.get("root_path", "")
        if root and path.startswith(root):
            path = path[len(root) :]
        return path.rstrip("/") in self._exclude

    def _follow_this_loop(self) -> None:
        self._followed = loop = _running_loop()
        following.follow_threads()
        if loop is not None:
            following.follow_tasks(loop)


class _Exchange:
    """What passes between the server and the application for one request."""

    # Defaults stand on the class: this is made for each request.
    stepper: Stepper | None = None
    _complete = False
    _gone = False

    def __init__(self, span: Span, scope: Scope, receive: Receive, send: Send, header: bool, annotates: bool) -> None:
        self._span = span
        self._scope = scope
        self._receive = receive
        self._send = send
        self._header = header
        self._annotates = annotates
        self._traced: Any = _tracing.active()
        if self._traced is not None:
            span.trace = _tracing.ids(self._traced)

    async def receive(self) -> Message:
        """Pass on the next message from the server, and note a client that left."""
        message = await self._receive()
        kind = message["type"]
        if kind == "http.disconnect":
            self._gone = self._gone or not self._complete
        elif kind == "websocket.receive":
            self._count("received")
        return message

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on to the server, and note what it tells."""
        kind = message["type"]
        if kind == "http.response.body" or kind == "http.response.zerocopysend":
            span, more = self._span, message.get("more_body", False)
            seconds = perf_counter() - span.opened
            if span.first_byte_seconds is None and (not more or message.get("body") or "file" in message):
                span.first_byte_seconds = seconds
            if not more:
                self._end(seconds)
        elif kind == "http.response.start" or kind == "websocket.http.response.start":
            status = message.get("status")
            self._span.answered = True
            self._span.status = int(status) if isinstance(status, int) else None
            if self._traced is None:
                self._trace_late()
            if self._header:
                message = self._with_header(message)
        elif kind == "websocket.send":
            self._count("sent")
        elif kind == "websocket.accept":
            self._span.answered = True
        elif kind == "http.response.pathsend":
            self._span.first_byte_seconds = seconds = perf_counter() - self._span.opened
            self._end(seconds)
        return self._send(message)

    def judge(self, error: BaseException) -> Outcome:
        """Tell how the request ended, from what ended the application and from what it sent."""
        if self._span.scope is not None:
            self._span.scope = what_names(self._scope)
        outcome = "error" if isinstance(error, StopAsyncIteration) else outcome_of(error)
        if outcome == "ok" and self._complete and not self._gone and (self._span.status or 200) < 500:
            return "ok"
        name = type(error).__name__
        if self._scope["type"] == "websocket":
            return "ok" if name == "WebSocketDisconnect" else outcome
        if (outcome == "error" and name in _GONE) or (outcome != "cancelled" and self._gone):
            return "cancelled"
        return "error" if outcome == "ok" else outcome

    def annotate(self) -> None:
        """Tell the user's own trace span what is known of the joules by now."""
        if self._annotates and self._traced is not None:
            energy = _provisional(self._span)
            if energy is not None:
                _tracing.annotate(self._traced, energy)

    def _trace_late(self) -> None:
        """Look for a trace again: one that is made further inside is there by now, and may be over at the end."""
        self._traced = _tracing.active()
        if self._traced is not None:
            self._span.trace = _tracing.ids(self._traced)
            self.annotate()

    def _count(self, direction: str) -> None:
        counts = self._span.message_counts
        if counts is None:
            counts = self._span.message_counts = {}
        counts[direction] = counts.get(direction, 0) + 1

    def _with_header(self, message: Message) -> Message:
        energy = _provisional(self._span, self.stepper.step_seconds if self.stepper is not None else 0.0)
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


def _provisional(span: Span, more_seconds: float = 0.0) -> Energy | None:
    """Return an early figure of a request, or None while its route has none.

    It is CPU seconds so far, and ``more_seconds`` of the step that goes on now, times joules per CPU second of the
    route's settled requests of late, child spans included in both; how far off that is, is not known.
    """
    rate = span.settler.rate(span.key) if span.is_routed() else None
    if rate is None:
        return None
    joules = (span.ran_seconds + more_seconds) * rate.watts
    return Energy(joules, joules, {}, None, None, None, rate.gain, rate.quality, span.seconds, True, False)


def _running_loop() -> Any:
    """Return asyncio's event loop that runs on this thread, or None, also where another library's does."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


async def _awaiting(work: Awaitable[None]) -> None:
    """Await an application that is no plain coroutine."""
    await work
