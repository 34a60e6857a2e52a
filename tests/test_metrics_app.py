"""The page for Prometheus: both formats, several workers, and no harm to the requests beside it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asgi.wire import Wire, ask, http, websocket
from live import Live, environment
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from greeninfer import MetricsApp, measure
from greeninfer.exporters import PrometheusExporter

OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS = (
    b"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    b"text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def registry_with(**counts: float) -> CollectorRegistry:
    registry = CollectorRegistry()
    for name, count in counts.items():
        Counter(name, "made up", registry=registry).inc(count)
    return registry


def get(app: Any, *accept: bytes, method: str = "GET", path: str = "/metrics") -> Wire:
    headers = [(b"host", b"x"), *((b"accept", each) for each in accept)]
    return asyncio.run(ask(app, path, method, headers=headers))


# Formats


@pytest.mark.parametrize(
    "accept", [(), (b"*/*",), (b"text/plain",), (b"text/html, */*;q=0.1",), (b"\xff\xfe",), (b"",)]
)
def test_the_text_format_for_whoever_asks_for_nothing_else(accept: tuple[bytes, ...]) -> None:
    wire = get(MetricsApp(registry_with(a=2.0)), *accept)
    assert wire.status == 200
    assert wire.headers[b"content-type"].startswith(b"text/plain; version=")
    samples = {each.name: each.value for family in parse_text(wire.text) for each in family.samples}
    assert samples["a_total"] == 2.0
    assert wire.headers[b"content-length"] == b"%d" % len(wire.text.encode())


@pytest.mark.parametrize("accept", [(OPENMETRICS,), (PROMETHEUS,), (b"text/plain;q=0.3", OPENMETRICS)])
def test_openmetrics_for_whoever_asks_for_it(accept: tuple[bytes, ...]) -> None:
    """Prometheus does, and some clients send the header in several lines."""
    wire = get(MetricsApp(registry_with(a=2.0)), *accept)
    assert wire.headers[b"content-type"].startswith(b"application/openmetrics-text")
    samples = {each.name: each.value for family in parse_openmetrics(wire.text) for each in family.samples}
    assert samples["a_total"] == 2.0


def test_exemplars_stand_in_openmetrics_alone() -> None:
    registry = CollectorRegistry()
    Histogram("a", "made up", registry=registry).observe(1.0, {"trace_id": "f" * 32})
    assert "f" * 32 in get(MetricsApp(registry), OPENMETRICS).text
    assert "f" * 32 not in get(MetricsApp(registry)).text


def test_head_has_the_headers_of_get_and_no_body() -> None:
    app = MetricsApp(registry_with(a=2.0))
    asked, looked = get(app), get(app, method="HEAD")
    assert looked.text == ""
    assert looked.headers == asked.headers


def test_the_page_is_as_new_as_the_request() -> None:
    registry = CollectorRegistry()
    counter = Counter("a", "made up", registry=registry)
    app = MetricsApp(registry)
    for number in range(3):
        assert f"a_total {number}.0" in get(app).text
        counter.inc()


def test_without_a_registry_it_shows_prometheus_clients_own() -> None:
    counter = Counter("test_metrics_app_default", "made up")
    try:
        counter.inc(3.0)
        assert "test_metrics_app_default_total 3.0" in get(MetricsApp()).text
    finally:
        REGISTRY.unregister(counter)


def test_our_figures_pass_promtool(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: apt-get install prometheus")
    registry = CollectorRegistry()
    with Live(1.0, PrometheusExporter(registry)) as live:
        with measure("request"):
            live.burn_apart(1.0)
        live.settle()
    page = get(MetricsApp(registry)).text
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Where it is mounted


def test_it_needs_nothing_of_a_scope_but_its_type() -> None:
    wire = Wire()
    asyncio.run(MetricsApp(registry_with(a=1.0))({"type": "http"}, wire.receive, wire.send))
    assert "a_total 1.0" in wire.text


def test_it_says_nothing_to_what_is_no_request() -> None:
    wire = Wire({"type": "lifespan.startup"})
    asyncio.run(MetricsApp()({"type": "lifespan"}, wire.receive, wire.send))
    assert wire.sent == []
    wire = Wire({"type": "websocket.connect"})
    asyncio.run(MetricsApp()(websocket(), wire.receive, wire.send))
    assert wire.sent == []


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "litestar"])
def test_every_framework_mounts_it_in_its_own_way(framework: str) -> None:
    page = MetricsApp(registry_with(a=1.0))
    app: Any
    if framework == "litestar":
        litestar = pytest.importorskip("litestar")

        app = litestar.Litestar(
            [litestar.asgi("/metrics", is_mount=True, copy_scope=True)(mounted(page))],
            openapi_config=None,
            logging_config=None,
        )
    elif framework == "fastapi":
        app = pytest.importorskip("fastapi").FastAPI()
        app.mount("/metrics", page)
    else:
        starlette = pytest.importorskip("starlette.applications")
        app = starlette.Starlette()
        app.mount("/metrics", page)
    assert "a_total 1.0" in get(app, path="/metrics/").text


def mounted(page: MetricsApp) -> Any:
    async def handler(scope: Any, receive: Any, send: Any) -> None:
        await page(scope, receive, send)

    handler.__annotations__ = {"scope": Any, "receive": Any, "send": Any, "return": None}
    return handler


def test_it_works_on_trio() -> None:
    trio = pytest.importorskip("trio")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    trio.run(MetricsApp(registry_with(a=1.0)), http("/metrics"), receive, send)
    assert sent[0]["status"] == 200
    assert b"a_total 1.0" in sent[1]["body"]


# Beside the requests


class Slow:
    """A collector that takes its time."""

    def __init__(self) -> None:
        self.busy, self.free = threading.Event(), threading.Event()
        self.free.set()

    def collect(self) -> Any:
        self.busy.set()
        assert self.free.wait(10.0)
        return []


def slow_registry() -> tuple[CollectorRegistry, Slow]:
    registry, slow = CollectorRegistry(), Slow()
    registry.register(slow)  # type: ignore[arg-type]
    slow.busy.clear()
    slow.free.clear()
    return registry, slow


def test_the_loop_goes_on_while_a_page_is_made() -> None:
    registry, slow = slow_registry()

    async def main() -> None:
        scrape = asyncio.create_task(ask(MetricsApp(registry), "/metrics"))
        while not slow.busy.is_set():
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not scrape.done()
        slow.free.set()
        assert (await scrape).status == 200

    asyncio.run(main())


def test_a_page_is_made_even_if_the_programs_own_threads_are_all_busy() -> None:
    """A model server whose default executor is full is the one that one wants to see."""
    end = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        blocked = loop.run_in_executor(None, end.wait, 10.0)
        try:
            async with asyncio.timeout(2.0):
                assert (await ask(MetricsApp(registry_with(a=1.0)), "/metrics")).status == 200
        finally:
            end.set()
            await blocked

    asyncio.run(main())


def test_a_scraper_that_gives_up_leaves_nothing_behind() -> None:
    registry, slow = slow_registry()

    async def main() -> None:
        scrape = asyncio.create_task(ask(MetricsApp(registry), "/metrics"))
        while not slow.busy.is_set():
            await asyncio.sleep(0.001)
        scrape.cancel()
        slow.free.set()
        with pytest.raises(asyncio.CancelledError):
            await scrape
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_a_collector_that_fails_fails_the_scrape_and_nothing_else() -> None:
    class Broken:
        def collect(self) -> Any:
            raise ValueError("no such sensor")

    registry = registry_with(a=1.0)
    registry._collector_to_names[Broken()] = []  # type: ignore[index]
    app = MetricsApp(registry)
    with pytest.raises(ValueError, match="no such sensor"):
        get(app)


def test_many_scrapes_at_once_see_whole_pages() -> None:
    registry = registry_with(**{f"n{number}": float(number) for number in range(200)})

    async def main() -> list[str]:
        app = MetricsApp(registry)
        return [wire.text for wire in await asyncio.gather(*(ask(app, "/metrics") for _ in range(20)))]

    pages = asyncio.run(main())
    assert all(sum(line.startswith("n") for line in page.splitlines()) == 400 for page in pages)  # _total and _created


# Several workers


def test_several_workers_are_added_up(tmp_path: Path) -> None:
    folder = tmp_path / "multiprocess"
    folder.mkdir()
    script = """
