"""Spans within spans, phases, batches and tokens; and who is the current one, wherever the code goes."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from live import Live, wait_until_asleep

from greeninfer import Span, batch, current, measure
from greeninfer._records import NANO, Measurement


def name_of(span: Span | None) -> str:
    return span.name if span is not None else "(none)"


# Joules of parents and children


def test_a_child_is_carved_out_of_its_parent() -> None:
    with Live() as live:
        with measure("parent") as parent:
            live.burn_apart(30.0)
            with measure("child") as child:
                live.burn_apart(100.0)
                with measure("grandchild") as grandchild:
                    live.burn_apart(7.0)
            live.burn_apart(20.0)
        live.settle()
        figures = [(span.energy().joules, span.energy().total_joules) for span in (parent, child, grandchild)]
        assert figures == [
            (pytest.approx(50.0, rel=0.01), pytest.approx(157.0, rel=0.01)),
            (pytest.approx(100.0, rel=0.01), pytest.approx(107.0, rel=0.01)),
            (pytest.approx(7.0, rel=0.01), pytest.approx(7.0, rel=0.01)),
        ]


@pytest.mark.parametrize("settled_early", [False, True])
def test_own_joules_of_a_tree_add_up_to_the_total_of_its_root(settled_early: bool) -> None:
    with Live() as live:
        spans: list[Span] = []

        @measure("node")
        def node(depth: int) -> None:
            span = current()
            assert span is not None
            spans.append(span)
            live.burn(10.0)
            for _ in range(2 if depth else 0):
                node(depth - 1)
                if settled_early:
                    live.settle()

        node(2)
        live.settle()
        assert len(spans) == 7
        own = sum(span.nanojoules for span in spans) / NANO
        assert own == pytest.approx(70.0, rel=0.01)
        assert spans[0].energy().total_joules == pytest.approx(own, abs=1e-6)


def test_children_on_other_threads_and_tasks_count_in_the_total() -> None:
    with Live() as live:

        @measure("child")
        async def child(joules: float) -> None:
            await asyncio.sleep(0)
            live.burn_apart(joules)

        waits = threading.Event()

        @measure("blocking child")
        def blocking_child(joules: float) -> None:
            assert waits.wait(10.0)
            live.burn_apart(joules)

        @measure("parent")
        async def parent() -> Span | None:
            live.burn_apart(5.0)
            await asyncio.gather(child(20.0), child(30.0))
            asyncio.get_running_loop().call_soon(waits.set)  # called when the parent's own step is over
            await asyncio.to_thread(blocking_child, 40.0)
            return current()

        span = asyncio.run(parent())
        assert span is not None
        live.settle()
        energy = span.energy()
        assert (energy.joules, energy.total_joules) == (pytest.approx(5.0, rel=0.02), pytest.approx(95.0, rel=0.01))


def test_recursion_gives_each_call_its_own_joules() -> None:
    with Live() as live:

        @measure("factorial")
        def factorial(number: int) -> int:
            live.burn_apart(float(number))
            return number * factorial(number - 1) if number > 1 else 1

        assert factorial(5) == 120
        joules = sorted(each.nanojoules / NANO for each in live.named("factorial"))
        assert joules == pytest.approx([1.0, 2.0, 3.0, 4.0, 5.0], rel=0.02)
        assert max(each.energy().total_joules or 0.0 for each in live.named("factorial")) == pytest.approx(15, rel=0.01)


def test_one_door_can_be_open_many_times_at_once() -> None:
    """The same object as a block: nested in itself, and in threads that wait for each other inside."""
    door = measure("block")
    with Live() as live:
        with door as outer:
            with door as inner:
                assert inner.parent is outer
                live.burn_apart(100.0)
            assert current() is outer
        assert current() is None
        gate = threading.Barrier(8)

        def work(_: int) -> tuple[bool, bool]:
            with door as span:
                gate.wait(10.0)
                mine = current() is span
                gate.wait(10.0)
            return mine, current() is None

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [(True, True)] * 8
        assert len(live.named("block")) == 10
        assert outer.energy().total_joules == pytest.approx(100.0, rel=0.01)
        assert live.open_spans() == {}


def test_one_function_in_many_threads_makes_spans_that_share_nothing() -> None:
    with Live() as live:
        gate = threading.Barrier(8)

        @measure("work")
        def predict(rows: int) -> Span | None:
            gate.wait(10.0)
            span = current()
            assert span is not None
            span.add_tokens(output=rows)
            gate.wait(10.0)
            return span

        with ThreadPoolExecutor(8) as pool:
            spans = list(pool.map(predict, range(8)))
        live.settle()
        assert len({id(span) for span in spans}) == 8
        assert [span.tokens["output"] for span in spans if span] == list(range(8))
        assert all(span.parent is None for span in spans if span)


# Phases


def test_phases_are_parts_of_their_span() -> None:
    with Live() as live:
        with measure("generate") as span:
            with span.phase("prefill"):
                live.burn_apart(60.0)
            for _ in range(2):
                with span.phase("decode"):
                    live.burn_apart(15.0)
            live.burn_apart(10.0)
        measurement = live.one("generate")
        assert measurement.energy().joules == pytest.approx(100.0, rel=0.01)
        by_phase = {phase: nanojoules / NANO for phase, nanojoules in measurement.phases.items()}
        assert by_phase == {"prefill": pytest.approx(60.0, rel=0.01), "decode": pytest.approx(30.0, rel=0.01)}


def test_a_phase_lasts_over_the_waits_of_its_coroutine_and_pays_for_none() -> None:
    with Live() as live:

        @measure("generate")
        async def generate() -> None:
            span = current()
            assert span is not None
            with span.phase("decode"):
                live.burn_apart(10.0)
                await asyncio.sleep(0)  # the neighbour's 50 J
                live.burn_apart(20.0)

        async def neighbour() -> None:
            live.burn_apart(50.0)

        async def main() -> None:
            await asyncio.gather(generate(), neighbour())

        asyncio.run(main())
        measurement = live.one("generate")
        assert measurement.phases["decode"] / NANO == pytest.approx(30.0, rel=0.01)
        assert measurement.energy().joules == pytest.approx(30.0, rel=0.01)


def test_a_child_within_a_phase_is_not_the_phases() -> None:
    with Live() as live:
        with measure("generate") as span, span.phase("decode"):
            live.burn_apart(10.0)
            with measure("lookup"):
                live.burn_apart(90.0)
            live.burn_apart(20.0)
        measurement = live.one("generate")
        assert measurement.phases["decode"] / NANO == pytest.approx(30.0, rel=0.02)
        assert measurement.energy().total_joules == pytest.approx(120.0, rel=0.01)


# Batches


def wait_in_a_span(door: str, done: threading.Event, rows: queue.SimpleQueue[Span]) -> None:
    with measure(door) as span:
        rows.put(span)
        assert done.wait(10.0)


def test_a_batch_on_one_thread_is_paid_by_the_requests_of_others() -> None:
    with Live() as live:
        done = threading.Event()
        rows: queue.SimpleQueue[Span] = queue.SimpleQueue()
        weights = {"long": 6.0, "medium": 3.0, "short": 1.0}
        threads = [threading.Thread(target=wait_in_a_span, args=(name, done, rows)) for name in weights]
        for thread in threads:
            thread.start()
        spans = [rows.get(timeout=10.0) for _ in threads]
        wait_until_asleep(threads)
        with batch([(span, weights[span.name]) for span in spans]):
            live.burn_apart(100.0)
        live.burn_apart(30.0)  # after the batch: nobody's
        done.set()
        for thread in threads:
            thread.join()
        joules = {each.key[0]: each.nanojoules / NANO for each in live.settle()}
        assert joules == {
            "long": pytest.approx(60.0, rel=0.01),
            "medium": pytest.approx(30.0, rel=0.01),
            "short": pytest.approx(10.0, rel=0.01),
        }
        assert current() is None


@pytest.mark.parametrize("kind", [int, float, bool, np.int64, np.float32, np.float64, np.uint8])
def test_weights_are_numbers_of_any_kind(kind: type) -> None:
    """Rows are weighed by token counts, and those come out of arrays."""
    with Live() as live:
        with measure("one") as one, batch([(one, kind(1))]):
            live.burn(100.0)
        assert live.joules("one") == pytest.approx(100.0, rel=0.01)


def test_a_batch_for_tasks_of_the_same_loop() -> None:
    with Live() as live:

        @measure("request")
        async def request(tokens: int, queue: asyncio.Queue[tuple[Span, float, asyncio.Future[str]]]) -> str:
            span = current()
            assert span is not None
            answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            await queue.put((span, float(tokens), answer))
            return await answer

        async def serve(queue: asyncio.Queue[tuple[Span, float, asyncio.Future[str]]]) -> None:
            rows = [await queue.get() for _ in range(3)]
            with batch((span, weight) for span, weight, _ in rows):
                live.burn_apart(100.0)
            for _, _, answer in rows:
                answer.set_result("done")

        async def main() -> list[str]:
            queue: asyncio.Queue[tuple[Span, float, asyncio.Future[str]]] = asyncio.Queue()
            server = asyncio.create_task(serve(queue))
            answers = await asyncio.gather(*(request(tokens, queue) for tokens in (5, 3, 2)))
            await server
            return answers

        assert asyncio.run(main()) == ["done"] * 3
        joules = sorted(each.nanojoules / NANO for each in live.named("request"))
        assert joules == pytest.approx([20.0, 30.0, 50.0], rel=0.01)


def test_a_span_waits_for_the_batch_that_still_works_for_it() -> None:
    """A client hangs up while its row is in the model: the request is over, its joules are not."""
    with Live() as live:
        with measure("request") as gone:
            pass_on = batch([(gone, 1.0)])
            pass_on.__enter__()
        live.tick()
        assert gone.settled_at is None
        live.burn_apart(100.0)
        pass_on.__exit__(None, None, None)
        assert live.one("request").energy().joules == pytest.approx(100.0, rel=0.01)


@pytest.mark.parametrize("late", ["batch", "phase"])
def test_work_for_a_span_that_is_settled_does_not_change_it(late: str) -> None:
    """What exporters have got is final. The joules are somewhere in the books all the same: ``Live`` checks that."""
    with Live() as live:
        with measure("request") as gone:
            live.burn_apart(10.0)
        live.settle()
        before = gone.energy()
        with batch([(gone, 1.0)]) if late == "batch" else gone.phase("late"):
            live.burn_apart(100.0)
        live.settle()
        assert gone.energy() == before
        assert len(live.named("request")) == 1


def test_what_is_attributed_is_what_the_measurements_say() -> None:
    """The counter and the histogram's sum are made of these two; they agree once nothing is open."""
    with Live() as live:
        with measure("request") as gone:
            live.burn_apart(10.0)
        live.settle()
        with batch([(gone, 1.0)]):
            live.burn_apart(100.0)
        with measure("request") as span, span.phase("decode"), batch([(span, 1.0)]):
            live.burn_apart(5.0)
        live.settle()
        assert sum(each.nanojoules for each in live.collected.measurements) == live.collected.nanojoules("attributed")


