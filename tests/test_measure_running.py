"""Who pays while many requests are open: who works, by the CPU time that the test measures itself, not who waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest
from live import Live, spin

from greeninfer import measure
from greeninfer._records import NANO

WATTS = 50.0
BURSTS = (0.01, 0.02, 0.03, 0.04, 0.06)
STEP = 0.005
BUSY, SLEEPERS = 0.15, 9


def machine(_instant: float, cores: float) -> float:
    """A machine that draws 20 W, and 30 W more for each core that this process keeps busy."""
    return 20.0 + 30.0 * cores


# At a constant power, on one thread, a request's joules are that power times the CPU seconds that it ran.


async def in_bursts(seconds: float) -> float:
    """Use so much CPU time in small steps, all others having their turn in between; return what it really was."""
    used = 0.0
    while used < seconds:
        used += spin(STEP)
        await asyncio.sleep(0)
    return used


@measure("coroutine")
async def coroutine(seconds: float) -> float:
    return await in_bursts(seconds)


@measure("generator")
async def produce(seconds: float) -> AsyncIterator[float]:
    used = 0.0
    while used < seconds:
        step = spin(STEP)
        used += step
        await asyncio.sleep(0)
        yield step


async def generator(seconds: float) -> float:
    used = 0.0
    async for step in produce(seconds):
        used += step
        await asyncio.sleep(0)
    return used


@pytest.mark.parametrize("request_of", [coroutine, generator], ids=["coroutine", "generator"])
def test_tasks_that_take_turns_pay_their_own_cpu_time(request_of: Callable[[float], object]) -> None:
    name = "coroutine" if request_of is coroutine else "generator"

    async def main() -> list[float]:
        waiting = asyncio.Event()

        @measure("sleeper")
        async def sleeper() -> None:
            await waiting.wait()

        sleepers = [asyncio.create_task(sleeper()) for _ in BURSTS]
        used = await asyncio.gather(*(request_of(seconds) for seconds in BURSTS))  # type: ignore[call-overload]
        waiting.set()
        await asyncio.gather(*sleepers)
        return list(used)

    with Live(WATTS, tick_seconds=0.02) as live:
        used = asyncio.run(main())
        charged = sorted(each.nanojoules / NANO for each in live.named(name))
        assert charged == pytest.approx(sorted(WATTS * seconds for seconds in used), rel=0.05)
        assert live.joules("sleeper") < 0.02 * sum(charged)


def test_threads_that_take_turns_pay_in_proportion_to_their_cpu_time() -> None:
    """In proportion only: that they never run at the same time cannot be seen from outside, so a part is idle's."""
    turn = threading.Condition()
    at_work = [0]
    used = [0.0] * len(BURSTS)

    @measure("work")
    def work(me: int) -> None:
        while used[me] < BURSTS[me]:
            with turn:
                assert turn.wait_for(lambda: at_work[0] == me, timeout=30.0)
                used[me] += spin(STEP)
                others = [each for each in range(len(BURSTS)) if used[each] < BURSTS[each] and each != me]
                at_work[0] = min(others, key=used.__getitem__, default=me)
                turn.notify_all()

    with Live(WATTS, tick_seconds=0.02) as live:
        threads = [threading.Thread(target=work, args=(me,)) for me in range(len(BURSTS))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        charged = sorted(each.nanojoules for each in live.named("work"))
        parts = [each / sum(charged) for each in charged]
        # They hand over by waking each other up, which is work of some tens of microseconds, too.
        assert parts == pytest.approx(sorted(each / sum(used) for each in used), rel=0.15)


def test_a_span_knows_its_cpu_seconds() -> None:
    with Live(WATTS, tick_seconds=0.02) as live:
        with measure("work") as span:
            used = spin(0.05)
        live.settle()
        assert span.cpu_seconds == pytest.approx(used, rel=0.02)


# One that works and nine that sleep


def dynamic_joules(live: Live, name: str) -> float:
    return sum(each.energy().dynamic_joules or 0.0 for each in live.named(name))


def assert_the_sleepers_hardly_pay(live: Live) -> None:
    assert len(live.named("sleeper")) == SLEEPERS
    busy, asleep = dynamic_joules(live, "busy"), dynamic_joules(live, "sleeper")
    assert busy > 0.5 * 30.0 * BUSY  # it did work, as the machine knows
    assert asleep < 0.05 * (busy + asleep)


def test_threads_that_sleep_beside_one_that_works_hardly_pay() -> None:
    with Live(machine, running=time.process_time, tick_seconds=0.02) as live:
        asleep, over = threading.Barrier(SLEEPERS + 1), threading.Event()

        @measure("sleeper")
        def sleeper() -> None:
            asleep.wait(10.0)
            over.wait(30.0)

        threads = [threading.Thread(target=sleeper) for _ in range(SLEEPERS)]
        for thread in threads:
            thread.start()
        asleep.wait(10.0)
        with measure("busy"):
            spin(BUSY)
        over.set()
        for thread in threads:
            thread.join()
        assert_the_sleepers_hardly_pay(live)


def test_tasks_that_sleep_beside_one_that_works_hardly_pay() -> None:
    with Live(machine, running=time.process_time, tick_seconds=0.02) as live:

        async def main() -> None:
            over = asyncio.Event()

            @measure("sleeper")
            async def sleeper() -> None:
                await over.wait()

            @measure("busy")
            async def busy() -> None:
                await in_bursts(BUSY)

            sleepers = [asyncio.create_task(sleeper()) for _ in range(SLEEPERS)]
            await busy()
            over.set()
            await asyncio.gather(*sleepers)

        asyncio.run(main())
        assert_the_sleepers_hardly_pay(live)


def test_a_task_pays_nothing_for_another_that_blocks_the_loop() -> None:
    """Who is ready to run and may not, because somebody holds the loop, does not run."""
    with Live(machine, running=time.process_time, tick_seconds=0.02) as live:

        async def main() -> None:
            @measure("sleeper")
            async def ready() -> None:
                for _ in range(3):
                    await asyncio.sleep(0)

            @measure("busy")
            async def hog() -> None:
                spin(BUSY)

            await asyncio.gather(*(ready() for _ in range(SLEEPERS)), hog())

        asyncio.run(main())
        assert_the_sleepers_hardly_pay(live)
