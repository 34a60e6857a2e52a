"""What a span hands on to thread pools is charged to it, and the pools do everything else as they did before."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import copy
import decimal
import functools
import gc
import inspect
import pickle
import queue
import subprocess
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import wrapt
from live import Live, environment, play, spin, wait_until_asleep

import greeninfer
from greeninfer import current, measure, threads
from greeninfer._records import NANO

SUBMIT = ThreadPoolExecutor.submit
JOB_SECONDS = 0.02
# Joules are known within a tenth here: what one thread still does while the next one works is charged, too.
COLOUR: contextvars.ContextVar[str] = contextvars.ContextVar("colour")


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    assert ThreadPoolExecutor.submit is SUBMIT
    threads.instrument()
    yield
    threads.uninstrument()
    assert ThreadPoolExecutor.submit is SUBMIT


def name_of_current() -> str:
    span = current()
    return span.name if span is not None else "(none)"


# Every way into a thread


async def run_in_executor(job: Callable[[], object]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, job)


async def run_in_own_executor(job: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, job)


async def wrap_future(job: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        await asyncio.wrap_future(pool.submit(job))


async def submit_and_wait(job: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        concurrent.futures.wait([pool.submit(job)])


async def map_and_wait(job: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        list(pool.map(lambda _: job(), [1]))


async def to_thread(job: Callable[[], object]) -> None:
    await asyncio.to_thread(job)


async def anyio_to_thread(job: Callable[[], object]) -> None:
    anyio = pytest.importorskip("anyio")
    await anyio.to_thread.run_sync(job)


async def anyio_by_keyword(job: Callable[[], object]) -> None:
    anyio = pytest.importorskip("anyio")
    await anyio.to_thread.run_sync(func=job, abandon_on_cancel=True)


async def anyio_in_a_group(job: Callable[[], object]) -> None:
    anyio = pytest.importorskip("anyio")
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, job)


async def starlette_threadpool(job: Callable[[], object]) -> None:
    concurrency = pytest.importorskip("starlette.concurrency")
    await concurrency.run_in_threadpool(job)


async def nested_pools(job: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as outer, ThreadPoolExecutor(1) as inner:
        await asyncio.wrap_future(outer.submit(lambda: inner.submit(job).result()))


async def a_loop_in_a_thread(job: Callable[[], object]) -> None:
    async def inside() -> None:
        job()

    await asyncio.to_thread(asyncio.run, inside())


class Loud(ThreadPoolExecutor):
    """A pool with a ``submit`` of its own."""

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert getattr(function, "__name__", "") != "_in_context"
        return super().submit(function, *args, **kwargs)


async def subclass(job: Callable[[], object]) -> None:
    with Loud(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, job)


WAYS = [
    *(run_in_executor, run_in_own_executor, wrap_future, submit_and_wait, map_and_wait, to_thread, anyio_to_thread),
    *(anyio_by_keyword, anyio_in_a_group, starlette_threadpool, nested_pools, a_loop_in_a_thread, subclass),
]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_job_is_charged_to_the_span_that_gave_it(way: Callable[..., Awaitable[None]], loop: str) -> None:
    names: list[str] = []
    used: list[float] = []

    def job() -> None:
        names.append(name_of_current())
        live.burn_apart(40.0)
        used.append(spin(JOB_SECONDS))

    @measure("request")
    async def request() -> None:
        threads.instrument()
        live.burn_apart(10.0)
        await way(job)
        live.burn_apart(5.0)

    factory = None if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    with Live() as live:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(request())
        assert names == ["request"]
        assert live.joules("request") == pytest.approx(55.0, rel=0.1)
        assert live.one("request").cpu_seconds > used[0]
        assert live.open_spans() == {}


def test_without_the_hooks_it_is_not() -> None:
    """So that the test above says something: nobody else would have charged it."""
    threads.uninstrument()

    @measure("request")
    async def request() -> None:
        await run_in_executor(lambda: spin(JOB_SECONDS))

    with Live() as live:
        asyncio.run(request())
        assert live.one("request").cpu_seconds < 0.5 * JOB_SECONDS


def test_two_requests_that_share_a_pool_pay_for_their_own_jobs() -> None:
    # The loop still wakes for one job while the next one works, and that is charged, too.
    with Live() as live, ThreadPoolExecutor(1) as pool:

        @measure("cheap")
        async def cheap() -> None:
            await asyncio.get_running_loop().run_in_executor(pool, live.burn_apart, 10.0)

        @measure("dear")
        async def dear() -> None:
            await asyncio.get_running_loop().run_in_executor(pool, live.burn_apart, 90.0)

        async def main() -> None:
            await asyncio.gather(cheap(), dear(), cheap())

        asyncio.run(main())
        assert live.joules("cheap") == pytest.approx(20.0, rel=0.25)
        assert live.joules("dear") == pytest.approx(90.0, rel=0.1)


def test_jobs_that_run_at_once_are_charged_by_their_cpu_time() -> None:
    used = {"little": 0.0, "much": 0.0}
    with Live(50.0, tick_seconds=0.02) as live, ThreadPoolExecutor(2) as pool:

        def job(name: str, seconds: float) -> None:
            begun = time.thread_time()
            while time.thread_time() - begun < seconds:
                spin(0.002)
            used[name] += time.thread_time() - begun

        def request(name: str, seconds: float) -> None:
            with measure(name):
                pool.submit(job, name, seconds).result()

        asking = [threading.Thread(target=request, args=case) for case in (("little", 0.05), ("much", 0.15))]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        little, much = live.one("little"), live.one("much")
        assert little.cpu_seconds == pytest.approx(used["little"], rel=0.05, abs=0.002)
        assert much.cpu_seconds == pytest.approx(used["much"], rel=0.05, abs=0.002)


def test_a_span_opened_in_the_job_is_a_child() -> None:
    with Live() as live, ThreadPoolExecutor(1) as pool:

        def job() -> None:
            live.burn_apart(5.0)
            with measure("child", model="m"):
                live.burn_apart(30.0)
            assert name_of_current() == "request"
            live.burn_apart(7.0)

        with measure("request") as span:
            pool.submit(job).result()
            live.burn_apart(10.0)
        live.settle()
        assert live.joules("child") == pytest.approx(30.0, rel=0.1)
        assert live.joules("request") == pytest.approx(22.0, rel=0.1)
        assert span.energy().total_joules == pytest.approx(52.0, rel=0.1)


def test_a_job_given_by_a_child_is_the_childs() -> None:
    with Live() as live, ThreadPoolExecutor(1) as pool:
        with measure("request"), measure("child"):
            pool.submit(live.burn_apart, 30.0).result()
        assert live.joules("child") == pytest.approx(30.0, rel=0.1)
        assert live.joules("request") < 1.0


def test_a_measured_function_as_a_job() -> None:
    with Live() as live, ThreadPoolExecutor(1) as pool:
        classify = measure("classify")(live.burn_apart)
        with measure("request") as span:
            pool.submit(classify, 30.0).result()
        live.settle()
        assert live.joules("classify") == pytest.approx(30.0, rel=0.1)
        assert span.energy().total_joules == pytest.approx(30.0, rel=0.1)


# Jobs that outlive their request


def test_a_job_that_outlives_its_request_is_charged_until_then() -> None:
    closed, working = threading.Event(), threading.Event()
    with Live() as live, ThreadPoolExecutor(1) as pool:

        def job() -> str:
            live.burn_apart(20.0)
            working.set()
            assert closed.wait(10.0)
            live.burn_apart(50.0)
            return name_of_current()

        with measure("request"):
            future = pool.submit(job)
            assert working.wait(10.0)
            wait_until_asleep(pool._threads)
        live.tick()
        closed.set()
        assert future.result() == "(none)"
        assert live.joules("request") == pytest.approx(20.0, rel=0.1)
        assert live.open_spans() == {}


def test_a_job_that_begins_after_its_request_ended_is_nobodys() -> None:
    go = threading.Event()
    with Live() as live, ThreadPoolExecutor(1) as pool:
        pool.submit(go.wait, 10.0)
        with measure("request"):
            future = pool.submit(lambda: (live.burn_apart(50.0), name_of_current())[1])
        go.set()
        assert future.result() == "(none)"
        assert live.joules("request") < 1.0


def test_a_child_of_a_job_that_outlives_its_request_pays_for_itself() -> None:
    closed, working = threading.Event(), threading.Event()
    with Live() as live, ThreadPoolExecutor(1) as pool:

        def job() -> None:
            with measure("child"):
                live.burn_apart(10.0)
                working.set()
                assert closed.wait(10.0)
                live.burn_apart(20.0)
            with measure("later"):
                live.burn_apart(5.0)

        with measure("request"):
            future = pool.submit(job)
            assert working.wait(10.0)
        closed.set()
        future.result()
        assert live.joules("child") == pytest.approx(30.0, rel=0.1)
        assert live.joules("later") == pytest.approx(5.0, rel=0.1)
        assert live.joules("request") < 1.0
        assert live.open_spans() == {}


def test_the_next_job_of_a_thread_knows_nothing_of_the_one_before() -> None:
    with Live() as live, ThreadPoolExecutor(1) as pool:
        with measure("request"):
            pool.submit(COLOUR.set, "red").result()
            assert pool.submit(name_of_current).result() == "request"
        assert pool.submit(name_of_current).result() == "(none)"
        assert pool.submit(COLOUR.get, "no colour").result() == "no colour"
        pool.submit(live.burn_apart, 50.0).result()
        with measure("other"):
            assert pool.submit(name_of_current).result() == "other"
        assert live.joules("request") < 1.0
        assert live.joules("other") < 1.0


# Context variables


def test_the_submitters_variables_are_seen_in_the_job_and_stay_its_own() -> None:
    with Live(), ThreadPoolExecutor(1) as pool, measure("request"):
        token = COLOUR.set("green")
        assert pool.submit(COLOUR.get).result() == "green"
        pool.submit(COLOUR.set, "red").result()
        assert COLOUR.get() == "green"
        assert pool.submit(COLOUR.get).result() == "green"
        COLOUR.reset(token)


def test_the_threads_own_variables_are_still_there() -> None:
    with Live(), ThreadPoolExecutor(1, initializer=lambda: COLOUR.set("the pool's")) as pool:
        assert pool.submit(COLOUR.get).result() == "the pool's"
        with measure("request"):
            assert pool.submit(COLOUR.get).result() == "the pool's"
        assert pool.submit(COLOUR.get).result() == "the pool's"


def test_a_pool_that_counts_in_many_digits_still_does() -> None:
    def prepare() -> None:
        decimal.setcontext(decimal.Context(prec=50))

    def digits() -> int:
        return len(str(decimal.Decimal(1) / decimal.Decimal(3))) - 2

    def request() -> tuple[int, int]:
        with measure("request"):
            return pool.submit(digits).result(), pool.submit(digits).result()

    with Live(), ThreadPoolExecutor(1, initializer=prepare) as pool:
        assert pool.submit(digits).result() == 50
        assert contextvars.Context().run(request) == (50, 50)


# Pools do what they did before


def plain(function: Callable[[ThreadPoolExecutor], object]) -> object:
    """Return what a function finds on a pool without the hooks."""
    threads.uninstrument()
    try:
        with ThreadPoolExecutor(2) as pool:
            return function(pool)
    finally:
        threads.instrument()


def followed(function: Callable[[ThreadPoolExecutor], object]) -> object:
    """Return what it finds on a pool with them, inside a span."""
    with Live(), ThreadPoolExecutor(2) as pool, measure("request"):
        return function(pool)


def failure_of(function: Callable[[], object]) -> tuple[object, ...]:
    try:
        function()
    except BaseException as error:
        return type(error), error.args, error.__cause__, error.__context__
    return ()


def takes(*args: object, **kwargs: object) -> tuple[object, ...]:
    return args, tuple(kwargs.items())


CASES: dict[str, Callable[[ThreadPoolExecutor], object]] = {
    "arguments": lambda pool: pool.submit(takes, 1, 2, a=3, function=4, fn=5, self=6, span=7, context=8).result(),
    "no arguments": lambda pool: pool.submit(takes).result(),
    "partial": lambda pool: pool.submit(functools.partial(takes, 1, b=2), 3).result(),
    "method": lambda pool: pool.submit("a,b".split, ",").result(),
    "class": lambda pool: pool.submit(dict, a=1).result(),
    "None": lambda pool: pool.submit(lambda: None).result(),
    "map": lambda pool: list(pool.map(takes, range(3), "abc", timeout=10.0, chunksize=2)),
    "as completed": lambda pool: sorted(
        future.result() for future in concurrent.futures.as_completed([pool.submit(int, number) for number in range(9)])
    ),
    "exception": lambda pool: failure_of(pool.submit(lambda: 1 // 0).result),
    "stop iteration": lambda pool: failure_of(pool.submit(next, iter(())).result),
    "exit": lambda pool: failure_of(pool.submit(sys.exit, 3).result),
    "generator exit": lambda pool: failure_of(pool.submit(lambda: (_ for _ in ()).throw(GeneratorExit)).result),
    "not callable": lambda pool: failure_of(pool.submit(5).result)[:1],  # type: ignore[arg-type]
    "nothing to do": lambda pool: failure_of(lambda: pool.submit()),  # type: ignore[call-arg]
    "by name": lambda pool: failure_of(lambda: pool.submit(fn=takes)),  # type: ignore[call-arg]
    "wrong arguments": lambda pool: failure_of(pool.submit(lambda a: a).result)[:1],
    "timeout": lambda pool: failure_of(lambda: pool.submit(time.sleep, 0.05).result(0.001)),
    "callback": lambda pool: called_back(pool),
    "generator": lambda pool: list(pool.submit(lambda: (number for number in range(3))).result()),
    "coroutine": lambda pool: inspect.iscoroutine(closed(pool.submit(asyncio.sleep, 0).result())),
    "after the end": lambda pool: (pool.shutdown(), failure_of(lambda: pool.submit(takes)))[1],
}


def called_back(pool: ThreadPoolExecutor) -> object:
    heard: list[object] = []
    future = pool.submit(takes, 1)
    future.add_done_callback(lambda done: heard.append(done.result()))
    concurrent.futures.wait([future])
    while not heard:
        time.sleep(0.001)
    return heard


def closed(coroutine: Any) -> Any:
    coroutine.close()
    return coroutine


@pytest.mark.parametrize("case", CASES)
def test_a_pool_does_the_same_with_the_hooks(case: str) -> None:
    assert followed(CASES[case]) == plain(CASES[case])


def test_a_jobs_exception_is_the_very_same_object_and_shows_its_frames() -> None:
    error = ValueError("no such model")

    def predict() -> None:
        raise error

    with Live(), ThreadPoolExecutor(1) as pool, measure("request"):
        with pytest.raises(ValueError, match="no such model") as caught:
            pool.submit(predict).result()
        assert caught.value is error
        assert error.__context__ is None
        assert error.__cause__ is None
        assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-1] == "predict"


def test_a_future_can_be_cancelled_before_its_job_begins() -> None:
    go = threading.Event()
    with Live() as live, ThreadPoolExecutor(1) as pool, measure("request"):
        pool.submit(go.wait, 10.0)
        future = pool.submit(live.burn_apart, 50.0)
        assert future.cancel()
        go.set()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()
    assert future.cancelled()


def test_a_pool_that_is_shut_down_cancels_what_has_not_begun() -> None:
    go, begun = threading.Event(), threading.Event()
    with Live(), measure("request"):
        pool = ThreadPoolExecutor(1)
        first = pool.submit(lambda: (begun.set(), go.wait(10.0)))
        waiting = pool.submit(takes)
        assert begun.wait(10.0)
        pool.shutdown(wait=False, cancel_futures=True)
        go.set()
        assert first.result()[1]
        assert waiting.cancelled()


def test_a_broken_initializer_breaks_the_pool_as_before(caplog: pytest.LogCaptureFixture) -> None:
    with (
        Live(),
        ThreadPoolExecutor(1, initializer=lambda: 1 // 0) as pool,
        measure("request"),
        pytest.raises(concurrent.futures.BrokenExecutor),
    ):
        pool.submit(time.sleep, 5.0).result()
    assert "greeninfer" not in caplog.text


def test_awaiting_a_job_can_be_cancelled() -> None:
    go = threading.Event()

    @measure("request")
    async def request() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.to_thread(go.wait, 10.0)
        go.set()

    with Live() as live:
        asyncio.run(request())
        assert live.one("request").outcome == "ok"


def test_a_job_keeps_nothing_alive() -> None:
    class Weight:
        pass

    weight = Weight()
    gone = weakref.ref(weight)
    with Live(), ThreadPoolExecutor(1) as pool, measure("request"):
        pool.submit(takes, weight).result()
        pool.submit(takes).result()  # the thread lets go of the first one
        del weight
        gc.collect()
        assert gone() is None


def double(number: int) -> int:
    return 2 * number


def test_a_process_pool_is_untouched() -> None:
    """What it is given must be pickled, and what we wrap cannot be."""
    with Live(), measure("request"), ProcessPoolExecutor(1) as pool:
        assert pool.submit(double, 21).result() == 42
        assert list(pool.map(double, [1, 2])) == [2, 4]

        async def main() -> int:
            return await asyncio.get_running_loop().run_in_executor(pool, double, 4)

        assert asyncio.run(main()) == 8
    assert ProcessPoolExecutor.submit.__module__ == "concurrent.futures.process"
    assert not isinstance(vars(ProcessPoolExecutor)["submit"], wrapt.FunctionWrapper)


# On and off


def test_it_can_be_switched_on_and_off_many_times() -> None:
    anyio = pytest.importorskip("anyio.to_thread")
    threads.uninstrument()
    submit, run_sync = ThreadPoolExecutor.submit, anyio.run_sync
    assert not threads.instrumented()
    for _ in range(50):
        threads.instrument()
        threads.instrument()
        assert threads.instrumented()
        assert vars(ThreadPoolExecutor)["submit"].__wrapped__ is submit
        assert anyio.run_sync.__wrapped__ is run_sync
        threads.uninstrument()
        threads.uninstrument()
        assert not threads.instrumented()
        assert ThreadPoolExecutor.submit is submit
        assert anyio.run_sync is run_sync


def test_threads_may_switch_it_on_at_once() -> None:
    threads.uninstrument()
    submit, gate = ThreadPoolExecutor.submit, threading.Barrier(8)

    def switch() -> None:
        gate.wait()
        threads.instrument()

    switching = [threading.Thread(target=switch) for _ in range(8)]
    for thread in switching:
        thread.start()
    for thread in switching:
        thread.join()
    assert vars(ThreadPoolExecutor)["submit"].__wrapped__ is submit
    threads.uninstrument()
    assert ThreadPoolExecutor.submit is submit


def test_what_somebody_wrapped_since_stays_and_only_passes_on() -> None:
    calls: list[str] = []

    def theirs(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        calls.append(name_of_current())
        return wrapped(*args, **kwargs)

    before = vars(ThreadPoolExecutor)["submit"]
    wrapt.wrap_function_wrapper(ThreadPoolExecutor, "submit", theirs)
    wrapper = vars(ThreadPoolExecutor)["submit"]
    try:
        threads.uninstrument()
        assert vars(ThreadPoolExecutor)["submit"] is wrapper
        with Live() as live, ThreadPoolExecutor(1) as pool:
            with measure("request"):
                pool.submit(spin, JOB_SECONDS).result()
            assert live.one("request").cpu_seconds < 0.5 * JOB_SECONDS
        threads.instrument()
        with Live() as live, ThreadPoolExecutor(1) as pool:
            with measure("request"):
                used = pool.submit(spin, JOB_SECONDS).result()
                assert pool.submit(name_of_current).result() == "request"
            assert live.one("request").cpu_seconds > used
        threads.uninstrument()
        assert vars(ThreadPoolExecutor)["submit"] is wrapper
        assert calls == ["request"] * 3
    finally:
        ThreadPoolExecutor.submit = before.__wrapped__  # type: ignore[method-assign]


def test_what_was_wrapped_before_is_put_back() -> None:
    threads.uninstrument()
    before = vars(ThreadPoolExecutor)["submit"]
    calls: list[int] = []

    def theirs(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        calls.append(1)
        return wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(ThreadPoolExecutor, "submit", theirs)
    wrapper = vars(ThreadPoolExecutor)["submit"]
    try:
        threads.instrument()
        with Live(), ThreadPoolExecutor(1) as pool, measure("request"):
            assert pool.submit(name_of_current).result() == "request"
        threads.uninstrument()
        assert vars(ThreadPoolExecutor)["submit"] is wrapper
        assert calls == [1]
    finally:
        ThreadPoolExecutor.submit = before  # type: ignore[method-assign]


def test_switched_off_while_jobs_are_under_way() -> None:
    go, begun = threading.Event(), threading.Event()
    with Live() as live, ThreadPoolExecutor(1) as pool:
        with measure("request"):
            running = pool.submit(lambda: (begun.set(), go.wait(10.0), name_of_current())[2])
            waiting = pool.submit(name_of_current)
            assert begun.wait(10.0)
            threads.uninstrument()
            go.set()
            assert running.result() == waiting.result() == "request"
        assert live.open_spans() == {}


@pytest.mark.parametrize("enabled", ["1", ""], ids=["disabled", "enabled"])
def test_anyio_imported_later(enabled: str, tmp_path: Path) -> None:
    pytest.importorskip("anyio")
    script = """
