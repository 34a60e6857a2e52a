"""How a span knows when it runs: thread clocks, coroutine steps, generators.

Each thread has at most one account running at an instant, the innermost. Whenever that changes, one *edge* is
appended: the instant, the thread's CPU clock, the thread, what runs there from now on, and what was opened or closed
by it. That is all that ever happens on the request path; joules follow in the sampler thread. Requests of a server
leave even less: until the sampler has seen them, or somebody takes hold of their span, they note their steps in a list.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import ContextVar
from time import perf_counter, thread_time
from typing import Any

from greeninfer._account import Account, Inbox, SpanAccount
from greeninfer._energy import Outcome

current: ContextVar[SpanAccount | None] = ContextVar("greeninfer_span", default=None)
"""The innermost open span of this context."""


class Here:
    """What runs on one thread now."""

    __slots__ = ("running", "stepping", "thread")

    def __init__(self) -> None:
        self.running: Account | None = None
        self.stepping = 0
        self.thread = threading.get_native_id()


class _Threads(threading.local):
    """Each thread's own."""

    def __init__(self) -> None:
        self.here = Here()


threads = _Threads()


def forget() -> None:
    """Start anew on this thread, in a forked child: the parent's spans are not ours and the thread is another."""
    threads.here = Here()
    current.set(None)


def outcome_of(error: BaseException) -> Outcome:
    """Return how a span ended that ended with this exception.

    Cancellation is told by name, so that no event loop needs to be imported: asyncio and concurrent.futures raise
    ``CancelledError``, trio ``Cancelled``; ``GeneratorExit`` means that the consumer had enough.
    """
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        return "ok"
    if isinstance(error, GeneratorExit) or type(error).__name__ in ("CancelledError", "Cancelled"):
        return "cancelled"
    return "error"


def take_hold(span: SpanAccount) -> None:
    """Have a request followed edge by edge: somebody needs its span, such as a child, a task or the program.

    On another thread than its own that begins with its last edge, as only its own knows whether it is in a step.
    """
    if span.inbox is None:
        return
    steps = span.inbox.unseen.get(span)
    if steps is not None and steps[0] != threads.here.thread:
        span.wanted = True
        return
    steps = span.inbox.unseen.pop(span, None)
    if steps is not None:
        tell_steps(span, steps, span.inbox)


def tell_steps(span: SpanAccount, steps: Sequence[float], inbox: Inbox) -> None:
    """Tell of the steps of a request so far, from its own thread: an edge only where it is in one now."""
    thread, *edges = steps
    over = len(edges) // 4 * 4
    inbox.told.append((span, edges[:over]))
    if len(edges) > over:
        span.record((edges[over], edges[over + 1], int(thread), span, None))


def enter(account: Account) -> None:
    """Open an account and let it run on this thread, in place of what ran here."""
    local = threads.here
    account.resume = local.running
    local.running = account
    account.opened = instant = perf_counter()
    account.record((instant, thread_time(), local.thread, account, account))


def leave(account: Account) -> None:
    """Close an account; what ran here before it goes on."""
    cpu, instant = thread_time(), perf_counter()
    local = threads.here
    account.closed = instant
    if local.running is account:
        before = account.resume
        while before is not None and before.closed is not None:
            before = before.resume
        local.running = before
    account.record((instant, cpu, local.thread, local.running, account))


def open_span(span: SpanAccount) -> float:
    """Open a span as a child of the innermost open one of this context; return the CPU clock of this thread.

    This and ``close_span`` repeat ``enter`` and ``leave``: a call within is a tenth of what an edge costs.
    """
    local = threads.here
    parent = current.get()
    while parent is not None and parent.closed is not None:  # a task that its request left behind
        parent = parent.parent
    if parent is not None:
        take_hold(parent)
    span.parent = parent
    current.set(span)
    span.resume = local.running
    local.running = span
    span.opened = instant = perf_counter()
    cpu = thread_time()
    span.record((instant, cpu, local.thread, span, span))
    return cpu


def close_span(span: SpanAccount, outcome: Outcome) -> float:
    """Close a span; its parent is the innermost again. Return the CPU clock of this thread.

    A second close changes nothing.
    """
    if span.closed is not None:
        return thread_time()
    cpu, instant = thread_time(), perf_counter()
    local = threads.here
    if outcome != "ok":
        span.outcome = outcome
    span.closed = instant
    running = local.running
    if running is span:
        running = span.resume
        while running is not None and running.closed is not None:
            running = running.resume
        local.running = running
    span.record((instant, cpu, local.thread, running, span))
    if current.get() is span:
        parent = span.parent
        while parent is not None and parent.closed is not None:
            parent = parent.parent
        current.set(parent)
    return cpu


