"""The bootstrap against plain resampling written out, and against worlds measured twice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from greeninfer.bench._bootstrap import deal, differences, freedom, redraw_amounts, redraw_marks, split_weights
from greeninfer.bench._scores import Mark, score

from .results_builders import graded, items

Answers = dict[int, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


def marks(answers: Answers, texts: int, name: str = "accuracy", groups: int = 10_000) -> dict[int, Mark]:
    dealt = deal(texts, 0, groups)
    return {split: getattr(score(graded(right, item), 2, dealt), name) for split, (item, right) in answers.items()}


def world(seed: int, texts: int, asked: int, splits: int, hard: float, luck: float) -> Answers:
    """Texts of different difficulty, splits that train better or worse; 80 % right in the middle."""
    random = np.random.default_rng(seed)
    difficulty = random.normal(0.0, hard, texts)
    answers = {}
    for split in range(splits):
        item = random.permutation(texts)[:asked]
        chance = 1 / (1 + np.exp(-(1.4 + difficulty[item] + random.normal(0.0, luck))))
        answers[split] = (item, random.random(asked) < chance)
    return answers


def test_one_split_is_plain_resampling_of_its_texts() -> None:
    answers = world(1, 120, 120, 1, 1.0, 0.0)
    right = answers[0][1]
    ours = redraw_marks([marks(answers, 120)], split_weights(1, 0, 4000), 0)[:, 0]
    random = np.random.default_rng(9)
    plain = right[random.integers(0, 120, (4000, 120))].mean(axis=1)
    assert ours.mean() == pytest.approx(right.mean(), abs=0.003)
    assert ours.std() == pytest.approx(plain.std(), rel=0.05)
    quantiles = (0.025, 0.5, 0.975)
    assert np.quantile(ours, quantiles) == pytest.approx(np.quantile(plain, quantiles), abs=0.0101)


def test_macro_f1_is_plain_resampling_of_its_texts() -> None:
    """Three labels of very different size, some answers unparsable; F1 of the plain draws is counted out."""
    random = np.random.default_rng(3)
    label = random.choice(3, 400, p=(0.7, 0.2, 0.1))
    predicted = np.where(random.random(400) < 0.75, label, random.integers(-1, 3, 400))
    held = {0: score(items(label, predicted), 3, deal(400, 0)).macro_f1}
    ours = redraw_marks([held], split_weights(1, 0, 2000), 0)[:, 0]

    def macro_f1(y: np.ndarray[Any, Any], z: np.ndarray[Any, Any]) -> float:
        return float(np.mean([2 * np.sum((y == c) & (z == c)) / (np.sum(y == c) + np.sum(z == c)) for c in range(3)]))

    plain = []
    for _ in range(2000):
        drawn = random.integers(0, 400, 400)
        plain.append(macro_f1(label[drawn], predicted[drawn]))
    assert held[0].value == pytest.approx(macro_f1(label, predicted))
    assert ours.std() == pytest.approx(np.std(plain), rel=0.08)


def test_texts_asked_in_every_split_count_once() -> None:
    """Ten splits that ask the same 100 texts and get the same answers tell no more than one of them."""
    right = np.random.default_rng(0).random(100) < 0.8
    once = {0: (np.arange(100), right)}
    often = {split: (np.arange(100), right) for split in range(10)}
    narrow = redraw_marks([marks(once, 100)], split_weights(1, 0), 0).std()
    wide = redraw_marks([marks(often, 100)], split_weights(10, 0), 0).std()
    assert wide == pytest.approx(narrow, rel=1e-6)


def test_other_texts_in_every_split_count_all() -> None:
    """Ten splits of 100 other texts are 1,000 texts: noise of texts enters once, not once more with the splits."""
    right = np.random.default_rng(0).random(1000) < 0.8
    parted = {split: (np.arange(100) + 100 * split, right[100 * split : 100 * split + 100]) for split in range(10)}
    spread = redraw_marks([marks(parted, 1000)], split_weights(10, 0, 4000), 0).std()
    share = right.mean()
    assert spread == pytest.approx(math.sqrt(share * (1 - share) / 1000), rel=0.2)


def test_splits_that_train_better_or_worse_are_seen() -> None:
    """Accuracy 0.7 or 0.9 by split: the mean of 8 spreads by sd / sqrt 8, not by what texts do."""
    random = np.random.default_rng(2)
    shares = [0.7, 0.9] * 4
    answers = {n: (np.arange(2000) + 2000 * n, random.random(2000) < share) for n, share in enumerate(shares)}
    spread = redraw_marks([marks(answers, 16_000)], split_weights(8, 0, 8000), 0).std()
    assert spread == pytest.approx(np.std(shares, ddof=1) / math.sqrt(8), rel=0.06)


def test_groups_of_texts_vary_as_their_texts_do() -> None:
    answers = world(4, 40_000, 20_000, 2, 1.0, 0.0)
    single = redraw_marks([marks(answers, 40_000, groups=40_000)], split_weights(2, 0, 400), 0).std()
    grouped = redraw_marks([marks(answers, 40_000, groups=2_000)], split_weights(2, 0, 400), 0).std()
    assert grouped == pytest.approx(single, rel=0.15)
    assert deal(40_000, 0).max() == 9_999
    assert list(deal(4, 0)) == [0, 1, 2, 3]


def test_the_same_texts_are_drawn_for_all() -> None:
    """Two models that are right on the same texts but for 5 of 200: their difference hardly moves."""
    right = np.random.default_rng(0).random(200) < 0.7
    more = right.copy()
    more[np.flatnonzero(~right)[:5]] = True
    columns = [marks({0: (np.arange(200), each)}, 200) for each in (right, more)]
    drawn = redraw_marks(columns, split_weights(1, 0), 0)
    paired = (drawn[:, 1] - drawn[:, 0]).std()
    # the difference is 1 on 5 texts of 200 and 0 on the rest: sd = sqrt(p (1 - p) / 200), p = 0.025
    assert paired == pytest.approx(math.sqrt(0.025 * 0.975 / 200), rel=0.1)
    assert paired < 0.4 * drawn[:, 0].std()


def test_a_model_that_is_asked_less_is_less_sure() -> None:
    right = np.random.default_rng(0).random(400) < 0.8
    columns = [marks({0: (np.arange(count), right[:count])}, 400) for count in (400, 25)]
    drawn = redraw_marks(columns, split_weights(1, 0), 0)
    share = right[:25].mean()
    assert drawn[:, 1].std() == pytest.approx(math.sqrt(share * (1 - share) / 25), rel=0.1)
    assert np.isfinite(drawn).all()


def test_a_model_with_one_split_of_ten_is_there_in_every_draw() -> None:
    random = np.random.default_rng(0)
    answers = {split: (np.arange(50), random.random(50) < 0.8) for split in range(10)}
    columns = [marks(answers, 50), marks({3: answers[3]}, 50)]
    drawn = redraw_marks(columns, split_weights(10, 0), 0)
    assert np.isfinite(drawn).all()
    assert drawn[:, 1].mean() == pytest.approx(answers[3][1].mean(), abs=0.01)


def test_amounts_vary_as_a_mean_over_splits_does() -> None:
    logs = np.array([-0.2, 0.0, 0.1, 0.3, -0.1])
    drawn = redraw_amounts(dict(enumerate(np.exp(logs))), split_weights(5, 0, 20_000))
    assert np.log(drawn).std() == pytest.approx(np.std(logs, ddof=1) / math.sqrt(5), rel=0.03)
    assert np.median(drawn) == pytest.approx(np.exp(logs).mean(), rel=0.01)
    assert (drawn > 0.0).all()
    assert set(redraw_amounts({2: 3.0}, split_weights(5, 0))) == {3.0}
    alone = redraw_amounts({2: 3.0}, split_weights(5, 0, 20_000), 0.1)
    assert np.log(alone).std() == pytest.approx(0.1, rel=0.03)


def test_degrees_of_freedom_are_those_of_splits_and_more_where_texts_matter() -> None:
    """Values 0.6, 0.8, 0.7 vary by 0.01, their mean by 0.00333; no noise of texts, so all of it is of the splits."""
    none = np.zeros(1, np.float32)
    column = {split: Mark(value, none, 0.0) for split, value in enumerate((0.6, 0.8, 0.7))}
    assert freedom(column, 0.01 / 3) == 2
    assert freedom(column, 0.03 / 3 * 1.0001) == 18  # a third of the variance: 2 * 3^2
    assert freedom({0: Mark(0.5, none, 0.0)}, 0.01) == 10_000
    assert freedom({split: Mark(each.value, none, 0.02) for split, each in column.items()}, 0.01) == 10_000


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    columns = [marks(world(1, 100, 50, 3, 1.0, 0.3), 100)]
    one, two, other = (differences(columns, split_weights(3, seed), seed) for seed in (7, 7, 8))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_everything_right_is_no_reason_to_fail() -> None:
    drawn = redraw_marks([marks({0: (np.arange(10), np.ones(10, bool))}, 10)], split_weights(1, 0), 0)
    assert (drawn == 1.0).all()
