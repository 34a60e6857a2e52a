"""The route template of an ASGI request, read from its scope, where each framework leaves it in a place of its own.

Only what stands in the application's code is ever taken, never a part of the path: names become metric labels, and
paths come from clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from greeninfer._account import Key

UNMATCHED: Final = "(unmatched)"
"""The name of all requests that no route of the application matched, or whose route is not known."""

_MOST_KNOWN: Final = 1000  # beyond that somebody makes routes, or mounts, from what clients send

MOUNTED: Final = "(mounted)"
"""In place of the path of a mount that is not found in the application's routes."""


def route_name(scope: Mapping[str, Any], root_path: str, *, ended: bool) -> str | None:
    """Return the template, or None where there is none, or none yet.

    Litestar: ``scope["path_template"]``; so does our Django middleware. Starlette: the ``path`` of ``scope["route"]``;
    FastAPI: the same, or, with the prefixes of included routers, that of its effective route; plain routes of FastAPI:
    by their endpoint. Mounted applications get the path of the mount in front.

    Args:
        scope: of the request, as it is now.
        root_path: ``scope["root_path"]`` before the application changed it.
        ended: whether no better one can come any more.

    Raises:
        TypeError: for a template that is not a string.
    """
    template = scope.get("path_template")
    if template == "":
        template = _handler_path(scope)
    if template is None:
        route = scope.get("route")
        mount = hasattr(route, "routes")  # the route within is still to come, or the mounted application has none
        if mount and not ended:
            return None
        if not mount:
            template = _effective_path(scope, route) or getattr(route, "path", None) or _endpoint_path(scope)
        if template is None:
            return _mount(scope, root_path) or None if ended else None
    if not isinstance(template, str):
        raise TypeError(f"the route template {template!r} is not a string; its requests are named {UNMATCHED}")
    return _mount(scope, root_path) + template or "/"


def _effective_path(scope: Mapping[str, Any], route: object) -> object:
    """Return the whole path of a FastAPI route that was included with a prefix, or None."""
    inside = scope.get("fastapi")
    context = inside.get("effective_route_context") if isinstance(inside, Mapping) else None
    if context is None or route is None or getattr(context, "original_route", None) is not route:
        return None
    return getattr(context, "path_format", None)


def _endpoint_path(scope: Mapping[str, Any]) -> object:
    """Return the path of the route that leads to the endpoint, where the scope holds nothing but that, or None."""
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    routes = [each for each in _routes(scope.get("router")) if getattr(each, "endpoint", None) is endpoint]
    if len(routes) > 1:
        routes = [each for each in routes if each.path_regex.match(scope["path"])]
    return getattr(routes[0], "path", None) if routes else None


def _handler_path(scope: Mapping[str, Any]) -> str:
    """Return where Litestar mounted a handler; its template says nothing then."""
    handler = scope.get("route_handler")
    paths = getattr(handler, "paths", None)
    return min(paths) if paths and getattr(handler, "is_mount", False) else ""


def _mount(scope: Mapping[str, Any], root_path: str) -> str:
    """Return the template of the path under which the application is mounted, "" where it is not."""
    now = scope.get("root_path") or ""
    own = getattr(scope.get("app"), "root_path", None)  # a prefix that the application sets for itself
    if not isinstance(now, str) or now in (root_path, own) or not now.startswith(root_path):
        return ""
    return _mount_template(_routes(scope.get("router")), now[len(root_path) :]) or MOUNTED


def _mount_template(routes: Iterable[Any], path: str) -> str | None:
    """Return the templates of the mounts that together lead to a path, or None."""
    for route in routes:
        template, pattern = getattr(route, "path", None), getattr(route, "path_regex", None)
        if not hasattr(route, "routes") or not isinstance(template, str) or pattern is None:
            continue
        match = pattern.match(path + "/")
        if match is None:
            continue
        rest = match.groupdict().get("path", "").rstrip("/")
        inner = _mount_template(route.routes, "/" + rest) if rest else ""
        if inner is not None:
            return template + inner
    return None


def _routes(router: object) -> list[Any]:
    routes = getattr(router, "routes", None)
    return list(routes) if isinstance(routes, Iterable) else []


class RouteNames:
    """Remembers the names of routes by what a scope holds of them: they are looked for once.

    Args:
        model: the other half of the routes' keys.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        # What was looked at is kept beside its name: no other object gets the same id as long as it is.
        self._known: dict[object, tuple[Key, object]] = {}

    def key(self, scope: Mapping[str, Any], root_path: str) -> Key:
        """Return the key of a request that has ended.

        Raises:
            Exception: whatever a framework's objects raise; TypeError for a template that is not a string.
        """
        route, inside, now = scope.get("route"), scope.get("fastapi"), scope.get("root_path")
        context = inside.get("effective_route_context") if inside is not None else None
        endpoint = (scope.get("endpoint") or scope.get("route_handler")) if route is None else None
        seen = (id(context or route or endpoint), scope.get("path_template"), now, root_path)
        known = self._known.get(seen)
        if known is not None:
            return known[0]
        key = (route_name(scope, root_path, ended=True) or UNMATCHED, self._model)
        found_by_path = route is None and scope.get("endpoint") is not None
        if len(self._known) < _MOST_KNOWN and not found_by_path:
            self._known[seen] = (key, (route, endpoint, context))
        return key
