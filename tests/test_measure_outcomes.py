"""How spans end: results, exceptions, cancellation, consumers that leave early, and loops that die."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import traceback
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter
from typing import Any

import pytest
from live import FOREVER, Live, spin

from greeninfer import Monitor, Settings, current, measure
from greeninfer._clock import SystemClock
from greeninfer.meters.simulated import SimulatedMeter


class PredictionError(Exception):
    pass


# Exceptions pass unchanged


def fails() -> None:
    raise PredictionError("no such model")


@measure("function")
def function() -> None:
    fails()


@measure("coroutine")
async def coroutine() -> None:
    await asyncio.sleep(0)
    fails()


@measure("generator")
def generator() -> Iterator[int]:
    yield 1
    fails()


@measure("async_generator")
async def async_generator() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(0)
    fails()


def with_block() -> None:
    with measure("with_block"):
        fails()


async def async_with_block() -> None:
    async with measure("async_with_block"):
        fails()


async def consume(items: AsyncIterator[int]) -> None:
    async for _ in items:
        pass


FAILING: dict[str, Callable[[], Any]] = {
    "function": function,
    "coroutine": lambda: asyncio.run(coroutine()),
    "generator": lambda: list(generator()),
    "async_generator": lambda: asyncio.run(consume(async_generator())),
    "with_block": with_block,
    "async_with_block": lambda: asyncio.run(async_with_block()),
}


@pytest.mark.parametrize("name", FAILING)
def test_an_exception_passes_with_its_frames_and_nothing_of_ours_in_its_story(name: str) -> None:
    with Live() as live:
        with pytest.raises(PredictionError, match=r"^no such model$") as caught:
            FAILING[name]()
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[-1] == "fails"
        assert frames[-2] == name
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert live.one(name).outcome == "error"
        assert live.open_spans() == {}
        assert current() is None


@pytest.mark.parametrize("error", [PredictionError("x"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_it_is_the_very_same_object(error: BaseException) -> None:
    @measure("work")
    def predict() -> None:
        raise error

    @measure("task")
    async def predict_later() -> None:
        await asyncio.sleep(0)
        predict()

    with Live() as live:
        with pytest.raises(type(error)) as caught:
            asyncio.run(predict_later()) if isinstance(error, PredictionError) else predict()
        assert caught.value is error
        assert live.one("work").outcome == ("cancelled" if isinstance(error, GeneratorExit) else "error")


def test_an_exception_handled_inside_is_no_error() -> None:
    @measure("work")
    def predict() -> str:
        with contextlib.suppress(PredictionError):
            fails()
        return "fallback"

    with Live() as live:
        assert predict() == "fallback"
        assert live.one("work").outcome == "ok"


def test_stop_iteration_is_how_iterators_end_and_no_error() -> None:
    class Rows:
        left = 3

        def __iter__(self) -> Rows:
            return self

        @measure("next")
        def __next__(self) -> int:
            if not self.left:
                raise StopIteration
            self.left -= 1
            return self.left

    with Live() as live:
        assert list(Rows()) == [2, 1, 0]
        assert [each.outcome for each in live.named("next")] == ["ok"] * 4


def test_stop_async_iteration_is_how_async_iterators_end_and_no_error() -> None:
    class Rows:
        left = 2

        def __aiter__(self) -> Rows:
            return self

        @measure("anext")
        async def __anext__(self) -> int:
            await asyncio.sleep(0)
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    async def collect() -> list[int]:
        return [row async for row in Rows()]

    with Live() as live:
        assert asyncio.run(collect()) == [1, 0]
        assert [each.outcome for each in live.named("anext")] == ["ok"] * 3


# Cancellation


def test_a_cancelled_task_is_cancelled_and_pays_for_what_it_did() -> None:
    with Live() as live:

        @measure("work")
        async def predict() -> None:
            live.burn(80.0)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                live.burn(20.0)  # cleaning up is work, too

        async def main() -> None:
            task = asyncio.create_task(predict())
            await asyncio.sleep(0)
            live.burn_apart(50.0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()

        asyncio.run(main())
        measurement = live.one("work")
        assert measurement.outcome == "cancelled"
        assert measurement.energy().joules == pytest.approx(100.0, rel=0.01)


def test_a_task_that_survives_its_cancellation_is_ok() -> None:
    @measure("work")
    async def predict() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        return "partial answer"

    async def main() -> str:
        task = asyncio.create_task(predict())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    with Live() as live:
        assert asyncio.run(main()) == "partial answer"
        assert live.one("work").outcome == "ok"


def test_a_time_out_is_told_from_an_error() -> None:
    @measure("inner")
    async def inner() -> None:
        await asyncio.get_running_loop().create_future()

    @measure("outer")
    async def outer() -> None:
        async with asyncio.timeout(0):
            await inner()

    with Live() as live:
        with pytest.raises(TimeoutError):
            asyncio.run(outer())
        assert live.one("inner").outcome == "cancelled"
        assert live.one("outer").outcome == "error"


def test_a_cancelled_future_is_a_cancellation_in_plain_code_too() -> None:
    @measure("work")
    def predict() -> None:
        future: concurrent.futures.Future[None] = concurrent.futures.Future()
        future.cancel()
        future.result()

    with Live() as live:
        with pytest.raises(concurrent.futures.CancelledError):
            predict()
        assert live.one("work").outcome == "cancelled"


# Consumers that leave early


def tokens() -> Iterator[int]:
    yield from range(1000)


async def async_tokens() -> AsyncIterator[int]:
    for token in range(1000):
        yield token


def test_a_generator_that_is_left_ends_as_of_its_last_item() -> None:
    with Live() as live:
        begun = perf_counter()
        items = measure("work")(tokens)()
        assert [next(items), next(items)] == [0, 1]
        left = perf_counter()
        spin(0.02)  # the consumer's own business, and the collector's
        live.burn_apart(50.0)
        items.close()
        measurement = live.one("work")
        assert measurement.outcome == "cancelled"
        assert 0.0 < measurement.seconds <= left - begun
        assert live.joules("work") < 0.5  # of 1 W and a few ms, and none of the 50 J
        assert live.open_spans() == {}


def test_a_generator_that_nobody_closes_is_closed_by_the_collector() -> None:
    with Live() as live:
        for _ in measure("work")(tokens)():
            break
        gc.collect()
        assert live.one("work").outcome == "cancelled"
        assert live.open_spans() == {}


def test_a_generator_in_a_cycle_is_closed_by_the_collector() -> None:
    class Stream:
        def __init__(self) -> None:
            self.items = self.produce()

        @measure("work")
        def produce(self) -> Iterator[Stream]:
            while True:
                yield self

    with Live() as live:
        stream = Stream()
        next(stream.items)
        assert live.open_spans() == {"work": 1}
        del stream
        gc.collect()
        assert live.open_spans() == {}


def test_an_open_generator_is_open_and_holds_nothing_else_up() -> None:
    with Live() as live:
        items = measure("stream")(tokens)()
        next(items)
        with measure("work"):
            live.burn(100.0)
        assert live.joules("work") == pytest.approx(100.0, rel=0.01)
        assert live.open_spans() == {"stream": 1}
        items.close()


def test_a_generator_that_never_began_leaves_no_trace() -> None:
    with Live() as live:
        items = measure("work")(tokens)()
        items.close()
        del items
        gc.collect()
        assert live.settle() == []
        assert live.open_spans() == {}


def test_an_async_generator_that_is_left_ends_as_of_its_last_item() -> None:
    with Live() as live:

        async def main() -> float:
            items = measure("work")(async_tokens)()
            begun = perf_counter()
            async for _ in items:
                break
            left = perf_counter()
            spin(0.02)
            del items
            gc.collect()
            await asyncio.sleep(0)  # the loop closes it in a task of its own
            await asyncio.sleep(0)
            assert live.open_spans() == {}
            return left - begun

        seconds = asyncio.run(main())
        measurement = live.one("work")
        assert measurement.outcome == "cancelled"
        assert 0.0 < measurement.seconds <= seconds


def test_aclosing_closes_at_once() -> None:
    with Live() as live:

        async def main() -> None:
            async with contextlib.aclosing(measure("work")(async_tokens)()) as items:
                async for _ in items:
                    break
            assert live.open_spans() == {}

        asyncio.run(main())
        assert live.one("work").outcome == "cancelled"


def test_blocks_inside_a_generator_that_is_left_are_closed_with_it() -> None:
    @measure("outer")
    def produce() -> Iterator[int]:
        with measure("block") as span, span.phase("decode"):
            yield 1
            yield 2

    with Live() as live:
        for _ in produce():
            break
        gc.collect()
        assert live.open_spans() == {}
        assert {each.key[0]: each.outcome for each in live.settle()} == {"outer": "cancelled", "block": "cancelled"}
        assert current() is None


def test_blocks_inside_an_async_generator_that_is_left_are_closed_with_it() -> None:
    @measure("outer")
    async def produce() -> AsyncIterator[int]:
        with measure("block"):
            yield 1
            yield 2

    async def main() -> None:
        async with contextlib.aclosing(produce()) as items:
            async for _ in items:
                break

    with Live() as live:
        asyncio.run(main())
        assert live.open_spans() == {}
        assert {each.key[0]: each.outcome for each in live.settle()} == {"outer": "cancelled", "block": "cancelled"}


# Loops that die


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_a_task_whose_loop_dies_is_cancelled(loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture) -> None:
    with Live() as live:

        @measure("outer")
        async def predict() -> None:
            live.burn_apart(100.0)
            with measure("block"):
                await loop.create_future()

        task = loop.create_task(predict())
        loop.run_until_complete(asyncio.sleep(0))
        assert live.open_spans() == {"outer": 1, "block": 1}
        loop.close()
        del task
        gc.collect()
        assert "Task was destroyed but it is pending" in caplog.text  # asyncio's own word on it, as without us
        assert live.open_spans() == {}
        assert {each.key[0]: each.outcome for each in live.settle()} == {"outer": "cancelled", "block": "cancelled"}
        assert live.joules("outer") == pytest.approx(100.0, rel=0.01)


def test_an_async_generator_whose_loop_dies_is_not_open_for_ever(loop: asyncio.AbstractEventLoop) -> None:
    with Live() as live:
        items = measure("work")(async_tokens)()

        async def first(items: AsyncIterator[int]) -> int:
            return await anext(items)

        assert loop.run_until_complete(first(items)) == 0
        assert live.open_spans() == {"work": 1}
        loop.close()  # without shutdown_asyncgens: nobody runs its finally any more
        del items
        gc.collect()
        assert live.open_spans() == {}


@pytest.mark.parametrize("door", [pytest.param(lambda produce: produce, id="bare"), measure("work")])
def test_an_async_generator_that_is_open_at_shutdown_closes_without_a_complaint(
    door: Callable[..., Any], loop: asyncio.AbstractEventLoop
) -> None:
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))

    @door
    async def produce() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)  # closing takes a step, as closing a connection does

    with Live() as live:
        items = produce()

        async def first() -> int:
            return await anext(items)

        assert loop.run_until_complete(first()) == 1
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert complaints == []
        assert {each.outcome for each in live.settle()} <= {"cancelled"}
        assert live.open_spans() == {}


@pytest.mark.parametrize("door", [pytest.param(lambda predict: predict, id="bare"), measure("work")])
def test_a_coroutine_that_nobody_awaits_is_named_in_the_warning(door: Callable[..., Any]) -> None:
    async def predict() -> None: ...

    with Live() as live:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            door(predict)()
            gc.collect()
        assert any("predict' was never awaited" in str(warning.message) for warning in said)
        assert live.settle() == []


@pytest.mark.parametrize("door", [pytest.param(lambda predict: predict, id="bare"), measure("work")])
def test_a_task_shows_whose_coroutine_it_runs(door: Callable[..., Any]) -> None:
    async def predict() -> None: ...

    async def main() -> str:
        task = asyncio.create_task(door(predict)())
        await task
        return repr(task)

    with Live():
        assert "predict()" in asyncio.run(main())


# What is left behind


def test_running_out_of_stack_leaves_nothing_open() -> None:
    @measure("deep")
    def deeper(level: int) -> int:
        return deeper(level + 1)

    with Live() as live:
        with pytest.raises(RecursionError):
            deeper(0)
        assert live.open_spans() == {}
        assert current() is None
        with measure("work"):
            live.burn_apart(100.0)
        assert live.joules("work") == pytest.approx(100.0, rel=0.01)


def test_no_reference_to_an_exception_is_kept() -> None:
    with Live():
        error: PredictionError | None = PredictionError("huge")

        @measure("work")
        def predict() -> None:
            assert error is not None
            raise error

        with contextlib.suppress(PredictionError):
            predict()
        watched = weakref.ref(error)
        gc.disable()
        try:
            error = None
            assert watched() is None  # without the collector: there is no cycle through our frames
        finally:
            gc.enable()


def test_a_settled_span_is_held_by_nobody() -> None:
    clock = SystemClock()
    with Monitor(Settings(tick_seconds=FOREVER), meters=[SimulatedMeter(clock=clock)], exporters=[]) as monitor:
        with measure("work") as span, span.phase("decode"):
            spin(0.001)
        watched = weakref.ref(span)
        assert monitor.flush(timeout=20.0)
        del span
        gc.collect()
        assert watched() is None
