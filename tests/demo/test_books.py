from __future__ import annotations

import math
import random

import pytest

from greeninfer._records import NANO, Failure, Settlement
from greeninfer.demo._books import Books, Totals

from .builders import DRAM, PACKAGE, attributed, idle, other, request, settlement, unattributed


def totals_of(*settlements: Settlement) -> Totals:
    books = Books()
    for each in settlements:
        books.export(each)
    return books.totals()


def test_the_four_lines_add_up_over_settlements() -> None:
    totals = totals_of(
        settlement(
            lines=[attributed(5), attributed(7, model="big"), idle(11), unattributed(2, "reset")],
            deltas=[(PACKAGE, 25)],
        ),
        settlement(
            lines=[attributed(1), other(3, DRAM), unattributed(4, "suspend", DRAM)], deltas=[(PACKAGE, 1), (DRAM, 7)]
        ),
    )
    assert totals.states == {"attributed": 13, "idle": 11, "other": 3, "unattributed": 6}
    assert totals.reasons == {"reset": 2, "suspend": 4}
    assert totals.attributed == {("film-review", "small"): 6, ("film-review", "big"): 7}
    assert totals.domains == {"rapl/0/package": (26, 26), "rapl/0/dram": (7, 7)}
    assert (totals.settled, totals.metered, totals.closed) == (33, 33, True)


@pytest.mark.parametrize("wrong", [-1, 1])
def test_one_nanojoule_is_enough_not_to_close(wrong: int) -> None:
    big = 10**18
    assert totals_of(settlement(lines=[idle(big)], deltas=[(PACKAGE, big)])).closed
    assert not totals_of(settlement(lines=[idle(big + wrong)], deltas=[(PACKAGE, big)])).closed


def test_domains_do_not_make_up_for_each_other() -> None:
    totals = totals_of(settlement(lines=[idle(9), idle(11, DRAM)], deltas=[(PACKAGE, 10), (DRAM, 10)]))
    assert totals.settled == totals.metered
    assert not totals.closed


def test_one_domain_that_closes_does_not_make_the_books_close() -> None:
    assert not totals_of(settlement(lines=[idle(5), idle(6, DRAM)], deltas=[(PACKAGE, 5), (DRAM, 7)])).closed


@pytest.mark.parametrize("part", [{"lines": [idle(5)]}, {"deltas": [(PACKAGE, 5)]}])
def test_a_domain_on_one_side_only_does_not_close(part: dict[str, object]) -> None:
    assert not totals_of(settlement(**part)).closed  # type: ignore[arg-type]


def test_nothing_counted_is_nothing_closed() -> None:
    assert not totals_of(settlement(requests=[request(joules=None)])).closed


def test_a_route_knows_its_mean() -> None:
    totals = totals_of(
        settlement(requests=[request(joules=1.0), request(model="big", joules=8.0), request(joules=3.0)])
    )
    small = totals.routes["film-review", "small"]
    assert (small.requests, small.metered, small.nanojoules, small.joules) == (2, 2, 4 * NANO, 2.0)
    assert totals.routes["film-review", "big"].joules == 8.0


def test_unknown_joules_are_not_zero_joules() -> None:
    route = totals_of(settlement(requests=[request(joules=4.0), request(joules=None)])).routes["film-review", "small"]
    assert (route.requests, route.metered, route.joules) == (2, 1, 4.0)
    route = totals_of(settlement(requests=[request(joules=None)])).routes["film-review", "small"]
    assert (route.joules, route.half_width_joules, route.quality) == (None, None, None)


def test_half_width_by_hand() -> None:
    # 1 J and 3 J: mean 2, standard error sqrt(2)/sqrt(2) = 1, so 1.96; and 7 % of the mean that never averages out.
    certain = totals_of(settlement(requests=[request(joules=1.0), request(joules=3.0)]))
    assert certain.routes["film-review", "small"].half_width_joules == pytest.approx(1.96 + 0.14)
    # 0.3 J and 0.4 J of uncertainty: sqrt(0.09 + 0.16) / 2 = 0.25 for the mean.
    vague = totals_of(
        settlement(requests=[request(joules=1.0, plus_minus=0.3)]),
        settlement(requests=[request(joules=3.0, plus_minus=0.4)]),
    )
    assert vague.routes["film-review", "small"].half_width_joules == pytest.approx(math.sqrt(1.96**2 + 0.25**2) + 0.14)


