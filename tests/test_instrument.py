"""One line for FastAPI and Starlette: what it adds, what it shows, and what it refuses."""

import asyncio
import gc
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgi.wire import App, Wire, ask, http, watched
from live import Live, play
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

import greeninfer
from greeninfer import EnergyMiddleware, SettingsError, threads
from greeninfer.exporters import PrometheusExporter

fastapi = pytest.importorskip("fastapi")
from starlette.applications import Starlette  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402
from starlette.responses import PlainTextResponse, StreamingResponse  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402

OPENMETRICS = (b"accept", b"application/openmetrics-text; version=1.0.0")


@pytest.fixture(autouse=True)
def no_hooks() -> Iterator[None]:
    assert not threads.instrumented()
    yield
    threads.uninstrument()


def page(request: Any) -> PlainTextResponse:
    return PlainTextResponse("page")


def make(kind: str) -> Any:
    app: Any
    if kind == "fastapi":
        app = fastapi.FastAPI()
        app.add_api_route("/a/{b}", lambda b: PlainTextResponse("page"))
    else:
        app = Starlette(routes=[Route("/a/{b}", page)])
    return app


def get(app: App, path: str, *headers: tuple[bytes, bytes], method: str = "GET") -> Wire:
    return asyncio.run(ask(app, path, method, headers=[(b"host", b"x"), *headers]))


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


# What it adds


@pytest.mark.parametrize("kind", ["fastapi", "starlette"])
def test_one_line_measures_and_shows(kind: str) -> None:
    registry = CollectorRegistry()
    app = make(kind)
    with watched(1.0, PrometheusExporter(registry)) as live:
        assert greeninfer.instrument(app, registry=registry) is app
        assert threads.instrumented()
        for number in range(3):
            assert get(app, f"/a/{number}").text == "page"
        live.settle()
        wire = get(app, "/metrics")
        assert wire.status == 200
        assert wire.headers[b"content-type"].startswith(b"text/plain")
        shown = families(wire.text)
        seconds = shown["greeninfer_request_duration_seconds"].samples
        (count,) = (each for each in seconds if each.name.endswith("_count"))
        assert (count.labels["name"], count.labels["outcome"], count.value) == ("/a/{b}", "ok", 3.0)
        assert {each.labels["state"] for each in shown["greeninfer_energy_joules"].samples} >= {"attributed", "idle"}
        assert [each.key[0] for each in live.settle()] == ["/a/{b}"] * 3  # and not the page itself


def test_what_is_shown_is_what_was_burnt() -> None:
    registry = CollectorRegistry()
    app = fastapi.FastAPI()
    with watched(1.0, PrometheusExporter(registry)) as live:

        @app.get("/async/{x}")
        async def asynchronous(x: int) -> None:
            live.burn_apart(10.0)

        @app.get("/sync/{x}")
        def sync(x: int) -> None:
            live.burn_apart(20.0)

        @app.get("/stream/{x}")
        def stream(x: int) -> StreamingResponse:
            def items() -> Iterator[str]:
                for _ in range(5):
                    live.burn_apart(10.0)
                    yield "token"

            return StreamingResponse(items())

        greeninfer.instrument(app, registry=registry)
        for path in ("/async/1", "/sync/2", "/stream/3"):
            assert get(app, path).status == 200
        live.settle()
        shown = families(get(app, "/metrics").text)
        energy = shown["greeninfer_energy_joules"].samples
        attributed = {
            each.labels["name"]: each.value
            for each in energy
            if each.labels["state"] == "attributed" and each.name.endswith("_total")
        }
        assert attributed == {
            "/async/{x}": pytest.approx(10.0, rel=0.02),
            "/sync/{x}": pytest.approx(20.0, rel=0.02),
            "/stream/{x}": pytest.approx(50.0, rel=0.02),
        }
        sums = shown["greeninfer_request_energy_joules"].samples
        observed = {each.labels["name"]: each.value for each in sums if each.name.endswith("_sum")}
        assert observed == {name: pytest.approx(joules, rel=1e-9) for name, joules in attributed.items()}


