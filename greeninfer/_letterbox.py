"""A datagram socket with an abstract name (unix(7)): no file, and the kernel takes the name back with the process."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import Protocol

_MOST_MESSAGES = 1000  # taken at a time, so that nobody who sends without end keeps the sampler busy


class Letterbox(Protocol):
    """A bound name."""

    def send(self, address: bytes, data: bytes) -> None:
        """Send, unless that would wait or nobody is there."""
        ...

    def take(self) -> list[tuple[bytes, bytes]]:
        """Return what has come since the last call: (address of the sender, data)."""
        ...

    def close(self) -> None:
        """Give the name back."""
        ...


class _Socket:
    """A letterbox of Linux's.

    Args:
        bound: its socket.
    """

    def __init__(self, bound: socket.socket) -> None:
        self._socket = bound
        self._inode = os.fstat(bound.fileno()).st_ino

    def send(self, address: bytes, data: bytes) -> None:
        """Send, unless that would wait or nobody is there."""
        with contextlib.suppress(OSError):
            self._socket.sendto(data, address)

    def take(self) -> list[tuple[bytes, bytes]]:
        """Return what has come since the last call."""
        messages: list[tuple[bytes, bytes]] = []
        with contextlib.suppress(OSError):  # no more of them
            while len(messages) < _MOST_MESSAGES:
                data, address = self._socket.recvfrom(64)
                messages.append((address or b"", data))
        return messages

    def close(self) -> None:
        """Give the name back. If somebody has closed all files, the number may be another file's by now: that stays."""
        with contextlib.suppress(OSError):
            if os.fstat(self._socket.fileno()).st_ino == self._inode:
                self._socket.close()
        self._socket.detach()

    __del__ = close  # a forked child drops its copy of its parent's, which the parent still needs


def bind_name(address: bytes) -> Letterbox:
    """Bind a socket to an abstract name.

    Raises:
        OSError: where there are no such names, or they may not be used.
    """
    if sys.platform != "linux":
        raise OSError("abstract socket names are Linux's own")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return _Socket(made)