# Tokens


def test_tokens_add_up_by_kind() -> None:
    with Live() as live:
        with measure("generate") as span:
            span.add_tokens(input=412)
            span.add_tokens(output=30, reasoning=128)
            span.add_tokens(output=3)
        assert live.one("generate").tokens == {"input": 412, "output": 33, "reasoning": 128}


def test_tokens_counted_by_an_array_library_are_numbers_too() -> None:
    with Live() as live:
        with measure("generate") as span:
            span.add_tokens(output=np.array([1, 1, 0]).sum())
        assert live.one("generate").tokens["output"] == 2


# The current span


def test_current_is_the_innermost_and_comes_back() -> None:
    with Live():
        assert current() is None
        with measure("outer") as outer:
            assert current() is outer
            with measure("inner") as inner:
                assert current() is inner
                assert inner.parent is outer
            assert current() is outer
        assert current() is None


def test_blocks_that_end_in_another_order_leave_no_closed_span_behind() -> None:
    def script(live: Live) -> None:
        first, second = measure("first"), measure("second")
        with measure("outer") as outer:
            first.__enter__()
            second_span = second.__enter__()
            first.__exit__(None, None, None)
            assert current() is second_span
            second.__exit__(None, None, None)
            assert current() is outer
        assert current() is None
        assert live.open_spans() == {}

    with Live() as live:
        contextvars.copy_context().run(script, live)  # what it may leave behind is not for the tests after it


