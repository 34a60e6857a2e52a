"""The life of a monitor: when it starts, rests, wakes, forks and stops, and what bad exporters can do to it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from live import FOREVER, Collected, Live, play, spin

from greeninfer import Monitor, Settings, _monitor, current, flush, measure
from greeninfer._clock import SystemClock
from greeninfer._monitor import in_use
from greeninfer._records import MeterInfo, Reading, Settlement
from greeninfer._share import Whole
from greeninfer.meters.simulated import SimulatedMeter

PATIENCE = 20.0
"""Seconds after which something hangs and is not just slow."""


def in_time(call: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Call something that might never return; fail if it does not, instead of waiting for ever."""
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=lambda: results.put(call()), daemon=True).start()
    try:
        return results.get(timeout=timeout)
    except queue.Empty:
        pytest.fail(f"it hung for {timeout} s")


def samplers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "greeninfer-sampler"]


class Blocked:
    """An exporter that is stuck, as on a network that is down, until it is let go."""

    name = "blocked"

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.stuck = threading.Event()

    def export(self, settlement: Settlement) -> None:
        self.stuck.set()
        self.go_on.wait(PATIENCE)

    def close(self) -> None:
        pass


class Broken:
    """An exporter that raises."""

    name = "broken"

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    def export(self, settlement: Settlement) -> None:
        self.calls += 1
        raise self.error

    def close(self) -> None:
        pass


# Start


STARTS = """
import json, sys, threading
import greeninfer
said = {"after import": threading.active_count()}

@greeninfer.measure("work")
def work():
    return sum(range(10))

class Model:
    @greeninfer.measure
    def predict(self): ...

with_block = greeninfer.measure("block")
said["after decoration"] = threading.active_count()
said["current"] = repr(greeninfer.current())
said["flush"] = greeninfer.flush()
said["after asking"] = threading.active_count()
work()
said["after the first call"] = [thread.name for thread in threading.enumerate()][1:]
said["daemon"] = threading.enumerate()[1].daemon
print(json.dumps(said))
"""


def records(folder: Path) -> list[dict[str, Any]]:
    file = folder / "greeninfer.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_the_first_span_starts_it_and_the_end_of_the_program_exports_the_last(tmp_path: Path) -> None:
    said = play(STARTS, tmp_path, METERS="simulated", EXPORTERS="jsonl")
    assert said == {
        "after import": 1,
        "after decoration": 1,
        "current": "None",
        "flush": True,
        "after asking": 1,
        "after the first call": ["greeninfer-sampler"],
        "daemon": True,
    }
    assert [(line["name"], line["outcome"]) for line in records(tmp_path)] == [("work", "ok")]


ENDS = """
import sys, threading
import greeninfer

@greeninfer.measure("work")
def work(): pass

{work}
{end}
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(3)", 3),
        ("threading.Thread(target=lambda: [work() for _ in iter(int, 1)], daemon=True).start()", 0),
        ("threading.Thread(target=work).start()", 0),
        ("greeninfer.measure('open').__enter__()", 0),
    ],
)
def test_however_a_program_ends_it_ends_and_exports(end: str, code: int, tmp_path: Path) -> None:
    play(ENDS.format(work="work()", end=end), tmp_path, code=code, METERS="simulated", EXPORTERS="jsonl")
    assert records(tmp_path)[0]["name"] == "work"
    assert "open" not in {line["name"] for line in records(tmp_path)}


def test_what_the_program_did_is_in_the_export_with_its_joules(tmp_path: Path) -> None:
    work = "work()\ngreeninfer.flush()\nwith greeninfer.measure('busy'): sum(range(3_000_000))"
    play(ENDS.format(work=work, end=""), tmp_path, METERS="simulated", EXPORTERS="jsonl")
    by_name = {line["name"]: line for line in records(tmp_path)}
    # The simulated machine draws 20 W, and 10 W more per busy core; and it says that it is no sensor.
    busy = by_name["busy"]
    assert 10.0 * busy["cpu_seconds"] <= busy["joules"] <= 40.0 * busy["seconds"]
    assert busy["quality"] == "estimated"


HANGS = """
import threading
import greeninfer, greeninfer._monitor
greeninfer._monitor._JOIN_SECONDS = 0.2

class Hung:
    name = "hung"
    def export(self, settlement):
        threading.Event().wait()
    def close(self): pass