@pytest.mark.parametrize("kind", ["fastapi", "starlette"])
@pytest.mark.parametrize("path", ["/metrics", "/internal/energy"])
def test_the_page_is_not_measured_wherever_it_is(kind: str, path: str) -> None:
    app = make(kind)
    with watched() as live:
        greeninfer.instrument(app, metrics_path=path, registry=CollectorRegistry())
        assert get(app, path).status == 200
        assert get(app, path, method="HEAD").text == ""
        assert get(app, path, method="POST").status == 405
        assert live.settle() == []


def test_no_page_where_none_is_wanted() -> None:
    app = make("starlette")
    with watched():
        greeninfer.instrument(app, metrics_path=None)
        assert get(app, "/metrics").status == 404


def test_it_is_not_in_the_documentation_of_the_api() -> None:
    app = make("fastapi")
    greeninfer.instrument(app, registry=CollectorRegistry())
    assert "/metrics" not in app.openapi()["paths"]


@pytest.mark.parametrize("where", ["catch-all", "mount", "included catch-all"])
def test_routes_that_take_every_path_do_not_hide_the_page(where: str) -> None:
    """A single-page application, static files."""
    app = fastapi.FastAPI()
    if where == "mount":
        app.mount("/", PlainTextResponse("everything"))
    elif where == "catch-all":
        app.add_api_route("/{path:path}", lambda path: "everything")
    else:
        router = fastapi.APIRouter()
        router.add_api_route("/{path:path}", lambda path: "everything")
        app.include_router(router)
    registry = CollectorRegistry()
    Counter("shown", "x", registry=registry).inc()
    with watched():
        greeninfer.instrument(app, registry=registry)
        assert "shown_total 1.0" in get(app, "/metrics").text
        assert "everything" in get(app, "/anything").text or where != "mount"


@pytest.mark.parametrize("where", ["app", "router", "mount"])
def test_a_route_that_is_there_already_stays(where: str, caplog: pytest.LogCaptureFixture) -> None:
    app = fastapi.FastAPI()

    def theirs() -> str:
        return "theirs"

    if where == "app":
        app.add_api_route("/metrics", theirs)
    elif where == "router":
        router = fastapi.APIRouter()
        router.add_api_route("/metrics", theirs)
        app.include_router(router)
    else:
        app.mount("/metrics", PlainTextResponse("theirs"))
    with watched(), caplog.at_level(logging.WARNING, "greeninfer"):
        greeninfer.instrument(app, registry=CollectorRegistry())
        assert "theirs" in get(app, "/metrics/" if where == "mount" else "/metrics").text
    assert [record.getMessage().split()[0] for record in caplog.records] == ["greeninfer.metrics_there_already"]


def test_a_router_that_has_the_same_path_further_down_does_not_matter() -> None:
    app = fastapi.FastAPI()
    router = fastapi.APIRouter(prefix="/v1")
    router.add_api_route("/metrics", lambda: "theirs")
    app.include_router(router)
    with watched():
        greeninfer.instrument(app, registry=CollectorRegistry())
        assert "theirs" in get(app, "/v1/metrics").text
        assert "theirs" not in get(app, "/metrics").text


def test_a_second_time_adds_nothing(caplog: pytest.LogCaptureFixture) -> None:
    app = make("fastapi")
    with watched() as live, caplog.at_level(logging.WARNING, "greeninfer"):
        for _ in range(3):
            assert greeninfer.instrument(app, registry=CollectorRegistry()) is app
        assert [each.cls for each in app.user_middleware] == [EnergyMiddleware]
        assert sum(getattr(route, "path", "") == "/metrics" for route in app.routes) == 1
        get(app, "/a/1")
        assert len(live.settle()) == 1
    assert {record.getMessage().split()[0] for record in caplog.records} == {"greeninfer.instrumented_twice"}