import sys, json
import greeninfer
greeninfer.threads.instrument()
assert "anyio" not in sys.modules
import anyio.to_thread
first = hasattr(anyio.to_thread.run_sync, "__wrapped__")
greeninfer.threads.uninstrument()
second = hasattr(anyio.to_thread.run_sync, "__wrapped__")
greeninfer.threads.instrument()
third = hasattr(anyio.to_thread.run_sync, "__wrapped__")
with greeninfer.measure("request"):
    name = anyio.run(anyio.to_thread.run_sync, lambda: getattr(greeninfer.current(), "name", None))
print(json.dumps([first, second, third, name]))
"""
    found = play(script, tmp_path, DISABLED=enabled, METERS="simulated")
    assert found == [True, False, True, None if enabled else "request"]


def test_anyio_imported_when_it_is_off_again(tmp_path: Path) -> None:
    pytest.importorskip("anyio")
    script = """
import greeninfer, json
greeninfer.threads.instrument()
greeninfer.threads.uninstrument()
import anyio.to_thread
print(json.dumps(hasattr(anyio.to_thread.run_sync, "__wrapped__")))
"""
    assert play(script, tmp_path) is False


def test_importing_the_library_wraps_nothing(tmp_path: Path) -> None:
    script = """
import json
from concurrent.futures import ThreadPoolExecutor
before = vars(ThreadPoolExecutor)["submit"]
import greeninfer
greeninfer.EnergyMiddleware
print(json.dumps([before is vars(ThreadPoolExecutor)["submit"], greeninfer.threads.instrumented()]))
"""
    assert play(script, tmp_path) == [True, False]


def test_a_program_that_ends_with_jobs_under_way_ends_quietly(tmp_path: Path) -> None:
    """Pools are joined at exit: what runs then is done as if nothing were wrapped."""
    script = """