monitor = greeninfer.Monitor(greeninfer.Settings(), meters=[], exporters=[Hung()])
{begin}
with greeninfer.measure("work"): pass
"""


@pytest.mark.parametrize("begin", ["greeninfer._monitor.in_use.append(monitor)", "monitor.start(timeout=0.0)"])
def test_an_exporter_that_hangs_does_not_keep_the_program_from_ending(begin: str, tmp_path: Path) -> None:
    play(HANGS.format(begin=begin), tmp_path, timeout=10.0, METERS="simulated", EXPORTERS="jsonl")


def test_a_monitor_that_nobody_uses_has_no_thread_and_reads_nothing() -> None:
    meter = Watched()
    monitor = Monitor(Settings(), meters=[meter], exporters=[])
    assert samplers() == []
    assert meter.reads == 0
    assert monitor.meters == ()
    monitor.stop()
    assert samplers() == []


class Watched:
    """A meter that counts its reads, and waits in each for as long as it is told."""

    def __init__(self) -> None:
        self.meter = SimulatedMeter(1.0, clock=SystemClock())
        self.reads = 0
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    @property
    def info(self) -> MeterInfo:
        return self.meter.info

    def read(self) -> tuple[Reading, ...]:
        self.reads += 1
        self.reading.set()
        self.go_on.wait(PATIENCE)
        return self.meter.read()

    def close(self) -> None:
        pass


@contextmanager
def installed(monitor: Monitor) -> Iterator[Monitor]:
    """Let the doors write to a monitor that is not started, as the one that they install by themselves."""
    in_use.append(monitor)
    try:
        yield monitor
    finally:
        in_use.remove(monitor)
        monitor.stop()


def test_no_request_waits_for_a_meter_not_even_the_first_ones() -> None:
    meter = Watched()
    meter.go_on.clear()
    collected = Collected()
    served: list[str] = []

    def requests() -> None:
        while len(served) < 3 and not meter.go_on.is_set():
            with measure("work") as span, span.phase("part"):
                assert meter.reading.wait(PATIENCE)  # now the sampler is in the middle of a read
            served.append("while the sampler reads" if not meter.go_on.is_set() else "only after that")

    with installed(Monitor(Settings(tick_seconds=0.02), meters=[meter], exporters=[collected])):
        thread = threading.Thread(target=requests)
        thread.start()
        thread.join(timeout=5.0)
        meter.go_on.set()
        thread.join()
        assert served == ["while the sampler reads"] * 3
        assert flush(PATIENCE)
        assert len(collected.measurements) == 3


def test_it_starts_once_however_many_threads_begin_at_once() -> None:
    collected, gate = Collected(), threading.Barrier(8)

    def request() -> None:
        gate.wait(PATIENCE)
        with measure("work"):
            pass

    with installed(Monitor(Settings(), meters=[], exporters=[collected])) as monitor:
        threads = [threading.Thread(target=request) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(samplers()) == 1
        assert monitor.flush(PATIENCE)
        assert len(collected.measurements) == 8


# Rest


def wait_for_rest(live: Live) -> float:
    """Return when the last tick came before a pause that is long against the pace."""
    begun = last = perf_counter()
    while last - begun < PATIENCE:
        try:
            last = live.collected.arrivals.get(timeout=0.15)
        except queue.Empty:
            return last
    pytest.fail(f"it did not rest in {PATIENCE} s")


def test_it_rests_when_it_is_quiet_and_the_next_span_wakes_it() -> None:
    with Live(tick_seconds=0.001) as live:
        for _ in range(3):
            with measure("stream"):
                for _ in range(20):  # no rest while something is open, however little it does
                    live.collected.arrivals.get(timeout=PATIENCE)
            rests_since = wait_for_rest(live)
            with measure("work") as span:
                live.burn(100.0)
            while span.settled_at is None:  # nobody asks for it: that alone would wake the sampler, too
                live.collected.arrivals.get(timeout=PATIENCE)
            assert perf_counter() - rests_since < 0.8  # at rest it ticks once a second
            assert span.energy(timeout=0.0).joules == pytest.approx(100.0, rel=0.02)


def test_no_span_is_lost_at_the_edge_of_a_rest() -> None:
    """Spans of all lengths and gaps around the ten quiet ticks after which it goes to rest."""
    with Live(tick_seconds=0.001) as live:
        for attempt in range(72):
            with measure("work") as span:
                pass
            spin(0.0005 * (attempt % 24))
        assert not span.energy(timeout=PATIENCE).provisional
        assert len(live.named("work")) == 72
        assert live.open_spans() == {}


# Energy, settled, flush


def test_energy_is_provisional_while_the_span_is_open_and_final_after_its_tick() -> None:
    with Live() as live:
        with measure("work") as span:
            live.burn(40.0)
            live.tick()
            early = span.energy(timeout=0.0)
            live.burn(60.0)
        closed = span.energy(timeout=0.0)
        assert early.provisional
        assert early.joules == pytest.approx(40.0, rel=0.01)
        assert closed.provisional
        assert closed.joules == early.joules
        live.tick()
        final = span.energy(timeout=0.0)
        assert not final.provisional
        assert final.joules == pytest.approx(100.0, rel=0.01)
        assert final.seconds == closed.seconds


def test_energy_waits_for_the_samplers_tick() -> None:
    with Live(tick_seconds=0.02) as live:
        with measure("work") as span:
            live.burn(100.0)
        energy = span.energy(timeout=PATIENCE)
        assert not energy.provisional
        assert energy.joules == pytest.approx(100.0, rel=0.02)


def test_energy_waits_no_longer_than_it_is_told() -> None:
    with Live():  # the next tick is seconds away
        with measure("work") as span:
            pass
        begun = perf_counter()
        assert span.energy(timeout=0.05).provisional
        assert perf_counter() - begun < 2.0


def test_settled_does_not_block_the_event_loop() -> None:
    async def main() -> tuple[bool, int]:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        with measure("work") as span:
            spin(0.001)
        energy = await span.settled(timeout=PATIENCE)
        task.cancel()
        return energy.provisional, turns

    with Live(tick_seconds=0.02):
        provisional, turns = asyncio.run(main())
        assert not provisional
        assert turns > 1


def test_settled_waits_no_longer_than_it_is_told() -> None:
    async def main() -> bool:
        with measure("work") as span:
            pass
        return (await span.settled(timeout=0.02)).provisional

    with Live():
        assert in_time(lambda: asyncio.run(main()))


def test_flush_settles_what_is_closed_and_leaves_what_is_open() -> None:
    with Live() as live:
        with measure("outer") as outer:
            with measure("inner") as inner:
                live.burn(10.0)
            assert flush(PATIENCE)
            assert not inner.energy(timeout=0.0).provisional
            assert outer.energy(timeout=0.0).provisional
        assert flush(PATIENCE)
        assert not outer.energy(timeout=0.0).provisional


def test_flush_without_anything_to_do_is_done() -> None:
    with Live() as live:
        assert flush(timeout=0.0)
        assert live.collected.measurements == []


def test_a_settled_span_does_not_change_any_more() -> None:
    with Live() as live:
        with measure("parent") as parent, measure("child") as child:
            live.burn(10.0)
        live.settle()
        before = parent.energy(), child.energy(), parent.cpu_seconds, parent.unix_seconds
        with measure("other"):
            live.burn_apart(100.0)
        live.burn_apart(50.0)
        live.settle()
        assert (parent.energy(), child.energy(), parent.cpu_seconds, parent.unix_seconds) == before


def test_a_child_that_outlives_its_parent_does_not_change_it() -> None:
    with Live() as live:
        child_door = measure("child")
        with measure("parent") as parent:
            child = child_door.__enter__()
        live.settle()
        before = parent.energy()
        live.burn_apart(100.0)
        child_door.__exit__(None, None, None)
        live.settle()
        assert parent.energy() == before
        assert child.energy().joules == pytest.approx(100.0, rel=0.01)
        assert current() is None


def test_a_span_that_gets_a_second_close_keeps_the_first() -> None:
    with Live() as live:
        door = measure("work")
        span = door.__enter__()
        door.__exit__(None, None, None)
        closed = span.closed
        door.__exit__(ValueError, ValueError(), None)
        assert (span.closed, span.outcome) == (closed, "ok")
        assert live.one("work").outcome == "ok"


# Exporters that do not do as they should


@pytest.mark.parametrize("error", [ValueError("mine"), OSError("disk full"), ZeroDivisionError(), StopIteration()])
def test_an_exporter_that_raises_is_counted_logged_once_and_alone(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(error)
    with Live(1.0, broken) as live:
        for _ in range(5):
            with measure("work"):
                live.burn(20.0)
            live.tick()
        assert len(live.named("work")) == 5
        assert live.joules("work") == pytest.approx(100.0, rel=0.01)
        seen = live.collected.failures()[("broken", "export")]
        assert broken.calls - 1 <= seen <= broken.calls  # the last one is told of by the next settlement
    said = [record for record in caplog.records if "greeninfer.export_failed" in record.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.WARNING
    assert "exporter=broken" in said[0].getMessage()


def test_requests_do_not_wait_for_an_exporter_that_does() -> None:
    blocked = Blocked()
    blocked.go_on.set()
    with Live(1.0, blocked, tick_seconds=0.02) as live:
        blocked.stuck.clear()
        blocked.go_on.clear()
        assert blocked.stuck.wait(PATIENCE)

        def requests() -> float:
            for _ in range(100):
                with measure("work") as span:
                    pass
            return span.energy(timeout=0.05).seconds

        try:
            assert in_time(requests, timeout=5.0) < 1.0
            assert in_time(lambda: flush(timeout=0.05), timeout=5.0) is False
        finally:
            blocked.go_on.set()
        assert flush(PATIENCE)
        assert len(live.named("work")) == 100


@pytest.mark.parametrize(("requests", "overloads"), [(40, 0), (60, 1)])
def test_more_edges_than_memory_holds_are_an_overload_that_is_counted(
    requests: int, overloads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two edges a request, and room for 100: what waits is settled, and what comes meanwhile goes unmeasured."""
    monkeypatch.setattr(_monitor, "_MOST_WAITING", 100)
    blocked = Blocked()
    blocked.go_on.set()
    with Live(1.0, blocked, tick_seconds=0.02) as live:
        blocked.stuck.clear()
        blocked.go_on.clear()
        assert blocked.stuck.wait(PATIENCE)
        for _ in range(requests):
            with measure("work") as span:
                pass
        blocked.go_on.set()
        assert not span.energy(
            PATIENCE
        ).provisional  # by the sampler's own tick: nobody else looks whether there is room
        assert len(live.named("work")) == requests
        assert live.collected.failures().get(("monitor", "overload"), 0) == overloads


