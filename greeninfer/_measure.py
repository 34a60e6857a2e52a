"""The first door: ``measure``, for functions of every shape and for blocks; ``current``, ``batch`` and ``flush``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload

from greeninfer import _tracing
from greeninfer._account import Edge
from greeninfer._installed import check_environment, installed
from greeninfer._monitor import in_use
from greeninfer._parts import Batch
from greeninfer._running import close_span, open_span, outcome_of, take_hold, threads
from greeninfer._running import current as current_span
from greeninfer._span import Span
from greeninfer._wrapper import Measured, Route, join_trace

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("greeninfer")


@overload
def measure(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def measure(
    name: str | None = None, /, *, model: str = "", device: str = "any", attributes: Mapping[str, object] | None = None
) -> Measure: ...
def measure(
    name: Callable[..., Any] | str | None = None,
    /,
    *,
    model: str = "",
    device: str = "any",
    attributes: Mapping[str, object] | None = None,
) -> Any:
    """Measure energy and time of a function's calls, or of a block.

    Works as ``@measure``, ``@measure("name", model="m")`` and ``with measure("name", model="m") as span``, on
    functions, methods, classmethods and staticmethods, plain, async, generators and async generators. Only the time
    on a CPU is charged; what waits, waits for free.

    Args:
        name: of the route, a metric label: few and fixed. Default: the function's qualified name.
        model: which model answers, a metric label too.
        device: "cpu" for work that never uses a GPU, so that it is never charged for one; else "any".
        attributes: for logs and traces, not for metrics.

    Raises:
        TypeError: for something that cannot be measured: not callable, or a class.
        ValueError: for a name that is empty, or an unknown device.
        SettingsError: when a function is decorated while a ``GREENINFER_*`` variable is wrong.
    """
    if name is None or isinstance(name, str):
        if attributes is None and isinstance(model, str):
            return Measure(_route(name, model, device))
        return Measure(Route.checked(name, model, device, attributes))
    return Measure(Route.checked(None, model, device, attributes))(name)


@lru_cache(maxsize=1024)
def _route(name: str | None, model: str, device: str) -> Route:
    """Return the same route for the same words: ``with measure("name")`` stands in the request path."""
    return Route.checked(name, model, device, None)


class Measure:
    """What ``measure("name")`` returns: a decorator, and a context manager that can be used many times over."""

    __slots__ = ("_open", "_route")

    def __init__(self, route: Route) -> None:
        self._route = route
        self._open: list[Span] = []

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """Return the function, measured at each call."""
        check_environment()
        return Measured(function, self._route.named_after(function))

    def __enter__(self) -> Span:
        """Open a span, a child of the innermost open one, and return it."""
        route = self._route
        monitor = in_use[-1] if in_use else installed()
        record = monitor.record
        span = Span(route.key, record or _ignore, monitor, route.device, self)
        span.given = route.attributes
        if record is not None:
            if threads.here.stepping == 0 and _on_event_loop():
                span.interleaved = True
                _warn_interleaved(span.name)
            if _tracing.MODULE in sys.modules:
                join_trace(span)
            open_span(span)
            self._open.append(span)
        return span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the span; an exception passes through."""
        span = current_span.get()
        while span is not None and span.door is not self:
            span = span.parent
        if span is None and self._open:  # a coroutine that the garbage collector closes has lost its context
            span = self._open[-1]
        if isinstance(span, Span):
            if span in self._open:
                self._open.remove(span)
            close_span(span, "ok" if error is None else outcome_of(error))

    async def __aenter__(self) -> Span:
        """Open a span as ``with`` does."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close the span as ``with`` does."""
        self.__exit__(kind, error, at)


def current() -> Span | None:
    """Return the innermost open span here, or None."""
    span = current_span.get()
    while span is not None and span.closed is not None:  # a task that its request left behind
        span = span.parent
    if not isinstance(span, Span):
        return None
    take_hold(span)
    return span


def batch(rows: Iterable[tuple[Span, float]]) -> AbstractContextManager[object]:
    """Return a context manager for one model call that serves many requests: its joules are split by weight.

    Args:
        rows: (span, weight) pairs; weights are relative, such as tokens per row.

    Raises:
        TypeError: for rows that are not such pairs.
        ValueError: for no rows, or weights that are negative, not finite, or all of them 0.
    """
    record = installed().record
    return nullcontext() if record is None else Batch(rows, record)


def flush(timeout: float = 1.0) -> bool:
    """Settle and export everything that is closed; return whether that was done within ``timeout`` seconds."""
    return installed().flush(timeout)


def _ignore(_edge: Edge) -> None:
    """Take an edge while nothing is measured."""


def _on_event_loop() -> bool:
    """Return whether this thread is running an asyncio event loop, without importing asyncio for it."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _warn_interleaved(name: str) -> None:
    if name not in _warned:
        _warned.add(name)
        _log.warning(
            "greeninfer.block_in_task name=%s: this block may be suspended while other tasks run, so its energy is "
            "uncertain; decorate the coroutine function instead",
            name,
        )


_warned: set[str] = set()
