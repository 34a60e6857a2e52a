"""Nothing is lost, added or changed on the way: with the middleware the application and the server see the same."""

from __future__ import annotations

import asyncio
import copy
import inspect
import traceback
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi.wire import GONE, REQUEST, Message, Scope, Wire, ask, body, http, start, watched, websocket
from greeninfer import EnergyMiddleware, current

CHUNKS = [
    {"type": "http.request", "body": b"one", "more_body": True},
    {"type": "http.request", "body": b"two" * 1000, "more_body": True},
    {"type": "http.request", "body": b"", "more_body": False},
]


async def test_every_message_of_a_request_arrives_in_order_as_the_same_object() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.extend([await receive() for _ in CHUNKS])
        await send(start())
        await send(body())
        seen.append(await receive())

    with watched():
        await ask(EnergyMiddleware(app), "/", "POST", *CHUNKS)
    assert all(got is said for got, said in zip(seen, [*CHUNKS, GONE], strict=True))


ANSWERS: dict[str, list[Message]] = {
    "plain": [start(201, [(b"x", b"1"), (b"x", b"2"), (b"set-cookie", b"a=b")]), body(b"all")],
    "chunks": [start(), body(b"a", more=True), body(b"", more=True), body(b"b", more=True), body()],
    "early hints": [
        {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]},
        {"type": "http.response.informational", "status": 103},
        start(),
        body(),
    ],
    "push": [{"type": "http.response.push", "path": "/a", "headers": []}, start(), body()],
    "debug": [{"type": "http.response.debug", "info": {"template": object()}}, start(), body()],
    "trailers": [
        start(trailers=True),
        body(b"a"),
        {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": False},
    ],
    "path": [start(), {"type": "http.response.pathsend", "path": "/etc/hostname"}],
    "zero copy": [start(), {"type": "http.response.zerocopysend", "file": 3, "more_body": False}],
    "zero copy in parts": [
        start(),
        {"type": "http.response.zerocopysend", "file": 3, "count": 5, "more_body": True},
        body(b"the end"),
    ],
    "an unknown one": [{"type": "vendor.thing", "anything": 1}, start(), body(), {"type": "vendor.after"}],
    "headers of any kind": [{**start(), "headers": ((b"a", b"b"), [b"c", b"d"])}, body()],
    "no headers": [{"type": "http.response.start", "status": 204}, {"type": "http.response.body"}],
}


