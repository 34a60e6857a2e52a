"""A door: what a span hands on to thread pools is charged to it, wherever it runs.

``greeninfer.instrument`` and ``EnergyMiddleware`` open it by themselves; programs that only decorate functions may::

    greeninfer.threads.instrument()

What is wrapped, and how: ``greeninfer/_following.py``. Not followed are threads that a program starts by itself,
functions imported by name before (``from anyio.to_thread import run_sync``), process pools and native threads: their
work is booked as "other".
"""

from __future__ import annotations

from greeninfer._following import following

__all__ = ["instrument", "instrumented", "uninstrument"]


def instrument() -> None:
    """Follow work into thread pools and, on the event loop that runs here, into tasks. A second call does nothing.

    It wraps ``concurrent.futures.ThreadPoolExecutor.submit`` and ``anyio.to_thread.run_sync`` for the whole process,
    and sets a task factory on the running event loop. Without an open span they do what they did before.
    """
    following.follow_here()


def uninstrument() -> None:
    """Put back what was there before. What somebody else has wrapped since stays, and only passes calls on."""
    following.stop()


def instrumented() -> bool:
    """Return whether thread pools are followed."""
    return following.follows_threads
