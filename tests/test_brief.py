"""Requests that leave a row of figures: settled in columns, they get what the same requests get as spans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from simulated_world import DRAM, GPU, PACKAGE, ManualClock, ScriptedMeter, World

from greeninfer._account import ROW_FIELDS
from greeninfer._energy import Measurement, Measurements
from greeninfer._records import NANO, Settlement
from greeninfer._span import Span
from greeninfer._timeline import Timeline
from greeninfer.exporters.prometheus import PrometheusExporter

THREAD = 1
KEYS = [("cheap", ""), ("heavy", "minilm")]


@dataclass(eq=False)
class Request:
    """One request of a row world, which takes its steps on one thread.

    Args:
        span: as the door made it.
        cpu: seconds so far.
    """

    span: Span
    cpu: float = 0.0


@dataclass
class Rows:
    """A world whose requests leave steps and rows, as `_request_steps.py` does.

    Args:
        world: with one meter.
    """

    world: World
    running: Request | None = None
    settled: list[Measurement] = field(default_factory=list)

    @property
    def now(self) -> tuple[float, float]:
        return self.world.clock.now(), self.world.program.cpu[THREAD]

    def open(self, number: int) -> Request:
        program = self.world.program
        span = Span(KEYS[number % 2], program.edges.extend, program)
        span.served, span.method, span.opened = True, "GET", self.world.clock.now()
        program.inbox.unseen[span] = [THREAD, *self.now]
        self.running = Request(span)
        return self.running

    def run(self, seconds: float, share: float) -> None:
        if self.running is not None:
            self.world.program.cpu[THREAD] += share * seconds
            self.running.cpu += share * seconds
        self.world.clock.advance(seconds)

    def pause(self, request: Request) -> None:
        self._note(request, None)
        self.running = None

    def resume(self, request: Request) -> None:
        self.running = request
        self._note(request, request.span)

    def _note(self, request: Request, runs: Span | None) -> None:
        program = self.world.program
        steps = program.inbox.unseen.get(request.span)
        if steps is None:
            program.edges.extend((*self.now, THREAD, runs, None))
        else:
            steps += self.now

    def close(self, request: Request) -> None:
        program, span = self.world.program, request.span
        span.closed, span.ran_seconds, self.running = self.world.clock.now(), request.cpu, None
        steps = program.inbox.unseen.pop(span, None)
        if steps is None:
            program.edges.extend((*self.now, THREAD, None, span))
        else:
            several = (*steps[1:], *self.now) if len(steps) > 3 else None
            figures = span.key, "ok", 0.001, "GET", 200, several
            program.inbox.rows.extend((span.opened, span.closed, span.ran_seconds, *figures))

    def whole(self, number: int, seconds: float, share: float = 1.0) -> Request:
        """Let a request begin, run and end."""
        request = self.open(number)
        self.run(seconds, share)
        self.close(request)
        return request

    def tick(self, *joules: float) -> Settlement:
        for meter_domain, used in zip(self.meter.domains, joules, strict=False):
            self.meter.use(used, meter_domain)
        settlement = self.world.tick()
        self.settled += settlement.measurements
        return settlement

    @property
    def meter(self) -> Any:
        return self.world.meters[0]._meter

    def closes(self) -> None:
        """Check that all lines add up to the meter, and requests to what is attributed."""
        domains = self.meter.domains
        for domain in domains:
            assert self.world.line(domain) == self.world.metered(domain)
        attributed = sum(self.world.line(domain, "attributed") for domain in domains)
        assert sum(each.nanojoules for each in self.settled) == attributed


def rows(*domains: Any, other_cores: float = 0.0) -> Rows:
    clock = ManualClock()
    world = Rows(World(ScriptedMeter(clock, *domains), clock=clock, other_cores=other_cores))
    world.tick()
    return world


def goes_on(world: Rows, request: Request) -> None:
    """Let a request that has run for 20 ms run for 20 ms more, and end."""
    world.run(0.02, 1.0)
    world.close(request)
    world.tick(2.0)
    assert request.span.cpu_seconds == pytest.approx(0.04)
    world.closes()


def tick_during(world: Rows, happens: Callable[[], object], joules: float) -> None:
    """Tick, while something happens between the meter's reading and the look at the rows."""
    world.meter.use(joules)

    def read() -> Any:
        readings = type(world.meter).read(world.meter)
        happens()
        return readings

    world.meter.read = read
    world.settled += world.world.tick().measurements
    del world.meter.read