@pytest.mark.parametrize("header", [False, True], ids=["", "with the header"])
@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_message_of_an_answer_arrives_in_order_as_the_same_object(kind: str, header: bool) -> None:
    """Also where the header is asked for, as long as there is no figure to show in it."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        for message in ANSWERS[kind]:
            await send(message)

    before = copy.deepcopy([{**each, "info": None} for each in ANSWERS[kind]])
    with watched() as live:
        wire = await ask(EnergyMiddleware(app, header=header))
        assert live.one("(unmatched)").outcome == "ok"
        assert live.one("(unmatched)").first_byte_seconds is not None
    assert all(got is said for got, said in zip(wire.sent, ANSWERS[kind], strict=True))
    assert [{**each, "info": None} for each in wire.sent] == before


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_exchange_is_the_same_with_and_without(data: st.DataObject) -> None:
    """Random scripts of receiving, sending and waiting give the same transcript on both sides."""
    step = st.one_of(
        st.just(("receive",)),
        st.just(("wait",)),
        st.tuples(st.just("send"), st.binary(max_size=5), st.booleans()),
        st.tuples(st.just("odd"), st.text(max_size=5)),
    )
    steps = data.draw(st.lists(step, max_size=12))
    said = data.draw(st.lists(st.builds(lambda b: {**REQUEST, "body": b}, st.binary(max_size=3)), max_size=5))

    async def transcript(wrap: Any) -> list[object]:
        seen: list[object] = []

        async def app(scope: Scope, receive: Any, send: Any) -> None:
            await send(start())
            for kind, *rest in steps:
                if kind == "receive":
                    seen.append(await receive())
                elif kind == "wait":
                    await asyncio.sleep(0)
                elif kind == "send":
                    await send(body(rest[0], more=rest[1]))
                else:
                    await send({"type": f"odd.{rest[0]}"})

        wire = Wire(*said, *([GONE] * len(steps)))
        wire.complete.set()
        await wrap(app)(http(), wire.receive, wire.send)
        return [*seen, *wire.sent, wire.unread]

    with watched():
        assert asyncio.run(transcript(EnergyMiddleware)) == asyncio.run(transcript(lambda app: app))


async def test_the_scope_is_the_servers_and_only_marked() -> None:
    extensions = {"http.response.pathsend": {}, "tls": {"server_cert": "x"}}
    state = {"pool": object()}
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        scopes.append(scope)
        scope["state"]["seen"] = True
        await send(start())
        await send(body())

    scope = http("/x", extensions=extensions, state=state)
    before = dict(scope)
    wire = Wire()
    with watched():
        await EnergyMiddleware(app)(scope, wire.receive, wire.send)
    assert scopes == [scope]
    assert scopes[0]["extensions"] is extensions
    assert state["seen"] is True  # as the lifespan's state must be seen by the server
    assert {name: value for name, value in scopes[0].items() if name in before} == before
    assert set(scopes[0]) - set(before) == {"greeninfer"}


# What is none of ours


async def test_the_lifespan_is_untouched() -> None:
    seen: list[object] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["model"] = "loaded"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})

    state: dict[str, object] = {}
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    wire = Wire({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    receive, send = wire.receive, wire.send
    with watched() as live:
        await EnergyMiddleware(app)(scope, receive, send)
        assert live.settle() == []
    assert seen == [(scope, receive, send)]
    assert scope == {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {"model": "loaded"}}
    assert [message["type"] for message in wire.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_a_failing_lifespan_fails_as_it_does_without() -> None:
    """A server takes it to mean that the application has no lifespan."""
    error = KeyError("lifespan")

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        raise error

    with watched() as live:
        wire = Wire()
        with pytest.raises(KeyError) as caught:
            await EnergyMiddleware(app)({"type": "lifespan"}, wire.receive, wire.send)
        assert caught.value is error
        assert live.settle() == []


@pytest.mark.parametrize("kind", ["webtransport", "vendor.queue", ""])
async def test_scopes_of_other_types_pass_through(kind: str) -> None:
    seen: list[object] = []

    async def app(*args: object) -> None:
        seen.extend(args)

    with watched() as live:
        args: list[Any] = [{"type": kind}, Wire().receive, Wire().send]
        await EnergyMiddleware(app)(*args)
        assert live.settle() == []
    assert seen == args
    assert args[0] == {"type": kind}


EXCLUDED = ["/metrics", "/health", "/healthz", "/livez", "/readyz", "/ping", "/docs", "/redoc", "/openapi.json"]


@pytest.mark.parametrize("root_path", ["", "/proxied"])
@pytest.mark.parametrize("path", [*EXCLUDED, "/metrics/", "/docs/oauth2-redirect", "/favicon.ico"])
async def test_what_says_nothing_of_the_service_is_not_measured(path: str, root_path: str) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        assert current() is None
        await send(start())
        await send(body())

    with watched() as live:
        await ask(EnergyMiddleware(app), root_path + path, root_path=root_path)
        assert live.settle() == []


@pytest.mark.parametrize("path", ["/", "/metrics2", "/metric", "/api/metrics", "/docs/x", "/pings", "/HEALTH", ""])
async def test_everything_else_is(path: str) -> None:
    with watched() as live:
        await ask(EnergyMiddleware(answer), path)
        assert len(live.settle()) == 1


@pytest.mark.parametrize(
    ("exclude", "path", "measured"),
    [
        ((), "/metrics", True),
        (["/internal"], "/internal", False),
        (["/internal"], "/internal/", False),
        (["/internal/"], "/internal", False),
        (["/internal"], "/internal/x", True),
        (["/internal"], "/metrics", True),
        ("/internal", "/internal", False),
        (["/"], "/", False),
        (["/"], "/x", True),
        (iter(["/a", "/b"]), "/b", False),
    ],
)
async def test_excluded_paths_can_be_chosen(exclude: Any, path: str, measured: bool) -> None:
    with watched() as live:
        app = EnergyMiddleware(answer, exclude=exclude)
        await ask(app, path)
        await ask(app, path)
        assert len(live.settle()) == 2 * measured


async def answer(scope: Scope, receive: Any, send: Any) -> None:
    await send(start())
    await send(body(b"answer"))


# What kinds of applications there are


class ClassApp:
    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await answer(scope, receive, send)


def plain(scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
    return answer(scope, receive, send)


def task(scope: Scope, receive: Any, send: Any) -> Awaitable[None]:
    return asyncio.ensure_future(answer(scope, receive, send))


class Later:
    def __init__(self, *args: Any) -> None:
        self.args = args

    def __await__(self) -> Any:
        return answer(*self.args).__await__()


@pytest.mark.parametrize("app", [answer, ClassApp(), plain, task, Later, EnergyMiddleware(answer)])
async def test_an_application_is_whatever_returns_something_to_await(app: Any) -> None:
    with watched() as live:
        wire = await ask(EnergyMiddleware(app))
        assert (wire.status, wire.text) == (200, "answer")
        assert live.one("(unmatched)").outcome == "ok"


async def test_a_server_takes_it_for_an_asgi_3_application() -> None:
    """Uvicorn looks at ``__call__`` to tell the versions apart."""
    assert inspect.iscoroutinefunction(EnergyMiddleware(answer).__call__)
    assert not inspect.isclass(EnergyMiddleware(answer))


async def test_the_sending_function_may_be_called_in_any_way() -> None:
    """What comes back can be awaited once, made a task, or gathered, as with the server's own."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await asyncio.create_task(send(start()))
        await asyncio.gather(send(body(b"a", more=True)))
        await asyncio.wait_for(send(body(b"b")), 1.0)

    with watched():
        assert (await ask(EnergyMiddleware(app))).text == "ab"


