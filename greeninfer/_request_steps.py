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
from greeninfer._running import Here, current, take_hold, tell_steps, threads
from greeninfer._span import Span

_MOST_STEPS = 100  # kept for a request that the sampler does not see; it does within two ticks

Paused = tuple[Any, float, SpanAccount | None, Account | None]
"""(what a request waits for, since when, its innermost span, what goes on inside at its next step)."""


def begin_request(span: Span, work: Any, judge: Callable[[BaseException], Outcome]) -> Paused | None:
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
        if parent is not None:
            take_hold(parent)
        span.parent = parent
    if before is not None:
        span.resume = before
    current.set(span)
    local.stepping += 1
    local.running = span
    span.opened = instant = perf_counter()
    span.step_cpu = cpu = thread_time()
    if span.inbox is None or parent is not None or before is not None:
        span.inbox = None
        span.record((instant, cpu, local.thread, span, span))
    else:
        span.inbox.unseen[span] = [local.thread, instant, cpu]
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


def _end_request(span: Span, outcome: Outcome, before: Account | None, began: float, local: Here) -> None:
    """Close a request's span; a second close changes nothing."""
    cpu, instant = thread_time(), perf_counter()
    span.ran_seconds += cpu - began
    if span.closed is not None:
        return
    if outcome != "ok":
        span.outcome = outcome
    span.closed = instant
    inbox = span.inbox
    if inbox is not None:
        steps = inbox.unseen.pop(span, None)
        if steps is not None:
            if not (span.wanted or span.trace or span.lasted_until):
                span.leave_row(inbox, (*steps[1:], instant, cpu) if len(steps) > 3 else None)
                return
            tell_steps(span, steps, inbox)
    while before is not None and before.closed is not None:
        before = before.resume
    span.record((instant, cpu, local.thread, before, span))


def _pause_request(span: Span, waited_for: Any, before: Account | None, began: float, local: Here) -> Paused:
    cpu, instant = thread_time(), perf_counter()
    span.ran_seconds += cpu - began
    if not _is_noted(span, instant, cpu):
        span.record((instant, cpu, local.thread, before, None))
    return waited_for, instant, current.get(), local.running


def _is_noted(span: Span, instant: float, cpu: float) -> bool:
    """Note where a step begins or ends of a request that the sampler has not seen; return whether it is such a one.

    Should the sampler see it at this very moment, it looks again for what is noted here at its next tick.
    """
    if span.inbox is None:
        return False
    steps = span.inbox.unseen.get(span)
    if steps is None or len(steps) > _MOST_STEPS:
        take_hold(span)
        span.inbox = None
        return False
    steps += (instant, cpu)
    return True


@types.coroutine
def continue_request(
    span: Span, work: Any, judge: Callable[[BaseException], Outcome], paused: Paused
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
        instant = perf_counter()
        if before is not None:
            take_hold(span)
        if not _is_noted(span, instant, cpu):
            span.record((instant, cpu, local.thread, running, None))
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