import greeninfer, time
from concurrent.futures import ThreadPoolExecutor
greeninfer.threads.instrument()
pool = ThreadPoolExecutor(2)
with greeninfer.measure("request"):
    for _ in range(4):
        pool.submit(time.sleep, 0.05)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environment(METERS="simulated"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What is wrapped looks as before


def looks(function: Any) -> tuple[object, ...]:
    return (
        str(inspect.signature(function)),
        function.__name__,
        function.__qualname__,
        function.__doc__,
        function.__module__,
        inspect.iscoroutinefunction(function),
        inspect.isfunction(function),
        inspect.getsource(function),
        callable(function),
    )


def test_the_wrapped_functions_look_as_before() -> None:
    anyio = pytest.importorskip("anyio.to_thread")
    with_hooks = [looks(ThreadPoolExecutor.submit), looks(anyio.run_sync)]
    threads.uninstrument()
    assert with_hooks == [looks(ThreadPoolExecutor.submit), looks(anyio.run_sync)]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_wrapped_functions_are_pickled_by_name(protocol: int) -> None:
    anyio = pytest.importorskip("anyio.to_thread")
    pickles = [pickle.dumps(each, protocol) for each in (ThreadPoolExecutor.submit, anyio.run_sync)]
    threads.uninstrument()
    assert [pickle.loads(each) for each in pickles] == [ThreadPoolExecutor.submit, anyio.run_sync]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_the_wrapped_functions_can_be_copied(copied: Callable[[Any], Any]) -> None:
    anyio = pytest.importorskip("anyio.to_thread")
    assert callable(copied(ThreadPoolExecutor.submit))
    assert copied(anyio.run_sync) is not None


def test_a_closure_over_one_of_them_can_be_sent_elsewhere() -> None:
    """As Ray and dask do it."""
    cloudpickle = pytest.importorskip("cloudpickle")
    anyio = pytest.importorskip("anyio.to_thread")
    run_sync = anyio.run_sync

    async def work() -> object:
        return await run_sync(double, 4)

    assert asyncio.run(pickle.loads(cloudpickle.dumps(work))()) == 8


def test_the_unbound_function_works_as_before() -> None:
    with Live(), ThreadPoolExecutor(1) as pool, measure("request"):
        assert ThreadPoolExecutor.submit(pool, double, 4).result() == 8
        submit = pool.submit
        assert submit(double, 5).result() == 10


def test_nothing_is_added_without_a_span() -> None:
    """The job that the pool gets is the very function that was given."""
    go, begun = threading.Event(), threading.Event()
    waiting: queue.Queue[Any] = queue.Queue()
    with Live(), ThreadPoolExecutor(1) as pool:
        pool._work_queue = waiting  # type: ignore[assignment]
        pool.submit(lambda: (begun.set(), go.wait(10.0)))
        assert begun.wait(10.0)
        future = pool.submit(double, 4)
        given = [item.fn for item in list(waiting.queue)]
        go.set()
        assert future.result() == 8
    assert given == [double]


# Its limits


def test_a_thread_of_ones_own_is_not_followed() -> None:
    """As documented: nothing says for whom it works."""
    names: list[str] = []
    with Live(), measure("request"):
        thread = threading.Thread(target=lambda: names.append(name_of_current()))
        thread.start()
        thread.join()
    assert names == ["(none)"]


def test_jobs_by_the_thousand_leave_the_books_closed() -> None:
    with Live(tick_seconds=0.02) as live, ThreadPoolExecutor(4) as pool:

        @measure("request")
        async def request(number: int) -> int:
            return await asyncio.get_running_loop().run_in_executor(pool, double, number)

        async def main() -> list[int]:
            return await asyncio.gather(*(request(number) for number in range(1000)))

        assert asyncio.run(main()) == [2 * number for number in range(1000)]
        settled = live.named("request")
        assert len(settled) == 1000
        assert live.open_spans() == {}
        attributed = live.collected.nanojoules("attributed")
        assert attributed == sum(each.nanojoules for each in settled)
        assert attributed / NANO > 0.0


def test_the_door_tells_whether_it_is_open() -> None:
    assert threads.instrumented()
    threads.uninstrument()
    assert not threads.instrumented()
    assert greeninfer.threads is threads


def test_no_warning_is_left_by_any_of_this() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads.uninstrument()
        threads.instrument()
        with Live(), ThreadPoolExecutor(1) as pool, measure("request"):
            pool.submit(takes).result()
