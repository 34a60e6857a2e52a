"""Sensor faults, through the whole monitor: no exception, no silently wrong total, and the requests say what they lack.

First a machine moved by hand, whose joules are watts times seconds by construction: each fault goes in, and what the
exporters got is held against that truth. Then the same faults under real doors, for what they do to a request. The GPU
faults play on the real pynvml over a fake driver library.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from live import Collected, Live
from prometheus_client import CollectorRegistry
from simulated_world import ManualClock, Program, ScriptedMeter

from greeninfer import Monitor, Settings, measure
from greeninfer._records import NANO, Domain, Reading
from greeninfer._share import Whole
from greeninfer._span import Span
from greeninfer.exporters import PrometheusExporter
from greeninfer.meters import Meter
from greeninfer.meters.rapl import RaplMeter
from greeninfer.meters.simulated import SimulatedMeter

WATTS = 50.0
TICK = 0.1


class Machine:
    """A monitor that ticks by hand, on a machine of constant power with one thread that always works.

    Each second is one request, named by its number, so that it can be told which of them a fault has touched.
    """

    def __init__(self, clock: ManualClock, *meters: Meter, exporters: Sequence[Any] = ()) -> None:
        self.clock = clock
        self.registry = CollectorRegistry()
        self.collected = Collected()
        self.program = Program(clock)
        self.monitor = Monitor(
            Settings(tick_seconds=TICK),
            meters=meters,
            exporters=[*exporters, PrometheusExporter(self.registry), self.collected],
            clock=clock,
            share=Whole(),
            thread_cpu=self.program.thread_cpu,
        )
        self.program.edges = self.monitor.inbox.edges
        self.begun = clock.seconds
        self.before_tick: Callable[[], None] = lambda: None
        self.tick()

    def tick(self) -> None:
        self.before_tick()
        self.monitor.tick()

    def run(self, seconds: float, step: float = TICK) -> None:
        """Let requests of one second each follow each other."""
        for _ in range(round(seconds / step)):
            if not self.program.inside(1):
                self.program.open(f"{round(self.seconds)}")
            self.program.run(step)
            if abs(self.seconds - round(self.seconds)) < step / 2:
                self.end_request()
            self.tick()

    def end_request(self) -> None:
        for account in list(self.program.inside(1)):
            self.program.close(account)

    def finish(self) -> None:
        """Let one tick of nothing follow, so that the last request is settled."""
        self.program.run(TICK)
        self.tick()

    @property
    def seconds(self) -> float:
        return self.clock.seconds - self.begun

    @property
    def true_joules(self) -> float:
        return WATTS * self.seconds

    def joules(self, state: str, reason: str = "", quality: str = "") -> float:
        """Return a line of the books, in joules."""
        return sum(
            line.nanojoules / NANO
            for settlement in self.collected.settlements
            for line in settlement.lines
            if line.state == state and line.reason == reason and quality in ("", line.quality)
        )

    def metric(self, name: str, **labels: str) -> float:
        """Return a Prometheus metric, summed over the labels that are not given."""
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def spans(self) -> dict[int, Span]:
        return {int(span.name): span for span in self.program.spans}

    def incomplete(self) -> list[int]:
        return sorted(second for second, span in self.spans().items() if not span.energy().complete)

    def assert_it_closes(self, total_joules: float | None = None, tolerance: float = 1e-6) -> None:
        """All lines together are what was used, and what the counter on the Prometheus page says."""
        total = sum(self.joules(state) for state in ("attributed", "idle", "other")) + self.unattributed()
        expected = self.true_joules if total_joules is None else total_joules
        assert total == pytest.approx(expected, rel=tolerance)
        assert self.metric("greeninfer_energy_joules_total") == pytest.approx(total, rel=1e-9)
        attributed = sum(span.nanojoules for span in self.program.spans) / NANO
        assert self.joules("attributed") == pytest.approx(attributed, abs=1e-6)

    def unattributed(self) -> float:
        return sum(
            line.nanojoules / NANO
            for settlement in self.collected.settlements
            for line in settlement.lines
            if line.state == "unattributed"
        )

    def assert_untouched(self, but: Sequence[int] = ()) -> None:
        """Every request is settled, and those that no fault has touched have exactly the joules of their second."""
        for second, span in self.spans().items():
            energy = span.energy(timeout=0.0)
            assert not energy.provisional
            if second not in but:
                assert energy.complete
                assert energy.joules == pytest.approx(WATTS, rel=1e-6), second


# Meters with their faults


RANGE_JOULES = 1000.0
"""Of the counters: at 50 W they wrap each 20 s."""


class Powercap:
    """A powercap tree of one package that draws 50 W. What the counter shows can be bent."""

    def __init__(self, root: Path, clock: ManualClock, range_joules: float = RANGE_JOULES) -> None:
        self.clock = clock
        self.begun = clock.seconds
        self.range = round(range_joules * 1e6)
        self.zone = root / "intel-rapl:0"
        self.zone.mkdir(parents=True)
        self.energy = self.zone / "energy_uj"
        (self.zone / "name").write_text("package-0\n")
        (self.zone / "max_energy_range_uj").write_text(f"{self.range - 1}\n")
        (self.zone / "constraint_0_max_power_uw").write_text("40000000\n")
        self.bend: Callable[[int], str | None] = lambda microjoules: f"{microjoules % self.range}\n"
        self.write()

    def write(self) -> None:
        text = self.bend(round(WATTS * (self.clock.seconds - self.begun) * 1e6))
        if text is not None and not self.energy.is_dir():
            self.energy.write_text(text)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def closing() -> Iterator[list[Meter]]:
    meters: list[Meter] = []
    yield meters
    for meter in meters:
        meter.close()


@pytest.fixture
def range_joules(request: pytest.FixtureRequest) -> float:
    return float(getattr(request, "param", RANGE_JOULES))


@pytest.fixture
def powercap(tmp_path: Path, clock: ManualClock, range_joules: float) -> Powercap:
    return Powercap(tmp_path / "powercap", clock, range_joules)


@pytest.fixture
def rapl_machine(powercap: Powercap, clock: ManualClock, closing: list[Meter]) -> Machine:
    meter = RaplMeter(powercap.zone.parent, clock)
    closing.append(meter)
    machine = Machine(clock, meter)
    machine.before_tick = powercap.write
    return machine


@pytest.fixture
def simulated(clock: ManualClock, range_joules: float) -> SimulatedMeter:
    return SimulatedMeter(WATTS, clock=clock, range_joules=range_joules, max_watts=100.0, name="simulated")


@pytest.fixture
def machine(simulated: SimulatedMeter, clock: ManualClock) -> Machine:
    return Machine(clock, simulated)


# Wraps


@pytest.mark.parametrize("range_joules", [100.0], indirect=True)
@pytest.mark.parametrize("which", ["machine", "rapl_machine"])
def test_eight_wraps_lose_nothing(which: str, range_joules: float, request: pytest.FixtureRequest) -> None:
    machine: Machine = request.getfixturevalue(which)
    machine.run(17.0)
    assert machine.true_joules // range_joules == 8.0
    machine.finish()
    # A powercap tree says its range less one unit of 2^-32 of it, which nobody can see.
    machine.assert_it_closes(tolerance=1e-6)
    machine.assert_untouched()
    assert machine.unattributed() == 0.0
    assert machine.collected.failures() == {}
    assert machine.metric("greeninfer_meter_failures_total") == 0.0


# The counter stands still


@pytest.mark.parametrize("which", ["machine", "rapl_machine"])
def test_a_counter_that_freezes_is_seen_and_its_joules_are_nobodys(which: str, request: pytest.FixtureRequest) -> None:
    machine: Machine = request.getfixturevalue(which)
    machine.run(4.0)
    with frozen(machine, request):
        machine.run(3.0)
    machine.run(3.0)
    machine.finish()
    machine.assert_it_closes()
    # It stood still from 4 s to 7 s, and moved again with the tick after that.
    window = WATTS * (3.0 + TICK)
    assert machine.joules("unattributed", "frozen") == pytest.approx(window, rel=1e-6)
    assert machine.incomplete() == [4, 5, 6, 7]
    machine.assert_untouched(but=[4, 5, 6, 7])
    assert machine.metric("greeninfer_meter_failures_total", reason="frozen") >= 1.0
    assert machine.metric("greeninfer_energy_joules_total", state="unattributed", reason="frozen") == pytest.approx(
        window, rel=1e-6
    )


@pytest.mark.parametrize("which", ["machine", "rapl_machine"])
def test_a_counter_that_stands_still_for_a_second_is_only_late(which: str, request: pytest.FixtureRequest) -> None:
    machine: Machine = request.getfixturevalue(which)
    machine.run(4.0)
    with frozen(machine, request):
        machine.run(1.0)
    machine.run(3.0)
    machine.finish()
    machine.assert_it_closes()
    machine.assert_untouched()
    assert machine.unattributed() == 0.0


@contextmanager
def frozen(machine: Machine, request: pytest.FixtureRequest) -> Iterator[None]:
    if machine.before_tick.__name__ == "write":
        powercap: Powercap = request.getfixturevalue("powercap")
        machine.before_tick = lambda: None
        yield
        machine.before_tick = powercap.write
    else:
        meter: SimulatedMeter = request.getfixturevalue("simulated")
        meter.freeze()
        yield
        meter.thaw()


# Reads fail


@contextmanager
def vanished(machine: Machine, powercap: Powercap) -> Iterator[None]:
    aside = powercap.zone.with_name("aside")
    machine.before_tick = lambda: None
    powercap.zone.rename(aside)
    yield
    aside.rename(powercap.zone)
    powercap.energy.unlink()  # a driver that comes back makes new files
    machine.before_tick = powercap.write


@contextmanager
def garbage(machine: Machine, powercap: Powercap) -> Iterator[None]:
    good, powercap.bend = powercap.bend, lambda _: "<energy counter>\n"
    yield
    powercap.bend = good


@contextmanager
def garbage_number(machine: Machine, powercap: Powercap) -> Iterator[None]:
    """A number beyond the counter's own range, as torn or foreign writes leave it."""
    good, powercap.bend = powercap.bend, lambda _: f"{7 * powercap.range}\n"
    yield
    powercap.bend = good