def test_a_new_thread_has_no_current_span_and_a_copied_context_has() -> None:
    with Live():
        seen: list[str] = []
        with measure("request"):
            bare = threading.Thread(target=lambda: seen.append(name_of(current())))
            context = contextvars.copy_context()
            copied = threading.Thread(target=lambda: seen.append(name_of(context.run(current))))
            for thread in (bare, copied):
                thread.start()
                thread.join()
        assert seen == ["(none)", "request"]


def test_each_task_has_its_own_current_span() -> None:
    with Live():

        @measure("request")
        async def request() -> bool:
            span = current()
            for _ in range(3):
                await asyncio.sleep(0)
                if current() is not span:
                    return False
            with measure("part") as part:
                await asyncio.sleep(0)
                if current() is not part:
                    return False
            return current() is span

        async def main() -> list[bool]:
            answers = await asyncio.gather(*(request() for _ in range(5)))
            assert current() is None
            return answers

        assert asyncio.run(main()) == [True] * 5


def test_a_generators_span_is_current_inside_it_only() -> None:
    with Live():
        inside: list[str] = []

        @measure("stream")
        def stream() -> Iterator[int]:
            for item in range(2):
                inside.append(name_of(current()))
                yield item

        with measure("consumer"):
            outside = [name_of(current()) for _ in stream()]
        assert inside == ["stream"] * 2
        assert outside == ["consumer"] * 2
        assert current() is None