def test_a_request_between_two_ticks_is_settled_in_columns_and_no_span_is_left() -> None:
    world = rows()
    world.run(0.01, 0.0)
    opened = world.world.clock.now()
    world.whole(1, 0.02)
    world.run(0.01, 0.0)
    settlement = world.tick(8.0)
    found = settlement.measurements
    assert isinstance(found, Measurements)
    assert (len(found), len(found.single), len(found.columns.keys)) == (1, 0, 1)
    (each,) = found
    energy = each.energy()
    assert (each.key, each.outcome, each.first_byte_seconds) == (("heavy", "minilm"), "ok", 0.001)
    assert each.attributes == {"http.request.method": "GET", "http.response.status_code": 200}
    assert (each.seconds, each.cpu_seconds) == (pytest.approx(0.02), pytest.approx(0.02))
    assert each.unix_seconds == pytest.approx(1.7e9 + opened)
    assert (energy.quality, energy.provisional, energy.complete) == ("measured", False, True)
    assert each.nanojoules == sum(line.nanojoules for line in settlement.lines if line.state == "attributed")
    assert energy.joules == pytest.approx(8.0, rel=0.6)
    assert settlement.in_flight == {"heavy": 0}
    assert world.world.books.quiet
    world.closes()


def test_domains_and_static_parts_add_up_row_by_row() -> None:
    world = rows(PACKAGE, DRAM)
    world.run(0.1, 0.0)
    world.tick(2.0, 0.2)
    for number in range(3):
        world.whole(number, 0.01 * (number + 1))
    found = world.tick(5.0, 0.5).measurements
    assert isinstance(found, Measurements)
    assert found.columns.nanojoules == [each.nanojoules for each in found]
    static = [each.static_joules or 0.0 for each in found]
    assert all(static)
    assert [part / NANO for part in found.columns.static_nanojoules] == pytest.approx(static, abs=2e-9)
    for each in found:
        energy = each.energy()
        assert set(energy.by_domain) == {PACKAGE.id, DRAM.id}
        assert sum(energy.by_domain.values()) == pytest.approx(energy.joules)
    world.closes()


def test_what_goes_on_at_a_tick_goes_on_as_a_span() -> None:
    world = rows()
    request = world.open(0)
    world.run(0.02, 1.0)
    settlement = world.tick(4.0)
    assert (settlement.measurements, settlement.in_flight) == ((), {"cheap": 1})
    assert request.span.nanojoules > 0
    world.run(0.02, 1.0)
    world.close(request)
    assert not world.world.program.inbox.rows
    settlement = world.tick(4.0)
    assert list(settlement.measurements) == [request.span]
    assert request.span.nanojoules == 8 * NANO
    world.closes()


def test_what_waits_at_a_tick_is_open_and_has_paid_for_its_steps() -> None:
    world = rows()
    request = world.open(0)
    world.run(0.02, 1.0)
    world.pause(request)
    world.run(0.02, 0.0)
    world.whole(1, 0.02)
    settlement = world.tick(6.0)
    assert settlement.in_flight == {"cheap": 1, "heavy": 0}
    assert request.span.cpu_seconds == pytest.approx(0.02)
    world.resume(request)
    goes_on(world, request)


