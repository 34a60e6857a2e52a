"""Which monitor the doors write to: one per process, made from the environment unless the program brings its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from greeninfer._monitor import Monitor
from greeninfer._running import forget
from greeninfer._settings import Settings

_installed: list[Monitor] = []  # the last one is in use; those below come back when it leaves


def installed() -> Monitor:
    """Return the monitor in use; the first call makes one from ``GREENINFER_*`` if there is none.

    Raises:
        SettingsError: if it has to be made and a variable is unknown or malformed.
    """
    if _installed:
        return _installed[-1]
    monitor = Monitor(Settings.from_env(os.environ))
    _installed.append(monitor)
    return monitor


@contextmanager
def use(monitor: Monitor) -> Iterator[Monitor]:
    """Let the doors write to this monitor inside the block; start it at the beginning and stop it at the end."""
    _installed.append(monitor)
    monitor.start()
    try:
        yield monitor
    finally:
        _installed.remove(monitor)
        monitor.stop()


def _after_fork() -> None:
    """Let a forked child (gunicorn preload) start a thread and meters of its own on its first span."""
    forget()
    for monitor in _installed:
        monitor.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
