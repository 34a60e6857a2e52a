"""A door: ``EnergyMiddleware`` measures every request of an ASGI application.

Pure ASGI: no framework is imported. The application's coroutine is stepped, so that only its time on the event loop
counts as running; what it hands on to thread pools and tasks is followed (`_following.py`). The name of a request is
its route template (`_route_name.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from types import CoroutineType
from typing import Final

from greeninfer._exchange import HEADER, Exchange, Receive, Scope, Send
from greeninfer._following import following, running_loop
from greeninfer._installed import check_environment, installed
from greeninfer._monitor import in_use
from greeninfer._request_steps import begin_request, continue_request
from greeninfer._route_name import UNMATCHED, RouteNames
from greeninfer._span import Span

__all__ = ["EXCLUDED", "HEADER", "EnergyMiddleware"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]

EXCLUDED: Final[tuple[str, ...]] = (
    *("/metrics", "/health", "/healthz", "/health/live", "/health/ready", "/livez", "/readyz", "/live", "/ready"),
    *("/ping", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/schema", "/favicon.ico"),
)
"""Paths that are not measured by default: they say nothing of what the service is for."""

_MARK = "greeninfer"  # in the scope of a request that is being measured: a second middleware lets it pass


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


def excluded_paths(exclude: object) -> tuple[str, ...]:
    """Return paths that are not measured, as a tuple.

    Raises:
        ValueError: for what is no path.
    """
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
        paths = excluded_paths(exclude)
        check_environment()
        self.app = app
        self._named = name is not None
        self._key = (name or UNMATCHED, model)
        self._names = RouteNames(model)
        self._exclude = frozenset(path.rstrip("/") for path in paths)
        self._header = header
        self._follow = follow
        self._followed: object = self  # no loop yet

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
        if self._follow and (self._followed is not running_loop() or not following.follows_threads):
            self._followed = following.follow_here()
        scope[_MARK] = True
        span = Span(self._key, record, monitor)
        span.served, span.method = True, scope.get("method", "")
        if self._header:
            span.rated = True
        elif kind == "http":
            span.inbox = monitor.columns
        if not self._named:
            span.scope, span.root_path = scope, scope.get("root_path", "")
        exchange = Exchange(span, scope, receive, send, self._names, self._header, monitor.annotates)
        work = self.app(scope, exchange.receive, exchange.send)
        if type(work) is not CoroutineType:
            work = _awaiting(work)
        judge = exchange.judge
        try:
            paused = begin_request(span, work, judge)
            if paused is not None:
                await continue_request(span, work, judge, paused)
        finally:
            if monitor.annotates:
                exchange.annotate()

    def _excludes(self, scope: Scope) -> bool:
        path: str = scope.get("path", "")
        root: str = scope.get("root_path", "")
        if root and path.startswith(root):
            path = path[len(root) :]
        return path in self._exclude or (path[-1:] == "/" and path.rstrip("/") in self._exclude)


async def _awaiting(work: Awaitable[None]) -> None:
    """Await an application that is no plain coroutine."""
    await work