def test_an_application_that_has_the_middleware_already_keeps_its_own(caplog: pytest.LogCaptureFixture) -> None:
    app = Starlette(routes=[Route("/a/{b}", page)], middleware=[Middleware(EnergyMiddleware, model="m")])
    with watched() as live:
        greeninfer.instrument(app, registry=CollectorRegistry())
        get(app, "/a/1")
        assert live.one("/a/{b}").key == ("/a/{b}", "m")


def test_two_applications_in_one_process_share_a_registry() -> None:
    registry = CollectorRegistry()
    with watched(1.0, PrometheusExporter(registry)) as live:
        apps = [greeninfer.instrument(make(kind), registry=registry) for kind in ("fastapi", "starlette")]
        for app in apps:
            get(app, "/a/1")
        live.settle()
        for app in apps:
            assert (
                'request_duration_seconds_count{model="",name="/a/{b}",outcome="ok"} 2.0' in get(app, "/metrics").text
            )


def test_an_application_inside_another_is_measured_once() -> None:
    outer, inner = fastapi.FastAPI(), make("fastapi")
    outer.mount("/inner", inner)
    with watched() as live:
        greeninfer.instrument(inner, registry=CollectorRegistry())
        greeninfer.instrument(outer, registry=CollectorRegistry())
        assert get(outer, "/inner/a/1").text == "page"
        assert [each.key[0] for each in live.settle()] == ["/inner/a/{b}"]
        assert get(outer, "/inner/metrics").status == 200


@pytest.mark.parametrize("first", [True, False])
def test_beside_other_middleware(first: bool) -> None:
    app = make("fastapi")

    async def dispatch(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-theirs"] = "1"
        return response

    with watched() as live:
        if first:
            greeninfer.instrument(app, registry=CollectorRegistry())
        app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
        if not first:
            greeninfer.instrument(app, registry=CollectorRegistry())
        wire = get(app, "/a/1")
        assert wire.headers[b"x-theirs"] == b"1"
        assert live.one("/a/{b}").outcome == "ok"


def test_routes_and_middleware_may_come_later() -> None:
    app = fastapi.FastAPI()
    greeninfer.instrument(app, registry=CollectorRegistry())
    app.add_route("/later/{x}", page)
    with watched() as live:
        get(app, "/later/1")
        assert live.one("/later/{x}").outcome == "ok"


def test_options_reach_the_middleware() -> None:
    app = make("starlette")
    with watched() as live:
        greeninfer.instrument(app, registry=CollectorRegistry(), name="all", model="m", exclude=["/a/2"], follow=False)
        assert not threads.instrumented()
        for number in range(3):
            get(app, f"/a/{number}")
        get(app, "/metrics")
        assert [each.key for each in live.settle()] == [("all", "m")] * 2
        assert not threads.instrumented()


@pytest.mark.parametrize("exclude", ["/a/2", ("/a/2",), iter(["/a/2"]), {"/a/2"}, (each for each in ["/a/2"])])
def test_paths_to_exclude_may_be_given_in_any_way(exclude: Any) -> None:
    app = make("starlette")
    with watched() as live:
        greeninfer.instrument(app, registry=CollectorRegistry(), exclude=exclude)
        for path in ("/a/1", "/a/2", "/metrics"):
            get(app, path)
        assert [each.key[0] for each in live.settle()] == ["/a/{b}"]


# What it refuses


NO_APPLICATIONS = [None, 5, "app", fastapi.FastAPI, EnergyMiddleware(page), lambda *args: None]  # type: ignore[arg-type]


@pytest.mark.parametrize("app", NO_APPLICATIONS, ids=lambda app: type(app).__name__)
def test_what_is_no_such_application(app: Any) -> None:
    with pytest.raises(TypeError, match=r"is not possible; allowed: a FastAPI or Starlette application; remedy: "):
        greeninfer.instrument(app)
    assert not threads.instrumented()


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"metrics_path": "metrics"}, ValueError, "metrics_path='metrics'"),
        ({"metrics_path": ""}, ValueError, "metrics_path=''"),
        ({"metrics_path": 5}, (TypeError, ValueError), "metrics_path=5"),
        ({"metrics_path": b"/m"}, (TypeError, ValueError), "metrics_path=b'/m'"),
        ({"registry": "x"}, TypeError, "registry='x'"),
        ({"registry": 5}, TypeError, "registry=5"),
        ({"name": ""}, ValueError, "name=''"),
        ({"name": 5}, (TypeError, ValueError), "name=5"),
        ({"model": 5}, TypeError, "model=5"),
        ({"exclude": ["metrics"]}, ValueError, "exclude="),
        ({"exclude": [5]}, (TypeError, ValueError), "exclude="),
        ({"exclude": 5}, (TypeError, ValueError), "exclude="),
        ({"exclude": None}, (TypeError, ValueError), "exclude="),
        ({"header": "yes"}, TypeError, "header='yes'"),
        ({"follow": "no"}, TypeError, "follow='no'"),
        ({"nonsense": 1}, TypeError, "nonsense"),
    ],
    ids=str,
)
def test_options_that_are_not_possible(options: dict[str, Any], kind: Any, named: str) -> None:
    """Told where the application is made, and not at its first request; nothing is half done."""
    app = make("fastapi")
    routes = len(app.routes)
    with pytest.raises(kind, match=re.escape(named)) as caught:
        greeninfer.instrument(app, **options)
    assert named == "nonsense" or "allowed: " in str(caught.value)
    assert app.user_middleware == []
    assert len(app.routes) == routes
    assert not threads.instrumented()


