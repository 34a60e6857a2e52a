"""The load as the demo sees it: a process of clients that is started, watched and stopped, and the answers it got."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import greeninfer
from greeninfer.demo._clients import LoadBroken, Order
from greeninfer.demo._routes import Route

THINK_SECONDS = 0.02
"""Mean pause of a client between two requests. With it some moments are idle, so that idle power shows in the books."""

COMMAND = (sys.executable, "-m", "greeninfer.demo._clients")
"""What the clients are."""

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0  # longer than any answer takes


@dataclass(frozen=True, slots=True)
class Score:
    """How one classifier did on the texts that it has been sent; a text sent twice counts once.

    Args:
        seen: indices of the test texts answered.
        right: indices of those with the right label.
    """

    seen: frozenset[int] = frozenset()
    right: frozenset[int] = frozenset()


class Load:
    """Clients that send test texts to all classifiers, each equally often, until they are stopped.

    Args:
        url: where the service is.
        routes: the classifiers.
        workers: how many clients.
        think_seconds: mean pause of a client between two requests.
        command: what the clients are.
    """

    def __init__(
        self,
        url: str,
        routes: Sequence[Route],
        workers: int,
        think_seconds: float = THINK_SECONDS,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._order = Order(url, tuple(routes), workers, think_seconds)
        self._command = command
        self._answers: dict[Route, dict[int, bool]] = {route: {} for route in routes}
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._error = ""
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the clients, and return when they begin, or broke; ``stop`` tells what broke them."""
        # In the folder of the package, so that it is found wherever the demo was started, and nothing else is. In a
        # session of its own, so that Ctrl-C reaches only the demo, which then lets the last answers come.
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
            self._command,
            cwd=Path(greeninfer.__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="greeninfer-demo-load")
        self._reader.start()
        assert self._process.stdin is not None
        try:
            print(self._order.to_json(), file=self._process.stdin, flush=True)
        except OSError as error:  # it is gone already
            self._error = f"the clients do not start: {error!r}"
        if not self._ready.wait(_START_SECONDS):
            self._error = f"the clients did not start within {_START_SECONDS:g} s"
            self._ended.set()

    def wait(self, seconds: float) -> bool:
        """Wait that long; return False at once when the clients broke."""
        return not self._ended.wait(max(0.0, seconds))

    def stop(self) -> None:
        """Stop the clients after their last answers; what does not stop is ended. A second call does nothing.

        Raises:
            LoadBroken: if they broke before.
        """
        process, self._process = self._process, None
        if process is None or self._reader is None:
            return
        try:
            _close(process)
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._error = self._error or f"the clients did not stop within {_STOP_SECONDS:g} s"
        finally:
            process.kill()  # does nothing to a process that has ended
            process.wait()
            self._reader.join()
        if self._error or process.returncode:
            raise LoadBroken(self._error or f"the clients ended with exit code {process.returncode}")

    def scores(self) -> Mapping[Route, Score]:
        """Return how the classifiers did so far."""
        with self._lock:
            answers = {route: dict(each) for route, each in self._answers.items()}
        return {
            route: Score(frozenset(a), frozenset(i for i, right in a.items() if right)) for route, a in answers.items()
        }

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                told = json.loads(line)
                if isinstance(told, dict):
                    self._error = told.get("error", "")
                    self._ready.set()
                    continue
                number, index, right = told
                with self._lock:
                    self._answers[self._order.routes[number]][index] = right
        self._ended.set()
        self._ready.set()


def _close(process: subprocess.Popen[str]) -> None:
    """Tell the clients that it is enough."""
    assert process.stdin is not None
    try:
        process.stdin.close()
    except OSError:  # they are gone, and what was buffered for them is lost
        process.stdin = None
