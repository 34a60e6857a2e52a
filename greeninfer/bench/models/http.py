"""A service that answers over HTTP: JSON in, JSON out, one request after the other.

Its latency is what the client sees. Its energy is out of reach of this machine's meters: it is read from the service's
own metrics page, if greeninfer runs there. Headers are written to the results folder with the study, so no secrets.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from greeninfer._energy import Quality
from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._optional import need
from greeninfer.bench.models._answers import read_confidence, read_label
from greeninfer.bench.models._served_joules import ServedJoules
from greeninfer.errors import StudyError

MOST_BYTES = 16 * 2**20
"""Of an answer: more is no classification."""


def _default_body() -> Mapping[str, object]:
    return {"text": "{text}"}


@dataclass(frozen=True, slots=True)
class Options:
    """What a study may set.

    Args:
        url: of the service; ``{text}`` in it stands for the text, quoted.
        method: of the request; GET has no body.
        body: the JSON that is sent; ``{text}`` in any of its strings stands for the text. A string that is
            ``{texts}`` and no more stands for the list of all texts of a batch, which then is one request.
        headers: of every request.
        label, confidence: where in the answer they are: keys and indices with dots between, "results.0.label"; "" is
            the answer itself for the label, and no confidence.
        results: where the list of answers to a batch is; label and confidence are then looked for in each of them.
        timeout_seconds: for an answer to begin, and again for all of it.
        metrics_url: of the service's metrics page; "" if it has none.
        metrics_name, metrics_model: only energy with these labels ``name`` and ``model``; "" for all.
    """

    url: str
    method: Literal["POST", "PUT", "GET"] = "POST"
    body: Mapping[str, object] = field(default_factory=_default_body)
    headers: Mapping[str, str] = field(default_factory=dict)
    label: str = "label"
    confidence: str = ""
    results: str = ""
    timeout_seconds: float = 30.0
    metrics_url: str = ""
    metrics_name: str = ""
    metrics_model: str = ""

    def __post_init__(self) -> None:
        for name in ("url", "metrics_url"):
            value = getattr(self, name)
            parts = urlsplit(value)
            if (value or name == "url") and not (parts.scheme in ("http", "https") and parts.hostname):
                raise StudyError(f"{name}={value!r}", "http://HOST:PORT/PATH or https://...", path=("options", name))
        if not 0.0 < self.timeout_seconds < float("inf"):
            raise StudyError(
                f"timeout_seconds={self.timeout_seconds!r}", "above 0", path=("options", "timeout_seconds")
            )
        for name, value in self.headers.items():
            if not (isinstance(name, str) and isinstance(value, str)):
                raise StudyError(f"headers: {name!r}: {value!r}", "text to text", "quote it", ("options", "headers"))
        sent = (self.url, self.body if self.method != "GET" else "")
        if not any(_holds(each, mark) for each in sent for mark in ("{text}", "{texts}")):
            allowed = "{text} in url or body, or {texts} in body"
            raise StudyError("no request would hold a text", allowed, path=("options", "body"))

    @property
    def whole_batch(self) -> bool:
        """Return whether a batch is one request."""
        return self.method != "GET" and _holds(self.body, "{texts}")


class Service:
    """A client of one service."""

    def __init__(self, options: Options, labels: Sequence[str], client: Any, served: ServedJoules | None) -> None:
        self._options = options
        self._labels = labels
        self._client = client
        self._served = served

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Do nothing: the service was trained elsewhere."""

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Ask for each text, or once for all; a label that is none of the task's counts as unparsable.

        Raises:
            StudyError: if the service does not answer, answers with an error, late, not in JSON, or something else
                than what the options say.
        """
        if not texts:
            return []
        if not self._options.whole_batch:
            return [self._read(self._ask(text, ())) for text in texts]
        answers = _at(self._ask("", texts), self._options.results, self._options.url)
        if not isinstance(answers, list) or len(answers) != len(texts):
            came = f"{len(answers)} answers" if isinstance(answers, list) else brief(answers)
            what = f"for {len(texts)} text(s) came {came} from {self._options.url}"
            raise StudyError(what, "a list, one answer a text", "correct results", ("options", "results"))
        return [self._read(answer) for answer in answers]

    def _ask(self, text: str, texts: Sequence[str]) -> Any:
        options = self._options
        url = options.url.replace("{text}", quote(text, safe=""))
        body = None if options.method == "GET" else _filled(options.body, text, texts)
        status, data = fetch(self._client, options.method, url, options.timeout_seconds, json_body=body)
        if not 200 <= status < 300:
            raise StudyError(
                f"{options.url} answered HTTP {status}: {brief(data)}", "200", "look into the service's log"
            )
        try:
            return json.loads(data)
        except ValueError as error:
            raise StudyError(f"{options.url} answered no JSON: {brief(data)}", "JSON", "correct the url") from error

    def _read(self, answer: object) -> Prediction:
        options = self._options
        confidence = _at(answer, options.confidence, options.url) if options.confidence else None
        label = _at(answer, options.label, options.url)
        known = isinstance(label, str | int) and not isinstance(label, bool)
        return Prediction(read_label(label, self._labels) if known else None, read_confidence(confidence))

    def joules(self) -> float | None:
        """Return the joules that the service was charged since it started; None if it does not tell."""
        return None if self._served is None else self._served.joules()

    def quality(self) -> Quality | None:
        """Return the worst quality among these joules; None if the service does not tell."""
        return None if self._served is None else self._served.quality

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def open_model(options: Options, task: Task, place: Place) -> Model:
    """Make a client, and look whether the metrics page is there.

    Raises:
        ImportError: if httpx is not installed.
        StudyError: if there is no metrics page of greeninfer where the options say.
    """
    httpx = need("httpx")
    # A proxy from the environment is for the world outside.
    here = urlsplit(options.url).hostname in ("localhost", "127.0.0.1", "::1")
    client = httpx.Client(headers=dict(options.headers), timeout=options.timeout_seconds, trust_env=not here)
    if not options.metrics_url:
        return Service(options, task.labels, client, None)

    def page() -> str:
        status, data = fetch(client, "GET", options.metrics_url, options.timeout_seconds)
        if status != 200:
            raise StudyError(f"{options.metrics_url} answered HTTP {status}: {brief(data)}", "200")
        return data.decode("utf-8", "replace")

    served = ServedJoules(page, options.metrics_name, options.metrics_model)
    try:
        served.check(options.metrics_url)
    except BaseException:
        client.close()
        raise
    return Service(options, task.labels, client, served)


def fetch(
    client: Any,
    method: str,
    url: str,
    timeout_seconds: float,
    *,
    json_body: object = None,
    now: Callable[[], float] = time.monotonic,
) -> tuple[int, bytes]:
    """Return status and body of an answer.

    Raises:
        StudyError: if none comes, too late, or without end.
    """
    httpx = need("httpx")
    deadline = now() + timeout_seconds
    late = f"{url} did not answer within {timeout_seconds:g} s"
    remedy = "look whether the service runs; or a larger timeout_seconds"
    data = bytearray()
    try:
        # httpx limits each read, not their sum: a service that trickles would never end.
        with client.stream(method, url, json=json_body) as response:
            for chunk in response.iter_bytes():
                data += chunk
                if now() > deadline:
                    raise StudyError(late, "an answer in time", remedy)
                if len(data) > MOST_BYTES:
                    raise StudyError(f"{url} answered more than {MOST_BYTES} bytes", "less")
            return int(response.status_code), bytes(data)
    except httpx.TimeoutException as error:
        raise StudyError(late, "an answer in time", remedy) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StudyError(f"{url} does not answer: {error or type(error).__name__}", "", remedy) from error


def brief(value: object) -> str:
    """Return a value as it fits into a message."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def _holds(template: object, mark: str) -> bool:
    if isinstance(template, str):
        return template == mark if mark == "{texts}" else mark in template
    if isinstance(template, Mapping):
        return any(_holds(each, mark) for each in template.values())
    return isinstance(template, list | tuple) and any(_holds(each, mark) for each in template)


def _filled(template: object, text: str, texts: Sequence[str]) -> object:
    """Return the template with the text, or the texts, in their places."""
    if isinstance(template, str):
        return list(texts) if template == "{texts}" else template.replace("{text}", text)
    if isinstance(template, Mapping):
        return {key: _filled(each, text, texts) for key, each in template.items()}
    if isinstance(template, list | tuple):
        return [_filled(each, text, texts) for each in template]
    return template


def _at(answer: object, path: str, url: str) -> Any:
    """Return what stands at a path in an answer; "" is the answer itself."""
    found = answer
    for step in path.split(".") if path else ():
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdigit() and int(step) < len(found):
            found = found[int(step)]
        else:
            what = f"the answer of {url} has no {path!r}: {brief(answer)}"
            raise StudyError(
                what, "keys and indices of the answer, with dots between", "correct the path", ("options",)
            )
    return found