@pytest.mark.parametrize("app", [None, 5, "app"])
def test_a_middleware_around_nothing(app: Any) -> None:
    with pytest.raises(TypeError, match="is not possible; allowed: "):
        EnergyMiddleware(app)


def test_an_application_that_serves_already() -> None:
    app = make("starlette")
    get(app, "/a/1")
    with pytest.raises(RuntimeError, match="serves already; remedy: call it where app is made"):
        greeninfer.instrument(app)


@pytest.mark.parametrize("variable", ["GREENINFER_TICK_SECONDS", "GREENINFER_METRES", "GREENINFER_METERS"])
@pytest.mark.parametrize("way", ["instrument", "EnergyMiddleware"])
def test_a_wrong_variable_is_told_where_the_application_is_made(
    way: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "nonsense")
    app = make("fastapi")
    with pytest.raises(SettingsError, match=f"{variable}|nonsense"):
        greeninfer.instrument(app) if way == "instrument" else EnergyMiddleware(app)
    assert app.user_middleware == []
    assert not threads.instrumented()


# When things go wrong in service


def test_a_registry_that_has_our_names_from_somebody_else(tmp_path: Path) -> None:
    """Another version of us, say: it is told once, nothing is exported there, and the requests go on."""
    pytest.importorskip("starlette.testclient")
    script = """
import json, logging
from prometheus_client import Counter
Counter("greeninfer_energy_joules", "of another version", ["what"])
records = []
class Keep(logging.Handler):
    def emit(self, record): records.append(record.getMessage())
logging.getLogger("greeninfer").addHandler(Keep())
import greeninfer
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
app = Starlette()
app.add_route("/x", lambda request: PlainTextResponse("x"))
try:
    greeninfer.instrument(app)
    client = TestClient(app)
    texts = [client.get("/x").text for _ in range(3)]
    page = client.get("/metrics").status_code
    found = [texts, page, [record.split()[0] for record in records]]
except greeninfer.GreeninferError as error:
    found = ["raised", str(error)]
print(json.dumps(found))
"""
    found = play(script, tmp_path, METERS="simulated")
    if found[0] == "raised":
        assert "greeninfer_energy_joules" in found[1]
    else:
        assert found == [["x"] * 3, 200, ["greeninfer.disabled"]]


