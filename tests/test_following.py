"""What a span hands on to tasks is charged to it, and tasks do everything else as they did before."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import io
import logging
import re
import threading
import traceback
import types
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import Live, spin, wait_until_asleep

from greeninfer import current, measure, threads

NUMBER: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)


@pytest.fixture(autouse=True)
def no_hooks() -> Iterator[None]:
    assert not threads.instrumented()
    yield
    threads.uninstrument()


def name_of_current() -> str:
    span = current()
    return span.name if span is not None else "(none)"


def run(work: Coroutine[Any, Any, Any], loop: str = "asyncio", *, follow: bool = True, debug: bool = False) -> Any:
    """Run a coroutine on a new event loop whose tasks are followed."""

    async def main() -> Any:
        if follow:
            threads.instrument()
        return await work

    try:
        factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    except pytest.skip.Exception:
        work.close()  # or it would warn in the middle of a later test
        raise
    with asyncio.Runner(loop_factory=factory, debug=debug) as runner:
        return runner.run(main())


# Every way into a task


async def create_task(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    await asyncio.create_task(job(), name="job")


async def ensure_future(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    await asyncio.ensure_future(job())


async def gather(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    await asyncio.gather(asyncio.sleep(0), job())


async def task_group(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(job())


async def wait_for(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    await asyncio.wait_for(job(), 30.0)


async def shield(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    await asyncio.shield(job())


async def as_completed(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    for each in asyncio.as_completed([job()]):
        await each


async def anyio_group(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    anyio = pytest.importorskip("anyio")
    async with anyio.create_task_group() as group:
        group.start_soon(job)


async def anyio_started(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    anyio = pytest.importorskip("anyio")

    async def starting(*, task_status: Any) -> None:
        task_status.started(1)
        await job()

    async with anyio.create_task_group() as group:
        assert await group.start(starting) == 1


async def in_a_context(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    await asyncio.create_task(job(), context=contextvars.copy_context())


async def a_task_in_a_task(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    await asyncio.create_task(create_task(job))


async def an_async_generators_next(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    async def items() -> AsyncIterator[object]:
        yield await job()

    await asyncio.create_task(anext(items()))  # type: ignore[arg-type]


async def a_generator(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    @types.coroutine
    def old() -> Iterator[Any]:
        return (yield from job().__await__())  # type: ignore[return-value]

    await asyncio.create_task(old())  # type: ignore[arg-type]


async def from_another_thread(job: Callable[[], Coroutine[Any, Any, object]]) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(job(), loop).result(30.0))


WAYS = [
    *(create_task, ensure_future, gather, task_group, wait_for, shield, as_completed, anyio_group, anyio_started),
    *(in_a_context, a_task_in_a_task, an_async_generators_next, a_generator, from_another_thread),
]
STEP = 0.01


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_task_is_charged_to_the_span_that_made_it(way: Callable[..., Awaitable[None]], loop: str) -> None:
    names: list[str] = []
    used: list[float] = []

    async def job() -> None:
        for _ in range(2):
            names.append(name_of_current())
            live.burn_apart(20.0)
            used.append(spin(STEP))
            await asyncio.sleep(0)

    @measure("request")
    async def request() -> None:
        live.burn_apart(10.0)
        await way(job)
        live.burn_apart(5.0)

    with Live() as live:
        run(request(), loop)
        assert names == ["request"] * 2
        assert live.joules("request") == pytest.approx(55.0, rel=0.02)
        assert live.one("request").cpu_seconds > sum(used)
        assert live.open_spans() == {}


def test_without_the_hooks_it_is_not() -> None:
    @measure("request")
    async def request() -> None:
        await asyncio.create_task(work())

    async def work() -> None:
        spin(0.02)

    with Live() as live:
        run(request(), follow=False)
        assert live.one("request").cpu_seconds < 0.01


def test_tasks_that_take_turns_pay_for_their_own_steps() -> None:
    """Two requests of three tasks each: every step is known by whom it is."""
    spent = {"little": 0.0, "much": 0.0}

    async def job(name: str, seconds: float) -> None:
        for _ in range(5):
            assert name_of_current() == name
            live.burn_apart(seconds * 1e3)
            spent[name] += seconds * 1e3
            await asyncio.sleep(0)

    async def request(name: str, seconds: float) -> None:
        @measure(name)
        async def measured() -> None:
            await asyncio.gather(*(job(name, seconds) for _ in range(3)))

        await measured()

    async def main() -> None:
        await asyncio.gather(request("little", 0.01), request("much", 0.03))

    with Live() as live:
        run(main())
        assert live.joules("little") == pytest.approx(spent["little"], rel=0.02)
        assert live.joules("much") == pytest.approx(spent["much"], rel=0.02)


def test_a_task_that_outlives_its_request_is_charged_until_then() -> None:
    async def main() -> None:
        over = asyncio.Event()

        async def job() -> str:
            live.burn_apart(20.0)
            await over.wait()
            live.burn_apart(50.0)
            await asyncio.sleep(0)
            live.burn_apart(50.0)
            return name_of_current()

        @measure("request")
        async def request() -> asyncio.Task[str]:
            task = asyncio.create_task(job())
            await asyncio.sleep(0)
            return task

        task = await request()
        over.set()
        assert await task == "(none)"

    with Live() as live:
        run(main())
        assert live.joules("request") == pytest.approx(20.0, rel=0.02)
        assert live.open_spans() == {}


def test_a_task_that_begins_when_its_request_is_over_is_nobodys() -> None:
    async def job() -> str:
        live.burn_apart(50.0)
        return name_of_current()

    @measure("request")
    async def request() -> asyncio.Task[str]:
        return asyncio.create_task(job())

    async def main() -> str:
        return await (await request())

    with Live() as live:
        assert run(main()) == "(none)"
        assert live.joules("request") < 1.0


def test_a_span_in_a_task_that_outlives_its_request_has_no_parent() -> None:
    """A queue's worker, made in the first request that came: later requests are none of the first one's business."""

    async def main() -> None:
        inbox: asyncio.Queue[int] = asyncio.Queue()

        async def worker() -> None:
            for _ in range(3):
                await inbox.get()
                with measure("batch"):
                    live.burn_apart(10.0)
                inbox.task_done()

        @measure("first")
        async def first() -> asyncio.Task[None]:
            task = asyncio.create_task(worker())
            inbox.put_nowait(1)
            await inbox.join()
            return task

        task = await first()
        live.settle()
        for number in (2, 3):
            inbox.put_nowait(number)
            await inbox.join()
        await task

    with Live() as live:
        run(main())
        assert live.one("first").energy().total_joules == pytest.approx(10.0, rel=0.02)
        assert live.joules("batch") == pytest.approx(30.0, rel=0.02)
        parents = [each.parent.name if each.parent else None for each in live.named("batch")]  # type: ignore[attr-defined]
        assert parents == ["first", None, None]


def test_a_child_in_a_task_is_carved_out_of_the_request() -> None:
    @measure("child")
    async def child() -> None:
        live.burn_apart(30.0)
        await asyncio.sleep(0)
        live.burn_apart(10.0)

    @measure("request")
    async def request() -> None:
        live.burn_apart(5.0)
        await asyncio.gather(child(), child())

    with Live() as live:
        run(request())
        assert live.joules("child") == pytest.approx(80.0, rel=0.02)
        assert live.joules("request") == pytest.approx(5.0, rel=0.05)
        assert live.one("request").energy().total_joules == pytest.approx(85.0, rel=0.02)


# Tasks do what they did before


class ModelError(Exception):
    pass


async def fails() -> None:
    await asyncio.sleep(0)
    raise ModelError("no such model")


def outcome(task: asyncio.Task[Any]) -> object:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return (type(error), str(error)) if error else task.result()


async def returns() -> object:
    task = asyncio.create_task(asyncio.sleep(0, 5))
    await asyncio.wait([task])
    return outcome(task)


async def raises() -> object:
    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    return outcome(task)


async def cancelled_before_its_first_step() -> object:
    task = asyncio.create_task(asyncio.sleep(30.0))
    task.cancel("never mind")
    await asyncio.wait([task])
    return outcome(task), task.cancelling()


async def cancelled_with_a_message() -> object:
    task = asyncio.create_task(asyncio.sleep(30.0))
    await asyncio.sleep(0)
    task.cancel("never mind")
    try:
        await task
    except asyncio.CancelledError as error:
        return error.args, task.cancelled(), task.cancelling()
    return None


async def cancelled_and_goes_on() -> object:
    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30.0)
        await asyncio.sleep(0)
        return "done all the same"

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    return outcome(task), task.cancelling(), task.uncancel()


async def cancelled_twice() -> object:
    heard: list[str] = []

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(30.0)
        except asyncio.CancelledError as error:
            heard.append(str(error))
            try:
                await asyncio.sleep(30.0)
            except asyncio.CancelledError as second:
                heard.append(str(second))
                raise

    task = asyncio.create_task(cleans_up())
    for message in ("one", "two"):
        await asyncio.sleep(0)
        task.cancel(message)
    await asyncio.wait([task])
    return outcome(task), heard


async def a_timeout() -> object:
    try:
        async with asyncio.timeout(0.005):
            await asyncio.create_task(asyncio.sleep(30.0))
    except TimeoutError:
        return "timeout", asyncio.current_task().cancelling()  # type: ignore[union-attr]
    return None


async def a_group_that_fails() -> object:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            waiting = group.create_task(asyncio.sleep(30.0))
            group.create_task(fails())
    except ExceptionGroup as group_error:
        return [str(error) for error in group_error.exceptions], waiting.cancelled()
    return None


async def a_group_that_is_left_at_once() -> object:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(30.0)) for _ in range(3)]
            raise ModelError("before their first step")
    except ExceptionGroup as group_error:
        return len(group_error.exceptions), [task.cancelled() for task in tasks]
    return None


async def gather_that_fails() -> object:
    results = await asyncio.gather(fails(), asyncio.sleep(0, 3), return_exceptions=True)
    return [str(result) for result in results]


async def an_anyio_group_that_is_cancelled() -> object:
    anyio = pytest.importorskip("anyio")
    heard: list[object] = []

    async def waits(number: int) -> None:
        try:
            await anyio.sleep(30.0)
        finally:
            heard.append(number)

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(waits, number)
        await anyio.sleep(0)
        group.cancel_scope.cancel()
    with anyio.move_on_after(0.005) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(waits, 9)
            await anyio.sleep(30.0)
    return sorted(heard), scope.cancelled_caught  # type: ignore[type-var]


async def an_anyio_group_that_fails() -> object:
    anyio = pytest.importorskip("anyio")
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            group.start_soon(anyio.sleep, 30.0)
    except ExceptionGroup as group_error:
        return [str(error) for error in group_error.exceptions]
    return None


async def an_anyio_group_cancelled_at_once() -> object:
    anyio = pytest.importorskip("anyio")
    ran: list[int] = []

    async def begins() -> None:
        ran.append(1)
        await anyio.sleep(30.0)
        ran.append(2)

    async with anyio.create_task_group() as group:
        group.start_soon(begins)
        group.cancel_scope.cancel()
    return ran


async def names() -> object:
    async def work() -> object:
        task = asyncio.current_task()
        return task.get_name() if task else None

    named = asyncio.create_task(work(), name="classify 7")
    unnamed = asyncio.create_task(work())
    unnamed.set_name("later")
    return named.get_name(), await named, await unnamed


async def variables() -> object:
    async def sets(number: int) -> int:
        await asyncio.sleep(0)
        NUMBER.set(NUMBER.get() + number)
        await asyncio.sleep(0)
        return NUMBER.get()

    NUMBER.set(100)
    context = contextvars.copy_context()
    first = asyncio.create_task(sets(1))
    second = asyncio.create_task(sets(2), context=context)
    empty = asyncio.create_task(sets(3), context=contextvars.Context())
    return await first, await second, await empty, NUMBER.get(), context[NUMBER]


async def what_is_no_coroutine() -> object:
    found: list[object] = []
    for odd in (5, None, asyncio.sleep, asyncio.get_running_loop().create_future(), io.BytesIO()):
        try:
            made = asyncio.create_task(odd)  # type: ignore[arg-type]
            found.append(made)
        except TypeError:
            found.append("TypeError")
    return found


async def callbacks() -> object:
    heard: list[object] = []
    task = asyncio.create_task(asyncio.sleep(0, "result"))
    task.add_done_callback(lambda done: heard.append((done is task, done.result())))
    await task
    await asyncio.sleep(0)
    return heard


async def async_generators() -> object:
    heard: list[object] = []

    async def items() -> AsyncIterator[int]:
        try:
            for number in range(10):
                await asyncio.sleep(0)
                yield number
        finally:
            heard.append("closed")

    async def takes() -> None:
        async with contextlib.aclosing(items()) as numbers:  # type: ignore[type-var]
            async for number in numbers:
                heard.append(number)
                if number == 2:
                    break

    await asyncio.create_task(takes())
    return heard


async def a_future_of_the_wrong_loop() -> object:
    other = asyncio.new_event_loop()
    try:
        future = other.create_future()

        async def waits() -> None:
            await future

        task = asyncio.create_task(waits())
        await asyncio.wait([task])
        return type(task.exception())
    finally:
        other.close()


async def an_odd_awaitable() -> object:
    class Odd:
        def __await__(self) -> Iterator[object]:
            yield "not a future"

    async def waits() -> None:
        await Odd()

    task = asyncio.create_task(waits())
    await asyncio.wait([task])
    return type(task.exception())


async def inside() -> object:
    async def work() -> object:
        task = asyncio.current_task()
        assert task is not None
        return task in asyncio.all_tasks(), task.done(), inspect.getcoroutinestate(task.get_coro())  # type: ignore[arg-type]

    task = asyncio.create_task(work())
    before = inspect.getcoroutinestate(task.get_coro())  # type: ignore[arg-type]
    return before, await task, inspect.getcoroutinestate(task.get_coro())  # type: ignore[arg-type]


def without_places(text: str) -> str:
    """Leave out addresses, and where debug mode says that a task was made: any factory stands there."""
    return re.sub(r"0x[0-9a-f]+| created at [^ >]+", "", text)


async def looks() -> object:
    async def work() -> None:
        await asyncio.sleep(30.0)

    task = asyncio.create_task(work(), name="n")
    await asyncio.sleep(0)
    shown = io.StringIO()
    task.print_stack(file=shown)
    coroutine: Any = task.get_coro()
    found = (
        without_places(repr(task)),
        [frame.f_code.co_name for frame in task.get_stack()],
        without_places(shown.getvalue()),
        coroutine.__name__,
        coroutine.__qualname__,
        coroutine.cr_code is work.__code__,
        asyncio.iscoroutine(coroutine),
        isinstance(coroutine, Coroutine),
    )
    task.cancel()
    await asyncio.wait([task])
    return found


CASES = [
    *(returns, raises, cancelled_before_its_first_step, cancelled_with_a_message, cancelled_and_goes_on),
    *(cancelled_twice, a_timeout, a_group_that_fails, a_group_that_is_left_at_once, gather_that_fails),
    *(an_anyio_group_that_is_cancelled, an_anyio_group_that_fails, an_anyio_group_cancelled_at_once, names),
    *(variables, what_is_no_coroutine, callbacks, async_generators, a_future_of_the_wrong_loop, an_odd_awaitable),
    *(inside, looks),
]


@pytest.mark.parametrize("loop", ["asyncio", "asyncio in debug mode", "uvloop"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_task_does_the_same_with_the_hooks(case: Callable[[], Coroutine[Any, Any, object]], loop: str) -> None:
    """In a span and followed, and in none: the same results, and no warning that was not there before."""
    found: list[object] = []
    gc.freeze()  # or each collection goes through all that the tests before have left
    for follow in (False, True):
        with Live(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = run(measure("request")(case)(), loop.split()[0], follow=follow, debug="debug" in loop)
            gc.collect()
        found.append((result, sorted(str(each.message) for each in caught)))
        threads.uninstrument()
    gc.unfreeze()
    assert found[1] == found[0]
    assert not found[0][1]  # type: ignore[index]


def test_an_exception_is_the_very_same_object_and_shows_its_frames() -> None:
    error = ModelError("no such model")

    async def predict() -> None:
        await asyncio.sleep(0)
        raise error

    @measure("request")
    async def request() -> None:
        await asyncio.create_task(predict())

    with Live() as live:
        with pytest.raises(ModelError) as caught:
            run(request())
        assert caught.value is error
        assert error.__context__ is None
        assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == "predict"
        assert live.one("request").outcome == "error"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_passes_through_a_task(kind: type[BaseException]) -> None:
    async def ends() -> None:
        raise kind

    @measure("request")
    async def request() -> None:
        await asyncio.create_task(ends())

    with Live() as live:
        with pytest.raises(kind):
            run(request())
        assert live.open_spans() == {}


def test_a_coroutine_that_nobody_awaits_warns_once_and_under_its_own_name() -> None:
    """A loop that is closed before the task's first step."""

    async def forgotten() -> None: ...

    forgotten_tasks: list[asyncio.Task[None]] = []

    @measure("request")
    async def request() -> None:
        forgotten_tasks.append(loop.create_task(forgotten()))

    async def main() -> None:
        threads.instrument()
        await request()

    with Live(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop = asyncio.new_event_loop()
        logger = logging.getLogger("asyncio")
        logger.disabled = True  # "Task was destroyed but it is pending!"
        loop.run_until_complete(main())
        loop.close()
        forgotten_tasks.clear()
        gc.collect()
        logger.disabled = False
    messages = [str(each.message) for each in caught]
    assert len(messages) <= 1
    assert all("forgotten' was never awaited" in message for message in messages)


def test_a_task_keeps_nothing_alive() -> None:
    class Weight:
        pass

    async def holds(weight: Weight) -> None:
        await asyncio.sleep(0)

    @measure("request")
    async def request() -> None:
        weight = Weight()
        gone = weakref.ref(weight)
        task = asyncio.create_task(holds(weight))
        del weight
        await task
        del task
        assert gone() is None

    gc.disable()
    try:
        with Live():
            run(request())
    finally:
        gc.enable()


# Task factories of others


def test_a_factory_that_was_there_before_still_makes_the_tasks() -> None:
    made: list[tuple[str, object]] = []

    class Own(asyncio.Task):  # type: ignore[type-arg]
        pass

    def factory(loop: Any, coroutine: Any, **options: Any) -> Own:
        made.append((coroutine.__name__, options.get("context")))
        return Own(coroutine, loop=loop, **options)

    async def job() -> str:
        live.burn_apart(20.0)
        return name_of_current()

    @measure("request")
    async def request() -> None:
        context = contextvars.copy_context()
        task = asyncio.create_task(job(), context=context)
        assert isinstance(task, Own)
        assert await task == "request"
        assert await asyncio.create_task(job()) == "request"
        assert made == [("job", context), ("job", None)]

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        threads.instrument()
        await request()
        threads.uninstrument()
        assert asyncio.get_running_loop().get_task_factory() is factory

    with Live() as live:
        run(main(), follow=False)
        assert live.joules("request") == pytest.approx(40.0, rel=0.02)


def test_a_factory_that_knows_no_options() -> None:
    """As they were written before tasks had contexts."""

    def factory(loop: Any, coroutine: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coroutine, loop=loop)

    @measure("request")
    async def request() -> str:
        return await asyncio.create_task(asyncio.sleep(0, name_of_current()))

    async def main() -> str:
        asyncio.get_running_loop().set_task_factory(factory)
        threads.instrument()
        return await request()

    with Live():
        assert run(main(), follow=False) == "request"


def test_a_factory_that_comes_later_replaces_ours_and_is_left_alone() -> None:
    made: list[str] = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine.__name__)
        return asyncio.Task(coroutine, loop=loop, **options)

    @measure("request")
    async def request() -> None:
        await asyncio.create_task(asyncio.sleep(0))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        await request()
        threads.instrument()
        await request()
        assert made == ["sleep", "sleep"]
        threads.uninstrument()
        assert loop.get_task_factory() is factory

    with Live() as live:
        run(main())
        assert live.open_spans() == {}


