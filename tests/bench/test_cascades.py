"""Cascades from recorded answers, against worlds whose accuracy, reach and joules are known in closed form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from live import Live

from greeninfer._cascade import Cascade
from greeninfer.bench._candidates import Candidate, CandidateKey, CascadeResult, Figure
from greeninfer.bench._cascades import GAINS, MOST, mark_front, search
from greeninfer.bench._records import Results
from greeninfer.bench._statistics import candidates

from .cascade_builders import CLASSES, Answers, Made, results

Generator = np.random.Generator
Flags = npt.NDArray[np.bool_]


def honest(rng: Generator, count: int, item: npt.NDArray[np.int32] | None = None, low: float = 0.0) -> Answers:
    """Return answers that are right just as often as they are sure, and sure to any degree from ``low``."""
    confidence = low + (1.0 - low) * rng.random(count)
    texts = np.arange(count, dtype=np.int32) if item is None else item
    return Answers(texts, rng.random(count) < confidence, confidence)


def blind(rng: Generator, count: int, accuracy: float) -> Answers:
    """Return answers whose confidence says nothing."""
    return Answers(np.arange(count, dtype=np.int32), rng.random(count) < accuracy, rng.random(count))


def mute(rng: Generator, count: int, accuracy: float, seconds: float = 0.001) -> Answers:
    """Return answers without confidences."""
    nothing = np.full(count, np.nan)
    return Answers(np.arange(count, dtype=np.int32), rng.random(count) < accuracy, nothing, seconds=seconds)


def over(splits: int, make: Callable[[], Answers]) -> dict[int, Answers]:
    return {split: make() for split in range(splits)}


def models(result: CascadeResult) -> list[str]:
    return [key.model for key in result.stages]


# Truth.


def test_an_honest_small_model_hands_on_where_the_large_one_is_worth_it() -> None:
    """Small is right with probability c, large with 0.9, so handing on gains 0.9 - c: the threshold for a gain of g is
    0.9 - g. With threshold t: reach t, accuracy (1 - t^2) / 2 + 0.9 t, joules 1 + 10 t.

    What a threshold is worth is flat around the best, so the best that n texts show is away from it by n^(-1/3), which
    is 0.03 here. The accuracy at what was reached is known to 0.002.
    """
    rng, count = np.random.default_rng(1), 20_000
    world = results(
        {
            "small": Made(over(3, lambda: honest(rng, count)), 1.0),
            "large": Made(over(3, lambda: mute(rng, count, 0.9)), 10.0),
        },
        splits=3,
    )
    found = search(world)
    assert [models(each) for each in found] == [["small", "large"]] * len(found)
    for gain in GAINS[2:]:  # the first are too near to each other
        assert min(abs(each.thresholds[0] - (0.9 - gain)) for each in found) < 0.08
    for each in found:
        reach = each.reach[1]
        assert 0.5 < each.thresholds[0] < 0.98
        assert each.reach == (1.0, pytest.approx(each.thresholds[0], abs=0.06))
        assert each.accuracy.value == pytest.approx((1 - reach**2) / 2 + 0.9 * reach, abs=0.008)
        assert each.joules.value == pytest.approx(1.0 + 10.0 * reach, rel=1e-9)
        assert each.seconds.value == pytest.approx(0.001 * (1.0 + reach), rel=1e-9)


def test_the_threshold_is_where_the_small_model_begins_to_be_right() -> None:
    item = np.arange(400, dtype=np.int32)
    confidence = np.array([0.2, 0.4, 0.6, 0.8])[item % 4]
    small = Answers(item, confidence > 0.5, confidence)
    large = Answers(item, np.ones(400, np.bool_), np.full(400, np.nan))
    world = results({"small": Made({0: small}, 1.0), "large": Made({0: large}, 10.0)}, splits=1)
    (found,) = search(world)
    assert found.thresholds == (0.5,)
    assert (found.reach, found.accuracy.value, found.joules.value) == ((1.0, 0.5), 1.0, 6.0)


def test_three_stages_hand_on_one_after_the_other() -> None:
    """Small and medium are honest and know nothing of each other; large is right with 0.95. For a gain of 0.15 for 20
    joules, medium's threshold is 0.95 - 0.15 = 0.8. What small hands on is then right with (1 - 0.8^2) / 2 + 0.8 x 0.95
    = 0.94 and costs 2 + 0.8 x 20 = 18 joules, worth 0.135 right answers: small's threshold is 0.94 - 0.135 = 0.805.
    """
    rng, count = np.random.default_rng(2), 20_000
    world = results(
        {
            "large": Made(over(2, lambda: mute(rng, count, 0.95)), 20.0),
            "medium": Made(over(2, lambda: honest(rng, count)), 2.0),
            "small": Made(over(2, lambda: honest(rng, count)), 0.1),
        },
        splits=2,
    )
    triples = [each for each in search(world) if len(each.stages) == 3]
    assert {tuple(models(each)) for each in triples} == {("small", "medium", "large")}
    assert min(max(abs(each.thresholds[0] - 0.805), abs(each.thresholds[1] - 0.8)) for each in triples) < 0.09
    for each in triples:
        first, second = each.reach[1], each.reach[2] / each.reach[1]
        assert (first, second) == pytest.approx(each.thresholds, abs=0.06)
        kept = (1 - first**2) / 2 + first * ((1 - second**2) / 2 + second * 0.95)
        assert each.accuracy.value == pytest.approx(kept, abs=0.008)
        assert each.joules.value == pytest.approx(0.1 + 2.0 * each.reach[1] + 20.0 * each.reach[2], rel=1e-9)
        assert each.seconds.value == pytest.approx(0.001 * sum(each.reach), rel=1e-9)
    assert all(len(each.stages) == 2 for each in search(world, max_stages=2))


def test_confidence_that_says_nothing_beats_no_mixture() -> None:
    """Choosing small or large by a coin lies on the line between both; handing on blindly pays small on top."""
    rng, count = np.random.default_rng(3), 20_000
    world = results(
        {
            "small": Made(over(2, lambda: blind(rng, count, 0.6)), 1.0),
            "large": Made(over(2, lambda: blind(rng, count, 0.9)), 10.0),
        },
        splits=2,
    )
    for each in search(world):
        on_the_line = 0.6 + 0.3 * (each.joules.value - 1.0) / 9.0
        assert each.accuracy.value < on_the_line + 0.006


def test_a_text_is_on_one_side_in_all_splits() -> None:
    """Two models guess 40 texts, the same way in all splits: there is nothing to learn of one text from another, and
    all to learn of a text from itself. Were its other splits among those that thresholds are chosen on, the score
    would rise. Of 20 more, small says nothing and large is right, so that some cascade is always worth it.
    """
    rng, found = np.random.default_rng(4), []
    silent = np.arange(60) < 20
    for _ in range(100):
        small = dataclasses.replace(blind(rng, 60, 0.5), unparsable=silent)
        large = blind(rng, 60, 0.5)
        large.right[silent] = True
        world = results({"small": Made(dict.fromkeys(range(6), small), 1.0),
                         "large": Made(dict.fromkeys(range(6), large), 1000.0)}, splits=6)  # fmt: skip
        found.append(search(world)[0].accuracy.value)  # the most frugal: not picked for its accuracy
    error = float(np.std(found)) / np.sqrt(len(found))
    assert np.mean(found) < (20 + 40 * 0.5) / 60 + 2 * error


# What is counted.


def test_an_unreadable_answer_is_handed_on_however_sure() -> None:
    rng, count = np.random.default_rng(6), 4_000

    def half_read() -> Answers:
        made = honest(rng, count, low=0.8)
        return dataclasses.replace(made, unparsable=np.arange(count) % 2 == 0, confidence=np.ones(count))

    world = results(
        {
            "small": Made(over(2, half_read), 1.0),
            "large": Made(over(2, lambda: mute(rng, count, 0.85)), 10.0),
        },
        splits=2,
    )
    (found,) = search(world)
    assert found.thresholds == (0.0,)
    assert found.reach == (1.0, 0.5)
    assert found.accuracy.value == pytest.approx((0.9 + 0.85) / 2, abs=0.02)


@pytest.mark.parametrize("confidence", [np.nan, 1.5, -0.5])
def test_a_model_without_usable_confidences_is_a_last_stage_only(confidence: float) -> None:
    rng, count = np.random.default_rng(7), 500

    def unusable() -> Answers:
        made = honest(rng, count, low=0.5)
        known = np.nan if np.isnan(confidence) else made.confidence
        return dataclasses.replace(made, confidence=np.where(made.confidence > 0.7, confidence, known))

    world = results(
        {
            "small": Made(over(2, unusable), 1.0),
            "medium": Made(over(2, lambda: honest(rng, count, low=0.4)), 2.0),
            "large": Made(over(2, lambda: mute(rng, count, 0.95)), 10.0),
        },
        splits=2,
    )
    assert {tuple(models(each)) for each in search(world)} == {("medium", "large")}


def test_the_time_of_a_text_is_that_of_all_stages_on_its_way() -> None:
    rng, count = np.random.default_rng(8), 2_000
    small = over(2, lambda: dataclasses.replace(honest(rng, count), seconds=0.002))
    large = over(2, lambda: mute(rng, count, 0.9, seconds=0.3))
    world = results({"small": Made(small, 1.0), "large": Made(large, 10.0)}, splits=2)
    for each in search(world):
        assert each.p95_seconds == pytest.approx(0.302 if each.reach[1] > 0.06 else 0.002, rel=1e-5)


def test_idle_subtracted_joules_need_every_stage_to_have_them() -> None:
    rng, count = np.random.default_rng(9), 2_000
    small, large = over(2, lambda: honest(rng, count)), over(2, lambda: mute(rng, count, 0.9))
    both = results({"small": Made(small, 1.0, 0.5), "large": Made(large, 10.0, 4.0)}, splits=2)
    one = results({"small": Made(small, 1.0, 0.5), "large": Made(large, 10.0)}, splits=2)
    for each in search(both):
        assert each.net_joules is not None
        assert each.net_joules.value == pytest.approx(0.5 + 4.0 * each.reach[1])
    assert {each.net_joules for each in search(one)} == {None}


def test_nothing_comes_of_models_without_joules() -> None:
    rng = np.random.default_rng(10)
    small, large = over(2, lambda: honest(rng, 500)), over(2, lambda: mute(rng, 500, 0.9))
    assert search(results({"small": Made(small, None), "large": Made(large, 10.0)}, splits=2)) == ()
    assert search(results({"small": Made(small, 1.0)}, splits=2)) == ()


def test_what_a_model_alone_does_as_well_is_left_out() -> None:
    """Large is worse than small: handing on never pays."""
    rng, count = np.random.default_rng(11), 5_000
    world = results(
        {
            "small": Made(over(2, lambda: honest(rng, count, low=0.8)), 1.0),
            "large": Made(over(2, lambda: mute(rng, count, 0.7)), 10.0),
        },
        splits=2,
    )
    assert search(world) == ()


def test_what_another_model_alone_does_as_well_is_left_out() -> None:
    rng, count = np.random.default_rng(23), 5_000
    world = {
        "small": Made(over(2, lambda: honest(rng, count)), 1.0),
        "large": Made(over(2, lambda: mute(rng, count, 0.9)), 10.0),
    }
    assert search(results(world, splits=2))
    world["marvel"] = Made(over(2, lambda: mute(rng, count, 0.97)), 1.5)
    assert {tuple(models(each)) for each in search(results(world, splits=2))} <= {("small", "marvel")}


def test_of_three_stages_only_the_best_are_kept_and_nothing_shorter_is_as_good() -> None:
    rng, count = np.random.default_rng(24), 1_000
    world = {
        name: Made(over(3, lambda: honest(rng, count, low=low)), joules)  # noqa: B023 - called at once
        for name, joules, low in (("a", 0.1, 0.0), ("b", 0.3, 0.1), ("c", 1.0, 0.2), ("d", 3.0, 0.4), ("e", 10.0, 0.6))
    }
    alone = candidates([results(world, splits=3)])
    found = search(results(world, splits=3))
    triples = [each for each in found if len(each.stages) == 3]
    assert triples
    for each in triples:
        others = [one for one in (*alone, *found) if one is not each]
        assert not [one for one in others if beats(one, each)], models(each)
    assert len(found) <= MOST


def test_the_commonest_label_is_no_stage() -> None:
    rng, count = np.random.default_rng(24), 1_000
    world = {
        name: Made(over(3, lambda: honest(rng, count, low=low)), joules)  # noqa: B023 - called at once
        for name, joules, low in (("a", 0.1, 0.0), ("b", 1.0, 0.3), ("c", 10.0, 0.6))
    }
    measured = results(world, splits=3)
    assert any(each.stages[0].model == "a" for each in search(measured))
    specs = tuple(
        dataclasses.replace(spec, kind="majority") if spec.name == "a" else spec for spec in measured.study.models
    )
    study = dataclasses.replace(measured.study, models=specs)
    told = search(dataclasses.replace(measured, study=study))
    assert told
    assert not [each for each in told if "a" in models(each)]


def beats(one: Candidate | CascadeResult, other: CascadeResult) -> bool:
    assert one.joules is not None
    cheaper = one.joules.value <= other.joules.value * (1 - 1e-9)
    return cheaper and one.accuracy.value >= other.accuracy.value and not is_longer(one, other)


def is_longer(one: Candidate | CascadeResult, other: CascadeResult) -> bool:
    return isinstance(one, CascadeResult) and len(one.stages) > len(other.stages)


# Who combines.


def test_models_combine_on_the_texts_that_all_of_them_answered() -> None:
    """Large answered 300 of 2,000 texts in two of four splits: that is all that the cascade is scored on."""
    rng, count = np.random.default_rng(12), 2_000
    small, shown = over(4, lambda: honest(rng, count)), {}
    for split in (1, 3):
        item = np.sort(rng.choice(count, 300, replace=False)).astype(np.int32)
        shown[split] = Answers(item, rng.random(300) < 0.9, np.full(300, np.nan))
        # Elsewhere small is always sure and wrong: were it counted, no cascade would be any good.
        away = ~np.isin(small[split].item, item)
        small[split].right[away] = False
        small[split].confidence[away] = 1.0
    world = results({"small": Made(small, 1.0), "large": Made(shown, 10.0)}, splits=4)
    found = search(world)
    assert found
    for each in found:
        reach = each.reach[1]
        assert each.accuracy.value == pytest.approx((1 - reach**2) / 2 + 0.9 * reach, abs=0.06)
        assert "600 predictions that all its stages made; one of them made 8000" in words(each)


def words(result: CascadeResult) -> str:
    return " | ".join(caveat.words for caveat in result.caveats)


def test_machines_devices_and_batch_sizes_stay_apart() -> None:
    rng, count = np.random.default_rng(13), 1_000
    small = {"small": Made(over(2, lambda: honest(rng, count)), 1.0)}
    large = {"large": Made(over(2, lambda: mute(rng, count, 0.9)), 10.0)}
    one = results(small, splits=2)
    assert search([one, results(large, splits=2, batch_size=8)]) == ()
    assert search([one, results(large, splits=2, device="cuda")]) == ()
    away = results(large, splits=2)
    elsewhere = dataclasses.replace(away, runs=tuple(dataclasses.replace(run, machine="other") for run in away.runs))
    assert search([one, elsewhere]) == ()
    assert search([one, away])  # two folders of one machine do combine


def test_a_text_with_another_label_is_another_text() -> None:
    rng, count = np.random.default_rng(14), 1_000
    one = results({"small": Made(over(2, lambda: honest(rng, count)), 1.0)}, splits=2)
    other = results({"large": Made(over(2, lambda: mute(rng, count, 0.9)), 10.0)}, splits=2)
    turned = {
        name: dataclasses.replace(each, label=(1 - each.label).astype(np.int16), predicted=each.predicted)
        for name, each in other.items.items()
    }
    assert search([one, other])
    assert search([one, dataclasses.replace(other, items=turned)]) == ()


def test_only_the_models_asked_for() -> None:
    rng, count = np.random.default_rng(15), 1_000
    world = results(
        {
            "a": Made(over(2, lambda: honest(rng, count)), 1.0),
            "b": Made(over(2, lambda: honest(rng, count, low=0.2)), 2.0),
            "c": Made(over(2, lambda: mute(rng, count, 0.95)), 10.0),
        },
        splits=2,
    )
    keys = [CandidateKey("node", "texts", model, "cpu", 1) for model in ("a", "c")]
    assert {tuple(models(each)) for each in search(world, keys=keys)} == {("a", "c")}


# What a reader is told.


def test_caveats_of_stages_are_those_of_the_cascade() -> None:
    rng, count = np.random.default_rng(16), 400
    small, large = over(2, lambda: honest(rng, count)), over(2, lambda: mute(rng, count, 0.9))
    world = results(
        {"small": Made(small, 1.0, quality="estimated"), "large": Made(large, 10.0, below_resolution=True)},
        splits=2,
        batch_size=4,
    )
    for each in search(world):
        assert {caveat.code for caveat in each.caveats} == {"estimated", "below_resolution", "few_splits", "note"}
        assert "small: energy estimated by a power model" in words(each)
        assert "batches of 4" in words(each)


def test_few_texts_are_told() -> None:
    rng = np.random.default_rng(17)
    small, large = over(3, lambda: honest(rng, 60)), over(3, lambda: mute(rng, 60, 0.95))
    found = search(results({"small": Made(small, 1.0), "large": Made(large, 10.0)}, splits=3))
    assert found
    for each in found:
        assert "60 texts" in words(each)


def test_a_repeat_lies_within_the_intervals() -> None:
    """Fresh texts and fresh measurements of the same world: 95 % of the figures should fall into the intervals."""
    inside = []
    for seed in range(40):
        first, again = (_noisy_world(np.random.default_rng((seed, turn))) for turn in (0, 1))
        pairs = _by_reach(search(first), 0.5), _by_reach(search(again), 0.5)
        for figure, repeat in ((pairs[0].accuracy, pairs[1].accuracy), (pairs[0].joules, pairs[1].joules)):
            assert figure.low is not None
            assert figure.high is not None
            inside.append(figure.low <= repeat.value <= figure.high)
    assert 0.87 <= np.mean(inside) <= 1.0


def _noisy_world(rng: Generator) -> Results:
    small, large = over(5, lambda: honest(rng, 300)), over(5, lambda: mute(rng, 300, 0.9))
    joules = [float(each) for each in 10.0 * np.exp(0.1 * rng.standard_normal(5))]
    return results({"small": Made(small, 1.0), "large": Made(large, joules)}, splits=5)


def _by_reach(found: Sequence[CascadeResult], reach: float) -> CascadeResult:
    return min(found, key=lambda each: abs(each.reach[1] - reach))


def test_confidences_that_crowd_at_1_are_told() -> None:
    """As a naive Bayes classifier has them: everything is decided in the last places."""
    rng, count = np.random.default_rng(25), 2_000

    def crowded(squeeze: float) -> Answers:
        made = honest(rng, count)
        return dataclasses.replace(made, confidence=1.0 - squeeze * (1.0 - made.confidence))

    large = Made(over(2, lambda: mute(rng, count, 0.9)), 10.0)
    for squeeze, told in ((1e-5, True), (0.5, False)):
        small = Made(over(2, lambda: crowded(squeeze)), 1.0)  # noqa: B023 - called at once
        found = search(results({"small": small, "large": large}, splits=2))
        assert found
        for each in found:
            assert ("confidences of small crowd at 1" in words(each)) is told


def test_one_split_leaves_joules_without_an_interval() -> None:
    rng = np.random.default_rng(18)
    small, large = over(1, lambda: honest(rng, 800)), over(1, lambda: mute(rng, 800, 0.9))
    for each in search(results({"small": Made(small, 1.0), "large": Made(large, 10.0)}, splits=1)):
        assert (each.joules.low, each.joules.high) == (None, None)
        assert "few_splits" in {caveat.code for caveat in each.caveats}


# From the bench to production.


def test_what_runs_in_production_does_what_was_found() -> None:
    """The predictors say in double precision what was recorded in single: just the same texts are handed on."""
    rng, count = np.random.default_rng(19), 2_000
    coarse = np.round(rng.random(count), 2)  # ties: a score of texts have just the same confidence
    small = Answers(np.arange(count, dtype=np.int32), rng.random(count) < coarse, coarse)
    large = mute(rng, count, 0.9)
    found = search(results({"small": Made({0: small}, 1.0), "large": Made({0: large}, 10.0)}, splits=1))
    assert found
    for each in found:
        cascade = Cascade.from_result(each, {"small": lambda n: say(small, n), "large": lambda n: say(large, n)})
        with Live():
            answers = [cascade(text) for text in range(count)]
        right = np.mean([answer.label == CLASSES[text % 2] for text, answer in enumerate(answers)])
        handed_on = np.array([answer.model == "large" for answer in answers])
        assert handed_on.tolist() == (coarse.astype(np.float32) < each.thresholds[0]).tolist()
        # Near what was told, which is of thresholds chosen without each text.
        assert handed_on.mean() == pytest.approx(each.reach[1], abs=0.1)
        assert right == pytest.approx(each.accuracy.value, abs=0.03)


def say(answers: Answers, text: int) -> tuple[str, float]:
    label = text % 2 if answers.right[text] else 1 - text % 2
    return CLASSES[label], float(answers.confidence[text])


# The front.


def test_models_and_cascades_stand_on_one_front() -> None:
    rng, count = np.random.default_rng(20), 5_000
    world = results(
        {
            "small": Made(over(2, lambda: honest(rng, count)), 1.0),
            "medium": Made(over(2, lambda: mute(rng, count, 0.7)), 9.0),
            "large": Made(over(2, lambda: mute(rng, count, 0.9)), 10.0),
        },
        splits=2,
    )
    alone = candidates([world])
    found = search(world, candidates=alone)
    assert {each.key.model for each in alone if each.on_front} == {"small", "medium", "large"}
    marked, cascades = mark_front(alone, found)
    assert cascades == found
    assert any(each.on_front for each in cascades)
    beaten = next(each for each in cascades if each.joules.value < 9.0 and each.accuracy.value > 0.72)
    assert beaten.accuracy.value > 0.7
    assert {each.key.model: each.on_front for each in marked}["medium"] is False
    assert {each.key.model: each.on_front for each in marked}["small"] is True


def test_a_front_is_of_one_machine_and_one_data_set() -> None:
    rng = np.random.default_rng(21)
    (alone,) = candidates([results({"small": Made(over(2, lambda: honest(rng, 500)), 1.0)}, splits=2)])
    better = CascadeResult(
        stages=(CandidateKey("other", "texts", "small", "cpu", 1),) * 2,
        thresholds=(0.5,),
        accuracy=Figure(1.0),
        joules=Figure(0.1),
        net_joules=None,
        seconds=Figure(0.1),
        p95_seconds=0.1,
        reach=(1.0, 0.5),
    )
    here = dataclasses.replace(better, stages=(alone.key,) * 2)
    assert on_front(*mark_front([alone], [better])) == [True, True]
    assert on_front(*mark_front([alone], [here])) == [False, True]


def on_front(alone: Sequence[Candidate], cascades: Sequence[CascadeResult]) -> list[bool]:
    return [each.on_front for each in (*alone, *cascades)]


# What is asked for.


@pytest.mark.parametrize(
    ("wrong", "words_of_it"),
    [({"max_stages": 1}, "max_stages=1"), ({"max_stages": 4}, "max_stages=4"), ({"folds": 1}, "folds=1")],
)
def test_what_is_not_possible_is_refused(wrong: dict[str, int], words_of_it: str) -> None:
    with pytest.raises(ValueError, match=words_of_it):
        search([], **wrong)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_cascades() -> None:
    rng = np.random.default_rng(22)
    small, large = over(2, lambda: honest(rng, 500)), over(2, lambda: mute(rng, 500, 0.9))
    world = results({"small": Made(small, 1.0), "large": Made(large, 10.0)}, splits=2)
    assert search(world, seed=3) == search([world], seed=3)
    assert search(world, seed=3) != search(world, seed=4)
    assert search([]) == ()
