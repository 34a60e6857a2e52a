"""Work that a request hands on, to a thread pool or to a task of its own, is followed and charged to it.

A pool's threads and a loop's tasks run for whoever asks, and nothing in them tells for which request. So the places
where work is handed on are wrapped: the innermost open span there is charged for what the work does elsewhere, for as
long as the span is open. The context goes along where Python does not see to that by itself.

    tasks           a task factory of the event loop; one that was there before still makes the tasks; on trio an
                    instrument (`_trio_tasks.py`)
    thread pools    ``concurrent.futures.ThreadPoolExecutor.submit``, which ``loop.run_in_executor`` and
                    ``asyncio.to_thread`` call, on asyncio's own event loop and on uvloop
    anyio           ``anyio.to_thread.run_sync``, with which Starlette and FastAPI run sync endpoints
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypeGuard

import wrapt

from greeninfer._account import SpanAccount
from greeninfer._remote import Remote
from greeninfer._running import Carried, current, take_hold
from greeninfer._steps import CarriedCoroutine
from greeninfer._trio_tasks import TrioTasks, trio_run
from greeninfer._wrapper import BoundMeasured

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_ANYIO = "anyio.to_thread"


class Following:
    """Wraps the places where work is handed on, and unwraps them again; one for the process, ``following``.

    Attributes:
        follows_threads: whether thread pools are wrapped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.follows_threads = False  # no property: it is asked on each request
        self._threads: threading.Event | None = None  # set while what was wrapped last is to follow
        self._waits_for_anyio = False
        self._patches: list[tuple[Any, str, Any, _Followed]] = []
        self._loops: weakref.WeakKeyDictionary[AbstractEventLoop, _TaskFactory] = weakref.WeakKeyDictionary()
        self._trio: weakref.WeakKeyDictionary[Any, TrioTasks] = weakref.WeakKeyDictionary()

    def follow_here(self) -> object:
        """Follow into thread pools, and into the tasks of what runs on this thread; return asyncio's loop, or None."""
        self.follow_threads()
        loop = running_loop()
        if loop is not None:
            self.follow_tasks(loop)
        else:
            self.follow_trio()
        return loop

    def follow_threads(self) -> None:
        """Wrap thread pools; a second call does nothing."""
        with self._lock:
            if self._threads is not None:
                return
            self._threads = threading.Event()
            self._threads.set()
            self.follows_threads = True
            self._wrap(ThreadPoolExecutor, "submit", _submit)
            if _ANYIO in sys.modules:
                self._wrap(sys.modules[_ANYIO], "run_sync", _run_sync)
            elif not self._waits_for_anyio:
                self._waits_for_anyio = True
                wrapt.register_post_import_hook(self._wrap_anyio, _ANYIO)

    def follow_tasks(self, loop: AbstractEventLoop) -> None:
        """Wrap the task factory of the event loop that runs on this thread; a second call does nothing."""
        if loop not in self._loops:
            self._loops[loop] = factory = _TaskFactory(loop.get_task_factory())
            loop.set_task_factory(factory)

    def follow_trio(self) -> None:
        """Follow the tasks of the trio run on this thread, if there is one; a second call does nothing."""
        run = trio_run()
        if run is not None and run not in self._trio:
            self._trio[run] = TrioTasks(_can_be_charged)
            sys.modules["trio"].lowlevel.add_instrument(self._trio[run])

    def stop(self) -> None:
        """Unwrap everything that nobody has wrapped again since; what somebody has, only passes calls on."""
        with self._lock:
            if self._threads is not None:
                self._threads.clear()
                self._threads = None
                self.follows_threads = False
            for owner, name, original, wrapper in self._patches:
                if vars(owner).get(name) is wrapper:
                    setattr(owner, name, original)
            self._patches.clear()
            for loop, factory in list(self._loops.items()):
                factory.follows = False
                if loop.get_task_factory() is factory:
                    loop.set_task_factory(factory.before)
            self._loops.clear()
            for run, instrument in list(self._trio.items()):
                if run is trio_run():  # another thread's cannot be reached from here
                    sys.modules["trio"].lowlevel.remove_instrument(instrument)
                    del self._trio[run]

    def _wrap_anyio(self, module: Any) -> None:
        self._waits_for_anyio = False
        with self._lock:
            if self._threads is not None:
                self._wrap(module, "run_sync", _run_sync)

    def _wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        assert self._threads is not None
        original = vars(owner)[name]
        wrapped = _Followed(original, wrapper, enabled=self._threads.is_set)
        setattr(owner, name, wrapped)
        self._patches.append((owner, name, original, wrapped))


def running_loop() -> Any:
    """Return asyncio's event loop that runs on this thread, or None, also where another library's does."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()


class _Followed(wrapt.FunctionWrapper[..., Any]):
    """A function that hands work on, wrapped; pickled as the function is, by its name."""

    __bound_function_wrapper__ = BoundMeasured

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return its name."""
        return self.__qualname__

    def __reduce__(self) -> Any:
        """Return the same for the oldest protocols."""
        return self.__qualname__

    def __copy__(self) -> _Followed:
        """Return itself, as functions do."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Followed:
        """Return itself, as functions do."""
        return self


following = Following()
"""The process's own: what it wraps is the process's, too."""


class _Errand:
    """A function that another thread is to call for a span."""

    __slots__ = ("_function", "_span")

    def __init__(self, span: SpanAccount, function: Callable[..., Any]) -> None:
        take_hold(span)
        self._span = span
        self._function = function

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        carried = Carried(self._span)
        carried.resume()
        try:
            return self._function(*args, **kwargs)
        finally:
            carried.pause()


class _TaskFactory:
    """Makes tasks that are charged to the span in whose context they are made.

    Args:
        before: the factory that the loop had, or None.
    """

    def __init__(self, before: Any) -> None:
        from asyncio import Task

        self.before = before
        self.follows = True
        self._task = Task

    def __call__(self, loop: AbstractEventLoop, work: Any, **options: Any) -> Any:
        context: Context | None = options.get("context")
        if self.before is None and context is None and current.get() is None:  # a server makes a task for each request
            return self._task(work, loop=loop, **options)
        span = current.get() if context is None else context.get(current)
        if self.follows and _can_be_charged(span) and hasattr(work, "send"):
            work = CarriedCoroutine(Carried(span), work)
        if self.before is not None:
            return self.before(loop, work, **options)
        return self._task(work, loop=loop, **options)


def _submit(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    span = current.get()
    if span is None or not args:
        return wrapped(*args, **kwargs)
    function, *rest = args
    errand = _Errand(span, function) if _can_be_charged(span) else function
    return wrapped(_in_context, copy_context(), errand, *rest, **kwargs)


def _in_context(context: Context, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function in the submitter's context, and leave it what only its own thread has."""
    for variable, value in copy_context().items():
        if variable not in context:
            context.run(variable.set, value)
    return context.run(function, *args, **kwargs)


def _run_sync(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    span = current.get()
    if not _can_be_charged(span):
        return wrapped(*args, **kwargs)
    if args:
        return wrapped(_Errand(span, args[0]), *args[1:], **kwargs)
    if "func" in kwargs:
        return wrapped(**{**kwargs, "func": _Errand(span, kwargs["func"])})
    return wrapped(**kwargs)


def _can_be_charged(span: SpanAccount | None) -> TypeGuard[SpanAccount]:
    """Return whether a span is open, and in this process."""
    return span is not None and span.closed is None and not isinstance(span, Remote)
