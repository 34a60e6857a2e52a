"""Which monitor the doors write to: one per process, made from the environment unless the program brings its own."""

from __future__ import annotations

import logging
import os

from greeninfer._monitor import Monitor, check, in_use
from greeninfer._running import forget
from greeninfer._settings import Settings
from greeninfer.errors import GreeninferError

_log = logging.getLogger("greeninfer")

_FORK_SECONDS = 1.0
_held: list[Monitor] = []  # between the two sides of a fork


def installed() -> Monitor:
    """Return the monitor in use; the first call makes one from ``GREENINFER_*`` if there is none.

    This is called in the middle of requests, so what is wrong with a setting is logged here and nothing is measured;
    ``check_environment`` raises it where the programmer sees it.
    """
    if in_use:
        return in_use[-1]
    try:
        monitor = Monitor()
    except (GreeninferError, ValueError, OSError) as error:
        _log.error("greeninfer.disabled error=%s", error)
        monitor = Monitor(Settings(disabled=True))
    in_use.append(monitor)
    return monitor


def check_environment() -> None:
    """Check the environment, unless a monitor is there already.

    Raises:
        SettingsError: if a variable is unknown or malformed, or names a meter or exporter that does not exist.
    """
    if not in_use:
        check(Settings.from_env(os.environ))


def _after_fork() -> None:
    """Let a forked child (gunicorn preload) start a thread and meters of its own on its first span."""
    forget()
    _held.clear()
    for monitor in in_use:
        monitor.begin_anew()


def _before_fork() -> None:
    """Let no tick be halfway through while the process is copied: the child would inherit locks held by nobody."""
    # ... but a meter that hangs keeps no program from forking.
    _held.extend(monitor for monitor in in_use if monitor.guard.acquire(timeout=_FORK_SECONDS))


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().guard.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)
