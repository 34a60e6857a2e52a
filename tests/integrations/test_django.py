"""Django's requests are named by the route that its resolver matched, whatever the stack of middlewares is like."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("django")

from asgi.wire import App, Scope, Wire, ask, http, watched
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory, override_settings
from django.urls import include, path, re_path
from django.views import View

import greeninfer
from greeninfer.integrations.django import RouteName

OURS = "greeninfer.integrations.django.RouteName"

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, LOGGING_CONFIG=None, SECRET_KEY="not one")


@pytest.fixture(autouse=True)
def no_hooks() -> Iterator[None]:
    yield
    greeninfer.threads.uninstrument()


def name_here() -> HttpResponse:
    """Answer with the name of the request as it is known while the view runs."""
    span = greeninfer.current()
    return HttpResponse("" if span is None else span.name)


def sync_view(request: HttpRequest, **_values: object) -> HttpResponse:
    return name_here()


async def async_view(request: HttpRequest, **_values: object) -> HttpResponse:
    return name_here()


class ClassView(View):
    async def get(self, request: HttpRequest, number: int) -> HttpResponse:
        return name_here()


async def streaming_view(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> Any:
        yield name_here().content

    return StreamingHttpResponse(parts())


def failing_view(request: HttpRequest) -> HttpResponse:
    raise ValueError("on purpose")


def burning_view(request: Any) -> HttpResponse:
    request.scope["live"].burn_apart(5.0)
    return HttpResponse()


async def async_burning_view(request: Any) -> HttpResponse:
    return burning_view(request)


async def waiting_view(request: Any) -> HttpResponse:
    request.scope["waits"].set()
    await request.scope["go_on"].wait()
    return HttpResponse()


urlpatterns = [
    path("", sync_view),
    path("sync/<str:text>", sync_view),
    path("async/<str:text>", async_view),
    path("class/<int:number>/", ClassView.as_view()),
    path("stream", streaming_view),
    path("api/", include([path("v1/<slug:thing>", sync_view), re_path(r"^v2/(?P<number>\d+)$", async_view)])),
    re_path(r"^articles/(?P<year>[0-9]{4})/$", sync_view),
    path("fails", failing_view),
    path("burn/sync", burning_view),
    path("burn/async", async_burning_view),
    path("wait", waiting_view),
]

NAMES = {
    "/": "/",
    "/sync/ada": "/sync/<str:text>",
    "/async/ada": "/async/<str:text>",
    "/class/12/": "/class/<int:number>/",
    "/stream": "/stream",
    "/api/v1/some-thing": "/api/v1/<slug:thing>",
    "/api/v2/77": r"/api/v2/(?P<number>\d+)",
    "/articles/2026/": "/articles/(?P<year>[0-9]{4})/",
}


def sync_only(get_response: Any) -> Any:
    return get_response


def async_only(get_response: Any) -> Any:
    async def middleware(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = await get_response(request)
        return response

    return middleware


async_only.sync_capable, async_only.async_capable = False, True  # type: ignore[attr-defined]

STACKS = {
    "alone": (OURS,),
    "above a sync one": (OURS, f"{__name__}.sync_only"),
    "below a sync one": (f"{__name__}.sync_only", OURS),
    "above an async one": (OURS, f"{__name__}.async_only"),
    "below an async one": (f"{__name__}.async_only", OURS),
}


def django(*middlewares: str) -> App:
    with override_settings(MIDDLEWARE=list(middlewares)):
        application: App = get_asgi_application()
    return application


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("address", NAMES)
def test_a_request_has_the_name_of_its_route_from_the_view_on(address: str, stack: tuple[str, ...]) -> None:
    with watched() as live:
        wire = asyncio.run(ask(greeninfer.EnergyMiddleware(django(*stack)), address))
        assert (wire.status, wire.text) == (200, NAMES[address])
        (measurement,) = live.settle()
        assert (measurement.key[0], measurement.outcome) == (NAMES[address], "ok")


def test_without_it_django_tells_no_route() -> None:
    with watched() as live:
        assert asyncio.run(ask(greeninfer.EnergyMiddleware(django()), "/sync/ada")).status == 200
        assert [measurement.key[0] for measurement in live.settle()] == ["(unmatched)"]


@pytest.mark.parametrize("address", ["/nowhere", "/nowhere/else", "/articles/26/"])
def test_what_no_route_matches_shares_a_name(address: str) -> None:
    with watched() as live:
        assert asyncio.run(ask(greeninfer.EnergyMiddleware(django(OURS)), address)).status == 404
        assert [measurement.key[0] for measurement in live.settle()] == ["(unmatched)"]


def test_a_view_that_raises_has_its_name() -> None:
    with watched() as live:
        assert asyncio.run(ask(greeninfer.EnergyMiddleware(django(OURS)), "/fails")).status == 500
        (measurement,) = live.settle()
        assert (measurement.key[0], measurement.outcome) == ("/fails", "error")


@pytest.mark.parametrize("address", ["/burn/sync", "/burn/async"])
def test_a_view_is_charged_for_its_work_wherever_django_runs_it_and_who_waits_is_not(address: str) -> None:
    async def overlapping(live: Any) -> None:
        app = greeninfer.EnergyMiddleware(django(OURS))
        scope: Scope = {"waits": asyncio.Event(), "go_on": asyncio.Event()}
        waiting = asyncio.create_task(ask(app, "/wait", **scope))
        await scope["waits"].wait()
        await ask(app, address, live=live)
        scope["go_on"].set()
        await waiting

    with watched() as live:
        asyncio.run(overlapping(live))
        assert live.joules(address) == pytest.approx(5.0, rel=0.02)
        assert live.joules("/wait") < 0.1


def test_an_async_stack_needs_no_thread_for_the_name() -> None:
    application: Any = django(OURS)
    assert application._view_middleware
    assert not any(isinstance(each, SyncToAsync) for each in application._view_middleware)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("address", ["/sync/ada", "/async/ada"])
def test_it_has_no_effect_under_wsgi(address: str, stack: tuple[str, ...]) -> None:
    with override_settings(MIDDLEWARE=list(stack)):
        application = get_wsgi_application()
    answers: list[str] = []
    response = application(RequestFactory().get(address).environ, lambda status, headers: answers.append(status))
    assert (answers, b"".join(response)) == (["200 OK"], b"")
    response.close()


def test_it_has_no_effect_without_the_middleware_that_measures() -> None:
    wire = Wire()
    asyncio.run(django(OURS)(scope := http("/sync/ada"), wire.receive, wire.send))
    assert (wire.status, wire.text) == (200, "")
    assert scope["path_template"] == "/sync/<str:text>"


@pytest.mark.parametrize("match", [None, SimpleNamespace(route=None), SimpleNamespace(route=7)])
def test_a_match_without_a_route_names_nothing(match: object) -> None:
    request = SimpleNamespace(scope={}, resolver_match=match)
    RouteName(lambda request: None).process_view(request, None, (), {})
    assert request.scope == {}
