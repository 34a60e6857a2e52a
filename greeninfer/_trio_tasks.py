"""Tasks of trio, followed through its instrument API: a task is charged to the span in whose context it was made.

https://trio.readthedocs.io/en/stable/reference-lowlevel.html#instrument-api
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from greeninfer._account import SpanAccount
from greeninfer._running import Carried, current


class TrioTasks:
    """Charges tasks, step by step.

    Args:
        span_to_charge: returns the span if it can be charged, else None.
    """

    def __init__(self, span_to_charge: Callable[[SpanAccount | None], SpanAccount | None]) -> None:
        self._span_to_charge = span_to_charge
        self._carried: dict[Any, Carried] = {}

    def task_spawned(self, task: Any) -> None:
        """Note a new task that works for an open span."""
        span = self._span_to_charge(task.context.get(current))
        if span is not None:
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
