"""The route template of an ASGI request, read from its scope, where each framework leaves it in a place of its own.

The template, never the path: names become metric labels, and paths come from clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

UNMATCHED: Final = "(unmatched)"
"""The name of all requests that no route of the application matched, or whose route is not known."""

_MOUNTED: Final = "(mounted)"  # in place of a mount's path that holds values from the client


def route_name(scope: Mapping[str, object], root_path: str, *, ended: bool) -> str | None:
    """Return the template, or None where there is none, or none yet.

    Litestar: ``scope["path_template"]``; so does our Django middleware. Starlette: the ``path`` of ``scope["route"]``;
    FastAPI: the same, or, with the prefixes of included routers, that of its effective route. Mounted applications get
    the path of the mount in front.

    Args:
        scope: of the request, as it is now.
        root_path: ``scope["root_path"]`` before the application changed it.
        ended: whether no better one can come any more.

    Raises:
        TypeError: for a template that is not a string.
    """
    template = scope.get("path_template")
    if template is None:
        route = scope.get("route")
        mount = hasattr(route, "routes")  # the route within is still to come, or the mounted application has none
        if mount and not ended:
            return None
        template = "" if mount else _effective_path(scope, route) or getattr(route, "path", None)
        if template is None:
            return None
    if not isinstance(template, str):
        raise TypeError(f"the route template {template!r} is not a string; its requests are named {UNMATCHED}")
    return _mount(scope, root_path, template) + template or "/"


def _effective_path(scope: Mapping[str, object], route: object) -> object:
    """Return the whole path of a FastAPI route that was included with a prefix, or None."""
    inside = scope.get("fastapi")
    context = inside.get("effective_route_context") if isinstance(inside, Mapping) else None
    if context is None or getattr(context, "original_route", None) is not route:
        return None
    return getattr(context, "path_format", None)


def _mount(scope: Mapping[str, object], root_path: str, template: str) -> str:
    """Return the path under which the application is mounted, or a word for it where it holds parameters."""
    now = scope.get("root_path") or ""
    if not isinstance(now, str) or now == root_path or not now.startswith(root_path):
        return ""
    parameters = scope.get("path_params")
    if isinstance(parameters, Mapping) and any(not _holds(template, str(name)) for name in parameters):
        return _MOUNTED
    return now[len(root_path) :]


def _holds(template: str, parameter: str) -> bool:
    return f"{{{parameter}}}" in template or f"{{{parameter}:" in template
