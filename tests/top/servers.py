"""Servers on the loopback interface that answer exactly what a test tells them to, right or wrong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[socket.socket], None]


def http(body: bytes | str, status: str = "200 OK", *headers: str) -> Answer:
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Connection: close", *headers]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return lambda connection: connection.sendall(head + data)


def raw(data: bytes) -> Answer:
    return lambda connection: connection.sendall(data)


class Server:
    """Attributes: ``url``; ``answer``, what the next client gets; ``requests``, what clients sent."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.stopping = threading.Event()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/metrics"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(5.0)
                self.requests.append(connection.recv(65536).decode("latin-1"))
                try:
                    self.answer(connection)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)  # the client has read it all, or has left
                except OSError:
                    pass

    def close(self) -> None:
        self.stopping.set()
        self._thread.join(10.0)
        self._socket.close()


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    server = Server(answer)
    try:
        yield server
    finally:
        server.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