def test_a_step_that_is_noted_while_it_is_being_taken_is_found_a_tick_later() -> None:
    """The request looked whether it is unseen, then the sampler took it, then the request noted the end of its step."""
    world = rows()
    request = world.open(0)
    steps = world.world.program.inbox.unseen[request.span]
    world.run(0.02, 1.0)
    world.tick(2.0)
    steps += world.now
    world.running = None
    world.whole(1, 0.02)  # that is not its work
    world.resume(request)  # by now it knows
    goes_on(world, request)


def test_a_begin_that_is_noted_while_it_is_being_taken_is_found_a_tick_later() -> None:
    world = rows()
    request = world.open(0)
    steps = world.world.program.inbox.unseen[request.span]
    world.run(0.02, 1.0)
    world.pause(request)
    world.tick(2.0)
    world.run(0.01, 0.0)
    steps += world.now
    world.running = request
    goes_on(world, request)


def test_rows_wait_for_the_interval_that_covers_them() -> None:
    """A request is over, and the meter is not due yet."""
    world = rows()
    world.run(0.02, 0.0)
    world.whole(0, 0.01)
    settlement = world.world.books.tick(force=False)
    assert (settlement.intervals, settlement.measurements) == ((), ())
    assert world.world.books.unsettled
    world.tick(3.0)
    assert len(world.settled) == 1
    world.closes()


def test_a_request_across_the_reading_of_the_meter_pays_in_both_intervals() -> None:
    world = rows()
    request = world.open(0)
    world.run(0.02, 1.0)

    def ends() -> None:
        world.run(0.01, 1.0)
        world.close(request)

    tick_during(world, ends, 2.0)
    assert request.span.closed is not None
    assert world.settled == []
    world.tick(1.0)
    (each,) = world.settled
    assert each.nanojoules == 3 * NANO
    assert each.cpu_seconds == pytest.approx(0.03)
    world.closes()


def test_a_request_after_the_reading_of_the_meter_waits_for_the_next_one() -> None:
    world = rows()
    world.whole(0, 0.02)
    tick_during(world, lambda: world.whole(1, 0.01), 2.0)
    assert [each.key for each in world.settled] == [KEYS[0]]
    world.run(0.01, 0.0)
    world.tick(1.0)
    assert [each.key for each in world.settled] == KEYS
    assert world.settled[1].cpu_seconds == pytest.approx(0.01)
    world.closes()


def test_what_a_thread_tells_after_it_was_looked_at_comes_after_what_was_seen() -> None:
    """One request ended before the look, another began before it and ended before edges were taken."""
    world = rows()
    program, now = world.world.program, world.world.clock.now()
    first, second = (Span(key, program.edges.extend, program) for key in KEYS)
    program.edges.extend((now, 0.0, THREAD, first, first))
    program.inbox.unseen[second] = [THREAD, now + 2.0, 2.0]
    program.edges.extend((now + 1.0, 1.0, THREAD, None, first))
    program.edges.extend((now + 3.0, 3.0, THREAD, None, second))
    cut = Timeline(program.inbox, program.thread_cpu, presence=False).cut(now + 4.0)
    assert (cut.opened, cut.closed) == ([second, first], [first, second])
    assert list(cut.ran) == [(first, now, now + 1.0, 1.0), (second, now + 2.0, now + 3.0, 1.0)]


def test_rows_of_two_threads_share_the_static_power() -> None:
    """Two event loops of one process at work at the same time, and as spans likewise."""
    clock = ManualClock()
    spans = World(ScriptedMeter(clock), clock=clock)
    spans.tick()
    world = rows()
    meters = [spans.meters[0]._meter, world.meter]  # type: ignore[attr-defined]

    def both(seconds: float, joules: float) -> None:
        spans.program.run(seconds)
        world.run(seconds, 0.0)
        for meter in meters:
            meter.use(joules)

    both(0.1, 1.0)
    spans.tick()
    world.tick()
    opened = world.world.clock.now()
    pair = [spans.program.open(name, model=model, thread=thread) for thread, (name, model) in enumerate(KEYS)]
    both(0.02, 3.0)
    for span in pair:
        spans.program.close(span)
    closed = world.world.clock.now()
    for key in KEYS:
        world.world.program.inbox.rows.extend((opened, closed, 0.02, key, "ok", None, "GET", 200, None))
    both(0.02, 0.2)
    theirs, ours = spans.tick().measurements, world.tick().measurements
    assert [each.static_joules for each in ours] == pytest.approx([each.static_joules for each in theirs])
    assert [each.nanojoules for each in ours] == pytest.approx([each.nanojoules for each in theirs], abs=2)
    assert ours[0].static_joules == pytest.approx(0.1)  # 10 W for 20 ms, and half of it
    world.closes()


