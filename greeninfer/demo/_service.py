"""The service: the classifiers behind three routes of a FastAPI application, with ``/metrics`` and the live page.

This is what a service looks like that measures itself with greeninfer: ``instrument`` once, and ``measure`` around each
model, because all of them are behind the same route template.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

import greeninfer
from greeninfer.asgi import EXCLUDED
from greeninfer.demo._classifiers import Classifier, Classify
from greeninfer.demo._live_page import LivePage
from greeninfer.demo._routes import TEMPLATES, Route, ways_of

if TYPE_CHECKING:
    from fastapi import FastAPI

MOST_TEXTS = 16
"""Texts of one streaming request, at most."""

MOST_CHARACTERS = 2000
"""Characters of a text, at most."""


def build_app(classifiers: Sequence[Classifier], registry: CollectorRegistry) -> FastAPI:
    """Return the application.

    It hooks into thread pools, as ``greeninfer.instrument`` does; ``greeninfer.threads.uninstrument`` takes that back.

    Args:
        classifiers: what answers.
        registry: what ``/metrics`` shows.

    Raises:
        ImportError: if FastAPI is not installed.
    """
    from fastapi import Body, FastAPI, HTTPException
    from fastapi.responses import StreamingResponse
    from starlette import routing

    calls = _calls(classifiers)

    def called(task: str, model: str) -> Classify:
        if (task, model) not in calls:
            known = ", ".join(sorted("/".join(key) for key in calls))
            raise HTTPException(404, f"there is no {task}/{model}; there are {known}")
        return calls[task, model]

    app = FastAPI(title="greeninfer demo", docs_url=None, redoc_url=None)
    app.router.routes.append(routing.Route("/", LivePage(), methods=["GET"], include_in_schema=False))
    greeninfer.instrument(app, registry=registry, exclude=(*EXCLUDED, "/"))

    @app.post(TEMPLATES["sync"])
    def in_a_thread(task: str, model: str, text: str = Body(embed=True, max_length=MOST_CHARACTERS)) -> dict[str, str]:
        return {"label": called(task, model)(text)}

    @app.post(TEMPLATES["async"])
    async def on_the_event_loop(
        task: str, model: str, text: str = Body(embed=True, max_length=MOST_CHARACTERS)
    ) -> dict[str, str]:
        classify = called(task, model)
        if "async" not in ways_of(model):
            raise HTTPException(404, f"{model} would hold up the event loop; POST {TEMPLATES['sync']} asks it")
        return {"label": classify(text)}

    @app.post(TEMPLATES["stream"])
    def streamed(
        task: str,
        model: str,
        texts: list[str] = Body(embed=True, min_length=1, max_length=MOST_TEXTS),  # noqa: B008 - FastAPI's way
    ) -> Any:
        classify = called(task, model)
        if max(map(len, texts)) > MOST_CHARACTERS:
            raise HTTPException(422, f"a text is longer than {MOST_CHARACTERS} characters")

        def lines() -> Iterator[str]:
            for text in texts:
                yield json.dumps({"label": classify(text)}) + "\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    return app


def _calls(classifiers: Sequence[Classifier]) -> dict[Route, Classify]:
    """Return what answers for each (task, model): measured under its own name, wherever it is called from."""
    limited, calls = _OneThreadEach(), {}
    for each in classifiers:
        measured = greeninfer.measure(each.task.name, model=each.model, device="cpu")(each.classify)
        calls[each.task.name, each.model] = limited(measured)
    return calls


class _OneThreadEach:
    """Holds the native libraries to one thread per call, on every thread that calls.

    OpenMP keeps its limit by thread, and a pool's threads come and go. Without it a part of the work would run on
    native threads, whose CPU time the thread of the request does not show.
    """

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self._controller = ThreadpoolController()
        self._here = threading.local()

    def __call__(self, classify: Classify) -> Callable[[str], str]:
        def limited(text: str) -> str:
            if not hasattr(self._here, "limit"):
                self._here.limit = self._controller.limit(limits=1)
            return classify(text)

        return limited
