"""Against real servers on the loopback interface: one that the test scripts, and one that greeninfer measures."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from asgi.serving import Stage, uvicorn_server
from asgi.wire import watched
from live import Live
from prometheus_client import CollectorRegistry

import greeninfer
from greeninfer import threads
from greeninfer.bench._model import MeasuresItself, Model, Place, Prediction, Task
from greeninfer.bench._study import ModelSpec
from greeninfer.bench.models import open_model, read_options
from greeninfer.bench.models._served_joules import COUNTER
from greeninfer.errors import StudyError
from greeninfer.exporters import PrometheusExporter

pytest.importorskip("httpx")

TASK = Task("shouts", ("loud", "quiet"))
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    server: Scripted  # type: ignore[assignment]

    def handle_one(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        self.server.seen.append((self.command, self.path, json.loads(body) if body else None, dict(self.headers)))
        self.server.answer(self)

    do_GET = do_POST = do_PUT = handle_one  # noqa: N815

    def say(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


class Scripted(ThreadingHTTPServer):
    """Attributes: ``answer``, what clients get; ``seen``, what they sent; ``ending``, set when the test is over."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.seen: list[tuple[str, str, Any, dict[str, str]]] = []
        self.ending = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None: ...  # a client that left


@contextmanager
def serving(answer: Answer) -> Iterator[Scripted]:
    server = Scripted(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


def says(value: object, status: int = 200) -> Answer:
    return lambda handler: handler.say(json.dumps(value).encode(), status)


def by_case(handler: Handler) -> None:
    text = handler.server.seen[-1][2]["text"]
    handler.say(json.dumps({"label": "loud" if text.isupper() else "quiet", "score": 0.75}).encode())


@contextmanager
def opened(url: str, **options: object) -> Iterator[Any]:
    model: Model = open_model(ModelSpec("service", "http", {"url": url, **options}), TASK, Place())
    try:
        yield model
    finally:
        model.close()


def test_each_text_is_a_request_and_its_answer_a_prediction() -> None:
    with serving(by_case) as server, opened(f"{server.url}/classify", confidence="score") as model:
        model.fit(["x"], ["loud"])
        assert model.predict(["HELLO", "pßst 🦔", ""]) == [
            Prediction("loud", 0.75),
            Prediction("quiet", 0.75),
            Prediction("quiet", 0.75),
        ]
        assert model.predict([]) == []
        assert model.joules() is None
        assert model.quality() is None
    assert [seen[:3] for seen in server.seen] == [
        ("POST", "/classify", {"text": text}) for text in ("HELLO", "pßst 🦔", "")
    ]


def test_the_body_is_a_template_and_headers_are_sent() -> None:
    body = {"messages": [{"role": "user", "content": "Loud or {texts}? {text}"}], "n": 1, "stop": None}
    with (
        serving(says({"choices": [{"message": {"content": " loud\n"}}]})) as server,
        opened(server.url, body=body, label="choices.0.message.content", method="PUT", headers={"X-Own": "1"}) as model,
    ):
        assert model.predict(["{texts} {text}"]) == [Prediction("loud")]
    method, _, sent, headers = server.seen[0]
    assert method == "PUT"
    assert sent == {**body, "messages": [{"role": "user", "content": "Loud or {texts}? {texts} {text}"}]}
    assert headers["X-Own"] == "1"


def test_a_text_may_be_part_of_the_address() -> None:
    with serving(says("loud")) as server, opened(server.url + "/c?q={text}", method="GET", label="") as model:
        assert model.predict(["a&b/c ?"]) == [Prediction("loud")]
    assert server.seen[0][:3] == ("GET", "/c?q=a%26b%2Fc%20%3F", None)


def test_a_batch_may_be_one_request() -> None:
    answer = {"data": {"results": [{"label": "loud", "p": 1}, {"label": "quiet", "p": 0.5}]}}
    options = {"body": {"texts": "{texts}"}, "results": "data.results", "confidence": "p"}
    with serving(says(answer)) as server, opened(server.url, **options) as model:
        assert model.predict(["A", "b"]) == [Prediction("loud", 1.0), Prediction("quiet", 0.5)]
        assert [seen[2] for seen in server.seen] == [{"texts": ["A", "b"]}]
        with pytest.raises(StudyError, match=r"for 3 text\(s\) came 2 answers.*correct results"):
            model.predict(["A", "b", "c"])
        with pytest.raises(StudyError, match=r"for 1 text\(s\) came 2 answers"):
            model.predict(["A"])
    with serving(says(["loud", "quiet"])) as server, opened(server.url, body={"q": ["{texts}"]}, label="") as model:
        assert model.predict(["A", "b"]) == [Prediction("loud"), Prediction("quiet")]
        assert server.seen[0][2] == {"q": [["A", "b"]]}
    with (
        serving(says({"loud": 1})) as server,
        opened(server.url, body={"q": "{texts}"}, label="") as model,
        pytest.raises(StudyError, match=r"for 1 text\(s\) came {'loud': 1}"),
    ):
        model.predict(["A"])


@pytest.mark.parametrize("label", ["LOUD", None, 3, 0.5, True, ["loud"], {"loud": 1}, ""])
def test_a_label_that_cannot_be_read_is_unparsable(label: object) -> None:
    with serving(says({"label": label})) as server, opened(server.url) as model:
        assert model.predict(["A"]) == [Prediction(None)]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (says({"detail": "broken"}, 500), r"answered HTTP 500: {\"detail\": \"broken\"}; allowed: 200"),
        (says("gone", 404), "answered HTTP 404"),
        (says("elsewhere", 302), "answered HTTP 302"),
        (lambda handler: handler.say(b"<html>hello"), "answered no JSON: <html>hello"),
        (lambda handler: handler.say(b""), "answered no JSON"),
        (lambda handler: handler.say(b"\xff\xfe\x00"), "answered no JSON"),
        (says({"labels": "loud"}), r"has no 'label': {'labels': 'loud'}"),
        (says([{"label": "loud"}]), "has no 'label'"),
        (lambda handler: handler.wfile.write(b"I am no HTTP server\r\n\r\n"), "does not answer"),
        (lambda handler: handler.close_connection, "does not answer"),
        (
            lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}"),
            "does not answer",
        ),
        (lambda handler: handler.say(b"[" * (16 * 2**20 + 1)), "more than 16777216 bytes"),
    ],
)
def test_a_service_that_answers_wrongly_is_named(answer: Answer, complaint: str) -> None:
    with serving(answer) as server, opened(server.url) as model, pytest.raises(StudyError, match=complaint):
        model.predict(["A"])


