"""Tasks of trio, followed through its instrument API: a task is charged to the span in whose context it was made.

https://trio.readthedocs.io/en/stable/reference-lowlevel.html#instrument-api
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeGuard

from greeninfer._account import SpanAccount
from greeninfer._running import Carried, current


class TrioTasks:
    """Charges tasks, step by step.

    Args:
        can_be_charged: tells whether a span is open, and in this process.
    """

    def __init__(self, can_be_charged: Callable[[SpanAccount | None], TypeGuard[SpanAccount]]) -> None:
        self._can_be_charged = can_be_charged
        self._carried: dict[Any, Carried] = {}

    def task_spawned(self, task: Any) -> None:
        """Note a new task that works for an open span."""
        span = task.context.get(current)
        if self._can_be_charged(span):
            self._carried[task] = Carried(span)

    def before_task_step(self, task: Any) -> None:
        """Begin a step."""
        carried = self._carried.get(task)
        if carried is not None:
            carried.resume()

    def after_task_step(self, task: Any) -> None:
        """End a step."""
        carried = self._carried.get(task)
        if carried is not None:
            carried.pause()

    def task_exited(self, task: Any) -> None:
        """Forget a task."""
        carried = self._carried.pop(task, None)
        if carried is not None:
            carried.pause()


def trio_run() -> object:
    """Return what identifies the run of trio on this thread, or None where there is none."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        token: object = trio.lowlevel.current_trio_token()
    except RuntimeError:
        return None
    return token
