"""The division of one interval, against ticks worked out by hand and against Shapley values by enumeration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_world import DRAM, PACKAGE, ManualClock, Program

from greeninfer._activity import Company
from greeninfer._energy import Quality
from greeninfer._ledger import Ledger
from greeninfer._parts import Batch
from greeninfer._records import NANO, Delta, Domain, Interval, Line, Row, State, Weights, whole_nanojoules
from greeninfer._span import Span
from greeninfer._timeline import Piece, Pieces

few = settings(max_examples=40, deadline=None)


def interval(start: float, end: float, *joules: float, domains: Sequence[Domain] = (PACKAGE, DRAM)) -> Interval:
    deltas = tuple(Delta(domain, round(used * NANO), "measured") for domain, used in zip(domains, joules, strict=False))
    return Interval("scripted", start, end, deltas)


def listed(*pieces: Piece) -> Pieces:
    return Pieces(*map(list, zip(*pieces, strict=True)))


class Bench:
    """A ledger of one domain, or more, and spans that run as told."""

    def __init__(self, weights: Weights | None = None, domains: Sequence[Domain] = (PACKAGE,)) -> None:
        self.program = Program(ManualClock())
        self.domains = domains
        self.ledger = Ledger([domain.id for domain in domains])
        self.ledger.weights = {} if weights is None else {domain.id: weights for domain in domains}
        self.lines: list[Line] = []
        self.rows: list[Row] = []

    def span(self, name: str = "classify", model: str = "") -> Span:
        return Span((name, model), self.program.edges.extend, self.program)

    def add(self, *pieces: Piece) -> None:
        self.ledger.add(listed(*pieces))

    def settle(
        self, start: float, end: float, *joules: float, other: float = 0.0, company: Company | None = None
    ) -> None:
        lines, row = self.ledger.settle(interval(start, end, *joules, domains=self.domains), other, company)
        self.lines.extend(lines)
        self.rows.append(row)

    def line(self, state: State, domain: Domain = PACKAGE) -> float:
        """Return the joules of a domain in a state."""
        return sum(each.nanojoules for each in self.lines if (each.state, each.domain) == (state, domain.id)) / NANO


def joules(span: Span) -> float:
    return span.nanojoules / NANO


TRUE = Weights(idle_watts=40.0, active_watts=15.0, watts={("heavy", ""): 8.0, ("cheap", ""): 3.5}, learned=True)


# Ticks worked out by hand


def test_a_cheap_request_that_waits_beside_a_heavy_one() -> None:
    # 1 s: 40 W idle + 15 W active + heavy 8 W for 1 s + cheap 3.5 W for 6 ms = 63.021 J. The cheap one shares 55 W
    # for 6 ms: 0.165 J, and adds 0.021 J of its own; the rest is the heavy one's. This is the Shapley value.
    bench = Bench(TRUE)
    cheap, heavy = bench.span("cheap"), bench.span("heavy")
    bench.add((cheap, 0.0, 0.006, 0.006), (heavy, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 63.021)
    assert joules(cheap) == pytest.approx(0.186, rel=1e-9)
    assert joules(heavy) == pytest.approx(62.835, rel=1e-9)
    assert (bench.line("idle"), bench.line("other")) == (0.0, 0.0)
    assert cheap.energy().static_joules == pytest.approx(0.165, rel=1e-9)
    assert cheap.energy().dynamic_joules == pytest.approx(0.021, rel=1e-9)


def test_where_inside_the_tick_it_ran_need_not_be_known() -> None:
    # The same, but all that is known is 6 ms of CPU time in an open second.
    bench = Bench(TRUE)
    cheap, heavy = bench.span("cheap"), bench.span("heavy")
    bench.add((cheap, 0.0, 1.0, 0.006), (heavy, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 63.021)
    assert joules(cheap) == pytest.approx(0.186, rel=1e-9)
    assert joules(heavy) == pytest.approx(62.835, rel=1e-9)


def test_with_the_same_weight_for_all_the_cheap_one_pays_a_little_more() -> None:
    # 8.021 J dynamic by running seconds: 0.006 / 1.006 of it, and 0.165 J static.
    bench = Bench(Weights(idle_watts=40.0, active_watts=15.0, shared_watts=7.0))
    cheap, heavy = bench.span("cheap"), bench.span("heavy")
    bench.add((cheap, 0.0, 0.006, 0.006), (heavy, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 63.021)
    assert joules(cheap) == pytest.approx(0.165 + 8.021 * 0.006 / 1.006, rel=1e-9)


def test_only_the_ratio_of_weights_counts() -> None:
    outcomes = []
    for factor in (1.0, 1000.0):
        bench = Bench(Weights(40.0, 15.0, {("heavy", ""): 8.0 * factor}, shared_watts=3.5 * factor))
        cheap, heavy = bench.span("cheap"), bench.span("heavy")
        bench.add((cheap, 0.0, 0.5, 0.5), (heavy, 0.0, 1.0, 1.0))
        bench.settle(0.0, 1.0, 70.0)
        outcomes.append((cheap.nanojoules, heavy.nanojoules))
    assert outcomes[0] == outcomes[1]


def test_the_rest_of_a_tick_is_idle() -> None:
    # 40 W for 2 s + (15 + 8) W for half a second.
    bench = Bench(TRUE)
    heavy = bench.span("heavy")
    bench.add((heavy, 0.5, 1.0, 0.5))
    bench.settle(0.0, 2.0, 91.5)
    assert joules(heavy) == pytest.approx(31.5, rel=1e-9)
    assert bench.line("idle") == pytest.approx(60.0, rel=1e-9)


def test_where_nothing_ran_all_is_idle() -> None:
    bench = Bench(TRUE)
    bench.settle(0.0, 1.0, 123.456789012)
    assert bench.line("idle") == 123.456789012
    assert bench.line("attributed") == bench.line("other") == 0.0
    assert bench.rows[0].active == 0.0


def test_what_waits_all_the_time_pays_nothing() -> None:
    bench = Bench(TRUE)
    waiting, heavy = bench.span("cheap"), bench.span("heavy")
    bench.add((waiting, 0.0, 1.0, 0.0), (heavy, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 63.0)
    assert waiting.nanojoules == 0
    assert joules(heavy) == 63.0


def test_less_joules_than_the_base_scale_it_down() -> None:
    # base = 40 W * 1 s + 15 W * 0.5 s = 47.5 J; 38 J were metered: s = 0.8, and nothing is dynamic.
    bench = Bench(TRUE)
    heavy = bench.span("heavy")
    bench.add((heavy, 0.0, 0.5, 0.5))
    bench.settle(0.0, 1.0, 38.0)
    assert joules(heavy) == pytest.approx(0.8 * 55.0 * 0.5, rel=1e-9)
    assert bench.line("idle") == pytest.approx(0.8 * 40.0 * 0.5, rel=1e-9)
    assert heavy.energy().dynamic_joules == pytest.approx(0.0, abs=1e-9)


def test_a_base_that_is_scaled_down_is_no_more_static_than_it_was_metered() -> None:
    # 27.5 of 55 J in the first second, all static; 55 static and 8 dynamic in the second.
    bench = Bench(TRUE)
    heavy = bench.span("heavy")
    bench.add((heavy, 0.0, 2.0, 2.0))
    bench.settle(0.0, 1.0, 27.5)
    bench.settle(1.0, 2.0, 63.0)
    assert heavy.energy().static_joules == pytest.approx(82.5, rel=1e-9)
    assert heavy.energy().dynamic_joules == pytest.approx(8.0, rel=1e-9)


def test_what_can_be_learned_from_a_tick_is_told() -> None:
    bench = Bench(TRUE)
    bench.add((bench.span("heavy"), 0.0, 1.0, 0.75), (bench.span("cheap"), 0.0, 1.0, 0.5))
    bench.add((bench.span("cheap"), 0.0, 0.5, 0.5))
    bench.settle(0.0, 2.0, 110.0, other=0.5)
    (row,) = bench.rows
    assert (row.seconds, row.joules) == (2.0, {PACKAGE.id: 110.0})
    assert row.ran == {("heavy", ""): pytest.approx(0.75), ("cheap", ""): pytest.approx(1.0)}
    assert row.other == pytest.approx(0.5)
    # Squares of what each is believed to draw: 8 W for 0.75 s, and twice 3.5 W for half a second.
    assert row.squares == {PACKAGE.id: pytest.approx(6.0**2 + 2 * 1.75**2)}
    # Nothing runs: until 0.5 s neither of the first two nor the third, who runs all the time; after 1 s only others.
    assert row.active == pytest.approx(0.5 + 0.5 * (1.0 - 0.25 * 0.5 * 0.75) + 1.0 * 0.25)


@few
@given(st.floats(0.001, 1.0), st.floats(0.0, 1.0), st.floats(1.0, 500.0))
def test_two_of_the_same_route_that_run_alike_pay_alike(seconds: float, rho: float, watts: float) -> None:
    bench = Bench(TRUE)
    one, two, third = bench.span("cheap"), bench.span("cheap"), bench.span("heavy")
    for span in (one, two):
        bench.add((span, 0.2, 0.2 + seconds, rho * seconds))
    bench.add((third, 0.0, 0.7, 0.7))
    bench.settle(0.0, 2.0, watts * 2.0)
    assert abs(one.nanojoules - two.nanojoules) <= 1


def test_nobody_pays_more_because_it_closes_first_or_comes_first() -> None:
    shares: list[list[int]] = []
    for order in (1, -1):
        bench = Bench(TRUE)
        spans = [bench.span("cheap") for _ in range(7)]
        pieces = [(span, 0.1 * at, 0.1 * at + 0.5, 0.1 * at) for at, span in enumerate(spans)]
        bench.add(*pieces[::order])
        bench.settle(0.0, 2.0, 99.0)
        shares.append([span.nanojoules for span in spans])
    assert all(abs(first - second) <= 1 for first, second in zip(*shares, strict=True))


def test_a_weight_of_nothing_says_nothing() -> None:
    bench = Bench(Weights(watts={("heavy", ""): 0.0}, shared_watts=0.0, learned=True))
    heavy, cheap = bench.span("heavy"), bench.span("cheap")
    bench.add((heavy, 0.0, 1.0, 0.75), (cheap, 0.0, 1.0, 0.25))
    bench.settle(0.0, 1.0, 8.0)
    assert [joules(heavy), joules(cheap)] == pytest.approx([6.0, 2.0])


def test_before_anything_is_known_joules_go_by_running_seconds() -> None:
    bench = Bench()
    long, short = bench.span("long"), bench.span("short")
    bench.add((long, 0.0, 1.0, 0.6), (short, 0.0, 1.0, 0.2))
    bench.settle(0.0, 1.0, 80.0)
    assert [joules(long), joules(short)] == pytest.approx([60.0, 20.0])


def test_each_domain_has_weights_of_its_own() -> None:
    bench = Bench(domains=(PACKAGE, DRAM))
    bench.ledger.weights = {
        PACKAGE.id: Weights(watts={("a", ""): 3.0, ("b", ""): 1.0}, learned=True),
        DRAM.id: Weights(watts={("a", ""): 1.0, ("b", ""): 4.0}, learned=True),
    }
    a, b = bench.span("a"), bench.span("b")
    bench.add((a, 0.0, 1.0, 1.0), (b, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 40.0, 10.0)
    assert a.energy().by_domain == {PACKAGE.id: pytest.approx(30.0), DRAM.id: pytest.approx(2.0)}
    assert b.energy().by_domain == {PACKAGE.id: pytest.approx(10.0), DRAM.id: pytest.approx(8.0)}
    assert bench.line("attributed", DRAM) == 10.0


# Work that no span covers


def test_another_process_is_one_more_player_for_each_core_that_it_keeps_busy() -> None:
    # Static 55 W for 1 s between two; dynamic 15 J as 8 W : 2 W.
    bench = Bench(Weights(40.0, 15.0, {("heavy", ""): 8.0}, other_watts=2.0, learned=True))
    heavy = bench.span("heavy")
    bench.add((heavy, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 70.0, other=1.0)
    assert joules(heavy) == pytest.approx(27.5 + 12.0, rel=1e-9)
    assert bench.line("other") == pytest.approx(27.5 + 3.0, rel=1e-9)
    assert bench.rows[0].other == pytest.approx(1.0)


def test_two_busy_cores_are_two_players() -> None:
    bench = Bench(Weights(40.0, 15.0, {("heavy", ""): 8.0}, other_watts=2.0, learned=True))
    heavy = bench.span("heavy")
    bench.add((heavy, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 67.0, other=2.0)
    assert joules(heavy) == pytest.approx(55.0 / 3 + 8.0, rel=1e-9)
    assert bench.line("other") == pytest.approx(55.0 * 2 / 3 + 4.0, rel=1e-9)


def test_a_core_and_a_half_is_one_player_all_the_time_and_one_half_of_it() -> None:
    # The heavy one is beside one for half a second, and beside two for the other half.
    bench = Bench(Weights(40.0, 15.0, {("heavy", ""): 8.0}, other_watts=2.0, learned=True))
    heavy = bench.span("heavy")
    bench.add((heavy, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 66.0, other=1.5)
    assert joules(heavy) == pytest.approx(55.0 * (0.5 / 2 + 0.5 / 3) + 8.0, rel=1e-9)
    assert bench.rows[0].other == pytest.approx(1.5)


def test_where_only_others_ran_nothing_is_attributed() -> None:
    bench = Bench(Weights(40.0, 15.0, other_watts=2.0, learned=True))
    bench.settle(0.0, 1.0, 48.5, other=0.5)
    # Half of the second idle: 20 J; half busy: 27.5 J static, 1 J dynamic.
    assert bench.line("idle") == pytest.approx(20.0, rel=1e-9)
    assert bench.line("other") == pytest.approx(28.5, rel=1e-9)
    assert bench.line("attributed") == 0.0


# Pieces and intervals


def test_a_piece_that_crosses_the_border_pays_in_both_intervals() -> None:
    bench = Bench(TRUE)
    heavy = bench.span("heavy")
    bench.add((heavy, 0.5, 2.0, 1.5))
    bench.settle(0.0, 1.0, 40.0 + 0.5 * 23.0)
    assert joules(heavy) == pytest.approx(0.5 * 63.0, rel=1e-9)
    bench.settle(1.0, 2.0, 63.0)
    assert joules(heavy) == pytest.approx(1.5 * 63.0, rel=1e-9)
    assert bench.line("idle") == pytest.approx(20.0, rel=1e-9)


def test_a_piece_may_span_many_intervals() -> None:
    bench = Bench(Weights(learned=True))
    long = bench.span()
    bench.add((long, 0.0, 10.0, 5.0))
    for second in range(10):
        bench.settle(float(second), second + 1.0, 7.0)
        assert bench.rows[-1].ran == {long.key: pytest.approx(0.5)}
    assert long.nanojoules == 70 * NANO
    bench.settle(10.0, 11.0, 7.0)
    assert bench.rows[-1].ran == {}


def test_what_ran_before_the_first_interval_is_not_charged_for_it() -> None:
    bench = Bench(Weights(learned=True))
    early, late = bench.span("early"), bench.span("late")
    bench.add((early, 0.0, 4.0, 4.0), (early, 4.0, 5.0, 1.0), (late, 4.0, 6.0, 2.0))
    bench.settle(5.0, 6.0, 10.0)
    assert early.nanojoules == 0
    assert late.nanojoules == 10 * NANO
    assert bench.rows[0].ran.get(late.key) == pytest.approx(1.0)


def test_one_long_interval_charges_as_the_short_ones_in_it_would_have() -> None:
    # Ticks 2 and 3 were missed; power does not change, so the division must not either.
    schedule = [("heavy", 0.0, 1.2, 1.2), ("cheap", 0.4, 0.9, 0.5), ("cheap", 1.1, 2.7, 1.6), ("heavy", 2.0, 3.0, 1.0)]
    shares = []
    for borders in ((0.0, 1.0, 2.0, 3.0), (0.0, 3.0)):
        bench = Bench(TRUE)
        spans = [bench.span(route) for route, *_ in schedule]
        bench.add(*((span, *piece) for span, (_, *piece) in zip(spans, schedule, strict=True)))  # type: ignore[arg-type]
        for start, end in pairwise(borders):
            bench.settle(start, end, true_joules(schedule, start, end))
        shares.append([span.nanojoules for span in spans])
    assert shares[1] == pytest.approx(shares[0], rel=1e-9)


def true_joules(schedule: Sequence[tuple[str, float, float, float]], start: float, end: float) -> float:
    """Return the joules of a machine of 40 W, 15 W as soon as anything runs, and 8 or 3.5 W for what runs."""
    used = 40.0 * (end - start)
    instants = sorted({min(max(instant, start), end) for piece in schedule for instant in piece[1:3]} | {start, end})
    for begin, stop in pairwise(instants):
        there = [route for route, first, last, _ in schedule if first <= begin and stop <= last]
        watts = sum(8.0 if route == "heavy" else 3.5 for route in there) + (15.0 if there else 0.0)
        used += watts * (stop - begin)
    return used


def test_several_pieces_of_one_span_are_one_account() -> None:
    bench = Bench(TRUE)
    span = bench.span("heavy")
    bench.add((span, 0.0, 0.25, 0.25), (span, 0.5, 0.75, 0.25))
    bench.settle(0.0, 1.0, 40.0 + 0.5 * 23.0)
    assert joules(span) == pytest.approx(0.5 * 63.0, rel=1e-9)
    assert [line.nanojoules for line in bench.lines if line.state == "attributed"] == [span.nanojoules]
    assert bench.rows[0].ran == {span.key: pytest.approx(0.5)}


def test_a_clock_that_is_microseconds_off_does_not_make_a_piece_run_longer_than_it_lasted() -> None:
    bench = Bench(TRUE)
    span = bench.span("heavy")
    bench.add((span, 0.0, 0.5, 0.5001), (span, 0.5, 0.5, 0.0001))
    bench.settle(0.0, 1.0, 40.0 + 0.5 * 23.0)
    assert joules(span) == pytest.approx(0.5 * 63.0, rel=1e-9)
    assert bench.rows[0].ran == {span.key: pytest.approx(0.5)}


def test_a_batch_pays_once_and_its_spans_by_weight() -> None:
    bench = Bench(TRUE)
    one, two, alone = bench.span("heavy"), bench.span("cheap"), bench.span("heavy")
    batch = Batch([(one, 3.0), (two, 1.0)], bench.program.edges.append)
    bench.add((batch, 0.0, 1.0, 1.0), (alone, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 55.0 + 16.0)
    assert joules(alone) == pytest.approx(35.5, rel=1e-9)
    assert joules(one) == pytest.approx(35.5 * 0.75, rel=1e-9)
    assert joules(two) == pytest.approx(35.5 * 0.25, rel=1e-9)
    by_route = {line.name: line.nanojoules for line in bench.lines if line.state == "attributed"}
    assert by_route == {"heavy": one.nanojoules + alone.nanojoules, "cheap": two.nanojoules}


# Joules that cannot be divided


@pytest.mark.parametrize("quality", ["measured", "estimated"])
def test_joules_with_a_fault_are_unattributed_and_say_why(quality: Quality) -> None:
    bench = Bench(TRUE)
    span = bench.span("heavy")
    bench.add((span, 0.0, 1.0, 1.0))
    lines, row = bench.ledger.settle(Interval("scripted", 0.0, 1.0, (Delta(PACKAGE, 7 * NANO, quality, "reset"),)))
    assert lines == [Line("unattributed", PACKAGE.id, quality, 7 * NANO, reason="reset")]
    assert row.joules == {}
    assert span.nanojoules == 0
    assert not span.energy().complete


def test_a_domain_that_is_lost_leaves_the_others_to_be_divided() -> None:
    bench = Bench(TRUE, domains=(PACKAGE, DRAM))
    before, span = bench.span("heavy"), bench.span("heavy")
    bench.add((before, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 63.0, 63.0)
    bench.add((span, 1.0, 2.0, 1.0))
    bench.settle(1.0, 2.0, 63.0)
    assert span.energy().by_domain == {PACKAGE.id: 63.0}
    assert not span.energy().complete
    assert before.energy().complete


def test_quality_and_gain_of_the_meter_come_with_every_share() -> None:
    ledger = Ledger([PACKAGE.id], gain=(0.6, 1.7))
    span = Bench().span()
    ledger.add(listed((span, 0.0, 1.0, 1.0)))
    lines, _ = ledger.settle(Interval("estimate", 0.0, 1.0, (Delta(PACKAGE, NANO, "estimated"),)))
    assert {line.quality for line in lines} == {"estimated"}
    assert (span.energy().quality, span.energy().gain) == ("estimated", (0.6, 1.7))


# Closure


# Nothing, or at least what a clock can tell and a calibration may believe.
rhos = st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-9, 1.0))
watts = st.one_of(st.just(0.0), st.floats(1e-9, 300.0))
piece = st.tuples(st.sampled_from("abc"), st.floats(-0.5, 3.0), st.floats(0.0, 2.0), rhos)  # route, begin, length, rho
ledger_weights = st.builds(
    Weights,
    idle_watts=watts,
    active_watts=watts,
    watts=st.fixed_dictionaries({}, optional={("a", ""): watts, ("b", ""): watts}),
    shared_watts=watts,
    other_watts=watts,
    learned=st.booleans(),
)


@few
@given(
    st.lists(piece, min_size=3, max_size=25),
    ledger_weights,
    st.lists(st.floats(0.0, 1e4), min_size=3, max_size=3),
    st.one_of(st.just(0.0), st.floats(1e-6, 5.0)),
)
def test_whatever_the_weights_every_nanojoule_is_in_one_line(
    schedule: list[tuple[str, float, float, float]], weights: Weights, used: list[float], other: float
) -> None:
    bench = Bench(weights)
    spans = [bench.span(route) for route, *_ in schedule]
    bench.add(
        *(
            (span, begin, begin + length, rho * length)
            for span, (_, begin, length, rho) in zip(spans, schedule, strict=True)
        )
    )
    for start, end, joules_used in zip((0.0, 0.02, 1.5), (0.02, 1.5, 6.0), used, strict=True):
        bench.settle(start, end, joules_used, other=other * (end - start))
        assert all(line.nanojoules >= 0 for line in bench.lines)
        assert all(span.nanojoules >= 0 for span in spans)
    assert sum(line.nanojoules for line in bench.lines) == sum(round(each * NANO) for each in used)
    for route in "abc":
        attributed = sum(line.nanojoules for line in bench.lines if (line.state, line.name) == ("attributed", route))
        assert attributed == sum(span.nanojoules for span in spans if span.name == route)
    assert bench.line("other") == 0.0 or other > 0.0
    static = [span.energy().static_joules or 0.0 for span in spans]
    assert all(0.0 <= part <= joules(span) for part, span in zip(static, spans, strict=True))
    assert [span.static_joules or 0.0 for span in spans] == static


@few
@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=50), st.integers(0, 10**15))
def test_rounding_gives_whole_shares_that_add_up(shares: list[float], total: int) -> None:
    whole = whole_nanojoules(shares, total)
    assert sum(whole) == total
    assert all(isinstance(share, int) and share >= 0 for share in whole)
    if sum(shares) > 1e-200:  # below that they say nothing
        for share, given_share in zip(whole, shares, strict=True):
            assert abs(share - total * given_share / sum(shares)) <= 1.0 + 1e-12 * total


def test_what_rounding_leaves_over_goes_to_the_next_and_never_to_whom_nothing_is_due() -> None:
    # 10 units as 1 : 2 : 4 are 1.43, 2.86, 5.71; added up 1.43, 4.29, 10.
    assert whole_nanojoules([1.0, 2.0, 4.0], 10) == [1, 3, 6]
    assert whole_nanojoules([0.0, 1.0, 0.0, 1.0, 1.0, 0.0], 10) == [0, 3, 0, 4, 3, 0]


# Shapley


def shapley(schedule: list[tuple[float, float, float]]) -> list[float]:
    """Return what each player adds, on average over all orders in which they may come, at every instant.

    A coalition that runs draws 40 W + 15 W + the watts of its members; an empty one nothing.
    """
    values = [0.0] * len(schedule)
    for start, stop in pairwise(sorted({instant for piece in schedule for instant in piece[:2]})):
        there = [who for who, (begin, end, _) in enumerate(schedule) if begin <= start and stop <= end]
        orders = list(permutations(there))
        for order in orders:
            for place, who in enumerate(order):
                adds = schedule[who][2] + (55.0 if place == 0 else 0.0)
                values[who] += adds * (stop - start) / len(orders)
    return values


grid = st.integers(0, 20).map(lambda count: count / 20.0)
player = st.tuples(grid, grid, st.floats(1.0, 20.0)).map(lambda each: (min(each[:2]), max(each[:2]), each[2]))


@few
@given(st.lists(player, min_size=1, max_size=5))
def test_for_power_that_adds_up_it_is_the_shapley_value(schedule: list[tuple[float, float, float]]) -> None:
    routes = {(f"route{at}", ""): own_watts for at, (_, _, own_watts) in enumerate(schedule)}
    bench = Bench(Weights(40.0, 15.0, routes, learned=True))
    spans = [bench.span(name) for name, _ in routes]
    bench.add(*((span, begin, end, end - begin) for span, (begin, end, _) in zip(spans, schedule, strict=True)))
    expected = shapley(schedule)
    covered = sum(
        stop - start
        for start, stop in pairwise(sorted({instant for each in schedule for instant in each[:2]}))
        if any(begin <= start and stop <= end for begin, end, _ in schedule)
    )
    bench.settle(0.0, 1.0, sum(expected) + 40.0 * (1.0 - covered))
    assert [joules(span) for span in spans] == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert bench.line("idle") == pytest.approx(40.0 * (1.0 - covered), rel=1e-6, abs=1e-6)


# Uncertainty


LEARNED = Weights(40.0, 15.0, {("heavy", ""): 8.0, ("cheap", ""): 8.0}, sigma=0.2, learned=True)


def uncertainty(span: Span) -> float:
    figure = span.energy().uncertainty_joules
    assert figure is not None
    return figure


def test_alone_in_its_ticks_a_request_is_certain() -> None:
    bench = Bench(LEARNED)
    span = bench.span("heavy")
    bench.add((span, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 63.0)
    assert uncertainty(span) == pytest.approx(0.0, abs=1e-9)


def test_alone_and_waiting_in_between_it_is_certain_too() -> None:
    bench = Bench(LEARNED)
    span = bench.span("heavy")
    bench.add((span, 0.0, 1.0, 0.3))
    bench.settle(0.0, 1.0, 40.0 + 0.3 * 23.0)
    assert uncertainty(span) == pytest.approx(0.0, abs=1e-9)


def test_beside_another_it_is_as_uncertain_as_power_is_spread_inside_a_route() -> None:
    # 8 J dynamic of 16 J: one standard error is 0.2 * 8 J * (1 - 1/2), and three are told.
    bench = Bench(LEARNED)
    one, two = bench.span("heavy"), bench.span("cheap")
    bench.add((one, 0.0, 1.0, 1.0), (two, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 71.0)
    assert uncertainty(one) == pytest.approx(3 * 0.2 * 8.0 * 0.5, rel=1e-6)
    assert uncertainty(two) == pytest.approx(uncertainty(one), rel=1e-6)


def test_before_anything_is_learned_it_is_far_more_uncertain() -> None:
    known, unknown = Bench(LEARNED), Bench(Weights(40.0, 15.0, {("heavy", ""): 8.0}, shared_watts=8.0))
    figures = []
    for bench in (known, unknown):
        one, two = bench.span("heavy"), bench.span("cheap")
        bench.add((one, 0.0, 1.0, 1.0), (two, 0.0, 1.0, 1.0))
        bench.settle(0.0, 1.0, 71.0)
        figures.append(uncertainty(one))
    assert figures[1] > 2.0 * figures[0]


def test_doubt_about_idle_power_counts_by_static_seconds() -> None:
    bench = Bench(Weights(40.0, 15.0, {("heavy", ""): 8.0}, sigma_idle_watts=0.5, learned=True))
    span = bench.span("heavy")
    bench.add((span, 0.0, 2.0, 2.0))
    bench.settle(0.0, 2.0, 126.0)
    assert uncertainty(span) == pytest.approx(3 * 0.5 * 2.0, rel=1e-6)


def test_where_it_ran_inside_the_tick_matters_once_another_ran_too() -> None:
    certain, waiting = Bench(Weights(40.0, 15.0, learned=True)), Bench(Weights(40.0, 15.0, learned=True))
    figures = []
    for bench, length in ((certain, 0.3), (waiting, 1.0)):
        span, other = bench.span("heavy"), bench.span("cheap")
        bench.add((span, 0.0, length, 0.3), (other, 0.0, 0.5, 0.5))
        bench.settle(0.0, 1.0, 60.0)
        figures.append(uncertainty(span))
    assert figures[0] == pytest.approx(0.0, abs=1e-9)
    # It may have run all the time beside the other, or never: static 55 W for 0.15 s, or for 0.3 s.
    assert 3 * 55.0 * 0.15 > figures[1] > 55.0 * 0.3 * 0.05


@pytest.mark.parametrize("times", [1, 2])
def test_so_it_does_beside_work_that_no_span_covers_and_each_piece_adds_to_the_doubt(times: int) -> None:
    # The other work runs half of the time, so three quarters of 0.3 s are static seconds, if the 0.3 s of 0.5 s are
    # spread evenly: one standard error of a piece is √(1 - 0.6) of the quarter that may be there or not.
    bench = Bench(Weights(40.0, 15.0, learned=True))
    span = bench.span("heavy")
    bench.add(*((span, 0.5 * number, 0.5 * number + 0.5, 0.3) for number in range(times)))
    bench.settle(0.0, 1.0, 60.0, other=0.5)
    assert span.energy().static_joules == pytest.approx(55.0 * 0.225 * times)
    assert uncertainty(span) == pytest.approx(3 * 55.0 * math.sqrt(0.4 * times) * 0.075)


# In company


FLAT = Weights(40.0, 15.0, {("heavy", ""): 8.0, ("cheap", ""): 2.0}, shared_watts=5.0, other_watts=1.0, learned=True)


def test_among_processes_it_goes_by_running_seconds_and_a_siblings_part_is_on_its_own_books() -> None:
    # 1 s of 40 W idle + 15 W active + 10 J dynamic. Two run all the time: each has half of everything, whatever the
    # weights say, for the other process has learned its own.
    for name in ("heavy", "cheap"):
        bench = Bench(FLAT)
        span = bench.span(name)
        bench.add((span, 0.0, 1.0, 1.0))
        bench.settle(0.0, 1.0, 65.0, company=Company(siblings=(1.0,), part=0.5))
        assert joules(span) == bench.line("attributed") == pytest.approx(32.5, rel=1e-9)
        assert sum(line.nanojoules for line in bench.lines) == span.nanojoules
        assert bench.rows[0].other == 1.0


def test_inside_the_process_weights_count() -> None:
    # Both spans run for the whole second, and so does a sibling: a third of 55 J static each; of 30 J dynamic 20 J
    # are this process's, divided 8 : 2.
    bench = Bench(FLAT)
    heavy, cheap = bench.span("heavy"), bench.span("cheap")
    bench.add((heavy, 0.0, 1.0, 1.0), (cheap, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 85.0, company=Company(siblings=(1.0,), part=0.5))
    assert joules(heavy) == pytest.approx(55.0 / 3.0 + 16.0, rel=1e-9)
    assert joules(cheap) == pytest.approx(55.0 / 3.0 + 4.0, rel=1e-9)


def test_what_runs_outside_spans_stays_and_strangers_are_divided() -> None:
    # Four players all the time: this process's other threads, two cores of strangers, a sibling. 40 J each of 160.
    bench = Bench(Weights(idle_watts=40.0, active_watts=20.0, learned=True))
    company = Company(own=1.0, siblings=(1.0,), part=0.25)
    bench.settle(0.0, 1.0, 160.0, other=2.0, company=company)
    assert bench.line("other") == pytest.approx(40.0 + 0.25 * 80.0, rel=1e-9)
    assert (bench.line("attributed"), bench.line("idle")) == (0.0, 0.0)


def test_idle_is_divided() -> None:
    # Half a second of a sibling and nothing else: 40 W for 1 s + 25 W for half of it.
    bench = Bench(Weights(idle_watts=40.0, active_watts=15.0, learned=True))
    bench.settle(0.0, 1.0, 52.5, company=Company(siblings=(0.5,), part=0.5))
    assert bench.line("idle") == pytest.approx(10.0, rel=1e-9)
    bench.settle(1.0, 2.0, 40.0, company=Company(part=0.5))
    assert bench.line("idle") == pytest.approx(30.0, rel=1e-9)


def test_a_sibling_is_a_player_of_its_own_however_many_cores_it_keeps_busy() -> None:
    # It keeps two and a half cores busy: 2 J of 3.5 for 2.5 s of the 3.5 s that ran, and no idle power to share.
    bench = Bench(Weights(idle_watts=0.0, learned=True))
    span = bench.span()
    bench.add((span, 0.0, 1.0, 1.0))
    bench.settle(0.0, 1.0, 3.5, company=Company(siblings=(2.5,), part=0.5))
    assert joules(span) == pytest.approx(1.0, rel=1e-9)


def test_faults_of_the_meter_are_divided_and_what_came_too_late_is_not() -> None:
    bench = Bench(FLAT)
    faulty = Interval(
        "scripted", 0.0, 1.0, (Delta(PACKAGE, 900, "measured", "reset"), Delta(PACKAGE, 90, "estimated", "reset"))
    )
    lines, _ = bench.ledger.settle(faulty, 0.0, Company(part=1.0 / 3.0))
    assert [(line.reason, line.quality, line.nanojoules) for line in lines] == [
        ("reset", "shared", 300), ("reset", "estimated", 30)
    ]  # fmt: skip
    span = bench.span()
    span.settled_at = 1.0
    bench.add((span, 1.0, 2.0, 1.0))
    bench.settle(1.0, 2.0, 60.0, company=Company(part=0.25))
    assert span.nanojoules == 0
    assert [(line.reason, line.nanojoules) for line in bench.lines if line.state == "unattributed"] == [
        ("late", 60 * NANO)
    ]


def test_joules_of_a_sensor_are_shared_then_and_an_estimate_stays_one() -> None:
    for quality, seen in (("measured", "shared"), ("estimated", "estimated")):
        ledger = Ledger([PACKAGE.id], quality=quality)  # type: ignore[arg-type]
        span = Bench().span()
        waits = Bench().span()
        ledger.add(listed((span, 0.0, 1.0, 1.0)))
        delta = Delta(PACKAGE, 7 * NANO, quality)  # type: ignore[arg-type]
        lines, _ = ledger.settle(Interval("scripted", 0.0, 1.0, (delta,)), 0.3, Company(0.1, (0.2,), 0.5))
        ledger.credit_nothing(waits)
        assert {line.state for line in lines} == {"attributed", "idle", "other"}
        assert {line.quality for line in lines} == {seen}
        assert span.energy().quality == waits.energy().quality == seen
        ledger.add(listed((span, 1.0, 2.0, 1.0)))
        lines, _ = ledger.settle(Interval("scripted", 1.0, 2.0, (delta,)))
        assert {line.quality for line in lines} == {quality}
        assert span.energy().quality == seen  # the worst of its parts


def test_a_figure_in_company_is_less_sure() -> None:
    doubts = []
    for company in (None, Company(siblings=(1.0,), part=0.5)):
        bench = Bench(FLAT)
        span = bench.span("heavy")
        bench.add((span, 0.0, 1.0, 1.0))
        bench.settle(0.0, 1.0, 65.0, other=0.0 if company else 1.0, company=company)
        doubts.append(span.energy().uncertainty_joules or 0.0)
    assert doubts[1] > doubts[0] + 1.0


def test_the_doubt_where_it_ran_goes_with_the_static_seconds_that_a_process_gets() -> None:
    figures = []
    for company in (None, Company(siblings=(0.5,), part=0.5)):
        bench = Bench(Weights(40.0, 15.0, learned=True))
        one, two = bench.span("heavy"), bench.span("heavy")
        bench.add((one, 0.0, 0.5, 0.3), (two, 0.0, 0.5, 0.3))
        bench.settle(0.0, 1.0, 30.0, other=0.0 if company else 0.5, company=company)  # all of it is static power
        figures.append((one.energy().static_joules or 0.0, uncertainty(one)))
    (alone, doubt), (shared, doubt_shared) = figures
    assert shared != pytest.approx(alone, rel=0.05)
    assert doubt_shared / doubt == pytest.approx(shared / alone)


@few
@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=60), st.integers(1, 70))
def test_what_a_division_leaves_over_is_not_lost(deltas: list[int], processes: int) -> None:
    bench = Bench(FLAT)
    for at, nanojoules in enumerate(deltas):
        delta = Delta(PACKAGE, nanojoules, "measured", "" if at % 3 else "reset")
        lines, _ = bench.ledger.settle(Interval("scripted", at, at + 1.0, (delta,)), 0.0, Company(part=1.0 / processes))
        bench.lines.extend(lines)
        assert all(line.nanojoules >= 0 for line in lines)
    for faulty, state in ((False, "idle"), (True, "unattributed")):
        whole = sum(each for at, each in enumerate(deltas) if (at % 3 == 0) is faulty)
        got = sum(line.nanojoules for line in bench.lines if line.state == state)
        assert abs(got * processes - whole) <= processes * (1.0 + 1e-3)


shares = st.floats(0.0, 1.0)
process = st.tuples(st.lists(st.tuples(st.sampled_from(["heavy", "cheap"]), shares), max_size=4), st.floats(0.0, 2.0))


@settings(max_examples=80, deadline=None)
@given(st.lists(process, min_size=1, max_size=5), st.floats(0.0, 3.0), st.floats(1.0, 300.0), st.integers(0, 5))
def test_the_books_of_all_processes_add_up_to_the_meter_once(
    processes: list[tuple[list[tuple[str, float]], float]], strangers: float, joules: float, seed: int
) -> None:
    """Each has weights of its own and knows what ran at a time in it; of idle power all know the same."""
    total = attributed = 0
    seconds = [sum(ran for _, ran in spans) + outside for spans, outside in processes]
    for at, (spans, outside) in enumerate(processes):
        known = Weights(20.0, 5.0, {("heavy", ""): 1.0 + at, ("cheap", ""): 9.0 / (1 + seed)}, other_watts=0.3 * seed)
        bench = Bench(known)
        bench.add(*((bench.span(name), 1.0 - ran if seed % 2 else 0.0, 1.0, ran) for name, ran in spans))
        company = Company(outside, tuple(ran for i, ran in enumerate(seconds) if i != at), 1.0 / len(processes))
        bench.settle(0.0, 1.0, joules, other=strangers, company=company)
        total += sum(line.nanojoules for line in bench.lines)
        attributed += sum(line.nanojoules for line in bench.lines if line.state == "attributed")
    assert total == pytest.approx(joules * NANO, rel=1e-6, abs=10)
    assert attributed <= joules * NANO * (1 + 1e-6) + 10
    if sum(seconds) == strangers == 0.0:
        assert attributed == 0