def test_half_width_shrinks_to_the_bias_and_no_further() -> None:
    chance = random.Random(1)
    many = [request(joules=chance.uniform(1.0, 3.0), plus_minus=0.5) for _ in range(4000)]
    half_width = totals_of(settlement(requests=many)).routes["film-review", "small"].half_width_joules
    # Uniform on 1..3: standard deviation 1/sqrt(3), so 1.96/sqrt(3*4000) = 0.0179; 0.5/sqrt(4000) = 0.0079.
    assert half_width == pytest.approx(0.14 + math.hypot(0.0179, 0.0079), rel=0.02)


def test_half_width_is_unknown_where_one_part_is() -> None:
    one = totals_of(settlement(requests=[request()]))
    assert one.routes["film-review", "small"].half_width_joules is None
    vague = totals_of(settlement(requests=[request(), request(plus_minus=None), request()]))
    assert vague.routes["film-review", "small"].half_width_joules is None


def test_latency_quantiles_within_one_percent() -> None:
    chance = random.Random(2)
    milliseconds = list(range(1, 101))
    chance.shuffle(milliseconds)
    totals = totals_of(settlement(requests=[request(seconds=each / 1000) for each in milliseconds]))
    route = totals.routes["film-review", "small"]
    assert route.p50_seconds == pytest.approx(0.050, rel=0.0101)
    assert route.p95_seconds == pytest.approx(0.095, rel=0.0101)
    assert route.cpu_seconds == pytest.approx(sum(milliseconds) / 2000)


def test_memory_is_bounded() -> None:
    chance, books = random.Random(3), Books()
    for _ in range(5000):
        books.export(settlement(requests=[request(seconds=10 ** chance.uniform(-7, 3))]))
    # 10 decades in steps of 2 %: ln(10**10) / ln(1.02) = 1163.
    assert len(books._routes["film-review", "small"].latencies) <= 1164


def test_a_request_without_duration_is_counted() -> None:
    assert totals_of(settlement(requests=[request(seconds=0.0)])).routes["film-review", "small"].requests == 1


def test_the_worst_quality_stays() -> None:
    requests = [request(quality="measured"), request(quality="estimated"), request(quality="shared")]
    assert totals_of(settlement(requests=requests)).routes["film-review", "small"].quality == "estimated"
    assert totals_of(settlement(requests=requests[::2])).routes["film-review", "small"].quality == "shared"


def test_the_order_of_settlements_does_not_matter() -> None:
    parts = [
        settlement(lines=[attributed(4), idle(1)], deltas=[(PACKAGE, 5)], requests=[request(joules=0.1)]),
        settlement(lines=[attributed(9)], deltas=[(PACKAGE, 9)], requests=[request(joules=7.0), request(joules=2.0)]),
        settlement(requests=[request(joules=3.0)]),
    ]
    forth, back = totals_of(*parts), totals_of(*reversed(parts))
    assert (forth.states, forth.domains, forth.attributed) == (back.states, back.domains, back.attributed)
    one, two = (each.routes["film-review", "small"] for each in (forth, back))
    assert (one.nanojoules, one.p95_seconds) == (two.nanojoules, two.p95_seconds)
    assert one.half_width_joules == pytest.approx(two.half_width_joules)


def test_failures_and_overhead_add_up() -> None:
    trouble = Settlement(1.0, 0.0, failures=(Failure("rapl", "late", 2),), overhead_cpu_seconds=0.5)
    totals = totals_of(trouble, trouble)
    assert totals.failures == {("rapl", "late"): 4}
    assert totals.overhead_cpu_seconds == 1.0
