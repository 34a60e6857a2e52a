"""The name of a request is the template of its route, wherever the framework keeps it, and never what a client sent."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from asgi.wire import App, Scope, Wire, ask, body, start, watched, websocket
from greeninfer import EnergyMiddleware

pytest.importorskip("starlette")
fastapi = pytest.importorskip("fastapi")

from starlette.applications import Starlette  # noqa: E402
from starlette.endpoints import HTTPEndpoint  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute  # noqa: E402
from starlette.staticfiles import StaticFiles  # noqa: E402
from starlette.websockets import WebSocket  # noqa: E402

UNMATCHED = "(unmatched)"


def named(app: App, path: str, method: str = "GET", **scope: Any) -> tuple[int, str]:
    """Return the status of a request, and the name that it was measured under."""
    with watched() as live:
        wire = asyncio.run(ask(EnergyMiddleware(app), path, method, **scope))
        (measurement,) = live.settle()
        assert measurement.attributes is not None
        assert measurement.attributes["http.response.status_code"] == wire.status
        assert measurement.attributes["http.request.method"] == method
        return wire.status, measurement.key[0]


def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse("page")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


# FastAPI


def fastapi_app() -> Any:
    app, users, inner, outer = (
        fastapi.FastAPI(),
        fastapi.APIRouter(prefix="/users"),
        fastapi.APIRouter(),
        fastapi.APIRouter(prefix="/v2"),
    )
    below = fastapi.FastAPI()
    below.add_api_route("/x/{y}", item, methods=["GET"])
    within = fastapi.APIRouter(prefix="/within")
    within.add_api_route("/{y}", item, methods=["GET"])
    below.include_router(within, prefix="/pp")
    app.add_api_route("/items/{number}", numbered, methods=["GET"])
    app.add_api_route("/items/", create, methods=["POST"])
    app.add_api_route("/files/{file:path}", file, methods=["GET", "HEAD"])
    app.add_api_route("/fails/{status}", fails, methods=["GET"])
    users.add_api_route("/{number}/posts", numbered, methods=["GET"])
    inner.add_api_route("/deep/{number}", numbered, methods=["GET"])
    inner.add_api_websocket_route("/ws/{room}", room_socket)
    users.include_router(inner, prefix="/in")
    app.include_router(users, prefix="/api/v1")
    outer.include_router(users)
    app.include_router(outer)
    app.mount("/below", below)
    app.mount("/tenants/{tenant}", below)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent))
    app.add_route("/plain/{z}", page)
    return app


async def item(y: str) -> str:
    return y


def numbered(number: int) -> int:
    return number


def create() -> int:
    return 1


def file(file: str) -> str:
    return file


def fails(status: int) -> None:
    raise fastapi.HTTPException(status)


async def room_socket(websocket: fastapi.WebSocket, room: str) -> None:
    await websocket.accept()
    await websocket.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/items/3", 200, "/items/{number}"),
        ("GET", "/items/three", 422, "/items/{number}"),
        ("POST", "/items/3", 405, "/items/{number}"),
        ("OPTIONS", "/items/3", 405, "/items/{number}"),
        ("HEAD", "/items/3", 405, "/items/{number}"),
        ("WEIRD", "/items/3", 405, "/items/{number}"),
        ("POST", "/items/", 200, "/items/"),
        ("POST", "/items", 307, UNMATCHED),
        ("GET", "/files/a/b/c.txt", 200, "/files/{file:path}"),
        ("HEAD", "/files/a", 200, "/files/{file:path}"),
        ("GET", "/fails/404", 404, "/fails/{status}"),
        ("GET", "/fails/503", 503, "/fails/{status}"),
        ("GET", "/", 404, UNMATCHED),
        ("GET", "/nothing/here", 404, UNMATCHED),
        ("GET", "/api/v1/users/4/posts", 200, "/api/v1/users/{number}/posts"),
        ("POST", "/api/v1/users/4/posts", 405, "/api/v1/users/{number}/posts"),
        ("GET", "/api/v1/users/x/posts", 422, "/api/v1/users/{number}/posts"),
        ("GET", "/api/v1/users/in/deep/4", 200, "/api/v1/users/in/deep/{number}"),
        ("GET", "/v2/users/in/deep/4", 200, "/v2/users/in/deep/{number}"),
        ("GET", "/v2/users/4/posts", 200, "/v2/users/{number}/posts"),
        ("GET", "/v2/users/4/nothing", 404, UNMATCHED),
        ("GET", "/v2/users/4/posts/", 307, UNMATCHED),
        ("GET", "/below/x/1", 200, "/below/x/{y}"),
        ("GET", "/below/pp/within/7", 200, "/below/pp/within/{y}"),
        ("GET", "/below/nothing", 404, "/below"),
        ("GET", "/tenants/acme/x/1", 200, "/tenants/{tenant}/x/{y}"),
        ("GET", "/tenants/acme/pp/within/7", 200, "/tenants/{tenant}/pp/within/{y}"),
        ("GET", "/tenants/acme/nothing", 404, "/tenants/{tenant}"),
        ("GET", "/static/wire.py", 200, "/static"),
        ("GET", "/static/nothing.js", 404, "/static"),
        ("GET", "/plain/3", 200, "/plain/{z}"),
    ],
)
def test_fastapi(method: str, path: str, status: int, name: str) -> None:
    assert named(fastapi_app(), path, method) == (status, name)


@pytest.mark.parametrize("path", ["/api/v1/users/in/ws/lobby", "/v2/users/in/ws/lobby"])
def test_fastapi_websocket(path: str) -> None:
    with watched() as live:
        wire = Wire({"type": "websocket.connect"})
        asyncio.run(EnergyMiddleware(fastapi_app())(websocket(path), wire.receive, wire.send))
        assert [message["type"] for message in wire.sent] == ["websocket.accept", "websocket.close"]
        assert live.one(path.replace("lobby", "{room}")).outcome == "ok"


def test_fastapi_with_the_middleware_inside_where_frameworks_put_it() -> None:
    app = fastapi_app()
    app.add_middleware(EnergyMiddleware)
    with watched() as live:
        asyncio.run(ask(app, "/api/v1/users/4/posts"))
        asyncio.run(ask(app, "/below/x/1"))
        assert sorted(each.key[0] for each in live.settle()) == ["/api/v1/users/{number}/posts", "/below/x/{y}"]


def test_a_mounted_application_with_a_middleware_of_its_own() -> None:
    """The outer one is not there: the inner one knows where it is mounted and says what it is asked for."""
    below = fastapi.FastAPI()
    below.add_api_route("/x/{y}", item, methods=["GET"])
    below.add_middleware(EnergyMiddleware)
    app = fastapi.FastAPI()
    app.mount("/below", below)
    with watched() as live:
        asyncio.run(ask(app, "/below/x/1"))
        assert [each.key[0] for each in live.settle()] == ["/x/{y}"]


def test_requests_that_overlap_keep_their_names() -> None:
    app = fastapi.FastAPI()

    async def wait(key: str) -> str:
        await asyncio.sleep(0.01)
        return key

    for number in range(5):
        app.add_api_route(f"/route{number}/{{key}}", wait, methods=["GET"])

    async def main() -> None:
        await asyncio.gather(*(ask(measured, f"/route{number % 5}/{number}") for number in range(50)))

    measured = EnergyMiddleware(app)
    with watched() as live:
        asyncio.run(main())
        names = [each.key[0] for each in live.settle()]
        assert {name: names.count(name) for name in names} == {f"/route{number}/{{key}}": 10 for number in range(5)}


def test_one_function_behind_two_plain_routes() -> None:
    app = fastapi.FastAPI()
    app.add_route("/a/{x}", page)
    app.add_route("/b/{x}", page)
    measured = EnergyMiddleware(app)
    with watched() as live:
        for path in ("/b/1", "/a/2", "/b/3"):
            asyncio.run(ask(measured, path))
        names = [each.key[0] for each in live.settle()]
        assert names in ([UNMATCHED] * 3, ["/b/{x}", "/a/{x}", "/b/{x}"])  # never the other one's


def test_names_are_remembered_for_the_right_routes() -> None:
    """Hundreds of routes over one middleware, in any order: each request has its own route's name."""
    app = fastapi.FastAPI()
    for number in range(100):
        app.add_api_route(f"/n{number}/{{key}}", item_of(number), methods=["GET"])
    measured = EnergyMiddleware(app)
    numbers = [number * 37 % 100 for number in range(200)]
    with watched() as live:
        for number in numbers:
            asyncio.run(ask(measured, f"/n{number}/x"))
        assert [each.key[0] for each in live.settle()] == [f"/n{number}/{{key}}" for number in numbers]


