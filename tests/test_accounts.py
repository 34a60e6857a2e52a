"""Spans, phases, batches and what is credited to them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_world import ManualClock, Program

from greeninfer._accounts import Batch, Credit, Entry, Key, Phase
from greeninfer._records import Quality
from greeninfer._running import Edge
from greeninfer._span import Span

PACKAGE = "rapl/0/package"
few = settings(max_examples=50, deadline=None)


def spans(count: int) -> list[Span]:
    program = Program(ManualClock())
    return [Span((f"route{at}", "model"), program.edges.append, program) for at in range(count)]


def entry(
    nanojoules: int,
    domain: str = PACKAGE,
    *,
    quality: Quality = "measured",
    gain: tuple[float, float] = (1.0, 1.0),
    static: float = 0.0,
    spread: float = 0.0,
    variance: float = 0.0,
) -> Entry:
    return Entry(domain, quality, gain, nanojoules, static, spread, variance)


def nothing(_edge: Edge) -> None:
    """Take an edge and drop it."""


# Credit


def test_a_credit_adds_up_by_domain() -> None:
    credit = Credit()
    credit.add(entry(5, "a", static=1.0, spread=0.5, variance=0.25))
    credit.add(entry(7, "b", static=2.0, spread=0.5, variance=0.25))
    credit.add(entry(11, "a", static=4.0, spread=0.5, variance=0.25))
    assert credit.nanojoules == {"a": 16, "b": 7}
    assert (credit.static, credit.spread, credit.variance) == (7.0, 1.5, 0.75)
    assert not credit.missing


@pytest.mark.parametrize(
    ("parts", "worst"),
    [
        (["measured", "measured"], "measured"),
        (["measured", "shared", "measured"], "shared"),
        (["shared", "estimated", "shared"], "estimated"),
        (["estimated", "measured"], "estimated"),
    ],
)
def test_quality_is_that_of_the_worst_part(parts: list[Quality], worst: Quality) -> None:
    credit = Credit()
    for quality in parts:
        credit.add(entry(1, quality=quality))
    assert credit.quality == worst


def test_the_gain_covers_those_of_all_parts() -> None:
    credit = Credit()
    credit.add(entry(1, gain=(0.97, 1.03)))
    credit.add(entry(1, gain=(0.95, 1.01)))
    assert credit.gain == (0.95, 1.03)


# Phase


@pytest.mark.parametrize("name", ["", 3, None, b"decode"])
def test_a_phase_needs_a_name(name: object) -> None:
    with pytest.raises(ValueError, match="phase name"):
        spans(1)[0].phase(name)  # type: ignore[arg-type]


def test_a_phase_is_credited_to_its_span_and_counted_apart() -> None:
    (span,) = spans(1)
    totals: dict[Key, int] = {}
    span.credit(entry(100), totals)
    span.phase("decode").credit(entry(20), totals)
    span.phase("prefill").credit(entry(3), totals)
    span.phase("decode").credit(entry(4), totals)
    assert span.nanojoules == 127
    assert span.tally().phases == {"decode": 24, "prefill": 3}
    assert totals == {span.key: 127}


def test_a_phase_is_two_edges_and_raises_what_was_raised_inside() -> None:
    edges: list[Edge] = []
    program = Program(ManualClock())
    span = Span(("classify", ""), edges.append, program)
    with pytest.raises(KeyError), span.phase("decode") as phase:
        raise KeyError
    assert isinstance(phase, Phase)
    assert [(edge[3], edge[4]) for edge in edges] == [(phase, phase), (None, phase)]
    assert phase.closed is not None
    assert phase.opened <= phase.closed


def test_cpu_seconds_of_a_phase_are_its_spans() -> None:
    (span,) = spans(1)
    phase = span.phase("decode")
    span.cpu_seconds += 1.0
    phase.cpu_seconds += 0.5
    assert (span.cpu_seconds, phase.cpu_seconds) == (1.5, 1.5)


def test_a_phase_runs_where_its_span_may() -> None:
    program = Program(ManualClock())
    span = Span(("classify", "m"), nothing, program, device="cpu")
    phase = span.phase("decode")
    assert (phase.device, phase.key, list(phase.covers)) == ("cpu", ("classify", "m"), [span])


# Batch


weights = st.lists(st.floats(0.0, 1e9), min_size=1, max_size=20).filter(lambda given: sum(given) > 0.0)


@few
@given(weights, st.integers(0, 10**15))
def test_a_batch_splits_to_the_last_nanojoule_by_weight(given_weights: list[float], nanojoules: int) -> None:
    rows = spans(len(given_weights))
    totals: dict[Key, int] = {}
    Batch(zip(rows, given_weights, strict=True), nothing).credit(entry(nanojoules, static=2.0, spread=1.0), totals)
    assert sum(span.nanojoules for span in rows) == sum(totals.values()) == nanojoules
    total = math.fsum(given_weights)
    for span, weight in zip(rows, given_weights, strict=True):
        assert span.nanojoules >= 0
        assert abs(span.nanojoules - nanojoules * weight / total) <= 1.0 + 1e-12 * nanojoules
        assert totals[span.key] == span.nanojoules
    assert sum(span.tally().static for span in rows) == pytest.approx(2.0)
    assert sum(span.tally().spread for span in rows) == pytest.approx(1.0)


def test_a_weight_of_three_pays_three_times_a_weight_of_one() -> None:
    heavy, light = spans(2)
    Batch([(heavy, 3.0), (light, 1.0)], nothing).credit(entry(1000, variance=16.0), {})
    assert (heavy.nanojoules, light.nanojoules) == (750, 250)
    # Standard errors scale as the joules do, so variances by the square.
    assert (heavy.tally().variance, light.tally().variance) == (9.0, 1.0)


def test_a_row_of_no_weight_pays_nothing() -> None:
    idle, busy = spans(2)
    Batch([(idle, 0.0), (busy, 1e-9)], nothing).credit(entry(999), {})
    assert (idle.nanojoules, busy.nanojoules) == (0, 999)


def test_three_equal_rows_differ_by_one_nanojoule_at_most() -> None:
    rows = spans(3)
    Batch([(span, 1.0) for span in rows], nothing).credit(entry(1000), {})
    assert sorted(span.nanojoules for span in rows) == [333, 333, 334]


def test_a_span_with_two_rows_pays_for_both() -> None:
    twice, once = spans(2)
    Batch([(twice, 1.0), (once, 1.0), (twice, 1.0)], nothing).credit(entry(300), {})
    assert (twice.nanojoules, once.nanojoules) == (200, 100)


def test_a_batch_takes_its_rows_from_any_iterable() -> None:
    rows = spans(2)
    batch = Batch(((span, 1.0) for span in rows), nothing)
    assert list(batch.covers) == rows


def test_a_batch_lacks_for_all_its_rows() -> None:
    rows = spans(2)
    Batch([(span, 1.0) for span in rows], nothing).lack()
    assert all(span.tally().missing for span in rows)


def test_a_batch_uses_a_gpu_if_any_of_its_rows_may() -> None:
    program = Program(ManualClock())
    cpu = Span(("a", ""), nothing, program, device="cpu")
    anywhere = Span(("a", ""), nothing, program)
    assert Batch([(cpu, 1.0), (cpu, 1.0)], nothing).device == "cpu"
    assert Batch([(cpu, 1.0), (anywhere, 1.0)], nothing).device == "any"


@pytest.mark.parametrize("wrong", [[-1.0], [1.0, -1e-9], [math.nan], [1.0, math.inf], [0.0, 0.0], []])
def test_weights_that_make_no_sense_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="allowed: finite numbers"):
        Batch(zip(spans(len(wrong)), wrong, strict=True), nothing)


def test_weights_that_are_finite_are_allowed_even_if_their_sum_is_not() -> None:
    rows = spans(2)
    Batch([(span, 1e308) for span in rows], nothing).credit(entry(10), {})
    assert [span.nanojoules for span in rows] == [5, 5]


@pytest.mark.parametrize(
    "row",
    [lambda span: span, lambda span: (span,), lambda span: (span, 1.0, 2.0), lambda span: (span, "1"),
     lambda span: (span, None), lambda span: ("span", 1.0), lambda span: (None, 1.0), lambda span: (1.0, span)],
)  # fmt: skip
def test_rows_that_are_not_pairs_of_span_and_weight_are_a_type_error(row: object) -> None:
    (span,) = spans(1)
    with pytest.raises(TypeError):
        Batch([row(span)], nothing)  # type: ignore[operator]


# Span


@pytest.mark.parametrize("count", [-1, 1.5, "3", True, None])
def test_tokens_are_whole_numbers_and_a_wrong_count_adds_nothing(count: object) -> None:
    (span,) = spans(1)
    span.add_tokens(input=1)
    with pytest.raises(ValueError, match="tokens"):
        span.add_tokens(input=5, output=count)  # type: ignore[arg-type]
    assert span.token_counts == {"input": 1, "output": 0, "reasoning": 0}


def test_tokens_add_up() -> None:
    (span,) = spans(1)
    span.add_tokens(input=3)
    span.add_tokens(input=4, output=5, reasoning=6)
    assert span.token_counts == {"input": 7, "output": 5, "reasoning": 6}


def test_attributes_of_one_span_are_not_anothers() -> None:
    one, two = spans(2)
    shared = {"shard": 1}
    one.attributes = two.attributes = shared
    one.set_attribute("shard", 2)
    assert (one.attributes, two.attributes, shared) == ({"shard": 2}, {"shard": 1}, {"shard": 1})


def test_before_anything_is_credited_joules_are_not_known() -> None:
    (span,) = spans(1)
    energy = span.energy()
    assert (energy.joules, energy.total_joules, energy.uncertainty_joules, energy.quality) == (None, None, None, None)
    assert energy.provisional
    assert not energy.complete


def test_a_span_for_which_all_joules_are_missing_does_not_say_zero() -> None:
    (span,) = spans(1)
    span.lack()
    energy = span.energy()
    assert energy.joules is None
    assert not energy.complete


def test_a_span_that_lacks_some_joules_says_so() -> None:
    (span,) = spans(1)
    span.credit(entry(2_000_000_000), {})
    span.lack()
    energy = span.energy()
    assert energy.joules == 2.0
    assert not energy.complete


def test_the_figures_of_a_span_fit_together() -> None:
    (span,) = spans(1)
    span.credit(entry(3_000_000_000, "a", static=1.0, spread=0.3, variance=0.16), {})
    span.credit(entry(1_000_000_000, "b", static=0.5), {})
    span.nested = 5_000_000_000
    energy = span.energy()
    assert (energy.joules, energy.total_joules) == (4.0, 9.0)
    assert energy.by_domain == {"a": 3.0, "b": 1.0}
    assert energy.static_joules == 1.5
    assert energy.dynamic_joules == 2.5
    # Three standard errors; what repeats (0.3) and what is independent (0.4) add as squares: 3 * 0.5.
    assert energy.uncertainty_joules == pytest.approx(1.5)
    assert energy.interval_joules == pytest.approx((2.5, 5.5))


def test_what_repeats_from_tick_to_tick_adds_up_and_what_is_independent_adds_as_squares() -> None:
    repeats, independent = spans(2)
    for _ in range(4):
        repeats.credit(entry(1_000_000_000, spread=0.1), {})
        independent.credit(entry(1_000_000_000, variance=0.01), {})
    assert repeats.energy().uncertainty_joules == pytest.approx(3 * 0.4)
    assert independent.energy().uncertainty_joules == pytest.approx(3 * 0.2)


def test_the_gain_of_the_meter_widens_the_interval_but_not_the_uncertainty() -> None:
    (span,) = spans(1)
    span.credit(entry(10_000_000_000, spread=1.0, gain=(0.9, 1.1)), {})
    energy = span.energy()
    assert energy.uncertainty_joules == pytest.approx(3.0)
    assert energy.interval_joules == pytest.approx((7.0 * 0.9, 13.0 * 1.1))


def test_joules_are_never_believed_to_be_negative() -> None:
    (span,) = spans(1)
    span.credit(entry(1_000_000_000, spread=1.0), {})
    interval = span.energy().interval_joules
    assert interval is not None
    assert interval[0] == 0.0


def test_interleaved_blocks_are_uncertain_by_all_that_they_have() -> None:
    (span,) = spans(1)
    span.interleaved = True
    span.credit(entry(2_000_000_000), {})
    assert span.energy().uncertainty_joules == pytest.approx(2.0)