def test_an_exporter_may_ask_a_span_for_its_energy() -> None:
    class Asking(Collected):
        def export(self, settlement: Settlement) -> None:
            self.seen = [each.energy().provisional for each in settlement.measurements]
            super().export(settlement)

    asking = Asking()
    with Live(1.0, asking) as live:
        with measure("work"):
            pass
        live.tick()
        assert asking.seen == [False]


# Stop


def test_stopping_ends_the_thread_and_exports_the_last_tick() -> None:
    collected = Collected()
    meter = SimulatedMeter(1.0, clock=SystemClock())
    monitor = Monitor(Settings(tick_seconds=FOREVER), meters=[meter], exporters=[collected], share=Whole())
    with monitor:
        (thread,) = samplers()
        with measure("work"):
            spin(0.001)
            meter.burn(100.0)
            spin(0.001)
    assert not thread.is_alive()
    (measurement,) = collected.measurements
    assert measurement.energy().joules == pytest.approx(100.0, rel=0.01)
    monitor.stop()
    monitor.start()
    assert samplers() == []


def test_after_a_stop_the_doors_pass_through() -> None:
    @measure("work")
    def predict(number: int) -> tuple[int, bool]:
        return number * 2, current() is span

    with Live() as live:
        with measure("open at the stop") as span:
            live.monitor.stop()
            assert predict(21) == (42, True)  # and no span of its own
            with measure("block") as block:
                block.add_tokens(output=1)
        assert in_time(lambda: span.energy(timeout=0.05)).provisional
        assert live.collected.measurements == []
        assert flush(timeout=0.05) in (True, False)
        assert samplers() == []