def test_a_confidence_that_cannot_be_is_named() -> None:
    with (
        serving(says({"label": "loud", "p": 75})) as server,
        opened(server.url, confidence="p") as model,
        pytest.raises(StudyError, match="confidence=75"),
    ):
        model.predict(["A"])


def hangs(handler: Handler) -> None:
    handler.server.ending.wait(20.0)


def trickles(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(250):  # five seconds, so that a client that waits for the end fails rather than hangs
        if handler.server.ending.wait(0.02):
            break
        handler.wfile.write(b" ")


@pytest.mark.parametrize("answer", [hangs, trickles])
def test_a_service_that_never_ends_is_waited_for_no_longer_than_said(answer: Answer) -> None:
    with serving(answer) as server, opened(server.url, timeout_seconds=0.3) as model:
        begun = time.monotonic()
        with pytest.raises(StudyError, match=r"did not answer within 0.3 s.*larger timeout_seconds"):
            model.predict(["A"])
        assert 0.25 < time.monotonic() - begun < 10.0


def test_a_service_that_is_not_there_is_named() -> None:
    with serving(by_case) as server:
        pass
    with opened(server.url) as model, pytest.raises(StudyError, match=f"{server.url} does not answer.*refused"):
        model.predict(["A"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "needs the option 'url'"),
        ({"url": "localhost:80"}, "url='localhost:80'; allowed: http://"),
        ({"url": "ftp://x/{text}"}, "allowed: http://"),
        ({"url": "http://x", "metrics_url": "/metrics"}, "metrics_url='/metrics'"),
        ({"url": "http://x", "timeout_seconds": 0}, "timeout_seconds=0"),
        ({"url": "http://x", "timeout_seconds": float("inf")}, "timeout_seconds=inf"),
        ({"url": "http://x", "method": "DELETE"}, "method='DELETE'.*POST"),
        ({"url": "http://x", "headers": {"a": 1}}, "headers: 'a': 1"),
        ({"url": "http://x", "body": {"text": "all the same"}}, "no request would hold a text; allowed: {text}"),
        ({"url": "http://x", "body": {"text": "my {texts}"}}, "no request would hold a text"),
        ({"url": "http://x", "method": "GET"}, "no request would hold a text"),
    ],
)
def test_options_that_are_not_possible_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint) as caught:
        read_options("http", options)
    assert caught.value.path[0] == "options"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda handler: handler.say(b"up 1\n"), "no metric of greeninfer is on"),
        (says("gone", 404), "answered HTTP 404"),
        (hangs, "did not answer within 0.2 s"),
    ],
)
def test_a_metrics_page_that_is_none_is_refused_before_anything_is_measured(answer: Answer, complaint: str) -> None:
    with (
        serving(answer) as server,
        pytest.raises(StudyError, match=complaint),
        opened(server.url, metrics_url=f"{server.url}/metrics", timeout_seconds=0.2),
    ):
        pytest.fail("it opened")
    assert [seen[:2] for seen in server.seen] == [("GET", "/metrics")]


@contextmanager
def measured_service(joules: float) -> Iterator[tuple[str, Live]]:
    """Serve an application that burns so many joules in each request, on a meter that counts them."""
    fastapi = pytest.importorskip("fastapi")
    registry = CollectorRegistry()
    app = fastapi.FastAPI()

    async def classify(request: Any) -> Any:
        text = (await request.json())["text"]
        live.burn_apart(joules)
        return {"label": "loud" if text.isupper() else "quiet"}

    classify.__annotations__ = {"request": fastapi.Request}
    app.post("/classify")(classify)
    with watched(1.0, PrometheusExporter(registry)) as live:
        greeninfer.instrument(app, registry=registry)
        stage = Stage()
        stage.app = app
        try:
            with uvicorn_server(stage, "h11", "asyncio"):
                yield f"http://127.0.0.1:{stage.port}", live
        finally:
            threads.uninstrument()


def test_the_joules_of_a_measured_service_are_those_it_burnt() -> None:
    with measured_service(20.0) as (url, live):
        options = {"metrics_url": f"{url}/metrics", "metrics_name": "/classify"}
        with opened(f"{url}/classify", **options) as model:
            watching: MeasuresItself = model
            assert watching.joules() is None  # nothing was asked yet: not known, rather than nought
            assert [each.label for each in model.predict(["A"])] == ["loud"]
            live.settle()
            before = watching.joules()
            assert [each.label for each in model.predict(["A", "b", "C"])] == ["loud", "quiet", "loud"]
            live.settle()
            after = watching.joules()
            assert before is not None and after is not None
            assert after - before == pytest.approx(60.0, rel=0.02)
            assert watching.quality() == "measured"
    assert COUNTER == "greeninfer_energy_joules_total"