def test_two_generators_in_turn_keep_their_spans_apart() -> None:
    with Live():

        @measure("stream")
        def stream() -> Iterator[tuple[Span | None, Span | None]]:
            own = current()
            with measure("part"):
                while True:
                    part = current()
                    yield own, part.parent if part else None  # type: ignore[misc]

        first, second = stream(), stream()
        pairs = [next(each) for each in (first, second, first, second)]
        assert all(own is parent for own, parent in pairs)
        assert pairs[0] == pairs[2] != pairs[1] == pairs[3]
        assert current() is None
        first.close()  # type: ignore[attr-defined]
        second.close()  # type: ignore[attr-defined]


def test_an_async_generators_span_is_current_inside_it_only() -> None:
    with Live():
        inside: list[str] = []

        @measure("stream")
        async def stream() -> AsyncIterator[int]:
            for item in range(2):
                await asyncio.sleep(0)
                inside.append(name_of(current()))
                yield item

        async def main() -> list[str]:
            with measure("consumer"):
                return [name_of(current()) async for _ in stream()]

        assert asyncio.run(main()) == ["consumer"] * 2
        assert inside == ["stream"] * 2


def test_an_exception_does_not_leave_a_span_behind_in_any_shape() -> None:
    with Live():

        @measure("stream")
        def stream() -> Iterator[int]:
            yield 1
            raise ValueError

        @measure("task")
        async def task() -> None:
            with measure("part"):
                await asyncio.sleep(0)
                raise ValueError

        with measure("outer") as outer:
            for failing in (lambda: list(stream()), lambda: asyncio.run(task())):
                with pytest.raises(ValueError):
                    failing()
                assert current() is outer
        assert current() is None


def test_a_block_in_an_unmeasured_coroutine_says_that_it_cannot_know(caplog: pytest.LogCaptureFixture) -> None:
    with Live() as live:

        async def handler(door: str) -> None:
            with measure(door):
                await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(handler("unsure"), handler("unsure"))

        asyncio.run(main())
        spans: list[Measurement] = live.named("unsure")
        for energy in (span.energy() for span in spans):
            assert energy.joules is not None
            assert energy.uncertainty_joules == pytest.approx(energy.joules)
        warnings = [record for record in caplog.records if "greeninfer.block_in_task" in record.message]
        assert len(warnings) == 1
        assert "name=unsure" in warnings[0].message