def test_routes_that_come_and_go_are_not_mixed_up() -> None:
    """A new route may stand at the very place in memory where an old one stood."""
    measured = EnergyMiddleware(switched := Switched())
    with watched() as live:
        for number in range(50):
            switched.app = Starlette(routes=[Route(f"/route{number}", page)])
            asyncio.run(ask(measured, f"/route{number}"))
        assert [each.key[0] for each in live.settle()] == [f"/route{number}" for number in range(50)]


class Switched:
    app: Any = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def item_of(number: int) -> Callable[..., str]:
    async def one(key: str) -> str:
        return f"{number}{key}"

    return one  # type: ignore[return-value]


# Starlette


def starlette_app() -> Starlette:
    class Endpoint(HTTPEndpoint):
        async def get(self, request: Request) -> PlainTextResponse:
            return PlainTextResponse("x")

    return Starlette(
        routes=[
            Route("/", page),
            Route("/a/{b:int}", page, methods=["GET"]),
            Route("/endpoint/{x}", Endpoint),
            Mount("/m", routes=[Route("/c/{d}", page), Mount("/n", routes=[Route("/e", page), Route("/", page)])]),
            Mount("/app", PlainTextResponse("x")),
            Mount("/{tenant}/t", routes=[Route("/e/{f}", page)]),
            Host("{sub}.example.org", app=Router([Route("/h/{i}", page)])),
            WebSocketRoute("/ws/{room}", socket),
        ]
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/", 200, "/"),
        ("HEAD", "/", 200, "/"),
        ("GET", "/a/3", 200, "/a/{b:int}"),
        ("POST", "/a/3", 405, "/a/{b:int}"),
        ("GET", "/a/x", 404, UNMATCHED),
        ("GET", "/a/3/", 307, UNMATCHED),
        ("GET", "/endpoint/1", 200, "/endpoint/{x}"),
        ("DELETE", "/endpoint/1", 405, "/endpoint/{x}"),
        ("GET", "/m/c/9", 200, "/m/c/{d}"),
        ("GET", "/m/n/e", 200, "/m/n/e"),
        ("GET", "/m/n/", 200, "/m/n/"),
        ("GET", "/app/anything/at/all", 200, "/app"),
        ("GET", "/acme/t/e/1", 200, "/{tenant}/t/e/{f}"),
    ],
)
def test_starlette(method: str, path: str, status: int, name: str) -> None:
    assert named(starlette_app(), path, method) == (status, name)


