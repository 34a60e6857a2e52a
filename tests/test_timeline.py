"""From edges to pieces, against programs whose running is known because it was scripted."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_world import ManualClock, Program

from greeninfer._account import EDGE_FIELDS, Account, Inbox
from greeninfer._timeline import Cut, Pieces, Timeline, linux_thread_cpu, system_thread_cpu, unknown_thread_cpu


class Watched:
    """A program that starts at instant 0, and its timeline."""

    def __init__(self, *, presence: bool = False) -> None:
        self.clock = ManualClock(0.0)
        self.program = Program(self.clock)
        self.timeline = Timeline(self.program.inbox, self.program.thread_cpu, presence)
        self.cuts: list[Cut] = []

    def cut(self) -> Cut:
        self.cuts.append(self.timeline.cut(self.clock.now()))
        return self.cuts[-1]


def near(*expected: tuple[Account, float, float, float]) -> list[object]:
    return [(account, *(pytest.approx(figure, abs=1e-9) for figure in figures)) for account, *figures in expected]


# Running on a CPU


def test_nothing_happened() -> None:
    world = Watched()
    assert world.cut() == Cut()
    assert not world.timeline.busy


def test_a_span_between_two_looks_is_one_piece_with_its_cpu_seconds() -> None:
    world = Watched()
    world.program.run(1.0)
    span = world.program.open()
    world.program.run(0.5, 0.6)
    world.program.close(span)
    world.program.run(0.5)
    cut = world.cut()
    assert list(cut.ran) == near((span, 1.0, 1.5, 0.3))
    assert (cut.opened, cut.closed, cut.present) == ([span], [span], Pieces())
    assert not world.timeline.busy
    assert world.cut() == Cut()


def test_a_span_that_goes_on_is_cut_by_each_look() -> None:
    world = Watched()
    span = world.program.open()
    world.program.run(1.0)
    assert list(world.cut().ran) == near((span, 0.0, 1.0, 1.0))
    assert world.timeline.busy
    world.program.run(1.0, 0.25)
    assert list(world.cut().ran) == near((span, 1.0, 2.0, 0.25))
    world.program.run(1.0, 0.0)
    world.program.close(span)
    cut = world.cut()
    assert list(cut.ran) == near((span, 2.0, 3.0, 0.0))
    assert (cut.opened, cut.closed) == ([], [span])


def test_a_child_is_carved_out_of_its_parent() -> None:
    world = Watched()
    parent = world.program.open("parent")
    world.program.run(1.0)
    child = world.program.open("child")
    world.program.run(2.0, 0.5)
    world.program.close(child)
    world.program.run(4.0)
    world.program.close(parent)
    cut = world.cut()
    assert list(cut.ran) == near((parent, 0.0, 1.0, 1.0), (child, 1.0, 3.0, 1.0), (parent, 3.0, 7.0, 4.0))
    assert (cut.opened, cut.closed) == ([parent, child], [child, parent])


def test_what_waits_between_two_steps_has_no_piece() -> None:
    world = Watched()
    span = world.program.open()
    world.program.run(1.0)
    world.program.pause(span)
    world.program.run(5.0)
    assert list(world.cut().ran) == near((span, 0.0, 1.0, 1.0))
    world.program.run(5.0)
    world.program.resume(span, thread=2)
    world.program.run(2.0, 0.5)
    world.program.pause(span)
    world.program.run(5.0)
    assert list(world.cut().ran) == near((span, 11.0, 13.0, 1.0))


def test_on_one_thread_steps_of_two_spans_take_turns() -> None:
    world = Watched()
    first = world.program.open("first")
    world.program.run(1.0)
    world.program.pause(first)
    second = world.program.open("second")
    world.program.run(1.0)
    world.program.pause(second)
    world.program.resume(first, 1)
    world.program.run(1.0)
    world.program.close(first)
    world.program.resume(second, 1)
    world.program.run(1.0)
    world.program.close(second)
    assert list(world.cut().ran) == near(
        (first, 0.0, 1.0, 1.0), (second, 1.0, 2.0, 1.0), (first, 2.0, 3.0, 1.0), (second, 3.0, 4.0, 1.0)
    )


def test_two_threads_run_at_the_same_time() -> None:
    world = Watched()
    first, second = world.program.open("first", thread=1), world.program.open("second", thread=2)
    world.program.run(2.0, {1: 1.0, 2: 0.25})
    assert sorted(world.cut().ran, key=lambda piece: piece[0].key) == near(
        (first, 0.0, 2.0, 2.0), (second, 0.0, 2.0, 0.5)
    )


def test_an_edge_after_the_look_waits_for_the_next_one() -> None:
    world = Watched()
    span = world.program.open()
    world.program.run(1.0)
    world.program.close(span)
    early = world.timeline.cut(0.75)
    late = world.timeline.cut(2.0)
    assert early.opened == [span]
    assert early.closed == []
    assert late.closed == [span]
    assert [piece[1:3] for piece in (*early.ran, *late.ran)] == [(0.0, 0.75), (0.75, 1.0)]
    # The thread's clock was read before its edge was seen: it all ran before the cut, and nothing counts twice.
    assert sum(piece[3] for piece in (*early.ran, *late.ran)) == pytest.approx(1.0)


def test_a_thread_that_ended_without_an_edge_runs_no_more() -> None:
    world = Watched()
    world.program.open(thread=7)
    world.program.run(1.0)
    world.cut()
    world.program.ended.add(7)
    assert not world.cut().ran
    assert not world.timeline.busy


def test_where_no_other_clock_can_be_read_the_edges_still_tell_all_cpu_seconds() -> None:
    clock = ManualClock(0.0)
    program = Program(clock)
    timeline = Timeline(program.inbox, unknown_thread_cpu, presence=False)
    span = program.open()
    program.run(1.0, 0.5)
    assert list(timeline.cut(clock.now()).ran) == near((span, 0.0, 1.0, 1.0))  # taken to run all the time
    program.run(1.0, 1.0)
    program.close(span)
    assert list(timeline.cut(clock.now()).ran) == near((span, 1.0, 2.0, 0.5))  # 1.5 in all


def test_cpu_seconds_are_never_negative_even_if_a_guess_was_too_high() -> None:
    clock = ManualClock(0.0)
    program = Program(clock)
    timeline = Timeline(program.inbox, unknown_thread_cpu, presence=False)
    span = program.open()
    program.run(1.0, 0.0)
    timeline.cut(clock.now())
    program.run(1.0, 0.25)
    program.close(span)
    assert list(timeline.cut(clock.now()).ran) == near((span, 1.0, 2.0, 0.0))


def test_a_span_closed_from_another_thread_stops_where_it_ran() -> None:
    world = Watched()
    span = world.program.open(thread=1)
    world.program.run(1.0, 0.5)
    world.program.close(span, thread=2)
    cut = world.cut()
    assert list(cut.ran) == near((span, 0.0, 1.0, 0.5))
    assert cut.closed == [span]
    world.program.run(1.0)
    assert not world.cut().ran


def test_a_span_closed_from_a_busy_thread_leaves_that_thread_alone() -> None:
    world = Watched()
    one, two = world.program.open("one", thread=1), world.program.open("two", thread=2)
    world.program.run(1.0)
    world.program.close(one, thread=2)
    world.program.run(1.0)
    ran: dict[Account, float] = {one: 0.0, two: 0.0}
    for account, _, _, seconds in world.cut().ran:
        ran[account] += seconds
    assert ran == {one: pytest.approx(1.0), two: pytest.approx(2.0)}


actions = st.sampled_from(["open", "open", "close", "step", "phase", "wait", "run", "run", "run", "cut"])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(actions, st.integers(1, 3), st.floats(0.0, 1.0)),
        min_size=20,
        max_size=60,
    )
)
def test_looks_cut_time_but_neither_lose_nor_double_any(script: list[tuple[str, int, float]]) -> None:
    world = Watched(presence=True)
    program = world.program
    for action, thread, amount in script:
        inside = program.inside(thread)
        if action == "open":
            program.open(thread=thread)
        elif action == "close" and inside:
            program.close(inside[-1])
        elif action == "phase" and program.innermost_span(thread) is not None:
            program.phase(program.innermost_span(thread), "decode", thread)  # type: ignore[arg-type]
        elif action == "wait" and program.innermost_span(thread) is not None:
            program.pause(program.innermost_span(thread))  # type: ignore[arg-type]
        elif action == "step" and program.waiting:
            program.resume(program.waiting[0], thread)  # type: ignore[arg-type]
        elif action == "run":
            program.run(amount / 10.0, {each: 1.0 - amount * (each == 2) for each in (1, 2, 3)})
        elif action == "cut":
            world.cut()
    world.cut()

    ran: dict[Account, float] = {}
    for cut in world.cuts:
        for account, begin, end, seconds in cut.ran:
            assert 0.0 <= begin <= end <= world.clock.now()
            assert 0.0 <= seconds <= end - begin + 1e-9
            ran[account] = ran.get(account, 0.0) + seconds
        for _, begin, end, seconds in cut.present:
            assert seconds == end - begin >= 0.0
    assert ran == {account: pytest.approx(program.ran.get(account, 0.0), abs=1e-9) for account in ran}
    assert sum(ran.values()) == pytest.approx(sum(program.ran.values()), abs=1e-9)
    for account in program.ran:
        # Never two pieces of one account at the same time.
        own = sorted(piece[1:3] for cut in world.cuts for piece in cut.ran if piece[0] is account)
        assert all(before[1] <= after[0] + 1e-12 for before, after in pairwise(own))


# Present for a GPU: open and innermost


def test_without_a_gpu_nobody_asks_who_is_present() -> None:
    world = Watched()
    world.program.open()
    world.program.run(1.0)
    assert not world.cut().present


def test_a_span_is_present_from_open_to_close_even_while_it_waits() -> None:
    world = Watched(presence=True)
    span = world.program.open()
    world.program.run(1.0, 0.0)
    world.program.pause(span)
    world.program.run(1.0)
    assert list(world.cut().present) == near((span, 0.0, 2.0, 2.0))
    world.program.resume(span, 1)
    world.program.run(1.0)
    world.program.close(span)
    world.program.run(1.0)
    assert list(world.cut().present) == near((span, 2.0, 3.0, 1.0))


def test_a_span_for_the_cpu_is_never_present() -> None:
    world = Watched(presence=True)
    span = world.program.open(device="cpu")
    world.program.run(1.0)
    phase = world.program.phase(span, "decode")
    world.program.run(1.0)
    world.program.close(phase)
    world.program.close(span)
    assert not world.cut().present


def test_only_the_innermost_is_present() -> None:
    world = Watched(presence=True)
    parent = world.program.open("parent")
    world.program.run(1.0)
    child = world.program.open("child")
    world.program.run(2.0)
    world.program.close(child)
    world.program.run(4.0)
    world.program.close(parent)
    assert list(world.cut().present) == near((parent, 0.0, 1.0, 1.0), (child, 1.0, 3.0, 2.0), (parent, 3.0, 7.0, 4.0))


def test_a_parent_is_innermost_again_once_its_last_child_closed() -> None:
    world = Watched(presence=True)
    parent = world.program.open("parent", thread=1)
    left, right = (world.program.open(name, thread=at, parent=parent) for name, at in (("left", 2), ("right", 3)))
    world.program.run(1.0)
    world.program.close(left)
    world.program.run(1.0)
    world.program.close(right)
    world.program.run(1.0)
    world.program.close(parent)
    assert list(world.cut().present)[-1:] == near((parent, 2.0, 3.0, 1.0))
    assert sum(piece[3] for piece in world.cuts[0].present if piece[0] is parent) == pytest.approx(1.0)


def test_a_batch_is_present_in_place_of_the_spans_that_it_works_for() -> None:
    world = Watched(presence=True)
    one, two = world.program.open("one", thread=1), world.program.open("two", thread=2)
    world.program.run(1.0)
    batch = world.program.batch([(one, 1.0), (two, 1.0)], thread=3)
    world.program.run(2.0)
    world.program.close(batch)
    world.program.run(4.0)
    present = world.cut().present
    assert [piece for piece in present if piece[0] is batch] == near((batch, 1.0, 3.0, 2.0))
    for span in (one, two):
        assert [piece for piece in present if piece[0] is span] == near((span, 0.0, 1.0, 1.0), (span, 3.0, 7.0, 4.0))


def test_a_generator_is_present_only_while_it_is_stepped() -> None:
    world = Watched(presence=True)
    span = world.program.open(stepwise=True)
    world.program.run(1.0)
    world.program.pause(span)
    world.program.run(2.0)
    world.program.resume(span, 1)
    world.program.run(4.0)
    world.program.close(span)
    assert list(world.cut().present) == near((span, 0.0, 1.0, 1.0), (span, 3.0, 7.0, 4.0))


# The clocks of other threads


@pytest.mark.skipif(sys.platform != "linux", reason="the encoding of thread clocks is that of the Linux kernel")
def test_the_kernel_tells_the_cpu_seconds_of_any_thread_of_ours() -> None:
    here = threading.get_native_id()
    before = time.thread_time()
    seen = linux_thread_cpu(here)
    after = time.thread_time()
    assert seen is not None
    assert before <= seen <= after
    assert system_thread_cpu() is linux_thread_cpu


@pytest.mark.skipif(sys.platform != "linux", reason="the encoding of thread clocks is that of the Linux kernel")
def test_it_is_the_clock_of_that_thread_and_not_of_the_one_that_asks() -> None:
    told: deque[tuple[int, float]] = deque()
    asked, done = threading.Event(), threading.Event()

    def work() -> None:
        while time.thread_time() < 0.02:
            pass
        told.append((threading.get_native_id(), time.thread_time()))
        asked.set()
        done.wait(10.0)

    worker = threading.Thread(target=work)
    worker.start()
    assert asked.wait(10.0)
    native, cpu = told[0]
    seen = linux_thread_cpu(native)
    done.set()
    worker.join(10.0)
    assert seen is not None
    assert cpu <= seen <= cpu + 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="the encoding of thread clocks is that of the Linux kernel")
def test_a_thread_that_does_not_exist_has_no_clock() -> None:
    assert linux_thread_cpu(2**22 + 1) is None  # beyond the largest pid_max, proc_sys_kernel(5)


def test_where_clocks_are_not_shown_the_answer_is_not_a_number() -> None:
    answer = unknown_thread_cpu(threading.get_native_id())
    assert answer is not None
    assert math.isnan(answer)


def test_edges_that_come_in_while_one_looks_are_not_lost() -> None:
    class Busy(deque[Any]):
        """A deque to which another thread adds an edge whenever something is taken."""

        def popleft(self) -> Any:
            if more:
                self.extend(more.pop())
            return super().popleft()

    clock = ManualClock(0.0)
    program = Program(clock)
    span = program.open()
    clock.advance(1.0)
    program.close(span)
    fields = list(program.edges)
    opened, closed = fields[:EDGE_FIELDS], fields[EDGE_FIELDS:]
    more = [closed]
    timeline = Timeline(Inbox(Busy(opened)), program.thread_cpu, presence=False)
    first, second = timeline.cut(2.0), timeline.cut(3.0)
    assert [*first.closed, *second.closed] == [span]


def test_an_edge_that_comes_after_a_cut_which_was_read_later_takes_nothing_back() -> None:
    """A request reads its clock, the sampler cuts, and only then is the request's edge appended."""
    world = Watched(presence=True)
    here, elsewhere = world.program.open(thread=1), world.program.open(thread=2)
    world.program.run(2.0)
    world.cut()
    here.closed = elsewhere.closed = 1.9
    world.program.edges.extend((1.9, 1.9, 1, None, here))
    world.program.edges.extend((1.9, 0.0, 3, None, elsewhere))
    late = world.cut()
    assert late.closed == [here, elsewhere]
    assert [piece[1:] for piece in late.ran] == [(2.0, 2.0, 0.0), (2.0, 2.0, 0.0)]
    assert [piece[1:] for piece in late.present] == [(2.0, 2.0, 0.0), (2.0, 2.0, 0.0)]
