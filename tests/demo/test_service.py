from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from live import Live
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from greeninfer import threads
from greeninfer.demo._classifiers import Classifier
from greeninfer.demo._texts import Task, Texts
from greeninfer.exporters import PrometheusExporter

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("threadpoolctl")

from greeninfer.demo._service import MOST_CHARACTERS, MOST_TEXTS, _OneThreadEach, build_app  # noqa: E402

if TYPE_CHECKING:
    from httpx import AsyncClient

NAMES = ("bank-question", "film-review")
MODELS = ("tfidf-lr", "e5-small-lr")


class World:
    """The service with classifiers of known joules, on a simulated meter."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.live = Live(1.0, PrometheusExporter(self.registry))
        self.threads: dict[str, set[str]] = {model: set() for model in MODELS}
        self.app = build_app([self.classifier(name, model) for name in NAMES for model in MODELS], self.registry)

    def classifier(self, name: str, model: str) -> Classifier:
        texts = Texts(("a",), ("x",))

        def classify(text: str) -> str:
            if text == "break":
                raise ZeroDivisionError(text)
            self.threads[model].add(threading.current_thread().name)
            self.live.burn_apart(3.0 if model == "tfidf-lr" else 20.0)
            return f"{name} {model} {text}"

        return Classifier(Task(name, name, "", ("x",), texts, texts), model, classify)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    try:
        with made.live:
            yield made
    finally:
        threads.uninstrument()


def client(world: World) -> AsyncClient:
    transport = httpx.ASGITransport(world.app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service")  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_it_answers(world: World, way: str) -> None:
    async with client(world) as http:
        answer = await http.post(f"/{way}/film-review/tfidf-lr", json={"text": "fine"})
    assert (answer.status_code, answer.json()) == (200, {"label": "film-review tfidf-lr fine"})


async def test_it_streams_a_line_per_text(world: World) -> None:
    async with client(world) as http:
        answer = await http.post("/stream/bank-question/e5-small-lr", json={"texts": ["one", "two"]})
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"label": "bank-question e5-small-lr one"},
        {"label": "bank-question e5-small-lr two"},
    ]


async def test_models_behind_one_route_have_their_own_joules_and_serving_has_its_own(world: World) -> None:
    async with client(world) as http:
        for model in MODELS:
            assert (await http.post(f"/sync/film-review/{model}", json={"text": "fine"})).is_success
        texts = {"texts": ["one", "two", "three"]}
        assert (await http.post("/stream/bank-question/tfidf-lr", json=texts)).is_success
    found = [(*each.key, each.nanojoules / 1e9) for each in world.live.settle()]
    joules = {key: sum(each[2] for each in found if each[:2] == key) for key in {each[:2] for each in found}}
    assert set(joules) == {
        ("film-review", "tfidf-lr"), ("film-review", "e5-small-lr"), ("bank-question", "tfidf-lr"),
        ("/sync/{task}/{model}", ""), ("/stream/{task}/{model}", ""),
    }  # fmt: skip
    assert joules["film-review", "tfidf-lr"] == pytest.approx(3.0, rel=0.02)
    assert joules["film-review", "e5-small-lr"] == pytest.approx(20.0, rel=0.02)
    assert joules["bank-question", "tfidf-lr"] == pytest.approx(9.0, rel=0.02)
    assert 0.0 < joules["/sync/{task}/{model}", ""] < 0.5
    assert 0.0 < joules["/stream/{task}/{model}", ""] < 0.5


async def test_slow_models_work_in_the_pool_and_quick_ones_on_the_event_loop(world: World) -> None:
    here = threading.current_thread().name
    async with client(world) as http:
        await http.post("/async/film-review/tfidf-lr", json={"text": "fine"})
        assert world.threads["tfidf-lr"] == {here}
        refused = await http.post("/async/film-review/e5-small-lr", json={"text": "fine"})
        assert refused.status_code == 404 and "would hold up the event loop" in refused.json()["detail"]
        await http.post("/sync/film-review/e5-small-lr", json={"text": "fine"})
        assert here not in world.threads["e5-small-lr"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/sync/film-review/gpt", {"text": "a"}, 404, "there is no film-review/gpt; there are bank-question/e5-small"),
        ("/sync/film-review/tfidf-lr", {"texts": ["a"]}, 422, "text"),
        ("/sync/film-review/tfidf-lr", {"text": "a" * (MOST_CHARACTERS + 1)}, 422, "2000 characters"),
        ("/stream/film-review/tfidf-lr", {"texts": []}, 422, "at least 1"),
        ("/stream/film-review/tfidf-lr", {"texts": ["a"] * (MOST_TEXTS + 1)}, 422, "at most 16"),
        ("/stream/film-review/tfidf-lr", {"texts": ["a" * (MOST_CHARACTERS + 1)]}, 422, "longer than 2000"),
        ("/sync/film-review/tfidf-lr", {"text": "break"}, 500, ""),
    ],
)
async def test_bad_questions(world: World, path: str, body: dict[str, object], status: int, said: str) -> None:
    async with client(world) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == status
    assert said in answer.text


async def test_the_live_page_and_the_metrics_are_there_and_are_not_billed(world: World) -> None:
    async with client(world) as http:
        page = await http.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "Joules per request" in page.text
        await http.post("/sync/film-review/tfidf-lr", json={"text": "fine"})
        assert world.live.monitor.flush(20.0)
        families = text_string_to_metric_families((await http.get("/metrics")).text)
    counts = {
        (sample.labels["name"], sample.labels["model"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "greeninfer_request_energy_joules_count"
    }
    assert counts == {("film-review", "tfidf-lr"): 1.0, ("/sync/{task}/{model}", ""): 1.0}


async def test_the_page_needs_nothing_from_anywhere(world: World) -> None:
    async with client(world) as http:
        page = (await http.get("/")).text
    assert "https://" not in page and '<link rel="stylesheet' not in page and " src=" not in page


def test_native_threads_are_held_back_once_on_each_thread_and_before_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    here = lambda: threading.current_thread().name  # noqa: E731

    class Controller:
        def limit(self, *, limits: int) -> int:
            calls.append((here(), f"limit {limits}"))
            return limits

    monkeypatch.setattr("threadpoolctl.ThreadpoolController", Controller)
    limited = _OneThreadEach()
    classify, other = (limited(lambda text, name=name: calls.append((here(), name)) or name) for name in ("one", "two"))
    for name in ("a", "b"):
        thread = threading.Thread(target=lambda: (classify("x"), other("x"), classify("x")), name=name)
        thread.start()
        thread.join()
    assert calls == [(name, what) for name in ("a", "b") for what in ("limit 1", "one", "two", "one")]