def test_monitors_nest() -> None:
    with Live() as outer:
        with measure("before"):
            outer.burn_apart(10.0)
        with Live() as inner:
            assert len(samplers()) == 2
            with measure("within"):
                inner.burn(20.0)
        assert len(samplers()) == 1
        with measure("after"):
            outer.burn_apart(30.0)
        assert outer.joules("before") == pytest.approx(10.0, rel=0.02)
        assert outer.joules("after") == pytest.approx(30.0, rel=0.02)
        assert {each.key[0] for each in outer.settle()} == {"before", "after"}
        assert [each.key[0] for each in inner.collected.measurements] == ["within"]
    assert samplers() == []


def test_a_monitor_that_leaves_first_leaves_the_other_in_use() -> None:
    first, second = Live(), Live()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    with measure("work"):
        second.burn(10.0)
    assert second.joules("work") == pytest.approx(10.0, rel=0.02)
    second.__exit__(None, None, None)


def test_an_exception_in_the_block_passes_and_everything_stops() -> None:
    with pytest.raises(KeyError, match="mine"), Monitor(Settings(), meters=[], exporters=[]):
        raise KeyError("mine")
    assert samplers() == []
    assert in_use == []


# Fork


FORKS = """
import os, sys
import greeninfer

def served(name):
    return greeninfer.measure("request", model=name)(lambda: sum(range(200_000)))

served("preload")()
greeninfer.flush(10)
served("not flushed")()
children = []
with greeninfer.measure("open", model="parent"):
    for worker in ("one", "two"):
        child = os.fork()
        if not child:
            assert greeninfer.current() is None
            for _ in range(3):
                served(worker)()
            ok = greeninfer.flush(10)
            break
        children.append(child)
if not children or len(children) == 1 and not child:
    with greeninfer.measure("after the block", model=worker): pass
    os._exit(0 if greeninfer.flush(10) and ok else 1)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
served("parent")()
assert greeninfer.flush(10)
sys.exit(sum(codes))
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_forked_workers_measure_by_themselves_and_the_parent_goes_on(tmp_path: Path) -> None:
    """As gunicorn --preload: the application has measured something before its workers are forked."""
    play(FORKS, tmp_path, METERS="simulated", EXPORTERS="jsonl")
    seen = sorted((line["name"], line["model"]) for line in records(tmp_path))
    assert seen == sorted(
        [("request", each) for each in ("preload", "not flushed", "parent")]  # each of them once
        + [("request", each) for each in ("one", "two")] * 3
        + [("after the block", each) for each in ("one", "two")]
        + [("open", "parent")]
    )
    late = [line for line in records(tmp_path) if line["model"] in ("one", "two", "parent")]
    assert all(line["outcome"] == "ok" for line in late)


FORKS_IN_EXPORT = """
import os, signal, sys, threading, time
import greeninfer
from greeninfer.meters.simulated import SimulatedMeter
from greeninfer._clock import SystemClock