import asyncio, json, os, subprocess, sys
from prometheus_client import Counter, Gauge
requests = Counter("requests", "made up")
watts = Gauge("watts", "made up", multiprocess_mode="livesum")
if len(sys.argv) == 1:
    script = open(os.environ["SCRIPT"]).read()
    for joules in ("1", "2", "4"):
        subprocess.run([sys.executable, "-c", script, joules], check=True)
    from asgi.wire import ask
    from greeninfer import MetricsApp
    requests.inc(8)
    for accept in (b"*/*", b"application/openmetrics-text; version=1.0.0"):
        wire = asyncio.run(ask(MetricsApp(), "/metrics", headers=[(b"accept", accept)]))
        print([line for line in wire.text.splitlines() if line.startswith("requests_total")][0].split()[1],
              wire.headers[b"content-type"].decode().split(";")[0])
else:
    requests.inc(float(sys.argv[1]))
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment() | {"PROMETHEUS_MULTIPROC_DIR": str(folder), "SCRIPT": str(tmp_path / "script.py")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split("\n")[:2] == ["15.0 text/plain", "15.0 application/openmetrics-text"]


def test_pages_that_are_made_meanwhile_cost_the_loop_next_to_nothing() -> None:
    """What the loop's thread does for a large page is to hand it over."""
    registry = registry_with(**{f"n{number}": 1.0 for number in range(3000)})

    async def main() -> float:
        app = MetricsApp(registry)
        await ask(app, "/metrics")
        begun = time.thread_time()
        for _ in range(3):
            await ask(app, "/metrics")
        return (time.thread_time() - begun) / 3

    begun = time.thread_time()
    generate_latest(registry)
    whole = time.thread_time() - begun
    assert asyncio.run(main()) < 0.3 * whole
