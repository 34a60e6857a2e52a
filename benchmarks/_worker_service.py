"""A FastAPI service of several uvicorn workers on a simulated node, and its client."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from _shared_node import SharedNode, shared_node

_SETTLED_SECONDS = 1.0  # of load, after which ticks are short and the books close behind the counter
_JOINED_SECONDS = 3.0  # a process books its part of idle power some seconds after it has come


# The application that every worker serves


def make_app() -> Any:
    """Return an application that answers with the CPU time that it used, as the caller asked for."""
    from fastapi import FastAPI

    import greeninfer

    app = FastAPI()
    app.add_middleware(greeninfer.EnergyMiddleware)

    @app.get("/work/{milliseconds}")
    async def work(milliseconds: float) -> dict[str, float]:
        begun = time.thread_time()
        while time.thread_time() - begun < milliseconds / 1000.0:
            pass
        return {"pid": os.getpid(), "cpu_seconds": time.thread_time() - begun}

    return app


# The client


@dataclass
class Load:
    """Asks for work from several threads, each time on a connection of its own, so that any worker may take it.

    Attributes:
        cpu: seconds that the answers told, by worker.
        failed: requests without an answer.
    """

    port: int
    cpu: defaultdict[int, float]
    answered: int = 0
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, milliseconds: float) -> int | None:
        """Return the number of the worker that answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20.0)
        try:
            connection.request("GET", f"/work/{milliseconds:.3f}")
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            with self.lock:
                self.failed += 1
            return None
        finally:
            connection.close()
        with self.lock:
            self.cpu[answer["pid"]] += answer["cpu_seconds"]
            self.answered += 1
        return int(answer["pid"])

    def run(self, seconds: float, threads: int = 5, work: float = 20.0, pause: float = 60.0) -> None:
        """Keep asking; milliseconds of work and of pauses vary about these means."""
        until = time.monotonic() + seconds

        def client(seed: int) -> None:
            chance = random.Random(seed)
            while time.monotonic() < until:
                self.ask(chance.uniform(0.5, 1.5) * work)
                time.sleep(chance.expovariate(1000.0 / pause))

        clients = [threading.Thread(target=client, args=(seed,)) for seed in range(threads)]
        for each in clients:
            each.start()
        for each in clients:
            each.join()


@dataclass
class Service:
    """A server of several processes on a node, and its client."""

    node: SharedNode
    load: Load

    def meet(self, workers: int, timeout: float = 90.0) -> list[int]:
        """Ask until so many workers have answered, and then until all have joined; return their numbers."""
        pids: set[int] = set()
        deadline = time.monotonic() + timeout
        while len(pids) < workers:
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {len(pids)} of {workers} workers have answered in {timeout:g} s")
            failed = self.load.failed
            asked = [threading.Thread(target=lambda: pids.add(self.load.ask(5.0) or 0)) for _ in range(2 * workers)]
            for each in asked:
                each.start()
            for each in asked:
                each.join()
            pids.discard(0)
            time.sleep(0.3 if self.load.failed > failed else 0.0)  # not up yet
        self.load.failed = 0
        for pid in pids:
            self.node.watch(pid)
        time.sleep(_JOINED_SECONDS)
        return sorted(pids)

    @contextmanager
    def loaded(self, seconds: float) -> Iterator[float]:
        """Have the client at work for the block, which should take so long; snapshots in it are up to date."""
        client = threading.Thread(target=self.load.run, args=(seconds + 2.0 * _SETTLED_SECONDS,))
        client.start()
        try:
            time.sleep(_SETTLED_SECONDS)
            yield time.monotonic() + seconds
        finally:
            client.join()


@contextmanager
def serving(workers: int) -> Iterator[Service]:
    """Run uvicorn with so many workers on a node of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "_worker_service:make_app", "--factory", "--log-level", "critical"]
    with shared_node() as node:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--workers", str(workers)],
            env=node.environment,
            cwd=node.folder,
            start_new_session=True,
        )
        try:
            yield Service(node, Load(port, node.told))
        finally:
            server.terminate()
            try:
                server.wait(20.0)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
