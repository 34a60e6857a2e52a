"""Two looks compared: what grew, and when nobody can say."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeninfer.top._change import compare
from greeninfer.top._page import ENERGY, FAILURES, REQUESTS, Snapshot
from top.builders import AFTER, BEFORE, EMPTY, change


def energy(instant: float, started: float | None = None, /, **joules: float) -> Snapshot:
    return Snapshot(instant, {ENERGY: {(("name", name),): value for name, value in joules.items()}}, {}, started)


def grown(before: Snapshot, now: Snapshot) -> dict[str, float]:
    return {dict(labels)["name"]: value for labels, value in compare(before, now).grown.get(ENERGY, {}).items()}


def test_the_first_look_has_nothing_to_compare_with() -> None:
    first = change(None, BEFORE)
    assert (first.seconds, first.restarted, dict(first.grown)) == (None, False, {})
    assert sum(first.now.counters[ENERGY].values()) == 168.0


def test_counters_that_grew_and_counters_that_are_new() -> None:
    after = change(BEFORE, AFTER)
    assert after.seconds == 4.0
    assert not after.restarted
    assert sum(after.grown[ENERGY].values()) == pytest.approx(80.0)
    assert sum(after.grown[REQUESTS].values()) == 44.0
    assert after.grown[FAILURES] == {
        (("meter", "rapl"), ("reason", "garbage")): 1.0,
        (("meter", "nvml"), ("reason", "lost")): 0.0,
    }


def test_a_service_that_begins_to_work() -> None:
    assert sum(change(EMPTY, BEFORE).grown[REQUESTS].values()) == 112.0


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (energy(0.0, a=10.0, b=5.0), energy(1.0, a=9.0, b=6.0)),
        (energy(0.0, a=10.0, b=5.0), energy(1.0, a=11.0)),
        (energy(0.0, a=10.0), Snapshot(1.0, {}, {})),
        (energy(0.0, 100.0, a=10.0), energy(1.0, 200.0, a=11.0)),
    ],
    ids=["a counter fell", "a counter went", "all counters went", "another process"],
)
def test_after_a_restart_nothing_is_known_until_the_next_look(before: Snapshot, now: Snapshot) -> None:
    after = compare(before, now)
    assert (after.seconds, after.restarted, dict(after.grown)) == (None, True, {})
    next_look = compare(now, Snapshot(2.0, now.counters, {}, now.started))
    assert (next_look.seconds, next_look.restarted) == (1.0, False)


def test_a_sum_over_processes_that_lost_its_last_bit_is_no_restart() -> None:
    assert grown(energy(0.0, a=1e9), energy(1.0, a=1e9 - 1e-7)) == {"a": 0.0}


def test_two_looks_at_the_same_instant_tell_nothing() -> None:
    assert compare(energy(5.0, a=1.0), energy(5.0, a=2.0)).seconds is None


def test_a_service_that_joins_a_common_page_has_not_used_all_its_joules_since_the_last_look() -> None:
    def page(**joules: float) -> Snapshot:
        found = {(("instance", each), ("name", "n")): value for each, value in joules.items()}
        return Snapshot(len(joules), {ENERGY: found}, {})

    (only,) = compare(page(a=10.0), page(a=12.0, b=1e6)).grown[ENERGY].items()
    assert only == ((("instance", "a"), ("name", "n")), 2.0)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(0.0, 1e6)), min_size=2, max_size=10))
def test_growth_between_looks_adds_up_to_the_growth_of_the_whole(steps: list[dict[str, float]]) -> None:
    shown: dict[str, float] = {}
    looks = []
    for place, step in enumerate(steps):
        shown = {name: shown.get(name, 0.0) + step.get(name, 0.0) for name in {*shown, *step}}
        looks.append(energy(float(place), **shown))
    added: dict[str, float] = {}
    for before, now in pairwise(looks):
        for name, value in grown(before, now).items():
            assert value >= 0.0
            added[name] = added.get(name, 0.0) + value
    assert added == pytest.approx(grown(looks[0], looks[-1]), abs=1e-3)