class Locking:
    name = "locking"
    def __init__(self):
        self.lock, self.inside, self.count = threading.Lock(), threading.Event(), 0
    def export(self, settlement):
        with self.lock:
            self.inside.set()
            time.sleep(0.02)
            self.count += len(settlement.measurements)
    def close(self): pass

exporter = Locking()
with greeninfer.Monitor(
    greeninfer.Settings(tick_seconds=0.001), meters=[SimulatedMeter(clock=SystemClock())], exporters=[exporter]
) as monitor:
    with greeninfer.measure("parent"): pass
    busy = greeninfer.measure("busy")
    busy.__enter__()  # no rest now
    exporter.inside.clear()
    exporter.inside.wait()
    child = os.fork()
    if not child:
        signal.alarm(10)
        exporter.count = 0
        with greeninfer.measure("child"): sum(range(100_000))
        os._exit(0 if greeninfer.flush(5) and exporter.count == 1 else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    busy.__exit__(None, None, None)
    if not greeninfer.flush(5) or exporter.count != 2:
        code = 77
sys.exit(code)
"""


@needs_fork
def test_a_fork_in_the_middle_of_an_export_leaves_no_lock_behind(tmp_path: Path) -> None:
    play(FORKS_IN_EXPORT, tmp_path)


FORKS_AT_REST = """
import os, signal, sys, time
import greeninfer
greeninfer.measure("before")(sum)(range(10))
assert greeninfer.flush(10)
time.sleep(0.3)  # with ticks of 1 ms it rests by now
child = os.fork()
name = "parent" if child else "child"
signal.alarm(10)
for _ in range(3):
    with greeninfer.measure(name) as span: pass
    if span.energy(timeout=5).provisional:
        os._exit(3)
greeninfer.flush(5)  # a request is settled a moment before it is exported
if not child:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@needs_fork
def test_a_fork_at_rest_wakes_both_on_their_own(tmp_path: Path) -> None:
    play(FORKS_AT_REST, tmp_path, METERS="simulated", EXPORTERS="jsonl", TICK_SECONDS=0.001)
    names = [line["name"] for line in records(tmp_path)]
    assert {name: names.count(name) for name in set(names)} == {"before": 1, "parent": 3, "child": 3}
