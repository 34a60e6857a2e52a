"""The load: a few clients in a closed loop, each sends a text, waits for the answer and thinks for a moment."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from greeninfer.demo._classifiers import Classifier, Classify

# Mean pause of a client between two requests. With it some moments are idle, so that idle power shows in the books.
THINK_SECONDS = 0.02
_SEED = 0

Route = tuple[str, str]
Measure = Callable[[str, str, Classify], Classify]


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

    Only the call of the classifier is measured; choosing, waiting and scoring are not.

    Args:
        classifiers: what to call.
        measure: wraps a call of (name, model) so that it is measured.
        workers: how many clients, each on a thread of its own.
        think_seconds: mean pause of a client between two requests.
    """

    def __init__(
        self, classifiers: Sequence[Classifier], measure: Measure, workers: int, think_seconds: float = THINK_SECONDS
    ) -> None:
        self._calls: dict[Route, Classify] = {}
        self._tests: dict[Route, tuple[tuple[str, str], ...]] = {}
        for each in classifiers:
            route = each.task.name, each.model
            self._calls[route] = measure(*route, each.classify)
            self._tests[route] = tuple(zip(each.task.test.texts, each.task.test.labels, strict=True))
        self._answers: dict[Route, dict[int, bool]] = {route: {} for route in self._calls}
        self._deck = self._deal()
        self._workers = workers
        self._think_seconds = think_seconds
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._clients: list[Future[None]] = []

    def start(self) -> None:
        """Start the clients."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="client")
        self._clients = [pool.submit(self._client, number) for number in range(self._workers)]
        pool.shutdown(wait=False)

    def wait(self, seconds: float) -> bool:
        """Wait that long; return False at once when a client broke."""
        return not wait(self._clients, timeout=max(0.0, seconds), return_when=FIRST_EXCEPTION).done

    def stop(self) -> None:
        """Stop the clients after their last answers.

        Raises:
            Exception: what broke a client, if anything did.
        """
        self._stop.set()
        for client in self._clients:
            client.result()

    def scores(self) -> Mapping[Route, Score]:
        """Return how the classifiers did so far."""
        with self._lock:
            answers = {route: dict(each) for route, each in self._answers.items()}
        return {
            route: Score(frozenset(a), frozenset(i for i, right in a.items() if right)) for route, a in answers.items()
        }

    def _deal(self) -> Iterator[tuple[Route, int]]:
        """Deal routes in shuffled rounds, so that all are called equally often.

        All classifiers of a task get its texts in the same order: at any moment they have answered the same ones, and
        their accuracies can be compared.
        """
        chance = random.Random(_SEED)
        orders: dict[str, list[int]] = {}
        for (name, _), test in self._tests.items():
            orders.setdefault(name, chance.sample(range(len(test)), len(test)))
        texts = {route: itertools.cycle(orders[route[0]]) for route in self._calls}
        routes = list(self._calls)
        while True:
            chance.shuffle(routes)
            for route in routes:
                yield route, next(texts[route])

    def _client(self, number: int) -> None:
        from threadpoolctl import threadpool_limits

        pause = random.Random(_SEED + 1 + number)
        # Each thread for itself: OpenMP keeps its limit by thread. Without it a part of the work would run on native
        # threads, whose CPU time the request's own thread does not show.
        with threadpool_limits(limits=1):
            while not self._stop.wait(pause.expovariate(1.0 / self._think_seconds)):
                self._request()

    def _request(self) -> None:
        with self._lock:
            route, index = next(self._deck)
        text, label = self._tests[route][index]
        answer = self._calls[route](text)
        with self._lock:
            self._answers[route][index] = answer == label
