"""Measured callables: wrapt wrappers for every shape of function, that can be pickled and copied."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import wrapt

from greeninfer import _tracing
from greeninfer._account import Key
from greeninfer._installed import installed
from greeninfer._monitor import in_use
from greeninfer._running import Stepper, close_span, current, open_span, outcome_of
from greeninfer._span import Span
from greeninfer._steps import run_async_generator, run_coroutine, run_generator

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Route:
    """How the spans of one door are called; picklable.

    Args:
        key: (name, model).
        device: "any" or "cpu".
        attributes: for logs and traces.
    """

    key: Key
    device: str = "any"
    attributes: Mapping[str, object] | None = None

    @classmethod
    def checked(cls, name: str | None, model: str, device: str, attributes: Mapping[str, object] | None) -> Route:
        """Return a route; a name of None is filled in by ``named_after``.

        Raises:
            TypeError: for a model that is not a string.
            ValueError: for an empty name or an unknown device.
        """
        if name == "":
            raise ValueError("name='' is not possible; allowed: a string that is not empty; remedy: leave it out")
        if not isinstance(model, str):
            raise TypeError(f"model={model!r} is not possible; allowed: a string")
        if attributes is not None and not isinstance(attributes, Mapping):
            raise TypeError(f"attributes={attributes!r} is not possible; allowed: a mapping of names to values")
        if device not in ("any", "cpu"):
            raise ValueError(f"device={device!r} is not possible; allowed: 'any', 'cpu'")
        return cls((name or "", model), device, attributes)

    def named_after(self, function: Callable[..., Any]) -> Route:
        """Return this route, named after a function if it has no name.

        Raises:
            TypeError: if that cannot be measured.
        """
        inner = getattr(function, "__func__", function)
        if isinstance(inner, type) or not callable(inner):
            raise TypeError(
                f"measure({function!r}) is not possible; allowed: a function or method; "
                "remedy: decorate the method that does the work"
            )
        name = self.key[0] or getattr(inner, "__qualname__", type(inner).__qualname__)
        return replace(self, key=(name, self.key[1]))


def _open(route: Route) -> Span | None:
    """Return a new span that is not open yet, or None where nothing is to be measured."""
    monitor = in_use[-1] if in_use else installed()
    record = monitor.record
    if record is None or ("torch" in sys.modules and _compiling()):
        return None
    span = Span(route.key, record, monitor, route.device)
    if route.attributes is not None:
        span.given = route.attributes
    if _tracing.MODULE in sys.modules:
        join_trace(span)
    return span


def join_trace(span: Span) -> None:
    """Note which of the program's sampled traces a span is in; what is inside of another span is in that one's."""
    if current.get() is None and (otel_span := _tracing.active()) is not None:
        span.trace = _tracing.ids(otel_span)


def _compiling() -> bool:
    """Return whether torch is tracing this call: measuring in there would break its graph."""
    compiler = getattr(sys.modules.get("torch"), "compiler", None)
    is_compiling = getattr(compiler, "is_compiling", None)
    return is_compiling is not None and bool(is_compiling())


def _call(route: Route) -> Wrapper:
    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        span = _open(route)
        if span is None:
            return wrapped(*args, **kwargs)
        open_span(span)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            close_span(span, outcome_of(error))
            raise
        close_span(span, "ok")
        return result

    return call


def _stepwise(route: Route, run: Callable[[Stepper], Any], *, generator: bool) -> Wrapper:
    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        span = _open(route)
        if span is None:
            return wrapped(*args, **kwargs)
        span.stepwise = generator
        work = wrapped(*args, **kwargs)
        running = run(Stepper(span, work))
        running.__name__, running.__qualname__ = work.__name__, work.__qualname__  # as tracebacks and tasks show it
        return running

    return call


def _wrapper_for(function: Callable[..., Any], route: Route) -> Wrapper:
    """Choose by the kind of function, once."""
    inner = getattr(function, "__func__", function)
    if not inspect.isroutine(inner) and not isinstance(inner, functools.partial):
        inner = type(inner).__call__
    code = getattr(inner, "__code__", None)
    made_of_a_generator = code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)  # types.coroutine
    if inspect.iscoroutinefunction(inner) or made_of_a_generator:
        return _stepwise(route, run_coroutine, generator=False)
    if inspect.isasyncgenfunction(inner):
        return _stepwise(route, run_async_generator, generator=True)
    if inspect.isgeneratorfunction(inner):
        return _stepwise(route, run_generator, generator=True)
    return _call(route)


class BoundMeasured(wrapt.BoundFunctionWrapper[..., Any]):
    """A measured method bound to its object; it is pickled and copied as an attribute of that object."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return how to get it again: from its object or class, by name."""
        owner = self._self_instance if self._self_instance is not None else self._self_owner
        return getattr, (owner, self.__name__)

    def __reduce__(self) -> Any:
        """Return the same for the oldest protocols."""
        return self.__reduce_ex__(2)

    def __copy__(self) -> BoundMeasured:
        """Return itself, as methods do."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return the same method of a deep copy of its object; itself where it is bound to none but a class."""
        if self._self_instance is None or isinstance(self._self_instance, type):
            return self
        return getattr(copy.deepcopy(self._self_instance, memo), self.__name__)


class Measured(wrapt.FunctionWrapper[..., Any]):
    """A measured function. A stock wrapt wrapper can be neither pickled nor copied; this one can."""

    __bound_function_wrapper__ = BoundMeasured

    def __init__(self, wrapped: Callable[..., Any], route: Route) -> None:
        super().__init__(wrapped, _wrapper_for(wrapped, route))
        self._self_route = route

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return a reference where this is what its module holds under its name, else the parts."""
        found: Any = sys.modules.get(self.__module__)
        for part in getattr(self, "__qualname__", "").split("."):  # an object that can be called has none
            found = getattr(found, part, None)
        if found is self:
            return self.__qualname__
        return Measured, (self.__wrapped__, self._self_route)

    def __reduce__(self) -> Any:
        """Return the same for the oldest protocols."""
        return self.__reduce_ex__(2)

    def __copy__(self) -> Measured:
        """Return itself, as functions do."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Measured:
        """Return itself, as functions do."""
        return self
