"""One line for FastAPI and Starlette: the middleware, ``/metrics`` and the hooks into thread pools."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from greeninfer import threads
from greeninfer._metrics_app import MetricsApp
from greeninfer.asgi import EXCLUDED, EnergyMiddleware, excluded_paths

_log = logging.getLogger("greeninfer")

App = TypeVar("App")


def instrument(
    app: App, *, metrics_path: str | None = "/metrics", registry: CollectorRegistry | None = None, **options: Any
) -> App:
    """Measure every request of a FastAPI or Starlette application, and serve the figures at ``/metrics``.

    It adds ``EnergyMiddleware``, ``MetricsApp`` and the hooks of ``greeninfer.threads``; a second call adds nothing.
    Where the application has a route at that path already, that one stays. For every other framework the two lines are
    ``app = greeninfer.EnergyMiddleware(app)`` and ``greeninfer.MetricsApp()``, mounted the way that framework mounts
    ASGI applications.

    Args:
        app: the application, before it serves its first request.
        metrics_path: where the metrics are; None for no such route.
        registry: which metrics are shown there; default: prometheus_client's own.
        options: of ``EnergyMiddleware``: name, model, exclude, header, follow.

    Returns:
        The application.

    Raises:
        TypeError: for something that is no such application, or an option that does not exist.
        ValueError: for an option or a path that is not possible.
        RuntimeError: for an application that serves already.
        SettingsError: while a ``GREENINFER_*`` variable is wrong.
    """
    if not (hasattr(app, "add_middleware") and hasattr(app, "add_route") and hasattr(app, "user_middleware")):
        raise TypeError(
            f"instrument({app!r}) is not possible; allowed: a FastAPI or Starlette application; remedy: for others, "
            "wrap it: app = greeninfer.EnergyMiddleware(app), and mount greeninfer.MetricsApp() at /metrics"
        )
    if metrics_path is not None and not (isinstance(metrics_path, str) and metrics_path.startswith("/")):
        raise ValueError(f"metrics_path={metrics_path!r} is not possible; allowed: a path that begins with /, or None")
    if registry is not None and not hasattr(registry, "collect"):
        raise TypeError(f"registry={registry!r} is not possible; allowed: a prometheus_client.CollectorRegistry")
    if any(each.cls is EnergyMiddleware for each in app.user_middleware):
        _log.warning("greeninfer.instrumented_twice app=%r", app)
        return app
    if app.middleware_stack is not None:  # type: ignore[attr-defined]
        raise RuntimeError(
            "instrument(app) is not possible any more: it serves already; remedy: call it where app is made"
        )
    if "exclude" in options:
        options["exclude"] = excluded_paths(options["exclude"])
    EnergyMiddleware(_nothing, **options)  # so that what is wrong is said here, and not at the first request
    if metrics_path is not None:
        options["exclude"] = (*options.get("exclude", EXCLUDED), metrics_path)
    app.add_middleware(EnergyMiddleware, **options)
    if metrics_path is not None:
        _mount(app, metrics_path, MetricsApp(registry))
    if options.get("follow", True):
        threads.instrument()
    return app


async def _nothing(*_args: Any) -> None:
    """Serve as an application that is never called."""


def _mount(app: Any, path: str, page: MetricsApp) -> None:
    """Serve the page, before any route that takes every path, but not in place of one that has this path."""
    from starlette.routing import Route

    if path in _paths(app.routes):
        _log.warning("greeninfer.metrics_there_already path=%s: the route that was there stays", path)
        return
    app.router.routes.insert(0, Route(path, page, methods=["GET"], include_in_schema=False))


def _paths(routes: Iterable[Any]) -> Iterator[str]:
    """Yield the paths of routes, also of those that FastAPI keeps in an included router until they are asked for."""
    for route in routes:
        included = getattr(route, "effective_route_contexts", None)
        for each in included() if included is not None else (route,):
            yield getattr(each, "path", "")
