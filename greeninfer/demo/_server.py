"""The server: uvicorn on a thread of this process, so that the books are at hand, on a port that is free."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"

_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_GRACE_SECONDS = 3  # for requests that are still open when the server stops


class ServiceBroken(Exception):
    """The server did not start, or stopped by itself."""


class Service:
    """A server on its thread.

    Args:
        server: what runs.
        listener: the socket that it listens on.
    """

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
        self.url = f"http://{HOST}:{listener.getsockname()[1]}"
        self._server = server
        self._listener = listener
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="greeninfer-demo-server", daemon=True)

    def check(self) -> None:
        """Do nothing while it serves.

        Raises:
            ServiceBroken: if it stopped by itself.
        """
        if not self._thread.is_alive():
            raise ServiceBroken(f"the server stopped by itself: {self._error!r}") from self._error

    def start(self) -> None:
        """Start, and return once it serves.

        Raises:
            ServiceBroken: if it does not.
        """
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            self.check()
            if time.monotonic() > deadline:
                raise ServiceBroken(f"the server did not start within {_START_SECONDS:g} s")
            time.sleep(0.005)

    def stop(self) -> None:
        """Let open requests end, and stop."""
        self._server.should_exit = True
        self._thread.join(_STOP_SECONDS)
        self._server.force_exit = True
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except BaseException as error:  # noqa: BLE001 - also SystemExit, with which uvicorn tells that it cannot start
            self._error = error


@contextmanager
def serving(app: Any, port: int) -> Iterator[Service]:
    """Serve an ASGI application on the loopback interface, on another port if that one is taken.

    Raises:
        ServiceBroken: if the server does not start.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        lifespan="off",  # which the demo's application has no use for
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    with _listen(port) as listener:
        service = Service(uvicorn.Server(config), listener)
        try:
            service.start()
            yield service
        finally:
            service.stop()


def _listen(port: int) -> socket.socket:
    # On Windows that option means that somebody else's port may be taken; elsewhere, that our own of a moment ago may.
    reuse = sys.platform != "win32"
    for number in (port, 0):
        listener = socket.socket()
        if reuse:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, number))
            listener.listen(128)
        except OSError:
            listener.close()
        else:
            return listener
    raise ServiceBroken(f"no port of {HOST} can be listened on")
