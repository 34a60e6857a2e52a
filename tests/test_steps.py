"""Generators, coroutines and async generators behave as without us, whatever their consumer does to them.

The truth is the bare function: the same script is played to it and to the measured one, and both must answer alike.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import threading
import types
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from live import Live

from greeninfer import measure

Step = tuple[str, Any]
Played = list[tuple[str, Any]]


class Refused(Exception):
    pass


# GeneratorExit is not among them: thrown by hand it is taken for a close, as ``yield from`` takes it.
ERRORS: dict[str, Callable[[], BaseException]] = {
    "handled": lambda: LookupError("handled"),
    "refused": lambda: Refused("not handled"),
    "stop": lambda: StopIteration("thrown"),
    "async stop": lambda: StopAsyncIteration("thrown"),
    "interrupt": KeyboardInterrupt,
    "cancel": asyncio.CancelledError,
}


def echo(log: list[str]) -> Generator[Any, Any, str]:
    """Yield what is sent or thrown in; end, fail or be stubborn when told to."""
    word: Any = "begin"
    try:
        while True:
            try:
                word = yield word
            except LookupError as error:
                word = f"caught {error.args}"
            except asyncio.CancelledError:
                word = "survived"
            match word:
                case "end":
                    return "the end"
                case "fail":
                    raise Refused("told to")
                case "next of nothing":
                    next(iter(()))
                case "stubborn":
                    try:
                        yield "still here"
                    except GeneratorExit:
                        yield "ignores the exit"
                case "inner":
                    word = yield from inner(log)
    finally:
        log.append("closed")


def inner(log: list[str]) -> Generator[Any, Any, str]:
    try:
        first = yield "inside"
        second = yield first
        return f"{first} and {second}"
    finally:
        log.append("inner closed")


async def async_echo(log: list[str]) -> AsyncGenerator[Any, Any]:
    word: Any = "begin"
    try:
        while True:
            try:
                await pause()
                word = yield word
            except LookupError as error:
                word = f"caught {error.args}"
            except asyncio.CancelledError:
                word = "survived"
            match word:
                case "end":
                    return
                case "fail":
                    raise Refused("told to")
                case "next of nothing":
                    next(iter(()))
                case "stubborn":
                    try:
                        yield "still here"
                    except GeneratorExit:
                        yield "ignores the exit"
                case "inner":
                    word = yield await inner_awaitable(log)
    finally:
        log.append("closed")


@types.coroutine
def pause() -> Generator[str, Any, Any]:
    """Suspend as an awaited future does, but for whoever drives the coroutine by hand."""
    return (yield "waiting")


async def inner_awaitable(log: list[str]) -> Any:
    try:
        return await pause()
    finally:
        log.append("inner closed")


async def coroutine_echo(log: list[str]) -> str:
    """Do what ``echo`` does, where each suspension is that of an awaited future."""
    word: Any = "begin"
    try:
        while True:
            try:
                word = await pause()
            except LookupError as error:
                word = f"caught {error.args}"
            except asyncio.CancelledError:
                word = "survived"
            match word:
                case "end":
                    return "the end"
                case "fail":
                    raise Refused("told to")
                case "next of nothing":
                    next(iter(()))
                case "stubborn":
                    try:
                        await pause()
                    except GeneratorExit:
                        await pause()
                case "inner":
                    word = await inner_awaitable(log)
    finally:
        log.append("closed")


def play(driven: Any, script: list[Step], log: list[str]) -> Played:
    """Drive anything with send, throw and close; say what came out of each step and what was left of it."""
    played: Played = []
    for action, value in script:
        try:
            match action:
                case "send":
                    played.append(("gave", driven.send(value)))
                case "throw":
                    played.append(("gave", driven.throw(ERRORS[value]())))
                case _:
                    played.append(("closed", driven.close()))
        except StopIteration as stop:
            played.append(("stopped", stop.value))
        except BaseException as error:
            played.append(("raised", told(error)))
            if "ignored GeneratorExit" in str(error):
                return played  # Python's last word on it; what it does after that is nobody's promise
        played.append(("log", tuple(log)))
    played.append(("state", inspect.getcoroutinestate(driven) if inspect.iscoroutine(driven) else ""))
    return played


def told(error: BaseException) -> tuple[object, ...]:
    # Python's own complaint of a generator that will not end is made while an exit is on its way; anywhere else a
    # context would be a foreign word in the user's story.
    context = None if "ignored GeneratorExit" in str(error) else type(error.__context__)
    return type(error), error.args, type(error.__cause__), context


def play_async(produced: AsyncGenerator[Any, Any], script: list[Step], log: list[str]) -> Played:
    """Drive an async generator: asend, athrow and aclose, each stepped through its waits by hand."""
    played: Played = []
    for action, value in script:
        try:
            match action:
                case "send":
                    awaitable: Awaitable[Any] = produced.asend(value)
                case "throw":
                    awaitable = produced.athrow(ERRORS[value]())
                case _:
                    awaitable = produced.aclose()
            played.append(("gave", stepped(awaitable)))
        except BaseException as error:
            played.append(("raised", told(error)))
            if "ignored GeneratorExit" in str(error):
                return played  # Python's last word on it; what it does after that is nobody's promise
        played.append(("log", tuple(log)))
    return played


def stepped(awaitable: Awaitable[Any]) -> Any:
    """Await something without a loop: every wait is over at once, its result a word."""
    iterator, word = awaitable.__await__(), None
    while True:
        try:
            iterator.send(word)
        except StopIteration as stop:
            return stop.value
        word = "waited"  # type: ignore[assignment]


words = st.sampled_from(["hello", None, "end", "fail", "next of nothing", "stubborn", "inner"])
steps = st.one_of(
    st.tuples(st.just("send"), words),
    st.tuples(st.just("throw"), st.sampled_from(sorted(ERRORS))),
    st.tuples(st.just("close"), st.none()),
)
# The first step of all has to send nothing; further scripts begin otherwise, to see that this fails alike.
scripts = st.one_of(st.lists(steps, max_size=6).map(lambda rest: [("send", None), *rest]), st.lists(steps, max_size=3))
manner = settings(max_examples=150, deadline=None, database=None)


@pytest.mark.parametrize("bare", [echo, coroutine_echo], ids=["generator", "coroutine"])
def test_whatever_is_done_to_it_has_the_same_effect(bare: Callable[[list[str]], Any]) -> None:
    measured = measure("work")(bare)

    @manner
    @given(scripts)
    @example([("send", None), ("send", "stubborn"), ("close", None)])
    @example([("send", None), ("send", "inner"), ("throw", "refused")])
    @example([("close", None), ("send", None)])
    @example([("throw", "refused"), ("send", None)])
    def same(script: list[Step]) -> None:
        if bare is coroutine_echo:  # what becomes of one that never began has a test of its own
            script = [("send", None), *script]
        expected_log: list[str] = []
        log: list[str] = []
        driven = bare(expected_log)
        measured_driven = measured(log)
        expected, got = play(driven, script, expected_log), play(measured_driven, script, log)
        finish(driven, measured_driven)
        assert got == expected

    with Live() as live:
        same()
        assert live.open_spans() == {}


def test_whatever_is_done_to_an_async_generator_has_the_same_effect() -> None:
    measured = measure("work")(async_echo)

    @manner
    @given(scripts)
    @example([("send", None), ("send", "stubborn"), ("close", None)])
    @example([("send", None), ("send", "inner"), ("throw", "handled"), ("send", "hello")])
    @example([("close", None), ("send", None)])
    @example([("throw", "refused"), ("send", None)])
    def same(script: list[Step]) -> None:
        expected_log: list[str] = []
        log: list[str] = []
        produced, measured_produced = async_echo(expected_log), measured(log)
        expected, got = play_async(produced, script, expected_log), play_async(measured_produced, script, log)
        for each in (produced, measured_produced):
            play_async(each, [("close", None)] * 3, [])
        assert got == expected

    with Live() as live:
        same()
        assert live.open_spans() == {}


def finish(*driven: Any) -> None:
    for each in driven:
        for _ in range(3):  # the stubborn ones need to be told twice
            play(each, [("close", None)], [])


def test_a_handled_athrow_goes_on_with_what_the_generator_yields() -> None:
    """The one that a plain ``async for ...: yield`` gets wrong, by itself and readable."""

    @measure("work")
    async def produce() -> AsyncGenerator[str, str]:
        word = "begin"
        while True:
            try:
                word = yield word
            except LookupError:
                word = "handled"

    async def main() -> list[str]:
        produced = produce()
        heard = [await anext(produced), await produced.asend("sent"), await produced.athrow(LookupError())]
        await produced.aclose()
        return heard

    with Live():
        assert asyncio.run(main()) == ["begin", "sent", "handled"]


def test_a_generator_returns_its_value_to_yield_from() -> None:
    @measure("work")
    def produce() -> Generator[int, str, str]:
        got = yield 1
        return f"got {got}"

    def consume() -> Generator[int, str, None]:
        results.append((yield from produce()))

    results: list[str] = []
    with Live():
        consumer = consume()
        assert next(consumer) == 1
        with pytest.raises(StopIteration):
            consumer.send("this")
        assert results == ["got this"]


def test_what_comes_out_is_of_the_same_kind() -> None:
    async def coroutine() -> None: ...

    with Live():
        task, items, later = measure(coroutine)(), measure(echo)([]), measure(async_echo)([])
        assert inspect.iscoroutine(task)
        assert asyncio.iscoroutine(task)
        assert inspect.isawaitable(task)
        assert inspect.isgenerator(items)
        assert inspect.isasyncgen(later)
        asyncio.run(task)


@pytest.mark.parametrize("door", [pytest.param(lambda predict: predict, id="bare"), measure("work")])
def test_a_coroutine_that_is_closed_before_it_began_is_no_reason_to_warn(door: Callable[..., Any]) -> None:
    async def coroutine() -> None: ...

    with Live() as live:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            door(coroutine)().close()
            gc.collect()
        assert said == []
        assert live.settle() == []


def test_an_async_generator_moved_between_tasks_keeps_its_state() -> None:
    """As a streaming response does that is begun in one task and iterated in another."""
    with Live() as live:

        @measure("work")
        async def produce() -> AsyncGenerator[int, None]:
            live.burn(60.0)
            yield 1
            await asyncio.sleep(0)
            live.burn(40.0)
            yield 2

        async def main() -> list[int]:
            produced = produce()
            first = await asyncio.create_task(produced.__anext__())  # type: ignore[arg-type]
            live.burn_apart(50.0)
            rest = [item async for item in produced]
            return [first, *rest]

        assert asyncio.run(main()) == [1, 2]
        assert live.joules("work") == pytest.approx(100.0, rel=0.01)


def test_a_generator_that_is_stepped_by_many_threads_keeps_its_state() -> None:
    """As a web framework does that iterates a sync body in a thread pool, each step in a copy of the context."""
    with Live() as live:

        @measure("work")
        def produce() -> Generator[int, None, None]:
            for item in range(4):
                live.burn(25.0)
                yield item

        produced, seen = produce(), []
        for _ in range(4):
            context = contextvars.copy_context()
            thread = threading.Thread(target=lambda: seen.append(context.run(next, produced)))  # noqa: B023
            thread.start()
            thread.join()
            live.burn_apart(50.0)
        assert next(produced, "end") == "end"
        assert seen == [0, 1, 2, 3]
        assert live.joules("work") == pytest.approx(100.0, rel=0.01)
        assert live.one("work").outcome == "ok"


def test_context_variables_that_a_coroutine_sets_stay_set() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    @measure("work")
    async def log_in() -> None:
        await asyncio.sleep(0)
        user.set("somebody")

    async def main() -> str:
        await log_in()
        return user.get()

    with Live():
        assert asyncio.run(main()) == "somebody"