def test_what_rows_ran_is_not_taken_for_the_work_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = rows()
    told: list[float] = []

    def other(_now: float, _seconds: float, ours: float) -> float:
        told.append(ours)
        return 0.0

    monkeypatch.setattr(world.world.books._share, "other", other)
    world.whole(0, 0.02)
    world.whole(1, 0.01)
    world.tick(1.0)
    assert told == [pytest.approx(0.03)]


def test_while_a_domain_is_missing_the_figure_says_so() -> None:
    world = rows(PACKAGE, DRAM)
    world.whole(0, 0.02)
    world.meter.reset(1.0, DRAM)
    world.tick(2.0)
    (each,) = world.settled
    assert not each.energy().complete
    assert each.energy().by_domain == {PACKAGE.id: 2.0}


def test_a_meter_that_gives_nothing_keeps_no_request_for_ever() -> None:
    world = rows()
    world.meter.broken = "gone"
    world.whole(0, 0.02)
    for _ in range(20):
        world.run(0.2, 0.0)
        settlement = world.tick()
    assert settlement.in_flight == {"cheap": 0}  # it is known, and waits as a span does
    world.meter.broken = ""
    world.run(0.2, 0.0)
    world.tick(5.0)
    world.run(0.2, 0.0)
    world.tick(5.0)
    assert len(world.settled) == 1
    assert world.world.books.quiet


def test_a_request_that_never_ran_used_nothing_and_that_is_known() -> None:
    world = rows()
    world.whole(0, 0.0, 0.0)
    world.run(0.02, 0.0)
    world.tick(1.0)
    (each,) = world.settled
    assert (each.nanojoules, each.energy().joules, each.quality) == (0, 0.0, "measured")
    world.closes()


@pytest.mark.parametrize(
    ("domains", "possible"), [([(PACKAGE, DRAM)], True), ([(GPU,)], False), ([(PACKAGE,), (GPU,)], False), ([], False)]
)
def test_only_one_meter_of_cpus_can_be_settled_in_columns(domains: list[tuple[Any, ...]], possible: bool) -> None:
    """On a GPU it counts who is open, and of two meters each has intervals of its own."""
    clock = ManualClock()
    world = World(*(ScriptedMeter(clock, *each) for each in domains), clock=clock)
    assert world.books.in_columns == possible


def test_columns_and_objects_make_the_same_page() -> None:
    world = rows(PACKAGE, DRAM)
    world.run(0.1, 0.0)
    world.tick(2.0, 0.2)
    held = world.open(0)
    for number in range(2):
        world.tick(1.0, 0.1) if number else world.run(0.01, 1.0)
    world.close(held)
    for number in range(7):
        world.whole(number, 0.003 * (number + 1), 0.5)
    settlement = world.tick(5.0, 0.5)
    assert isinstance(settlement.measurements, Measurements)
    assert len(settlement.measurements.single) == 1
    pages = []
    for measurements in (settlement.measurements, tuple(settlement.measurements)):
        registry = CollectorRegistry()
        PrometheusExporter(registry).export(replace(settlement, measurements=measurements))
        page = generate_latest(registry).decode()
        pages.append([line for line in page.splitlines() if "_created" not in line])
    assert pages[0] == pages[1]
    assert sum("request_energy_joules_count" in line for line in pages[0]) == 2


