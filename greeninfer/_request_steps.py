"""Drives the coroutine of a request step by step: what a ``Stepper`` does, in few functions, as it is on every request.

Most requests of a service are over after one step, or wait once, so the first step needs no generator.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from time import perf_counter, thread_time
from typing import Any

from greeninfer._account import Account, SpanAccount
from greeninfer._energy import Outcome
from greeninfer._running import Here, current, threads

Paused = tuple[Any, float, SpanAccount | None, Account | None]
"""(what a request waits for, since when, its innermost span, what goes on inside at its next step)."""


def begin_request(span: SpanAccount, work: Any, judge: Callable[[BaseException], Outcome]) -> Paused | None:
    """Open a span and do the first step of a request's coroutine; return None if that was all.

    Args:
        span: not opened yet.
        work: the coroutine.
        judge: tells the outcome from the exception that ended the work.
    """
    local = threads.here
    before, parent = local.running, current.get()
    outer = parent
    if parent is not None:
        if parent.served:  # the server made this request's task while it answered another
            outer = parent = None
        while parent is not None and parent.closed is not None:  # a task that its request left behind
            parent = parent.parent
        span.parent = parent
    span.resume = before
    current.set(span)
    local.stepping += 1
    local.running = span
    span.opened = instant = perf_counter()
    span.step_cpu = cpu = thread_time()
    span.record((instant, cpu, local.thread, span, span))
    try:
        waited_for = work.send(None)
    except BaseException as error:
        _end_request(span, judge(error), before, cpu, local)
        if isinstance(error, StopIteration):
            return None
        raise
    else:
        return _pause_request(span, waited_for, before, cpu, local)
    finally:
        span.step_cpu = 0.0
        local.stepping -= 1
        local.running = before
        current.set(outer)


def _end_request(span: SpanAccount, outcome: Outcome, before: Account | None, began: float, local: Here) -> None:
    """Close a request's span; a second close changes nothing."""
    cpu, instant = thread_time(), perf_counter()
    span.ran_seconds += cpu - began
    if span.closed is not None:
        return
    if outcome != "ok":
        span.outcome = outcome
    span.closed = instant
    while before is not None and before.closed is not None:
        before = before.resume
    span.record((instant, cpu, local.thread, before, span))


def _pause_request(span: SpanAccount, waited_for: Any, before: Account | None, began: float, local: Here) -> Paused:
    cpu, instant = thread_time(), perf_counter()
    span.ran_seconds += cpu - began
    span.record((instant, cpu, local.thread, before, None))
    return waited_for, instant, current.get(), local.running


@types.coroutine
def continue_request(
    span: SpanAccount, work: Any, judge: Callable[[BaseException], Outcome], paused: Paused
) -> Generator[Any, Any, None]:
    """Await the rest of a request's coroutine; its steps on the event loop count as running."""
    while True:
        waited_for, since, inner, running = paused
        step: Callable[[Any], Any] = work.send
        argument: Any = None
        try:
            argument = yield waited_for
        except GeneratorExit:
            span.lasted_until = since
            step, argument = _close, work
        except BaseException as error:
            step, argument = work.throw, error
        local = threads.here
        before, outer = local.running, current.get()
        local.stepping += 1
        current.set(inner)
        local.running = running
        span.step_cpu = cpu = thread_time()
        span.record((perf_counter(), cpu, local.thread, running, None))
        try:
            waited_for = step(argument)
        except BaseException as error:
            _end_request(span, judge(error), before, cpu, local)
            if isinstance(error, StopIteration):
                return
            raise
        else:
            paused = _pause_request(span, waited_for, before, cpu, local)
        finally:
            span.step_cpu = 0.0
            local.stepping -= 1
            local.running = before
            current.set(outer)


def _close(work: Any) -> None:
    """Close a coroutine as its last step."""
    work.close()
    raise GeneratorExit
