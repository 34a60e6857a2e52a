"""Phases and batches: parts of a span, and work for several spans at once."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_world import ManualClock, Program

from greeninfer._account import Account, Edge, Key, Source
from greeninfer._parts import Batch, Phase
from greeninfer._span import Span


def spans(count: int) -> list[Span]:
    program = Program(ManualClock())
    return [Span((f"route{at}", "model"), program.edges.append, program) for at in range(count)]


def give(
    account: Account, nanojoules: int, *, static: float = 0.0, spread: float = 0.0, variance: float = 0.0
) -> dict[Key, int]:
    """Credit an account; return what that adds to the routes."""
    totals: dict[Key, int] = {}
    account.credit(Source("rapl/0/package", "measured", (1.0, 1.0)), (nanojoules, static, spread, variance), totals)
    return totals


def nothing(_edge: Edge) -> None:
    """Take an edge and drop it."""


# Phase


@pytest.mark.parametrize("name", ["", 3, None, b"decode"])
def test_a_phase_needs_a_name(name: object) -> None:
    with pytest.raises(ValueError, match="phase name"):
        spans(1)[0].phase(name)  # type: ignore[arg-type]


def test_a_phase_is_credited_to_its_span_and_counted_apart() -> None:
    (span,) = spans(1)
    parts: list[tuple[Account, int]] = [
        (span, 100),
        (span.phase("decode"), 20),
        (span.phase("prefill"), 3),
        (span.phase("decode"), 4),
    ]
    totals = [give(account, nanojoules) for account, nanojoules in parts]
    assert span.nanojoules == 127
    assert span.phases == {"decode": 24, "prefill": 3}
    assert totals == [{span.key: 100}, {span.key: 20}, {span.key: 3}, {span.key: 4}]


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


def test_a_phase_may_be_entered_again() -> None:
    edges: list[Edge] = []
    span = Span(("classify", ""), edges.append, Program(ManualClock()))
    again, inner = span.phase("decode"), span.phase("sample")
    with again:
        pass
    with again, inner:
        pass
    # What ran before the inner phase goes on after it.
    assert [edge[3] for edge in edges] == [again, None, again, inner, again, None]


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


@settings(max_examples=50, deadline=None)
@given(weights, st.integers(0, 10**15))
def test_a_batch_splits_to_the_last_nanojoule_by_weight(given_weights: list[float], nanojoules: int) -> None:
    rows = spans(len(given_weights))
    totals = give(Batch(zip(rows, given_weights, strict=True), nothing), nanojoules, static=2.0, spread=1.0)
    assert sum(span.nanojoules for span in rows) == sum(totals.values()) == nanojoules
    total = math.fsum(given_weights)
    for span, weight in zip(rows, given_weights, strict=True):
        assert span.nanojoules >= 0
        assert abs(span.nanojoules - nanojoules * weight / total) <= 1.0 + 1e-12 * nanojoules
        assert totals[span.key] == span.nanojoules
    assert sum(span.static for span in rows) == pytest.approx(2.0)
    assert sum(span.spread for span in rows) == pytest.approx(1.0)


def test_a_weight_of_three_pays_three_times_a_weight_of_one() -> None:
    heavy, light = spans(2)
    give(Batch([(heavy, 3.0), (light, 1.0)], nothing), 1000, variance=16.0)
    assert (heavy.nanojoules, light.nanojoules) == (750, 250)
    # Standard errors scale as the joules do, so variances by the square.
    assert (heavy.variance, light.variance) == (9.0, 1.0)


def test_a_row_of_no_weight_pays_nothing() -> None:
    idle, busy = spans(2)
    give(Batch([(idle, 0.0), (busy, 1e-9)], nothing), 999)
    assert (idle.nanojoules, busy.nanojoules) == (0, 999)


def test_three_equal_rows_differ_by_one_nanojoule_at_most() -> None:
    rows = spans(3)
    give(Batch([(span, 1.0) for span in rows], nothing), 1000)
    assert sorted(span.nanojoules for span in rows) == [333, 333, 334]


def test_a_span_with_two_rows_pays_for_both() -> None:
    twice, once = spans(2)
    give(Batch([(twice, 1.0), (once, 1.0), (twice, 1.0)], nothing), 300)
    assert (twice.nanojoules, once.nanojoules) == (200, 100)


def test_a_batch_takes_its_rows_from_any_iterable() -> None:
    rows = spans(2)
    batch = Batch(((span, 1.0) for span in rows), nothing)
    assert list(batch.covers) == rows


def test_a_batch_lacks_for_all_its_rows() -> None:
    rows = spans(2)
    Batch([(span, 1.0) for span in rows], nothing).lack()
    assert all(span.missing for span in rows)


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
    give(Batch([(span, 1e308) for span in rows], nothing), 10)
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