def test_a_factory_that_wraps_ours_keeps_working_when_ours_is_off() -> None:
    async def job() -> str:
        return name_of_current()

    @measure("request")
    async def request() -> str:
        spin_task = asyncio.create_task(asyncio.to_thread(int))
        await spin_task
        return await asyncio.create_task(job())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours = loop.get_task_factory()
        assert ours is not None
        loop.set_task_factory(lambda *args, **options: ours(*args, **options))  # type: ignore[misc]
        assert await request() == "request"
        threads.uninstrument()
        assert await request() == "request"  # the context is asyncio's own business
        threads.instrument()
        assert await request() == "request"

    with Live() as live:
        run(main())
        assert live.open_spans() == {}


def test_a_factory_of_a_loop_that_is_gone_is_forgotten() -> None:
    from greeninfer._following import following

    async def main() -> None:
        threads.instrument()

    for _ in range(5):
        asyncio.run(main())
    gc.collect()
    assert len(following._loops) == 0


def test_it_can_be_switched_on_and_off_on_a_running_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            threads.instrument()
            threads.instrument()
            assert loop.get_task_factory() is not None
            threads.uninstrument()
            threads.uninstrument()
            assert loop.get_task_factory() is None

    run(main(), follow=False)


def test_without_a_span_a_task_gets_the_very_coroutine() -> None:
    async def main() -> None:
        work = asyncio.sleep(0)
        task = asyncio.create_task(work)
        assert task.get_coro() is work
        await task

    with Live():
        run(main())