def test_disabled_everything_passes_through(tmp_path: Path) -> None:
    pytest.importorskip("starlette.testclient")
    script = """
import json, threading
import greeninfer
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
app = Starlette()
app.add_route("/x", lambda request: PlainTextResponse(str(greeninfer.current())))
greeninfer.instrument(app, header=True)
with TestClient(app) as client:
    response = client.get("/x")
    page = client.get("/metrics")
found = [response.text, "x-energy-joules" in response.headers, page.status_code, "greeninfer_" in page.text,
         [thread.name for thread in threading.enumerate() if "greeninfer" in thread.name]]
print(json.dumps(found))
"""
    assert play(script, tmp_path, DISABLED=1) == ["None", False, 200, False, []]


def test_a_server_has_its_first_request_measured(tmp_path: Path) -> None:
    """The meters are opened while the application starts."""
    pytest.importorskip("starlette.testclient")
    script = """
import json, time
import greeninfer
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
app = Starlette()
found = {}
def predict(request):
    found["span"] = greeninfer.current()
    end = time.thread_time() + 0.02
    while time.thread_time() < end: pass
    return PlainTextResponse("x")
app.add_route("/x", predict)
greeninfer.instrument(app)
with TestClient(app) as client:
    time.sleep(0.1)
    client.get("/x")
    energy = found["span"].energy(timeout=5.0)
print(json.dumps([energy.joules is not None, energy.complete, energy.provisional]))
"""
    assert play(script, tmp_path, METERS="simulated") == [True, True, False]


def test_an_instrumented_application_is_collected_like_any_other() -> None:
    import weakref

    app = greeninfer.instrument(make("fastapi"), registry=CollectorRegistry())
    with watched():
        get(app, "/a/1")
    gone = weakref.ref(app)
    del app
    gc.collect()
    assert gone() is None


# The response header


def header_of(wire: Wire) -> bytes | None:
    return wire.headers.get(b"x-energy-joules")


def test_the_header_is_off_by_default() -> None:
    app = greeninfer.instrument(make("starlette"), registry=CollectorRegistry())
    with watched() as live:
        for _ in range(3):
            assert header_of(get(app, "/a/1")) is None
            live.settle()


@pytest.mark.parametrize("where", ["async", "sync", "stream"])
def test_the_header_tells_what_is_known_when_the_answer_begins(where: str) -> None:
    """Nothing before a request of the route is settled; then its CPU time so far at the power that it took before."""
    app = fastapi.FastAPI()
    with watched(50.0) as live:
        from live import spin

        def sync() -> str:
            spin(0.05)
            return "x"

        async def asynchronous() -> str:
            spin(0.05)
            return "x"

        async def stream() -> StreamingResponse:
            spin(0.05)
            return StreamingResponse(iter(["x"]))

        app.get("/x/{y}")({"async": asynchronous, "sync": sync, "stream": stream}[where])
        greeninfer.instrument(app, registry=CollectorRegistry(), header=True)
        assert header_of(get(app, "/x/1")) is None
        live.settle()
        value = header_of(get(app, "/x/2"))
        assert value is not None
        joules, *words = value.decode().split(";")
        assert words == ["quality=measured", "provisional"]
        live.settle()
        first, second = (each.nanojoules / 1e9 for each in live.named("/x/{y}"))
        assert float(joules) == pytest.approx(second, rel=0.3)
        assert first > 0.0


def test_the_header_is_never_zero_and_leaves_the_others_alone() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"1"), (b"a", b"2")]})
        await send({"type": "http.response.body", "body": b"x"})

    with watched() as live:
        measured = EnergyMiddleware(app, name="raw", header=True)
        for _ in range(5):
            wire = asyncio.run(ask(measured))
            value = header_of(wire)
            assert value is None or float(value.split(b";")[0]) > 0.0
            assert list(wire.start["headers"])[:2] == [(b"a", b"1"), (b"a", b"2")]
            live.settle()
        assert value is not None