def test_starlette_host() -> None:
    assert named(starlette_app(), "/h/3", headers=[(b"host", b"client-chosen.example.org")]) == (200, "/h/{i}")


def test_starlette_websocket() -> None:
    with watched() as live:
        wire = Wire({"type": "websocket.connect"})
        asyncio.run(EnergyMiddleware(starlette_app())(websocket("/ws/lobby"), wire.receive, wire.send))
        assert live.one("/ws/{room}").outcome == "ok"


@pytest.mark.parametrize("path", ["/m/nothing", "/m/n/nothing", "/app2", "/t/e"])
def test_starlette_404_has_one_of_few_names(path: str) -> None:
    assert named(starlette_app(), path)[1] in (UNMATCHED, "/m", "/m/n")


@pytest.mark.parametrize(
    "make", [lambda: Starlette(routes=[Route("/a/{b}", page)]), fastapi_app], ids=["starlette", "fastapi"]
)
@pytest.mark.parametrize("root_path", ["", "/proxied", "/prox/ied"])
def test_behind_a_proxy_the_name_is_the_applications_own(make: Callable[[], App], root_path: str) -> None:
    """As uvicorn --root-path sets it: the path holds the prefix, too."""
    path, name = ("/a/1", "/a/{b}") if isinstance(make(), Starlette) and not hasattr(make(), "openapi") else ("", "")
    path, name = (path, name) if path else ("/below/x/1", "/below/x/{y}")
    assert named(make(), root_path + path, root_path=root_path) == (200, name)