class Carried:
    """Work of an open span on another thread, or in a task of its own: charged to the span while that is open.

    Args:
        span: innermost where the work was begun.
    """

    __slots__ = ("_before", "_cpu", "_runs", "_span", "_stepping")

    def __init__(self, span: SpanAccount) -> None:
        take_hold(span)
        self._span: SpanAccount | None = span
        self._runs: Account | None = span  # what goes on inside at the next step
        self._before: Account | None = None
        self._stepping = False
        self._cpu = 0.0

    def resume(self) -> None:
        """Begin a step on this thread."""
        runs = self._runs
        while runs is not None and runs.closed is not None:
            runs = runs.resume
        self._runs = runs
        if runs is None:  # the request is over, and what it left behind is nobody's
            self._span = None
            return
        local = threads.here
        self._stepping, self._before = True, local.running
        local.stepping += 1
        local.running = runs
        self._cpu = cpu = thread_time()
        runs.record((perf_counter(), cpu, local.thread, runs, None))

    def pause(self) -> None:
        """End a step; what is innermost inside goes on at the next one."""
        if not self._stepping:
            return
        local = threads.here
        cpu, instant = thread_time(), perf_counter()
        runs, self._runs = self._runs, local.running
        if runs is not None:
            runs.record((instant, cpu, local.thread, self._before, None))
        local.stepping -= 1
        local.running, self._before, self._stepping = self._before, None, False
        span = self._span
        while span is not None:
            span.ran_seconds += cpu - self._cpu
            span = span.parent


class Stepper:
    """Lets a span run in steps: only between ``resume`` and ``pause`` does its thread's CPU time count.

    What was innermost inside (a phase, a child span) is kept over a pause, and other work has the thread meanwhile.

    Args:
        span: opened by the first step.
        work: the coroutine, generator or async generator; a stepper that is dropped unused closes it, so that a
            coroutine which nobody awaits warns once and not twice.
    """

    __slots__ = ("_before", "_inner", "_outer", "_paused", "_running", "_span", "work")

    def __init__(self, span: SpanAccount, work: Any) -> None:
        self.work = work
        self._span = span
        self._running: Account | None = None  # what goes on inside at the next step
        self._inner: SpanAccount | None = None
        self._before: Account | None = None  # what goes on outside after this step
        self._outer: SpanAccount | None = None
        self._paused = 0.0

    def __del__(self) -> None:
        """Close a span whose work was dropped halfway, by a loop that died or a consumer that left."""
        if self._span.closed is None:
            self.abandon()

    def resume(self) -> None:
        """Begin a step; the first one opens the span."""
        span, local = self._span, threads.here
        self._before, self._outer = local.running, current.get()
        local.stepping += 1
        if self._paused == 0.0:
            open_span(span)
            return
        current.set(self._inner)
        local.running = self._running
        span.record((perf_counter(), thread_time(), local.thread, self._running, None))

    def pause(self) -> None:
        """End a step after which the span waits."""
        local = threads.here
        cpu, self._paused = thread_time(), perf_counter()
        self._inner, self._running = current.get(), local.running
        self._span.record((self._paused, cpu, local.thread, self._before, None))
        self._put_back()

    def finish(self, outcome: Outcome) -> None:
        """End the last step and close the span."""
        span = self._span
        threads.here.running, span.resume = span, self._before
        close_span(span, outcome)
        self._put_back()

    def abandon(self) -> None:
        """Close the work and the span: the consumer left, perhaps long ago, so it lasted until its last pause."""
        close = getattr(self.work, "close", None)  # an async generator has none that could be called from here
        if self._span.closed is not None or not self._paused:
            if close is not None:
                close()
            return
        self.leaving()
        self.resume()
        try:
            if close is not None:
                close()
        finally:
            self.finish("cancelled")

    def leaving(self) -> None:
        """Note that the consumer left: the span lasted until its last pause."""
        self._span.lasted_until = self._span.lasted_until or self._paused

    def _put_back(self) -> None:
        threads.here.stepping -= 1
        threads.here.running = self._before
        current.set(self._outer)
        self._before = self._outer = None
