"""The demo itself: train, serve under load, show, and say at the end whether the books close."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from prometheus_client import CollectorRegistry

from greeninfer import Monitor, Settings, threads
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
from greeninfer.demo._view import Show, open_view
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
    settings = Settings.from_env(os.environ)
    if settings.disabled:
        raise SettingsError("GREENINFER_DISABLED is set, so there is nothing to show; remedy: unset it")
    say: Say = _nothing if only_json else _print
    books, registry, tasks = Books(), CollectorRegistry(), load_tasks()
    with _measuring(settings, registry, books) as monitor:
        say("training real classifiers on texts that come with the package, some ten seconds; nothing is downloaded")
        classifiers, left_out = _train(tasks, say)
        app = build_app(classifiers, registry)
        routes = [(each.task.name, each.model) for each in classifiers]
        broken, lasted, process_cpu_seconds = "", 0.0, 0.0

        def report(lasted: float, process_cpu_seconds: float | None = None) -> Report:
            refused = tuple(str(each) for each in monitor.refused)
            return _report(tasks, routes, books, load, (lasted, process_cpu_seconds), workers, left_out, refused)

        try:
            with monitor, serving(app, port) as service:
                monitor.tick()
                say(f"live page {service.url}/    metrics {service.url}/metrics")
                time.sleep(_REST_SECONDS)
                load = Load(service.url, routes, workers)
                say(f"{workers} clients send test texts for {seconds:g} s\n")
                with open_view(silent=only_json, seconds=seconds, url=f"{service.url}/") as show:
                    lasted, process_cpu_seconds = _under_load(load, service, seconds, lambda so_far: show(report(so_far)), say)
        except (LoadBroken, ServiceBroken) as error:
            print(f"greeninfer demo: {error}", file=sys.stderr)
            return 1
        finally:
            threads.uninstrument()
    final = report(lasted, process_cpu_seconds)
    print(json.dumps(as_json(final), indent=2) if only_json else "\n" + plain_report(final))
    return 0 if final.totals.closed else 1