def test_switched_off_while_tasks_are_under_way() -> None:
    @measure("request")
    async def request() -> None:
        async def job() -> None:
            for _ in range(3):
                live.burn_apart(10.0)
                await asyncio.sleep(0)

        task = asyncio.create_task(job())
        await asyncio.sleep(0)
        threads.uninstrument()
        await task

    with Live() as live:
        run(request())
        assert live.joules("request") == pytest.approx(30.0, rel=0.02)


# Any schedule


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("burn"), st.integers(1, 9)),
        st.tuples(st.just("pause"), st.just(0)),
        st.tuples(st.just("task"), st.integers(0, 3)),
        st.tuples(st.just("child"), st.integers(0, 3)),
        st.tuples(st.just("thread"), st.integers(1, 9)),
    ),
    min_size=1,
    max_size=5,
)


@given(st.lists(STEPS, min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_any_tree_of_tasks_threads_and_children_is_charged_as_it_was_made(scripts: list[Any]) -> None:
    """Each piece of work says under which name it stands; the books must agree, however the pieces take turns."""
    truth: dict[str, float] = {}
    handed = [0.0]  # in threads: two hand over to each other, and what one still does falls into the other's tick
    alone = threading.Lock()

    async def play(name: str, script: list[tuple[str, int]], depth: int) -> None:
        tasks = []
        for kind, number in script:
            if kind == "burn":
                burn(name, number)
            elif kind == "pause":
                await asyncio.sleep(0)
            elif kind == "thread":
                handed[0] += number
                await asyncio.to_thread(burn, name, number)
            elif depth < 3:
                inner = scripts[number % len(scripts)]
                if kind == "task":
                    tasks.append(asyncio.create_task(play(name, inner, depth + 1)))
                else:
                    below = f"{name}.child"
                    await measure(below)(play)(below, inner, depth + 1)
        await asyncio.gather(*tasks)

    def burn(name: str, joules: int) -> None:
        assert name_of_current() == name
        with alone:  # and nobody else at work: what another thread does meanwhile would be charged, too
            others = [each for each in threading.enumerate() if each is not threading.current_thread()]
            wait_until_asleep([each for each in others if not each.name.startswith("greeninfer")])
            live.burn_apart(float(joules))
        truth[name] = truth.get(name, 0.0) + joules

    async def main() -> None:
        requests = (measure(f"r{each}")(play)(f"r{each}", script, 0) for each, script in enumerate(scripts))
        await asyncio.gather(*requests)

    with Live() as live:
        run(main())
        assert current() is None
        assert live.open_spans() == {}
        for name, joules in truth.items():
            assert live.joules(name) == pytest.approx(joules, rel=0.02, abs=0.2 * handed[0])
    threads.uninstrument()
