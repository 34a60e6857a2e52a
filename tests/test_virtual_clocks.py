"""Expected static seconds, against what they mean: every subset of the open pieces, with its probability."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greeninfer._virtual_clocks import static_seconds, static_seconds_in_turn

Pieces = list[tuple[float, float, float]]
"""(begin, end, rho)."""

# Instants on a grid of milliseconds, so that pieces often touch, coincide or have no length at all.
instants = st.integers(0, 40).map(lambda count: count / 1000.0)
few = settings(max_examples=25, deadline=None)  # the machine that runs this may be busy with other things
shares = st.one_of(st.just(0.0), st.just(1.0), st.floats(0.0, 1.0))


def pieces(least: int, most: int, rho: st.SearchStrategy[float] = shares) -> st.SearchStrategy[Pieces]:
    one = st.tuples(instants, instants, rho).map(lambda piece: (min(piece[:2]), max(piece[:2]), piece[2]))
    return st.lists(one, min_size=least, max_size=most)


def sweep(schedule: Pieces) -> tuple[list[float], float]:
    """Return what ``static_seconds`` returns, for any pieces."""
    begin, end, rho = (np.array(column, dtype=float) for column in zip(*schedule, strict=True))
    seconds, active = static_seconds(begin, end, rho)
    return seconds.tolist(), active


def by_enumeration(schedule: Pieces) -> tuple[list[float], float]:
    """Go through all subsets of pieces that may run at an instant; those that run share the instant equally."""
    seconds, active = [0.0] * len(schedule), 0.0
    for start, stop in pairwise(sorted({instant for piece in schedule for instant in piece[:2]})):
        there = [who for who, (begin, end, _) in enumerate(schedule) if begin <= start and stop <= end]
        for runs in product((False, True), repeat=len(there)):
            likely = stop - start
            for who, on in zip(there, runs, strict=True):
                likely *= schedule[who][2] if on else 1.0 - schedule[who][2]
            if any(runs):
                active += likely
                for who, on in zip(there, runs, strict=True):
                    seconds[who] += likely / sum(runs) if on else 0.0
    return seconds, active


def by_counting(schedule: Pieces) -> list[float]:
    """Go through how many of the others run, by their exact distribution: for more pieces than subsets allow."""
    seconds = [0.0] * len(schedule)
    for start, stop in pairwise(sorted({instant for piece in schedule for instant in piece[:2]})):
        there = [who for who, (begin, end, _) in enumerate(schedule) if begin <= start and stop <= end]
        for who in there:
            likely = np.ones(1)
            for other in there:
                if other != who:
                    likely = np.convolve(likely, (1.0 - schedule[other][2], schedule[other][2]))
            mean = float(likely @ (1.0 / np.arange(1, len(there) + 1)))
            seconds[who] += schedule[who][2] * mean * (stop - start)
    return seconds


def test_nothing_open_is_no_time_at_all() -> None:
    seconds, active = static_seconds(np.zeros(0), np.zeros(0), np.zeros(0))
    assert len(seconds) == 0
    assert active == 0.0


def test_alone_it_has_the_whole_time_that_it_runs() -> None:
    assert sweep([(1.0, 3.0, 1.0)]) == ([2.0], 2.0)
    assert sweep([(1.0, 3.0, 0.25)]) == ([0.5], 0.5)


def test_two_that_run_all_the_time_share_the_overlap() -> None:
    # 0 to 2 alone, 2 to 3 shared, 3 to 7 alone.
    seconds, active = sweep([(0.0, 3.0, 1.0), (2.0, 7.0, 1.0)])
    assert seconds == pytest.approx([2.5, 4.5], rel=1e-9)
    assert active == pytest.approx(7.0, rel=1e-9)


def test_two_that_run_half_the_time_meet_a_quarter_of_it() -> None:
    # Alone with probability 1/4, together with 1/4: 1/4 + 1/2 * 1/4 of 8 seconds.
    seconds, active = sweep([(0.0, 8.0, 0.5), (0.0, 8.0, 0.5)])
    assert seconds == pytest.approx([3.0, 3.0], rel=1e-9)
    assert active == pytest.approx(6.0, rel=1e-9)


def test_time_between_pieces_is_nobodys() -> None:
    seconds, active = sweep([(0.0, 1.0, 1.0), (5.0, 6.0, 1.0)])
    assert seconds == pytest.approx([1.0, 1.0], rel=1e-9)
    assert active == pytest.approx(2.0, rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 7, 16])
def test_pieces_that_touch_do_not_share(count: int) -> None:
    seconds, active = sweep([(float(at), at + 1.0, 1.0) for at in range(count)])
    assert seconds == pytest.approx([1.0] * count, rel=1e-9)
    assert active == pytest.approx(count, rel=1e-9)


@few
@given(pieces(1, 5))
def test_it_is_the_expectation_over_all_subsets_that_may_run(schedule: Pieces) -> None:
    seconds, active = sweep(schedule)
    expected, expected_active = by_enumeration(schedule)
    assert seconds == pytest.approx(expected, rel=1e-7, abs=1e-12)
    assert active == pytest.approx(expected_active, rel=1e-7, abs=1e-12)


@few
@given(pieces(6, 16, st.just(1.0)))
def test_where_all_run_all_the_time_an_instant_is_shared_by_their_number(schedule: Pieces) -> None:
    expected = [0.0] * len(schedule)
    for start, stop in pairwise(sorted({instant for piece in schedule for instant in piece[:2]})):
        there = [who for who, (begin, end, _) in enumerate(schedule) if begin <= start and stop <= end]
        for who in there:
            expected[who] += (stop - start) / len(there)
    assert sweep(schedule)[0] == pytest.approx(expected, rel=1e-6, abs=1e-12)


@settings(max_examples=5, deadline=None)
@given(pieces(30, 40))
def test_forty_pieces_are_as_exact_as_four(schedule: Pieces) -> None:
    assert sweep(schedule)[0] == pytest.approx(by_counting(schedule), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("crowd", [20, 64, 128, 256])
def test_one_that_was_alone_for_a_while_does_not_pay_for_the_crowd(crowd: int) -> None:
    # One is alone for a second; then all run for a second, as requests that are open on a GPU do.
    seconds, active = sweep([(0.0, 2.0, 1.0), *[(1.0, 2.0, 1.0)] * crowd])
    assert active == pytest.approx(2.0)
    assert seconds[0] == pytest.approx(1.0 + 1.0 / (crowd + 1), rel=0.02)
    assert seconds[1:] == pytest.approx([1.0 / (crowd + 1)] * crowd, rel=0.02)


@pytest.mark.parametrize("count", [1, 16, 64, 256, 2000])
def test_equal_pieces_pay_equally_however_many(count: int) -> None:
    seconds, active = sweep([(0.0, 1.0, 1.0)] * count)
    assert active == pytest.approx(1.0)
    assert seconds == pytest.approx([1.0 / count] * count, rel=1e-6)


@few
@given(pieces(4, 30))
def test_it_adds_up_to_the_time_in_which_anything_ran(schedule: Pieces) -> None:
    seconds, active = sweep(schedule)
    assert sum(seconds) == pytest.approx(active, rel=1e-9, abs=1e-12)
    longest = max(end for _, end, _ in schedule) - min(begin for begin, _, _ in schedule)
    assert 0.0 <= active <= longest + 1e-12


@few
@given(pieces(4, 30))
def test_nobody_pays_less_than_nothing_or_more_than_it_ran(schedule: Pieces) -> None:
    for (begin, end, rho), seconds in zip(schedule, sweep(schedule)[0], strict=True):
        assert 0.0 <= seconds <= rho * (end - begin) * (1.0 + 1e-4) + 1e-12


@few
@given(pieces(2, 12), st.randoms(use_true_random=False))
def test_the_order_of_the_pieces_does_not_matter(schedule: Pieces, random: object) -> None:
    order = list(range(len(schedule)))
    random.shuffle(order)  # type: ignore[attr-defined]
    seconds, active = sweep(schedule)
    shuffled, shuffled_active = sweep([schedule[at] for at in order])
    assert shuffled == pytest.approx([seconds[at] for at in order], rel=1e-9, abs=1e-12)
    assert shuffled_active == pytest.approx(active, rel=1e-9, abs=1e-12)


@few
@given(pieces(1, 8), st.integers(1, 39).map(lambda count: count / 1000.0))
def test_a_piece_cut_in_two_pays_what_it_paid_whole(schedule: Pieces, cut: float) -> None:
    whole, _ = sweep(schedule)
    begin, end, rho = schedule[0]
    if not begin < cut < end:
        return
    first, *others, second = sweep([(begin, cut, rho), *schedule[1:], (cut, end, rho)])[0]
    assert first + second == pytest.approx(whole[0], rel=1e-7, abs=1e-12)
    assert others == pytest.approx(whole[1:], rel=1e-7, abs=1e-12)


@few
@given(pieces(1, 8), st.floats(1.0, 1e6))
def test_only_differences_of_instants_count(schedule: Pieces, later: float) -> None:
    seconds, active = sweep(schedule)
    moved, moved_active = sweep([(begin + later, end + later, rho) for begin, end, rho in schedule])
    assert moved == pytest.approx(seconds, rel=1e-3, abs=1e-8)
    assert moved_active == pytest.approx(active, rel=1e-3, abs=1e-8)


in_turn = st.lists(st.tuples(instants, shares), min_size=0, max_size=6)


@few
@given(in_turn, st.lists(shares, min_size=0, max_size=4), st.floats(0.0, 0.05))
def test_pieces_in_turn_cost_what_all_subsets_say(
    lengths: list[tuple[float, float]], others: list[float], gap: float
) -> None:
    schedule: Pieces = []
    end = 0.0
    for length, rho in lengths:
        schedule.append((end + gap, end + gap + length, rho))
        end += gap + length
    whole = end + gap
    truth, active = by_enumeration([*schedule, *((0.0, whole, rho) for rho in others)])
    ran = [(stop - start) * rho for start, stop, rho in schedule]
    part, rest, seen = static_seconds_in_turn(sum(ran), others, whole)
    assert [*(part * seconds for seconds in ran), *rest] == pytest.approx(truth, rel=1e-9, abs=1e-11)
    assert seen == pytest.approx(active, rel=1e-9, abs=1e-11)
