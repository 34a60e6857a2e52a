"""Learning power from ticks, against machines whose idle power, activation power and watts per route are known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greeninfer._calibration import OWN_WEIGHTS, Calibration
from greeninfer._fit import ENOUGH_ROWS, Fit
from greeninfer._records import Row, Weights

PACKAGE, DRAM = "rapl/0/package", "rapl/0/dram"
Key = tuple[str, str]

HEAVY, MID, CHEAP = ("heavy", "m"), ("mid", "m"), ("cheap", "m")


@dataclass
class Machine:
    """A machine that draws what it is told to, and some noise per tick."""

    idle_watts: float = 40.0
    active_watts: float = 15.0
    watts: Mapping[Key, float] = field(default_factory=lambda: {HEAVY: 8.0, MID: 5.0, CHEAP: 3.0})
    other_watts: float = 4.0
    noise_joules: float = 0.0

    def joules(self, row: Row, random: np.random.Generator) -> float:
        used = self.idle_watts * row.seconds + self.active_watts * row.active + self.other_watts * row.other
        used += sum(self.watts[key] * ran for key, ran in row.ran.items())
        return max(0.0, used + self.noise_joules * float(random.normal()))


def load(
    random: np.random.Generator, routes: Sequence[Key], seconds: float = 0.1, other: bool = True, busy: float = 0.6
) -> Row:
    """Return a tick of a server at varying load: idle, partly active or fully active; a route runs if it is busy."""
    active = float(random.choice([0.0, random.uniform(), 1.0])) * seconds
    row = Row(seconds, active)
    if active > 0.0:
        for key in routes:
            if random.uniform() < busy:
                row.ran[key] = float(random.uniform(0.0, 2.0)) * active
    if other:
        row.other = float(random.uniform(0.0, 0.5)) * seconds
    return row


def teach(
    calibration: Calibration,
    machines: Mapping[str, Machine],
    count: int,
    *,
    seconds: float = 0.1,
    seed: int = 1,
    other: bool = True,
    busy: float = 0.6,
) -> Mapping[str, Weights]:
    random = np.random.default_rng(seed)
    routes = list(next(iter(machines.values())).watts)
    for _ in range(count):
        row = load(random, routes, seconds, other, busy)
        for domain, machine in machines.items():
            row.joules[domain] = machine.joules(row, random)
        calibration.learn(row)
    return calibration.weights


def assert_knows(weights: Weights, machine: Machine, tolerance: float) -> None:
    assert weights.learned
    assert weights.idle_watts == pytest.approx(machine.idle_watts, rel=tolerance)
    assert weights.active_watts == pytest.approx(machine.active_watts, rel=tolerance)
    assert weights.other_watts == pytest.approx(machine.other_watts, rel=tolerance)
    assert weights.watts == {key: pytest.approx(watts, rel=tolerance) for key, watts in machine.watts.items()}


# What it learns


def test_a_machine_without_noise_is_known_almost_exactly() -> None:
    machine = Machine()
    assert_knows(teach(Calibration([PACKAGE]), {PACKAGE: machine}, 300)[PACKAGE], machine, 0.001)


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_averages_out(seed: int) -> None:
    # 0.1 J on ticks of about 6 J.
    machine = Machine(noise_joules=0.1)
    assert_knows(teach(Calibration([PACKAGE]), {PACKAGE: machine}, 1500, seed=seed)[PACKAGE], machine, 0.1)


def test_two_domains_are_learned_apart() -> None:
    package = Machine()
    dram = Machine(6.0, 1.0, {HEAVY: 0.5, MID: 2.0, CHEAP: 4.0}, other_watts=1.0)
    weights = teach(Calibration([PACKAGE, DRAM]), {PACKAGE: package, DRAM: dram}, 300)
    assert_knows(weights[PACKAGE], package, 0.001)
    assert_knows(weights[DRAM], dram, 0.001)


def test_a_machine_with_nothing_but_idle_power_is_found_out() -> None:
    machine = Machine(40.0, 0.0, {HEAVY: 8.0, MID: 5.0}, other_watts=0.5)
    weights = teach(Calibration([PACKAGE]), {PACKAGE: machine}, 300)[PACKAGE]
    assert weights.active_watts == pytest.approx(0.0, abs=0.05)
    assert weights.watts[HEAVY] == pytest.approx(8.0, rel=0.01)


def test_a_route_that_runs_rarely_is_learned_from_the_rows_in_which_it_does() -> None:
    random = np.random.default_rng(4)
    calibration, machine = Calibration([PACKAGE]), Machine()
    for at in range(600):
        row = load(random, [HEAVY, MID])
        if at % 100 == 50:  # 6 ms in 10 s
            row.active = max(row.active, 0.006)
            row.ran[CHEAP] = 0.006
        row.joules[PACKAGE] = machine.joules(row, random)
        calibration.learn(row)
    assert calibration.weights[PACKAGE].watts[CHEAP] == pytest.approx(3.0, rel=0.1)


def test_the_spread_of_power_inside_a_route_is_told() -> None:
    # One request per row, whose power is 8 W give or take 20 %; squares are what the ledger makes of it.
    random = np.random.default_rng(5)
    calibration = Calibration([PACKAGE])
    for _ in range(800):
        ran = float(random.uniform(0.02, 0.1)) if random.uniform() < 0.7 else 0.0
        row = Row(0.1, ran, {HEAVY: ran} if ran else {})
        row.joules[PACKAGE] = 40.0 * 0.1 + 15.0 * ran + 8.0 * ran * (1.0 + 0.2 * float(random.normal()))
        row.squares[PACKAGE] = (8.0 * ran) ** 2
        calibration.learn(row)
    assert calibration.weights[PACKAGE].sigma == pytest.approx(0.2, rel=0.15)


def test_without_any_spread_there_is_none() -> None:
    machine = Machine()
    random = np.random.default_rng(6)
    calibration = Calibration([PACKAGE])
    for _ in range(300):
        row = load(random, list(machine.watts))
        row.joules[PACKAGE] = machine.joules(row, random)
        row.squares[PACKAGE] = sum((machine.watts[key] * ran) ** 2 for key, ran in row.ran.items())
        calibration.learn(row)
    assert calibration.weights[PACKAGE].sigma < 0.01


@pytest.mark.parametrize("known_watts", [None, 40.0])
def test_the_doubt_about_what_requests_share_is_of_the_size_of_its_error(known_watts: float | None) -> None:
    # What they share is idle and activation power together. Over 20 machines that differ in nothing but their noise:
    # the errors' root mean square against what is told.
    errors, told = [], []
    for seed in range(20):
        calibration, machine = Calibration([PACKAGE], idle_watts=known_watts), Machine(noise_joules=0.1)
        weights = teach(calibration, {PACKAGE: machine}, 80, seed=seed)[PACKAGE]
        errors.append(weights.idle_watts + weights.active_watts - 55.0)
        told.append(weights.sigma_idle_watts)
    actual = math.sqrt(float(np.mean(np.square(errors))))
    assert float(np.mean(told)) == pytest.approx(actual, rel=0.5)


def test_a_fit_that_explains_nothing_is_no_spread_of_power() -> None:
    random = np.random.default_rng(11)
    calibration = Calibration([PACKAGE])
    for _ in range(100):
        row = load(random, [HEAVY])
        row.joules[PACKAGE] = float(random.uniform(0.0, 50.0))
        row.squares[PACKAGE] = sum((8.0 * ran) ** 2 for ran in row.ran.values())
        calibration.learn(row)
    assert calibration.weights[PACKAGE].sigma == 1.0


def test_what_was_true_once_is_forgotten() -> None:
    # Forgetting takes 10 minutes; 30 minutes of rows after the idle power went from 40 to 60 W.
    calibration = Calibration([PACKAGE], row_seconds=10.0)
    teach(calibration, {PACKAGE: Machine()}, 180, seconds=10.0)
    assert calibration.weights[PACKAGE].idle_watts == pytest.approx(40.0, rel=0.01)
    teach(calibration, {PACKAGE: Machine(idle_watts=60.0)}, 180, seconds=10.0, seed=2)
    assert calibration.weights[PACKAGE].idle_watts == pytest.approx(60.0, rel=0.03)


def test_idle_power_that_wanders_is_followed_and_the_routes_keep_their_watts() -> None:
    # 15 % in two minutes, as a machine that warms up; what an hour taught of the routes stays.
    calibration = Calibration([PACKAGE])
    teach(calibration, {PACKAGE: Machine()}, 3000)
    for second in range(120):
        warm = Machine(idle_watts=40.0 * (1.0 + 0.15 * second / 120.0))
        weights = teach(calibration, {PACKAGE: warm}, 10, seed=second)[PACKAGE]
    assert weights.idle_watts == pytest.approx(46.0, rel=0.03)
    assert weights.watts[HEAVY] == pytest.approx(8.0, rel=0.15)


# What it never says


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.0, 50.0), st.booleans())
def test_no_weight_is_ever_negative_or_not_a_number(seed: int, noise: float, other: bool) -> None:
    calibration = Calibration([PACKAGE])
    machine = Machine(1.0, 0.0, {HEAVY: 8.0, MID: 0.1, CHEAP: 0.1}, 0.1, noise_joules=noise)
    random = np.random.default_rng(seed)
    for _ in range(60):
        row = load(random, list(machine.watts), other=other)
        row.joules[PACKAGE] = machine.joules(row, random)
        weights = calibration.learn(row)[PACKAGE]
        figures = [
            weights.idle_watts, weights.active_watts, weights.shared_watts, weights.other_watts, weights.sigma,
            weights.sigma_idle_watts, *weights.watts.values(),
        ]  # fmt: skip
        assert all(math.isfinite(figure) and figure >= 0.0 for figure in figures)
        assert all(watts > 0.0 for watts in weights.watts.values())
        assert weights.shared_watts > 0.0


def test_what_would_be_negative_is_nothing_and_the_rest_is_fitted_again() -> None:
    # Power falls when anything runs (a clock that was left boosting at rest), so that without a bound activation power
    # would be -10 W. The best fit that is possible is that of all other columns alone.
    calibration, machine = Calibration([PACKAGE]), Machine(40.0, -10.0, {HEAVY: 8.0}, 4.0)
    random = np.random.default_rng(10)
    rows = []
    for _ in range(200):
        rows.append(load(random, [HEAVY]))
        rows[-1].joules[PACKAGE] = machine.joules(rows[-1], random)
        calibration.learn(rows[-1])
    columns = np.array([(row.seconds, row.ran.get(HEAVY, 0.0), row.other) for row in rows])
    fade = np.exp(-0.1 * np.arange(len(rows))[::-1] / 600.0) ** 0.5
    used = np.array([row.joules[PACKAGE] for row in rows])
    (idle, heavy, other), *_ = np.linalg.lstsq(columns * fade[:, None], used * fade, rcond=None)
    weights = calibration.weights[PACKAGE]
    assert weights.active_watts == 0.0
    assert weights.idle_watts == pytest.approx(idle, rel=0.01)  # it is followed as it wanders, and never quite still
    assert weights.watts[HEAVY] == pytest.approx(heavy, rel=0.001)
    assert weights.other_watts == pytest.approx(other, rel=0.01)
    assert heavy < 7.9


def test_no_route_is_believed_to_draw_next_to_nothing() -> None:
    machine = Machine(watts={HEAVY: 20.0, CHEAP: 0.01})
    weights = teach(Calibration([PACKAGE]), {PACKAGE: machine}, 300)[PACKAGE]
    assert weights.watts[HEAVY] == pytest.approx(20.0, rel=0.01)
    assert weights.watts[CHEAP] == pytest.approx(1.0, rel=0.01)  # 5 % of the hungriest


# Before there is enough to learn from


def test_the_first_row_gives_the_lowest_power_as_idle_and_the_same_weight_to_all() -> None:
    calibration = Calibration([PACKAGE])
    assert calibration.weights == {}
    weights = calibration.learn(Row(0.1, 0.05, {HEAVY: 0.05}, joules={PACKAGE: 5.0}))[PACKAGE]
    assert weights.idle_watts == pytest.approx(50.0)
    assert weights.active_watts == 0.0
    assert not weights.learned
    assert weights.watts == {}
    assert weights.shared_watts == weights.other_watts > 0.0


def test_even_a_part_of_the_first_row_is_better_than_nothing() -> None:
    weights = Calibration([PACKAGE]).learn(Row(0.02, 0.02, {HEAVY: 0.02}, joules={PACKAGE: 1.0}))
    assert weights[PACKAGE].idle_watts == pytest.approx(50.0)


def test_until_there_are_thirty_rows_nothing_but_the_lowest_power_is_believed() -> None:
    assert ENOUGH_ROWS == 30
    calibration = Calibration([PACKAGE])
    random = np.random.default_rng(7)
    powers = []
    for at in range(1, 31):
        row = load(random, [HEAVY, MID])
        row.joules[PACKAGE] = Machine().joules(row, random)
        powers.append(row.joules[PACKAGE] / row.seconds)
        weights = calibration.learn(row)[PACKAGE]
        assert weights.learned is (at == 30)
        if at < 30:
            assert weights.idle_watts == pytest.approx(min(powers))
            assert weights.watts == {}


def test_ticks_shorter_than_a_row_are_put_together() -> None:
    # Five ticks of 20 ms are a row: 149 ticks are not thirty of them, 150 are.
    machine = Machine()
    short, long = Calibration([PACKAGE]), Calibration([PACKAGE])
    random = np.random.default_rng(8)
    for at in range(1, 151):
        row = load(random, [HEAVY, MID, CHEAP], 0.02 + 1e-9)
        row.joules[PACKAGE] = machine.joules(row, random)
        assert short.learn(row)[PACKAGE].learned is (at == 150)
    assert_knows(teach(short, {PACKAGE: machine}, 1000, seconds=0.02 + 1e-9)[PACKAGE], machine, 0.01)
    assert_knows(teach(long, {PACKAGE: machine}, 200)[PACKAGE], machine, 0.01)


def test_a_gpu_row_takes_a_second() -> None:
    calibration = Calibration([PACKAGE], row_seconds=1.0)
    assert not teach(calibration, {PACKAGE: Machine()}, 290)[PACKAGE].learned
    assert teach(calibration, {PACKAGE: Machine()}, 40, seed=2)[PACKAGE].learned


# What the user knows


def test_idle_power_that_the_user_knows_stays_as_given() -> None:
    calibration = Calibration([PACKAGE], idle_watts=37.0)
    for at in range(200):
        weights = teach(calibration, {PACKAGE: Machine()}, 1, seed=at)[PACKAGE]
        assert weights.idle_watts == pytest.approx(37.0)
    assert weights.learned
    # The 3 W that the machine really draws beyond are there whenever it is active, so activation power takes them.
    assert 15.0 < weights.active_watts < 19.0


def test_idle_power_that_the_user_knows_counts_from_the_first_tick() -> None:
    calibration = Calibration([PACKAGE], idle_watts=37.0)
    for _ in range(12):
        weights = calibration.learn(Row(0.02, 0.02, {HEAVY: 0.02}, joules={PACKAGE: 1.2}))
        assert weights[PACKAGE].idle_watts == pytest.approx(37.0)


def test_idle_power_that_the_user_knows_is_split_as_the_lowest_power_is() -> None:
    calibration = Calibration([PACKAGE, DRAM], idle_watts=50.0)
    machines = {PACKAGE: Machine(40.0), DRAM: Machine(10.0, 0.0, {HEAVY: 1.0, MID: 1.0, CHEAP: 1.0}, 0.1)}
    early = dict(teach(calibration, machines, 20, other=False))
    late = dict(teach(calibration, machines, 200, seed=2, other=False))
    for weights in (early, late):
        assert weights[PACKAGE].idle_watts + weights[DRAM].idle_watts == pytest.approx(50.0)
        assert weights[PACKAGE].idle_watts == pytest.approx(40.0, rel=0.01)
    assert late[DRAM].learned


def test_idle_power_that_the_user_knows_is_not_given_to_a_domain_that_never_moved() -> None:
    calibration = Calibration([PACKAGE, DRAM], idle_watts=37.0)
    weights = teach(calibration, {PACKAGE: Machine()}, 100)
    assert weights[PACKAGE].idle_watts == pytest.approx(37.0)


def test_idle_power_of_nothing_is_knowledge_too() -> None:
    weights = teach(Calibration([PACKAGE], idle_watts=0.0), {PACKAGE: Machine(idle_watts=0.0)}, 100)[PACKAGE]
    assert weights.idle_watts == 0.0
    assert weights.active_watts == pytest.approx(15.0, rel=0.02)


# Many routes


def crowd(random: np.random.Generator, busy: Mapping[Key, float]) -> Row:
    """Return a tick in which each route runs with its own probability."""
    row = Row(0.1, float(random.choice([0.0, 0.05, 0.1])))
    if row.active > 0.0:
        row.ran = {key: 0.05 * row.active for key, likely in busy.items() if random.uniform() < likely}
    return row


@pytest.mark.parametrize("first", ["busy", "rare"])
def test_the_thirty_two_busiest_routes_have_weights_of_their_own_and_the_rest_share_one(first: str) -> None:
    assert OWN_WEIGHTS == 32
    random = np.random.default_rng(9)
    machine = Machine(watts={(f"route{at}", "m"): 20.0 + 2.0 * at for at in range(38)})
    keys = list(machine.watts)
    busy = {key: 0.4 if at < 32 else 0.02 for at, key in enumerate(keys if first == "busy" else reversed(keys))}
    calibration = Calibration([PACKAGE])
    for at in range(700):
        # Those that are rare come first, or last.
        row = crowd(random, dict(list(busy.items())[32:]) if first == "rare" and at < 60 else busy)
        row.joules[PACKAGE] = machine.joules(row, random)
        calibration.learn(row)
    weights = calibration.weights[PACKAGE]
    assert set(weights.watts) == {key for key, likely in busy.items() if likely == 0.4}
    for key, watts in weights.watts.items():
        assert watts == pytest.approx(machine.watts[key], rel=0.1)
    rest = [watts for key, watts in machine.watts.items() if key not in weights.watts]
    # A route that was rare once has been learned from under the shared weight, and is not forgotten at once.
    assert weights.shared_watts == pytest.approx(sum(rest) / 6, rel=0.1 if first == "busy" else 0.4)


def test_a_route_that_is_new_is_taken_for_a_usual_one() -> None:
    weights = teach(Calibration([PACKAGE]), {PACKAGE: Machine()}, 300)[PACKAGE]
    assert weights.shared_watts == pytest.approx((8.0 + 5.0 + 3.0) / 3, rel=0.02)


# Rows that say nothing


def test_rows_that_do_not_tell_the_columns_apart_teach_nothing() -> None:
    # Always the same load: 63 W may be idle power, activation power or the route's; any split would be invented.
    calibration = Calibration([PACKAGE])
    for _ in range(200):
        calibration.learn(Row(0.1, 0.1, {HEAVY: 0.1}, joules={PACKAGE: 6.3}))
    weights = calibration.weights[PACKAGE]
    assert not weights.learned
    assert weights.idle_watts == pytest.approx(63.0)


def test_a_server_that_is_never_idle_knows_its_routes_and_what_they_share() -> None:
    # Idle and activation power cannot be told apart there, and need not be: requests share the sum of both.
    random = np.random.default_rng(3)
    calibration, machine = Calibration([PACKAGE]), Machine(noise_joules=0.1)
    for _ in range(600):
        row = Row(0.1, 0.1, {key: 0.1 * float(random.uniform(0, 2)) for key in machine.watts if random.uniform() < 0.6})
        row.joules[PACKAGE] = machine.joules(row, random)
        calibration.learn(row)
    weights = calibration.weights[PACKAGE]
    assert weights.watts == {key: pytest.approx(watts, rel=0.1) for key, watts in machine.watts.items()}
    assert weights.idle_watts + weights.active_watts == pytest.approx(55.0, rel=0.01)
    assert weights.sigma_idle_watts < 2.0


def test_what_was_learned_stays_while_the_load_does_not_change() -> None:
    calibration, machine = Calibration([PACKAGE]), Machine()
    teach(calibration, {PACKAGE: machine}, 300)
    for _ in range(300):
        calibration.learn(Row(0.1, 0.1, {HEAVY: 0.1}, joules={PACKAGE: 6.3}))
    assert_knows(calibration.weights[PACKAGE], machine, 0.01)


def test_the_more_rows_there_are_the_longer_it_takes_until_they_are_solved_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    solved: list[int] = []
    solve = Fit.solve
    monkeypatch.setattr(Fit, "solve", lambda fit, known: solved.append(1) or solve(fit, known))
    calibration, counts = Calibration([PACKAGE]), []
    for rows in (50, 900, 100):  # of 0.1 s; the first 30 are too few
        teach(calibration, {PACKAGE: Machine()}, rows)
        counts.append(len(solved))
        solved.clear()
    assert counts[0] == 21  # with each row
    assert 100 <= counts[1] <= 160  # 2 % more: 50 ln(50 s / 5 s) times, but by whole rows
    assert counts[2] == 10


def test_ticks_with_and_without_a_domain_are_not_put_together() -> None:
    random = np.random.default_rng(12)
    calibration, package, dram = Calibration([PACKAGE, DRAM]), Machine(), Machine(6.0, 1.0)
    for at in range(1200):
        row = load(random, list(package.watts), 0.02 + 1e-9)
        row.joules[PACKAGE] = package.joules(row, random)
        if at % 19 < 7:
            row.joules[DRAM] = dram.joules(row, random)
        calibration.learn(row)
    assert_knows(calibration.weights[PACKAGE], package, 0.001)
    assert_knows(calibration.weights[DRAM], dram, 0.01)


@pytest.mark.parametrize("row", [Row(0.1, 0.1, {HEAVY: 0.1}), Row(0.0, 0.0, joules={PACKAGE: 1e6, DRAM: 1e6})])
def test_a_row_without_joules_or_without_length_changes_nothing(row: Row) -> None:
    calibration = Calibration([PACKAGE, DRAM])
    machines = {PACKAGE: Machine(), DRAM: Machine(6.0, 1.0)}
    before = teach(calibration, machines, 100)
    assert calibration.learn(row) is before
    assert_knows(teach(calibration, machines, 100, seed=2)[PACKAGE], machines[PACKAGE], 0.001)


def test_before_any_good_row_there_are_no_weights() -> None:
    assert Calibration([PACKAGE, DRAM]).learn(Row(0.1, 0.1)) == {}