@contextmanager
def empty(machine: Machine, powercap: Powercap) -> Iterator[None]:
    good, powercap.bend = powercap.bend, lambda _: ""
    yield
    powercap.bend = good


@contextmanager
def no_permission(machine: Machine, powercap: Powercap) -> Iterator[None]:
    """Whoever hardens the machine makes the file root's own while the service runs as somebody else."""
    machine.before_tick = lambda: None
    fresh = powercap.energy.with_name("fresh")
    fresh.write_text("0\n")
    fresh.replace(powercap.energy)
    powercap.energy.chmod(0o400 if os.geteuid() == 0 else 0)
    with as_nobody(powercap.zone):
        yield
    powercap.energy.chmod(0o644)
    machine.before_tick = powercap.write


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Drop root's rights for a while; a user who is not root has none to drop."""
    if os.geteuid() != 0:
        yield
        return
    for each in (folder, *folder.parents[:-2]):
        each.chmod(each.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


BREAKS: dict[str, tuple[Callable[[Machine, Powercap], Any], str]] = {
    "vanished": (vanished, "vanished"),
    "garbage": (garbage, "garbage"),
    "a number out of range": (garbage_number, "garbage"),
    "empty": (empty, "garbage"),
    "permission": (no_permission, "permission"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_sensor_that_is_lost_is_seen_and_its_joules_are_nobodys(
    name: str, rapl_machine: Machine, powercap: Powercap, caplog: pytest.LogCaptureFixture
) -> None:
    breaks, reason = BREAKS[name]
    machine = rapl_machine
    machine.run(4.0)
    with breaks(machine, powercap):
        machine.run(1.9)
    machine.run(3.1)
    machine.finish()
    machine.assert_it_closes()
    window = WATTS * (1.9 + TICK)
    assert machine.joules("unattributed", "sensor_lost") == pytest.approx(window, rel=1e-6)
    assert machine.unattributed() == pytest.approx(window, rel=1e-6)
    assert machine.incomplete() == [4, 5]
    machine.assert_untouched(but=[4, 5])
    assert machine.metric("greeninfer_meter_failures_total", meter="rapl", reason=reason) == pytest.approx(
        1.9 / TICK, abs=1
    )
    assert machine.metric("greeninfer_meter_failures_total", meter="rapl", reason="sensor_lost") >= 1.0
    said = [record.getMessage() for record in caplog.records if f"reason={reason}" in record.getMessage()]
    assert len(said) == 1
    assert sum("greeninfer.meter_lost" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("name", BREAKS)
def test_reads_that_fail_for_a_second_lose_nothing(name: str, rapl_machine: Machine, powercap: Powercap) -> None:
    breaks, reason = BREAKS[name]
    machine = rapl_machine
    machine.run(4.0)
    with breaks(machine, powercap):
        machine.run(1.0)
    machine.run(3.0)
    machine.finish()
    machine.assert_it_closes()
    machine.assert_untouched()
    assert machine.unattributed() == 0.0
    assert machine.metric("greeninfer_meter_failures_total", meter="rapl", reason=reason) >= 8.0


def test_a_sensor_that_never_comes_back_charges_nobody_for_what_it_did_not_see(
    machine: Machine, simulated: SimulatedMeter
) -> None:
    machine.run(4.0)
    simulated.vanish()
    machine.run(6.0)
    machine.finish()
    machine.assert_it_closes(total_joules=WATTS * 4.0)
    assert machine.incomplete() == [4, 5, 6, 7, 8, 9]
    lost = [machine.spans()[second].energy(timeout=0.0) for second in range(4, 10)]
    assert [energy.joules for energy in lost] == [None] * 6
    assert not any(energy.provisional for energy in lost)
    assert machine.metric("greeninfer_request_energy_joules_count") == 4.0
    assert machine.metric("greeninfer_request_duration_seconds_count") == 10.0


def test_one_late_read_is_left_out_and_loses_nothing(machine: Machine, simulated: SimulatedMeter) -> None:
    machine.run(4.0)
    simulated.lag(0.2)
    machine.run(TICK)
    simulated.lag(0.0)
    machine.run(2.0 - TICK)
    machine.finish()
    machine.assert_it_closes()
    machine.assert_untouched()
    assert machine.collected.failures() == {("simulated", "late"): 1}


# Resets


@pytest.mark.parametrize("which", ["machine", "rapl_machine"])
def test_a_reset_is_a_guess_that_says_so(which: str, request: pytest.FixtureRequest) -> None:
    machine: Machine = request.getfixturevalue(which)
    machine.run(5.5)
    if which == "machine":
        request.getfixturevalue("simulated").reset()
    else:
        powercap: Powercap = request.getfixturevalue("powercap")
        at = round(machine.true_joules * 1e6)
        powercap.bend = lambda microjoules: f"{(microjoules - at) % powercap.range}\n"
    machine.run(3.5)
    machine.finish()
    window = WATTS * TICK
    good = sum(machine.joules(state) for state in ("attributed", "idle", "other"))
    assert good == pytest.approx(machine.true_joules - window, rel=1e-6)
    # The power was constant, so that the last known power is a good guess; what matters is that it is called one.
    assert machine.joules("unattributed", "reset", "estimated") == pytest.approx(window, rel=0.01)
    assert machine.joules("unattributed", "reset", "measured") == 0.0
    machine.assert_it_closes(tolerance=1e-4)
    assert machine.incomplete() == [5]
    machine.assert_untouched(but=[5])
    assert machine.metric("greeninfer_meter_failures_total", reason="reset") == 1.0


def test_a_reset_at_each_second_is_never_a_wrap(machine: Machine, simulated: SimulatedMeter) -> None:
    """Eight of them: a wrap taken for each would be 1000 J too much, eight times."""
    machine.run(1.5)
    for _ in range(8):
        simulated.reset()
        machine.run(1.0)
    machine.finish()
    good = sum(machine.joules(state) for state in ("attributed", "idle", "other"))
    guessed = machine.joules("unattributed", "reset", "estimated")
    assert good + guessed == pytest.approx(machine.true_joules, rel=0.05)
    assert machine.metric("greeninfer_meter_failures_total", reason="reset") == 8.0


# The clock


def test_what_was_used_around_a_suspend_is_nobodys(machine: Machine, clock: ManualClock) -> None:
    machine.run(4.0)
    clock.slept += 3600.0  # the clock of the machine stood still meanwhile
    machine.run(4.0)
    machine.finish()
    machine.assert_it_closes()
    assert machine.joules("unattributed", "suspend") == pytest.approx(WATTS * TICK, rel=1e-6)
    assert machine.incomplete() == [4]
    machine.assert_untouched(but=[4])
    assert machine.metric("greeninfer_meter_failures_total", reason="suspend") == 1.0


def test_a_clock_that_goes_back_loses_nothing() -> None:
    clock = ManualClock()
    meter = ScriptedMeter(clock)
    machine = Machine(clock, meter)  # type: ignore[arg-type]

    def used() -> None:
        meter.joules[meter.domains[0].id] = WATTS * (clock.seconds - machine.begun)

    machine.before_tick = used
    machine.run(2.0)
    clock.seconds -= 0.5
    for _ in range(5):
        machine.monitor.tick(force=True)  # the counters do not go back with it
    clock.seconds += 0.5
    machine.before_tick = used
    machine.run(2.0)
    machine.finish()
    machine.assert_it_closes()
    machine.assert_untouched()
    assert machine.metric("greeninfer_meter_failures_total", reason="clock") == 5.0


def test_a_clock_that_jumps_ahead_makes_one_long_interval() -> None:
    """A virtual machine that is paused and goes on: nothing was used, nothing ran, and time is another."""
    clock = ManualClock()
    meter = ScriptedMeter(clock)
    machine = Machine(clock, meter)  # type: ignore[arg-type]
    machine.before_tick = lambda: meter.joules.update({meter.domains[0].id: WATTS * (machine.seconds - paused)})
    paused = 0.0
    machine.run(4.0)
    clock.advance(3600.0)
    paused = 3600.0
    machine.run(4.0)
    machine.finish()
    machine.assert_it_closes(total_joules=WATTS * (machine.seconds - 3600.0))
    assert machine.collected.failures() == {}


# Two meters


class Foreign:
    """A meter of somebody else's that does not keep the contract: it raises what it likes, when it is told to."""

    def __init__(self, clock: ManualClock) -> None:
        self.meter = ScriptedMeter(clock, Domain("foreign", 0, "package"))
        self.info = self.meter.info
        self.error: Exception | None = None

    def read(self) -> tuple[Reading, ...]:
        if self.error is not None:
            raise self.error
        self.meter.use(1.0)
        return self.meter.read()

    def close(self) -> None:
        pass


@pytest.mark.parametrize("error", [RuntimeError("driver"), OSError(5, "I/O error"), KeyError("gpu"), ValueError("nan")])
@pytest.mark.parametrize("first", [True, False])
def test_a_meter_that_raises_what_it_must_not_costs_the_others_nothing(
    first: bool, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    simulated, foreign = SimulatedMeter(WATTS, clock=clock), Foreign(clock)
    machine = Machine(clock, *((foreign, simulated) if first else (simulated, foreign)))  # type: ignore[arg-type]
    machine.tick = lambda: machine.monitor._attempt(force=False)  # type: ignore[method-assign]  # as its thread does
    machine.run(2.0)
    foreign.error = error
    machine.run(1.0)
    foreign.error = None
    machine.run(2.0)
    machine.finish()
    package = simulated.info.domains[0].id
    lines = [
        line for settlement in machine.collected.settlements for line in settlement.lines if line.domain == package
    ]
    assert sum(line.nanojoules for line in lines) / NANO == pytest.approx(machine.true_joules, rel=1e-6)
    assert sum(machine.collected.failures().values()) >= 8
    assert 1 <= sum(record.levelname in ("WARNING", "ERROR") for record in caplog.records) <= 3


def test_one_meter_that_is_lost_leaves_the_figures_of_the_other(clock: ManualClock) -> None:
    package = SimulatedMeter(WATTS, clock=clock, name="cpu")
    board = SimulatedMeter(300.0, clock=clock, name="board", domains=[Domain("board", 0, "gpu", "gpu")])
    machine = Machine(clock, package, board)
    machine.run(3.0)
    board.vanish("lost")
    machine.run(3.0)
    board.appear()
    machine.run(3.0)
    machine.finish()
    by_domain = {
        domain: sum(
            line.nanojoules / NANO
            for settlement in machine.collected.settlements
            for line in settlement.lines
            if line.domain == domain
        )
        for domain in ("cpu/0/package", "board/0/gpu")
    }
    assert by_domain["cpu/0/package"] == pytest.approx(WATTS * machine.seconds, rel=1e-6)
    assert by_domain["board/0/gpu"] == pytest.approx(300.0 * machine.seconds, rel=1e-6)
    assert machine.joules("unattributed", "sensor_lost") == pytest.approx(300.0 * (3.0 + TICK), rel=1e-6)
    assert machine.incomplete() == [3, 4, 5, 6]
    for second in (3, 4, 5):
        assert machine.spans()[second].energy().by_domain["cpu/0/package"] == pytest.approx(WATTS, rel=1e-6)
    assert machine.spans()[8].energy().joules == pytest.approx(WATTS + 300.0, rel=1e-6)


# Exporters


class Raising:
    name = "raising"

    def export(self, settlement: object) -> None:
        raise RuntimeError("collector down")

    def close(self) -> None:
        pass


def test_an_exporter_that_raises_all_the_time_changes_no_figure(clock: ManualClock) -> None:
    machine = Machine(clock, SimulatedMeter(WATTS, clock=clock), exporters=[Raising()])
    machine.run(5.0)
    machine.finish()
    machine.assert_it_closes()
    machine.assert_untouched()
    assert machine.metric("greeninfer_meter_failures_total", meter="raising", reason="export") == pytest.approx(
        len(machine.collected.settlements), abs=1
    )


# What is not known of the beginning


def test_a_request_that_began_before_the_first_reading_is_incomplete(clock: ManualClock) -> None:
    """Meters take a moment to open, half a second for a GPU; what the first request used until then is not known."""
    meter = SimulatedMeter(WATTS, clock=clock)
    program = Program(clock)
    monitor = Monitor(
        Settings(tick_seconds=TICK),
        meters=[meter],
        exporters=[],
        clock=clock,
        share=Whole(),
        thread_cpu=program.thread_cpu,
    )
    program.edges = monitor.inbox.edges
    span = program.open("first")
    program.run(0.5)
    monitor.tick()  # the first reading
    program.run(0.5)
    monitor.tick()
    program.close(span)
    program.run(0.1)
    monitor.tick()
    monitor.tick()
    energy = span.energy(timeout=0.0)
    assert not energy.provisional
    assert energy.joules == pytest.approx(25.0, rel=1e-6)
    assert not energy.complete


def test_the_first_tick_is_the_first_reading(clock: ManualClock) -> None:
    machine = Machine(clock, SimulatedMeter(WATTS, clock=clock))
    machine.run(1.0)
    machine.finish()
    machine.assert_it_closes()
    machine.assert_untouched()


# Under real doors: whatever the meter does, the request does not feel it


def vanish(meter: SimulatedMeter) -> None:
    meter.vanish()


def reset(meter: SimulatedMeter) -> None:
    meter.reset()


def freeze(meter: SimulatedMeter) -> None:
    meter.freeze()


def lag(meter: SimulatedMeter) -> None:
    meter.lag(1.0)


def explode(meter: SimulatedMeter) -> None:
    def read() -> tuple[Reading, ...]:
        raise ZeroDivisionError

    meter.read = read  # type: ignore[method-assign]


def shrink(meter: SimulatedMeter) -> None:
    meter.read = lambda: ()  # type: ignore[method-assign]


def nonsense(meter: SimulatedMeter) -> None:
    meter.read = lambda: (Reading(meter.info.domains[0], float("nan"), float("nan")),)  # type: ignore[method-assign]


@measure("function")
def function() -> int:
    return sum(range(1000))


@measure("coroutine")
async def coroutine() -> int:
    await asyncio.sleep(0)
    return sum(range(1000))


@measure("generator")
async def generator() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(0)
    yield sum(range(1000))


def every_shape() -> list[int]:
    async def later() -> list[int]:
        return [await coroutine(), *[item async for item in generator()]]

    with measure("block") as span, span.phase("part"):
        return [function(), *asyncio.run(later())]


@pytest.mark.parametrize("breaks", [vanish, reset, freeze, lag, explode, shrink, nonsense])
@pytest.mark.parametrize("begin", ["broken from the start", "breaks later"])
def test_no_request_ever_feels_a_fault(begin: str, breaks: Callable[[SimulatedMeter], None]) -> None:
    live = Live(tick_seconds=0.001)
    if begin == "broken from the start":
        breaks(live.meter)
    with live.monitor:
        answers = [every_shape() for _ in range(3)]
        if begin == "breaks later":
            live.monitor.flush(timeout=20.0)
            breaks(live.meter)
        answers += [every_shape() for _ in range(3)]
        with measure("last") as span:
            pass
        energy = span.energy(timeout=0.01)
    assert answers == [[499500, 499500, 1, 499500]] * 6
    # Whatever became of the figure, it is no 0 that pretends to be one.
    assert energy.joules is None or energy.joules > 0.0 or energy.provisional or energy.complete is False


# GPUs: the real pynvml on the fake driver library


GPU = """
from simulated_world import Program
from greeninfer import Monitor
from greeninfer._share import Whole
from live import Collected

clock = LibraryClock()
clock.advance = clock.sleep
meter = NvmlMeter(pynvml, clock, clock.sleep)
program, collected = Program(clock), Collected()
monitor = Monitor(Settings(tick_seconds=0.05), meters=[meter], exporters=[collected], clock=clock, share=Whole(),
                  thread_cpu=program.thread_cpu)
program.edges = monitor.inbox.edges
begun = clock.now()
monitor.tick()

def run(seconds):
    for _ in range(round(seconds / 0.05)):
        program.run(0.05)
        monitor.tick()

def request(seconds, during=lambda: None):
    span = program.open("generate")
    run(seconds / 2)
    during()
    run(seconds / 2)
    program.close(span)
    return span

def books():
    program.run(0.05)
    monitor.tick()
    monitor.tick()
    lines = {}
    for settlement in collected.settlements:
        for line in settlement.lines:
            key = f"{line.state} {line.reason} {line.quality}"
            lines[key] = lines.get(key, 0.0) + line.nanojoules / 1e9
    energies = [span.energy(timeout=0.0) for span in program.spans]
    meter.close()
    report({
        "seconds": clock.now() - begun,
        "lines": {key: joules for key, joules in lines.items() if joules},
        "joules": [energy.joules for energy in energies],
        "complete": [energy.complete for energy in energies],
        "provisional": [energy.provisional for energy in energies],
        "failures": {" ".join(key): count for key, count in collected.failures().items()},
    })
"""


def play_gpu(scenario: str, **fake: object) -> dict[str, Any]:
    from hardware.fake_nvml import play

    told: dict[str, Any] = play(GPU + scenario, **fake)
    assert told["provisional"] == [False] * len(told["provisional"])
    return told


def test_a_gpu_without_faults_is_charged_to_who_used_it() -> None:
    told = play_gpu("request(2.0); run(1.0); request(2.0); books()", POWER_W=300)
    assert told["joules"] == pytest.approx([600.0, 600.0], rel=0.01)
    assert told["complete"] == [True, True]
    assert sum(told["lines"].values()) == pytest.approx(300.0 * told["seconds"], rel=1e-3)
    assert told["failures"] == {}


def test_a_gpu_that_is_lost_and_comes_back(tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    scenario = f"""
lost = Path({str(lost)!r})
request(2.0)
request(6.0, lost.touch)
lost.unlink()
run(12.0)  # it tries to mend the board every ten seconds
request(2.0)
books()
"""
    told = play_gpu(scenario, POWER_W=300, LOST_FILE=lost)
    assert told["complete"] == [True, False, True]
    assert told["joules"][0] == pytest.approx(600.0, rel=0.01)
    assert told["joules"][2] == pytest.approx(600.0, rel=0.01)
    assert told["joules"][1] <= 900.0 * 1.01  # no more than was seen of it before the board was lost
    assert sum(told["lines"].values()) == pytest.approx(300.0 * told["seconds"], rel=1e-3)
    assert told["lines"]["unattributed sensor_lost measured"] >= 300.0 * 3.0
    assert told["failures"]["nvml lost"] >= 30
    assert "idle  measured" in told["lines"]


def test_one_of_two_gpus_that_is_lost_costs_the_other_nothing(tmp_path: Path) -> None:
    lost = tmp_path / "lost"
    scenario = f"""
lost = Path({str(lost)!r})
request(2.0)
request(4.0, lambda: lost.write_text("1"))
lost.unlink()
run(12.0)
request(2.0)
books()
"""
    told = play_gpu(scenario, DEVICES=2, POWER_W="300,100", LOST_FILE=lost)
    assert told["complete"] == [True, False, True]
    assert told["joules"][0] == pytest.approx(800.0, rel=0.01)
    assert told["joules"][1] == pytest.approx(300.0 * 4.0 + 100.0 * 2.0, rel=0.01)
    assert told["joules"][2] == pytest.approx(800.0, rel=0.01)
    assert sum(told["lines"].values()) == pytest.approx(400.0 * told["seconds"], rel=1e-3)
    unattributed = sum(joules for line, joules in told["lines"].items() if line.startswith("unattributed"))
    assert unattributed >= 100.0 * 2.0


def test_a_gpu_whose_counter_is_reset_is_a_guess_that_says_so(tmp_path: Path) -> None:
    reset = tmp_path / "reset"
    scenario = f"""
reset = Path({str(reset)!r})
request(2.0)
request(2.0, lambda: reset.write_text(str(clock.now() + 0.01)))
request(2.0)
books()
"""
    told = play_gpu(scenario, POWER_W=300, RESET_FILE=reset)
    assert told["complete"] == [True, False, True]
    assert told["joules"][0] == pytest.approx(600.0, rel=0.01)
    assert told["joules"][2] == pytest.approx(600.0, rel=0.01)
    assert 500.0 < told["joules"][1] < 600.0
    assert sum(told["lines"].values()) == pytest.approx(300.0 * told["seconds"], rel=0.02)
    guessed = told["lines"]["unattributed reset estimated"]
    assert 0.0 < guessed < 300.0 * 0.5
    assert told["failures"]["nvml reset"] >= 1