# Exemplars


def test_exemplars_carry_the_trace_where_a_span_is_sampled() -> None:
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = trace.TracerProvider().get_tracer("test")
    registry = CollectorRegistry()
    app = make("starlette")
    seen: list[str] = []

    class Traced:
        def __init__(self, app: App) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            with tracer.start_as_current_span("GET") as span:
                if scope["type"] == "http" and scope["path"].startswith("/a/"):
                    seen.append(f"{span.get_span_context().trace_id:032x}")
                await self.app(scope, receive, send)

    with watched(1.0, PrometheusExporter(registry)) as live:
        greeninfer.instrument(app, registry=registry)
        app.add_middleware(Traced)
        get(app, "/a/1")
        live.settle()
        assert live.one("/a/{b}").trace_id == seen[0]
        plain = get(app, "/metrics")
        assert seen[0] not in plain.text
        rich = get(app, "/metrics", OPENMETRICS)
        assert rich.headers[b"content-type"].startswith(b"application/openmetrics-text")
        assert rich.text.endswith("# EOF\n")
        lines = [line for line in rich.text.splitlines() if seen[0] in line]
        assert any(line.startswith("greeninfer_request_energy_joules_bucket") for line in lines)
        assert all(f'# {{trace_id="{seen[0]}"}}' in line for line in lines)


def test_a_busy_page_does_not_hold_up_the_requests() -> None:
    """The page is made on a thread; meanwhile the loop serves."""
    busy, free = threading.Event(), threading.Event()

    class Slow:
        def collect(self) -> Any:
            busy.set()
            assert free.wait(10.0)
            return []

    registry = CollectorRegistry()
    registry.register(Slow())  # type: ignore[arg-type]
    busy.clear()
    app = make("starlette")
    with watched():
        greeninfer.instrument(app, registry=registry)

        async def main() -> str:
            scrape = asyncio.create_task(ask(app, "/metrics"))
            while not busy.is_set():
                await asyncio.sleep(0.001)
            text = (await ask(app, "/a/1")).text
            assert not scrape.done()
            free.set()
            assert (await scrape).status == 200
            return text

        free.clear()
        assert asyncio.run(main()) == "page"


def test_a_websocket_at_the_pages_path_is_refused_and_not_ours() -> None:
    app = greeninfer.instrument(make("starlette"), registry=CollectorRegistry())
    with watched() as live:
        wire = Wire({"type": "websocket.connect"})
        scope = {**http("/metrics"), "type": "websocket"}
        asyncio.run(app(scope, wire.receive, wire.send))
        assert [message["type"] for message in wire.sent] == ["websocket.close"]
        assert live.settle() == []


def test_mounts_keep_their_pages() -> None:
    """Each application may show a registry of its own."""
    registries = [CollectorRegistry(), CollectorRegistry()]
    for number, registry in enumerate(registries):
        Counter(f"of_{number}", "x", registry=registry).inc()
    outer, inner = Starlette(), Starlette()
    outer.router.routes.append(Mount("/inner", inner))
    with watched():
        greeninfer.instrument(inner, registry=registries[1])
        greeninfer.instrument(outer, registry=registries[0])
        assert "of_0_total" in get(outer, "/metrics").text
        assert "of_1_total" in get(outer, "/inner/metrics").text


def test_live_and_instrument_agree_on_nothing_left_open() -> None:
    app = greeninfer.instrument(make("fastapi"), registry=CollectorRegistry())
    with Live() as live:
        for path in ("/a/1", "/nothing", "/metrics", "/docs"):
            get(app, path)
        assert live.open_spans() == {}
        assert sorted(each.key[0] for each in live.settle()) == ["(unmatched)", "/a/{b}"]