def test_an_application_that_knows_its_own_prefix() -> None:
    """``FastAPI(root_path=...)`` sets it while the request is under way, the same for all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and in use
        app = fastapi.FastAPI(root_path="/api/v1")
    app.add_api_route("/x/{y}", item, methods=["GET"])
    names = {named(app, path)[1] for path in ("/x/1", "/x/2", "/api/v1/x/3")}
    assert len(names) == 1
    assert names <= {"/x/{y}", "/api/v1/x/{y}"}


# Names never hold what a client sent


SAME = [f"client{number}" for number in range(4)]


def names_of(app: App, paths: list[str], **scopes: list[Any]) -> set[str]:
    measured = EnergyMiddleware(app)
    with watched() as live:
        for number, path in enumerate(paths):
            asyncio.run(ask(measured, path, **{key: values[number] for key, values in scopes.items()}))
        return {each.key[0] for each in live.settle()}


def test_a_mount_and_a_route_whose_parameters_share_a_name() -> None:
    within = Starlette(routes=[Route("/{id}", page)])
    app = Starlette(routes=[Mount("/{id}", within)])
    names = names_of(app, [f"/{client}/{client}" for client in SAME])
    assert len(names) == 1
    assert not any(client in name for name in names for client in SAME)


def test_a_mounted_application_that_forgets_the_mounts_parameters() -> None:
    async def within(scope: Scope, receive: Any, send: Any) -> None:
        scope["path_params"] = {"own": "1"}
        scope["path_template"] = "/thing/{own}"
        await send(start())
        await send(body())

    names = names_of(Starlette(routes=[Mount("/{tenant}", within)]), [f"/{client}/thing/1" for client in SAME])
    assert len(names) == 1
    assert not any(client in name for name in names for client in SAME)


def test_a_prefix_from_a_header_that_a_middleware_inside_believes() -> None:
    def forwarded(app: App) -> App:
        async def with_prefix(scope: Scope, receive: Any, send: Any) -> None:
            scope["root_path"] = dict(scope["headers"])[b"x-forwarded-prefix"].decode()
            await app(scope, receive, send)

        return with_prefix

    app = forwarded(Starlette(routes=[Route("/a/{b}", page)]))
    headers = [[(b"host", b"x"), (b"x-forwarded-prefix", f"/{client}".encode())] for client in SAME]
    names = names_of(app, ["/a/1"] * len(SAME), headers=headers)
    assert len(names) == 1
    assert not any(client in name for name in names for client in SAME)


def test_nested_mounts_with_parameters() -> None:
    app = Starlette(
        routes=[Mount("/{a}", routes=[Mount("/fixed", routes=[Mount("/{b}", routes=[Route("/{c}", page)])])])]
    )
    names = names_of(app, [f"/{client}/fixed/{client}/{client}" for client in SAME])
    assert len(names) == 1
    assert not any(client in name for name in names for client in SAME)


def test_a_mount_whose_parameter_is_a_path() -> None:
    app = Starlette(routes=[Mount("/{rest:path}", Starlette(routes=[Route("/end", page), Route("/{x}/end", page)]))])
    names = names_of(app, [f"/{client}/end" for client in SAME] + [f"/{client}/b/{client}/end" for client in SAME])
    assert not any(client in name for name in names for client in SAME)


# Litestar


litestar = pytest.importorskip("litestar")

from litestar.params import PathParameter  # noqa: E402

Whole = Annotated[int, PathParameter()]
Text = Annotated[str, PathParameter()]


def litestar_app(*middleware: Any, instances: list[Any] | None = None) -> Any:
    class Noted(EnergyMiddleware):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            if instances is not None:
                instances.append(self)

    @litestar.get("/items/{number:int}")
    async def one(number: Whole) -> int:
        return number

    @litestar.get("/sync/{number:int}", sync_to_thread=True)
    def sync(number: Whole) -> int:
        return number

    class Things(litestar.Controller):
        path = "/things"

        @litestar.get("/{thing:str}")
        async def thing(self, thing: Text) -> str:
            return thing

    @litestar.websocket("/ws/{room:str}")
    async def ws(socket: litestar.WebSocket, room: Text) -> None:
        await socket.accept()
        await socket.close()

    router = litestar.Router("/v1", route_handlers=[Things])
    return litestar.Litestar(
        [one, sync, router, ws],
        middleware=[litestar.middleware.DefineMiddleware(Noted)],
        openapi_config=None,
        logging_config=None,
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/items/3", 200, "/items/{number}"),
        ("GET", "/sync/3", 200, "/sync/{number}"),
        ("GET", "/v1/things/lamp", 200, "/v1/things/{thing}"),
    ],
)
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_litestar(method: str, path: str, status: int, name: str, where: str) -> None:
    instances: list[Any] = []
    app = litestar_app(instances=instances)
    with watched() as live:
        asyncio.run(ask(app if where == "inside" else EnergyMiddleware(app), path, method))
        assert [each.key[0] for each in live.settle()] == [name]
    assert len(instances) > 1  # one for each route, and no trouble


@pytest.mark.parametrize("path", ["/items/x", "/nothing", "/v1/things/a/b"])
def test_litestar_404(path: str) -> None:
    with watched() as live:
        wire = asyncio.run(ask(EnergyMiddleware(litestar_app()), path))
        assert wire.status == 404
        assert live.one(UNMATCHED).outcome == "ok"


def test_litestar_websocket() -> None:
    with watched() as live:
        wire = Wire({"type": "websocket.connect"})
        asyncio.run(EnergyMiddleware(litestar_app())(websocket("/ws/lobby"), wire.receive, wire.send))
        assert live.one("/ws/{room}").outcome == "ok"


def test_litestar_mounted_under_a_parameter() -> None:
    names = names_of(Starlette(routes=[Mount("/{tenant}", litestar_app())]), [f"/{client}/items/3" for client in SAME])
    assert not any(client in name for name in names for client in SAME)
    assert len(names) == 1


def test_litestar_mounts_keep_their_own_names() -> None:
    """Their template is "" for all of them."""
    seen: list[str] = []

    def mounted(path: str) -> Any:
        @litestar.asgi(path, is_mount=True, copy_scope=True)
        async def handler(scope: Scope, receive: Any, send: Any) -> None:
            seen.append(path)
            await send(start())
            await send(body())

        return handler

    @litestar.get("/")
    async def root() -> str:
        return "root"

    app = litestar.Litestar([mounted("/x"), mounted("/y"), root], openapi_config=None, logging_config=None)
    measured = EnergyMiddleware(app)
    with watched() as live:
        for path in ("/x/1", "/y/2", "/", "/x/3", "/y/4"):
            asyncio.run(ask(measured, path))
        assert seen == ["/x", "/y", "/x", "/y"]
        assert [each.key[0] for each in live.settle()] == ["/x", "/y", "/", "/x", "/y"]


# Django


DJANGO = """
import asyncio, json, sys
from django.conf import settings
settings.configure(
    ROOT_URLCONF="__main__", SECRET_KEY="x", ALLOWED_HOSTS=["*"], DEBUG=False, LOGGING_CONFIG=None,
    MIDDLEWARE=["__main__.WithTemplate"] if sys.argv[-1] == "told" else [],
)
import django
django.setup()
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path
from asgi.wire import ask, watched
from greeninfer import EnergyMiddleware

