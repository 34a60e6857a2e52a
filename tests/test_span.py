"""What a span knows of itself, and the figures that it gives."""

from __future__ import annotations

import pytest
from simulated_world import ManualClock, Program

from greeninfer._account import Source
from greeninfer._span import Span


def spans(count: int) -> list[Span]:
    program = Program(ManualClock())
    return [Span((f"route{at}", "model"), program.edges.append, program) for at in range(count)]


def give(
    span: Span,
    nanojoules: int,
    domain: str = "rapl/0/package",
    *,
    gain: tuple[float, float] = (1.0, 1.0),
    static: float = 0.0,
    spread: float = 0.0,
    variance: float = 0.0,
) -> None:
    span.credit(Source(domain, "measured", gain), (nanojoules, static, spread, variance), {})


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
    one.given = two.given = shared
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
    give(span, 2_000_000_000)
    span.lack()
    energy = span.energy()
    assert energy.joules == 2.0
    assert not energy.complete


def test_the_figures_of_a_span_fit_together() -> None:
    (span,) = spans(1)
    give(span, 3_000_000_000, "a", static=1.0, spread=0.3, variance=0.16)
    give(span, 1_000_000_000, "b", static=0.5)
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
        give(repeats, 1_000_000_000, spread=0.1)
        give(independent, 1_000_000_000, variance=0.01)
    assert repeats.energy().uncertainty_joules == pytest.approx(3 * 0.4)
    assert independent.energy().uncertainty_joules == pytest.approx(3 * 0.2)


def test_the_gain_of_the_meter_widens_the_interval_but_not_the_uncertainty() -> None:
    (span,) = spans(1)
    give(span, 10_000_000_000, spread=1.0, gain=(0.9, 1.1))
    energy = span.energy()
    assert energy.uncertainty_joules == pytest.approx(3.0)
    assert energy.interval_joules == pytest.approx((7.0 * 0.9, 13.0 * 1.1))


def test_joules_are_never_believed_to_be_negative() -> None:
    (span,) = spans(1)
    give(span, 1_000_000_000, spread=1.0)
    interval = span.energy().interval_joules
    assert interval is not None
    assert interval[0] == 0.0


def test_interleaved_blocks_are_uncertain_by_all_that_they_have() -> None:
    (span,) = spans(1)
    span.interleaved = True
    give(span, 2_000_000_000)
    assert span.energy().uncertainty_joules == pytest.approx(2.0)