async def test_what_the_server_raises_from_sending_reaches_the_application() -> None:
    error = OSError("connection lost")
    caught: list[BaseException] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        try:
            await send(start())
        except OSError as raised:
            caught.append(raised)
            raise

    async def send(message: Message) -> None:
        raise error

    with watched() as live:
        with pytest.raises(OSError, match="connection lost") as outside:
            await EnergyMiddleware(app)(http(), Wire().receive, send)
        assert outside.value is error
        assert caught == [error]
        assert live.one("(unmatched)").outcome == "error"


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_what_the_server_raises_from_receiving_reaches_the_application(sync: bool) -> None:
    error = OSError("connection lost")

    async def receive() -> Message:
        raise error

    def receive_at_once() -> Any:
        raise error

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await receive()

    with watched():
        with pytest.raises(OSError, match="connection lost") as outside:
            await EnergyMiddleware(app)(http(), receive_at_once if sync else receive, Wire().send)
        assert outside.value is error


# Exceptions


class ModelError(Exception):
    pass


def predict() -> None:
    raise ModelError("no such model")


async def fails_at_once(scope: Scope, receive: Any, send: Any) -> None:
    predict()


async def fails_later(scope: Scope, receive: Any, send: Any) -> None:
    await receive()
    await send(start())
    await asyncio.sleep(0)
    predict()


@pytest.mark.parametrize("app", [fails_at_once, fails_later])
async def test_an_exception_passes_with_its_frames_and_nothing_of_ours_in_its_story(app: Any) -> None:
    with watched() as live:
        with pytest.raises(ModelError, match=r"^no such model$") as caught:
            await ask(EnergyMiddleware(app))
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[-2:] == [app.__name__, "predict"]
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert live.one("(unmatched)").outcome == "error"


@pytest.mark.parametrize(
    "error",
    [ModelError("x"), ExceptionGroup("g", [ValueError("a")]), StopAsyncIteration("s"), RuntimeError(), MemoryError()],
    ids=repr,
)
async def test_it_is_the_very_same_object(error: BaseException) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        raise error

    with watched():
        with pytest.raises(type(error)) as caught:
            await ask(EnergyMiddleware(app))
        assert caught.value is error
        assert error.__context__ is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_what_ends_the_program_passes_too(error: BaseException) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        raise error

    with watched() as live:
        with pytest.raises(type(error)) as caught:
            asyncio.run(ask(EnergyMiddleware(app)))
        assert caught.value is error
        assert live.one("(unmatched)").outcome == "error"


async def test_an_application_that_fails_before_it_returns_anything_to_await() -> None:
    def app(scope: Scope, receive: Any, send: Any) -> Any:
        raise ModelError("not even started")

    with watched(), pytest.raises(ModelError, match="not even started"):
        await ask(EnergyMiddleware(app))  # type: ignore[arg-type]


async def test_a_request_leaves_no_current_span_behind() -> None:
    inside: list[object] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        inside.append(current())
        await asyncio.sleep(0)
        inside.append(current())
        await answer(scope, receive, send)

    with watched():
        await ask(EnergyMiddleware(app))
        assert current() is None
    assert inside[0] is inside[1] is not None


async def test_a_second_middleware_lets_pass_what_the_first_one_measures() -> None:
    with watched() as live:
        app = EnergyMiddleware(EnergyMiddleware(EnergyMiddleware(answer, name="inner"), name="middle"), name="outer")
        await ask(app)
        assert [each.key[0] for each in live.settle()] == ["outer"]


async def test_several_instances_may_stand_side_by_side() -> None:
    """Some frameworks make one for each route."""
    with watched() as live:
        apps = [EnergyMiddleware(answer) for _ in range(5)]
        await asyncio.gather(*(ask(app) for app in apps))
        assert len(live.named("(unmatched)")) == 5


async def test_a_disabled_monitor_passes_everything_through(monkeypatch: pytest.MonkeyPatch) -> None:
    from greeninfer import Monitor, Settings

    seen: list[object] = []

    async def app(*args: Any) -> None:
        seen.extend(args)
        await answer(*args)

    wire = Wire()
    args = (http("/x"), wire.receive, wire.send)
    with Monitor(Settings(disabled=True)):
        await EnergyMiddleware(app)(*args)
    assert seen == list(args)
    assert "greeninfer" not in args[0]


async def test_a_websocket_passes_too() -> None:
    said = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "bytes": b"b"},
        {"type": "websocket.disconnect", "code": 1001, "reason": "bye"},
    ]
    answers: list[Message] = [
        {"type": "websocket.accept", "subprotocol": "x", "headers": [(b"a", b"b")]},
        {"type": "websocket.send", "text": "a"},
        {"type": "websocket.send", "bytes": b"b"},
        {"type": "websocket.close", "code": 1000},
    ]
    seen: list[Message] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        for message in answers:
            seen.append(await receive())
            await send(message)

    wire = Wire(*said)
    with watched():
        await EnergyMiddleware(app)(websocket(), wire.receive, wire.send)
    assert all(got is one for got, one in zip(seen, said, strict=True))
    assert all(got is one for got, one in zip(wire.sent, answers, strict=True))