def test_a_row_has_the_columns_that_are_drawn() -> None:
    world = rows()
    world.whole(0, 0.01)
    assert len(world.world.program.inbox.rows) == ROW_FIELDS
    assert world.world.program.inbox.waiting == 1


SECONDS = st.just(0.0) | st.floats(1e-6, 0.03)  # clocks count nanoseconds
PARTS = st.just(0.0) | st.floats(1e-3, 1.0)
SCRIPTS = st.lists(st.tuples(st.integers(0, 3), SECONDS, PARTS, st.booleans(), st.booleans()), max_size=25)


class Twins:
    """The same requests in two worlds: as spans that are seen edge by edge, and as rows."""

    def __init__(self, other_cores: float) -> None:
        clock = ManualClock()
        self.spans = World(ScriptedMeter(clock, PACKAGE, DRAM), clock=clock, other_cores=other_cores)
        self.spans.tick()
        self.rows = rows(PACKAGE, DRAM, other_cores=other_cores)
        self.open: dict[int, tuple[Span, Request]] = {}
        self.settled: list[Measurement] = []
        self.joules = 0.0

    def step(self, number: int, seconds: float, share: float, *, last: bool) -> None:
        program = self.spans.program
        if number in self.open:
            span, request = self.open[number]
            program.resume(span, THREAD)
            self.rows.resume(request)
        else:
            name, model = KEYS[number % 2]
            span, request = program.open(name, model=model, thread=THREAD), self.rows.open(number)
            span.served = True
            self.open[number] = span, request
        program.run(seconds, share)
        self.rows.run(seconds, share)
        self.joules += seconds * (5.0 + 20.0 * share)
        if last:
            program.close(span)
            self.rows.close(request)
            del self.open[number]
        else:
            program.pause(span)
            self.rows.pause(request)

    def rest(self, seconds: float) -> None:
        self.spans.program.run(seconds)
        self.rows.run(seconds, 0.0)
        self.joules += 5.0 * seconds

    def tick(self) -> None:
        joules, self.joules = (self.joules, 0.1 * self.joules), 0.0
        for domain, used in zip((PACKAGE, DRAM), joules, strict=True):
            self.spans.meters[0]._meter.use(used, domain)  # type: ignore[attr-defined]
        self.settled += self.spans.tick().measurements
        self.rows.tick(*joules)


@given(SCRIPTS, st.sampled_from([0.0, 0.4]))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_rows_and_spans_get_the_same(script: list[tuple[int, float, float, bool, bool]], other_cores: float) -> None:
    twins = Twins(other_cores)
    for number, seconds, share, last, ticks in script:
        twins.step(number, seconds, share, last=last)
        twins.rest(0.001)
        if ticks:
            twins.tick()
    for number in list(twins.open):
        twins.step(number, 0.001, 1.0, last=True)
    for _ in range(2):
        twins.rest(0.01)
        twins.tick()
    ours = sorted(twins.rows.settled, key=lambda each: (each.unix_seconds, each.seconds, each.key))
    theirs = sorted(twins.settled, key=lambda each: (each.unix_seconds, each.seconds, each.key))
    assert [each.key for each in ours] == [each.key for each in theirs]
    for one, other in zip(ours, theirs, strict=True):
        a, b = one.energy(), other.energy()
        assert one.nanojoules == pytest.approx(other.nanojoules, abs=20)
        assert (a.quality, a.provisional, a.complete) == (b.quality, b.provisional, b.complete)
        assert a.static_joules == pytest.approx(b.static_joules, abs=1e-7)
        assert a.uncertainty_joules == pytest.approx(b.uncertainty_joules, rel=1e-3, abs=1e-7)
        assert one.cpu_seconds == pytest.approx(other.cpu_seconds, abs=1e-9)
        assert one.seconds == pytest.approx(other.seconds)
    twins.rows.closes()
    assert twins.rows.world.books.quiet