async def page(request, number):
    return HttpResponse(str(number))

def sync_page(request, number):
    return HttpResponse(str(number))

urlpatterns = [path("items/<int:number>/", page), path("sync/<int:number>/", sync_page)]

class WithTemplate:
    async_capable = sync_capable = True
    def __init__(self, get_response):
        self.get_response = get_response
    def __call__(self, request):
        return self.get_response(request)
    def process_view(self, request, view, args, kwargs):
        request.scope["path_template"] = "/" + request.resolver_match.route

async def get(path):
    wire = await ask(EnergyMiddleware(get_asgi_application()), path)
    return wire.status

with watched() as live:
    answers = [(asyncio.run(get(path)), live.settle()[-1].key[0], live.settle()[-1].outcome) for path in
        ("/items/3/", "/sync/4/", "/nothing/")]
print(json.dumps(answers))
"""


@pytest.mark.parametrize(
    ("told", "names"),
    [("", [UNMATCHED, UNMATCHED]), ("told", ["/items/<int:number>/", "/sync/<int:number>/"])],
    ids=["by itself", "with a middleware of its own"],
)
def test_django(told: str, names: list[str], tmp_path: Path) -> None:
    """Django keeps the route out of the scope; whoever wants it there puts it there."""
    pytest.importorskip("django")
    from live import play

    script = DJANGO.replace("sys.argv[-1]", repr(told))
    answers = play(script, tmp_path)
    assert answers == [[200, names[0], "ok"], [200, names[1], "ok"], [404, UNMATCHED, "ok"]]


# Names that are given


@pytest.mark.parametrize("path", ["/a/1", "/nothing"])
def test_a_name_that_is_given_is_everybodys(path: str) -> None:
    with watched() as live:
        asyncio.run(ask(EnergyMiddleware(fastapi_app(), name="everything", model="m"), path))
        assert [each.key for each in live.settle()] == [("everything", "m")]


def test_a_model_goes_with_each_route() -> None:
    with watched() as live:
        asyncio.run(ask(EnergyMiddleware(fastapi_app(), model="minilm"), "/below/x/1"))
        assert [each.key for each in live.settle()] == [("/below/x/{y}", "minilm")]
