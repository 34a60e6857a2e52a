"""Candidates against figures worked out by hand, and every caveat with what brings it about and what does not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from greeninfer.bench._candidates import Candidate, CandidateKey, Figure
from greeninfer.bench._difference import difference
from greeninfer.bench._front import front
from greeninfer.bench._records import Phase, Results
from greeninfer.bench._statistics import candidates, survey
from greeninfer.errors import ResultsError

from .results_builders import failed, graded, items, results, run


def right(share: float, count: int = 200) -> Any:
    """So many right, spread evenly over the texts."""
    return np.arange(1, count + 1) * share // 1 > np.arange(count) * share // 1


def alone(**more: Any) -> Candidate:
    """One candidate with ten good splits of 200 texts, 80 % right, changed as told."""
    held = more.pop("items", graded(right(0.8)))
    made = [(run("a", split, 1.0 + 0.001 * split, **more), held) for split in range(10)]
    return candidates([results(made)])[0]


def words(candidate: Candidate, code: str) -> list[str]:
    return [each.words for each in candidate.caveats if each.code == code]


def test_accuracy_f1_and_what_is_unparsable_by_hand() -> None:
    """Labels 0 and 1 occur, 2 does not. Of 0: 2 of 3 found, once named for a 1; of 1: 1 of 3 found, one unparsable.

    F1(0) = 2*2/(3+3) = 2/3; F1(1) = 2*1/(3+1) = 1/2; the answer 2 is wrong and has no F1 of its own. Mean 7/12.
    """
    held = items([0, 0, 0, 1, 1, 1], [0, 0, 2, 0, 1, -1])
    found = candidates([results([(run(), held)], labels={"d": ("a", "b", "c")})])[0]
    assert found.accuracy.value == pytest.approx(0.5)
    assert found.macro_f1.value == pytest.approx(7 / 12)
    assert found.unparsable == pytest.approx(1 / 6)
    assert found.test_items == 6
    assert words(found, "unparsable") == ["16.7% of the answers could not be read as a label; they count as wrong"]


def test_means_over_splits_weigh_splits_alike() -> None:
    pairs = [(run(split=0), graded(right(1.0, 10))), (run(split=1, joules=3.0), graded(right(0.5, 100)))]
    found = candidates([results(pairs)])[0]
    assert found.accuracy.value == pytest.approx(0.75)
    assert found.joules is not None
    assert found.joules.value == pytest.approx(2.0)
    assert (found.splits, found.failed, found.test_items) == (2, 0, 110)


def test_seconds_tokens_phases_and_net_joules() -> None:
    held = graded(right(0.8, 4), seconds=[1.0, 2.0, 3.0, 10.0], input=7, output=1)
    load = Phase(2.0, 1.5, 40.0, 30.0, 1.0, 9)
    one = run(net=0.6, seconds=0.02, cpu_seconds=0.03)
    one = replace(one, phases={"load": load, **one.phases})
    two = replace(run(split=1, net=0.8, seconds=0.04, cpu_seconds=0.05))
    found = candidates([results([(one, held), (two, held)], options={"a": {"reasoning_tokens": 64}})])[0]
    assert found.p50_seconds == pytest.approx(2.5)
    assert found.p95_seconds == pytest.approx(10.0)  # 8 calls, 2 of them 10 s: the 95 % of the way lies between those
    assert found.seconds.value == pytest.approx(0.03)
    assert found.cpu_seconds == pytest.approx(0.04)
    assert found.net_joules is not None
    assert found.net_joules.value == pytest.approx(0.7)
    assert found.tokens == {"input": 7.0, "output": 1.0}
    assert found.phases["load"] == load
    assert "fit" not in found.phases
    assert found.phases["steady"].seconds == pytest.approx(3.0)
    assert found.reasoning_budget == 64


def test_no_meter_is_none_and_never_zero() -> None:
    found = alone(items=graded(right(0.8)))
    assert found.quality == "measured"
    made = [(run("a", split, None), graded(right(0.8))) for split in range(3)]
    found = candidates([results(made)])[0]
    assert (found.joules, found.net_joules, found.quality) == (None, None, None)
    assert "no meter gave joules here; runtime is known, energy is not" in words(found, "no_energy")
    assert "no energy here: the front is by seconds per request" in words(found, "no_energy")
    assert found.on_front


def test_a_good_candidate_has_no_caveat() -> None:
    many = graded(right(0.8, 2000))
    assert alone(items=many).caveats == ()


@pytest.mark.parametrize(
    ("code", "more", "expected"),
    [
        ("estimated", {"quality": "estimated", "gain": (0.6, 1.7)}, "x0.6 to x1.7"),
        ("shared", {"quality": "shared"}, "CPU time"),
        ("below_resolution", {"below_resolution": True}, "in 10 of 10 splits"),
        ("busy_machine", {"other_share": 0.31}, "up to 31%"),
        ("note", {"notes": ("hot",)}, "hot"),
        ("unstable", {"block_items": (10,) * 4, "block_joules": (1.0, 2.0, 1.0, 2.0)}, "38% between blocks"),
        ("small_test_set", {"items": graded(right(0.8, 200))}, "200 different texts"),
        ("one_class_only", {"items": items([1] * 2000, [1] * 1600 + [0] * 400)}, "all test texts have one label"),
        ("one_class_only", {"items": items([0, 1] * 1000, [1] * 2000)}, "gave every text the same label"),
        ("below_majority", {"majority": 0.79}, "is not told apart from"),
        ("below_majority", {"majority": 0.81}, "is no better than"),
    ],
)
def test_caveats(code: str, more: dict[str, Any], expected: str) -> None:
    found = alone(**({"items": graded(right(0.8, 2000))} | more))
    assert any(expected in each for each in words(found, code)), found.caveats


def test_the_bar_itself_is_not_held_against_itself() -> None:
    made = [(run("bar", split, 1.0), items([0, 1] * 1000, [1] * 2000)) for split in range(3)]
    assert candidates([results(made, kinds={"bar": "majority"})])[0].caveats == ()
    assert candidates([results(made)])[0].caveats != ()


def test_the_worst_quality_and_the_widest_gain_stand_for_all() -> None:
    """A run without joules has a quality that is about nothing, and does not count."""
    held = graded(right(0.8))
    told = [
        run(split=0, quality="shared", gain=(0.95, 1.05)),
        run(split=1, quality="estimated", gain=(0.6, 1.7)),
        run(split=2, quality="measured", gain=(0.9, 1.9)),
    ]
    found = candidates([results([(each, held) for each in told])])[0]
    assert (found.quality, found.gain) == ("estimated", (0.6, 1.9))
    told[1] = run(split=1, joules=None, quality="estimated", gain=(0.6, 1.7))
    found = candidates([results([(each, held) for each in told])])[0]
    assert (found.quality, found.gain) == ("shared", (0.9, 1.9))


def test_spread_between_splits_few_splits_and_missing_joules() -> None:
    many = graded(right(0.8, 2000))
    found = candidates([results([(run(split=0, joules=1.0), many), (run(split=1, joules=1.4), many)])])[0]
    # mean 1.2, sd 0.2828: 24 %
    assert words(found, "unstable") == [
        "unstable: joules per request spread by 24% between splits (standard deviation over mean)"
    ]
    assert words(found, "few_splits") == ["2 splits only: the spread between splits is hardly known"]
    found = candidates([results([(run(split=0), many), (run(split=1, joules=None), many)])])[0]
    assert words(found, "no_energy") == ["1 of 2 splits have no joules and are left out of the energy"]
    found = candidates([results([(run(), many)])])[0]
    assert "too narrow" in words(found, "few_splits")[0]


def test_one_split_takes_its_interval_from_its_blocks() -> None:
    random = np.random.default_rng(0)
    blocks = tuple(float(each) for each in 100 * random.lognormal(0, 0.05, 30))
    made = run(joules=1.0, block_items=(100,) * 30, block_joules=blocks)
    found = candidates([results([(made, graded(right(0.8)))])])[0]
    assert found.joules is not None
    assert found.joules.low is not None
    # independent blocks: 2.05 * 0.05 * sqrt(2 / 30) = 2.6 %, more for what is told of their likeness
    assert 0.015 < math.log(found.joules.high / found.joules.value) < 0.06  # type: ignore[operator]


def test_failed_cells_are_counted_and_a_candidate_without_good_ones_is_left_out() -> None:
    pairs = [
        (run("a", 0), graded(right(0.8))),
        (failed("a", 1, "out of memory"), None),
        (failed("b", 0, "no weights"), None),
    ]
    found = survey([results(pairs)])
    (one,) = (each.candidate for each in found.measured)
    assert (one.splits, one.failed) == (1, 1)
    assert words(one, "failed_cells") == ["1 of 2 cells failed; the first: out of memory"]
    (gone,) = found.left_out
    assert (gone.key.model, gone.cells, gone.reason) == ("b", 1, "no weights")


def test_a_cell_that_lost_its_predictions_or_has_no_steady_phase_counts_as_failed() -> None:
    pairs = [(run("a", 0), None), (run("b", 0, phases={}), graded([True]))]
    assert [each.reason for each in survey([results(pairs)]).left_out] == [
        "its predictions are missing", "it has no steady phase",
    ]  # fmt: skip


def test_who_is_on_the_front() -> None:
    accuracy, cost = (0.9, 0.8, 0.8, 0.7, 0.7, 0.95), (10.0, 1.0, 1.0, 0.5, 0.6, None)
    assert front(accuracy, cost) == (True, True, True, True, False, False)


def test_fronts_are_of_one_machine_and_data_set_each() -> None:
    def folder(machine: str, joules: float) -> Results:
        pairs = [(run(name, 0, joules * cost, machine=machine), graded(right(share)))
                 for name, cost, share in (("a", 1.0, 0.7), ("b", 2.0, 0.6))]  # fmt: skip
        return results(pairs, folder=machine)

    found = {(each.key.machine, each.key.model): each.on_front for each in candidates([folder("x", 1), folder("y", 9)])}
    assert found == {("x", "a"): True, ("x", "b"): False, ("y", "a"): True, ("y", "b"): False}


def test_the_same_study_twice_on_one_machine_stands_beside_itself() -> None:
    once = results([(run("a", 0, 1.0), graded(right(0.8)))], folder="one")
    again = results([(run("a", 0, 1.2), graded(right(0.8)))], folder="two")
    other = results([(run("b", 0, 2.0), graded(right(0.8)))], folder="three")
    found = candidates([once, again, other])
    assert [(each.key.machine, each.key.model, each.splits) for each in found] == [
        ("host", "a", 1), ("host (2)", "a", 1), ("host", "b", 1),
    ]  # fmt: skip


def test_one_name_for_two_sets_of_labels_is_refused() -> None:
    one = results([(run(), graded(right(0.8)))], labels={"d": ("no", "yes")}, folder="one")
    two = results([(run(), graded(right(0.8)))], labels={"d": ("bad", "good")}, folder="two")
    with pytest.raises(ResultsError, match="one and two both have a data set 'd'"):
        candidates([one, two])


def test_the_same_twice_is_the_same() -> None:
    held = results([(run("a", split, 1.0 + split), graded(right(0.8))) for split in range(3)])
    assert candidates([held]) == candidates([held])
    assert candidates([held], seed=1)[0].accuracy != candidates([held])[0].accuracy


def test_a_handful_of_texts_all_right_is_not_certainty() -> None:
    found = candidates([results([(run(), graded([True] * 20))])])[0]
    # Wilson with twice the variance: low = 1 / (1 + 2 * 1.96^2 / 20) = 0.7225
    assert found.accuracy == Figure(1.0, pytest.approx(0.7225, abs=1e-3), 1.0)


@pytest.mark.parametrize(
    ("texts", "asked", "splits", "hard", "luck"), [(400, 200, 10, 3.0, 0.0), (5000, 200, 8, 1.0, 0.3)]
)
def test_accuracy_measured_again_lies_in_its_interval(
    texts: int, asked: int, splits: int, hard: float, luck: float
) -> None:
    """Again: other texts of the same kind, other splits. Texts that come in many splits, and texts that come once."""
    random = np.random.default_rng(texts)

    def once() -> Results:
        difficulty, pairs = random.normal(0.0, hard, texts), []
        for split in range(splits):
            item = random.permutation(texts)[:asked]
            chance = 1 / (1 + np.exp(-(1.4 + difficulty[item] + random.normal(0.0, luck))))
            pairs.append((run(split=split), graded(random.random(asked) < chance, item)))
        return results(pairs)

    inside, worlds = 0, 80
    for seed in range(worlds):
        figure = candidates([once()], seed)[0].accuracy
        again = np.mean([each.right.mean() for each in once().items.values()])
        inside += figure.low <= again <= figure.high  # type: ignore[operator]
    assert 0.88 <= inside / worlds <= 0.995


def keys(*models: str) -> list[CandidateKey]:
    return [CandidateKey("host", "d", model, "cpu", 1) for model in models]


def test_a_difference_is_taken_on_the_texts_that_both_were_asked() -> None:
    """On texts 100 to 199, a is right on all and b on 90; what a did with texts 0 to 99 does not count."""
    a = graded(np.arange(200) >= 100)
    b = graded(np.arange(100) < 90, np.arange(100, 200))
    held = results([(run("a"), a), (run("b"), b)])
    figure = difference([held], *keys("a", "b"))
    assert figure.value == pytest.approx(0.1)
    # sd of the mean = sqrt(0.1 * 0.9 / 100) = 0.03; a repeat: 1.96 * sqrt 2 * 0.03 = 0.083
    assert figure.low == pytest.approx(0.1 - 0.083, abs=0.008)
    back = difference([held], *keys("b", "a"))
    assert back.value == pytest.approx(-0.1)


def test_a_difference_needs_both_and_texts_in_common() -> None:
    held = results([(run("a"), graded([True] * 5)), (run("b"), graded([True] * 5, np.arange(5, 10)))])
    with pytest.raises(ResultsError, match="no text in common"):
        difference([held], *keys("a", "b"))
    with pytest.raises(ResultsError, match=r"c \(cpu, batch 1\) is not in these results; there are: a"):
        difference([held], *keys("a", "c"))
