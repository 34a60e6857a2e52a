"""A door for Django: requests are named by the route that its resolver matched.

An ASGI scope does not tell Django's routes, so that without this all requests share the name "(unmatched)"::

    MIDDLEWARE = ["greeninfer.integrations.django.RouteName", ...]                     # settings.py
    application = greeninfer.EnergyMiddleware(get_asgi_application())                  # asgi.py
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any


class RouteName:
    """Put the route template, such as "/predict/<int:x>", into the ASGI scope, where ``EnergyMiddleware`` finds it.

    It may stand anywhere in ``MIDDLEWARE``; Django matches the route when all request phases are over, and the name is
    there before the view begins. Under WSGI, and without ``EnergyMiddleware``, it has no effect.

    Args:
        get_response: the next in line, from Django.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction

        self._get_response = get_response
        self.process_view: Callable[..., Any] = _name
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)
            self.process_view = _name_async  # a sync one would cost every request a trip to another thread

    def __call__(self, request: Any) -> Any:
        """Pass a request on; in an async stack what it returns is to be awaited."""
        return self._get_response(request)


def _name(request: Any, _view: object, _args: object, _kwargs: object) -> None:
    scope = getattr(request, "scope", None)
    route = getattr(request.resolver_match, "route", None)
    if isinstance(scope, MutableMapping) and isinstance(route, str):
        # The anchors of re_path are no part of a path; those between an include and what it includes, Django removes.
        scope["path_template"] = "/" + route.removeprefix("^").removesuffix("$")


async def _name_async(request: Any, view: object, args: object, kwargs: object) -> None:
    _name(request, view, args, kwargs)
