from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeninfer.bench._splits import draw, largest_remainder
from greeninfer.bench._study import Splits
from greeninfer.bench._texts import Labelled
from greeninfer.errors import StudyError


def labelled(*counts: int) -> Labelled:
    """Labels a, b, c ... so many times each, one after the other."""
    labels = tuple("abcdefgh"[number] for number, count in enumerate(counts) for _ in range(count))
    return Labelled("d", tuple(f"text {row}" for row in range(len(labels))), labels)


@given(st.integers(0, 2**40), st.integers(0, 20), st.integers(2, 40), st.integers(2, 40), st.booleans())
def test_halves_are_disjoint_and_of_their_size(seed: int, number: int, train: int, test: int, stratify: bool) -> None:
    data = labelled(45, 35)
    try:
        split = draw(data, Splits(train=train, test=test, seed=seed, stratify=stratify), number)
    except StudyError as error:
        assert "have the label" in str(error)  # both of two texts of one label
        return
    assert len(split.train) == train
    assert len(split.test) == test
    assert len({*split.train, *split.test}) == train + test
    assert {*split.train, *split.test} <= set(range(80))


def test_same_number_same_split_other_number_other_split() -> None:
    data, splits = labelled(60, 60), Splits(train=60, test=60)
    first = [tuple(draw(data, splits, number).test) for number in range(5)]
    assert first == [tuple(draw(data, splits, number).test) for number in range(5)]
    assert len(set(first)) == 5


def test_split_is_a_permutation_seeded_by_seed_plus_number() -> None:
    order = np.random.Generator(np.random.PCG64(7 + 3)).permutation(20)
    split = draw(labelled(10, 10), Splits(train=8, test=5, seed=7), 3)
    assert list(split.test) == list(order[:5])
    assert list(split.train) == list(order[5:13])


def test_more_training_texts_leave_the_tests_as_they_are() -> None:
    few, many = (draw(labelled(50, 50), Splits(train=train, test=30), 0) for train in (20, 60))
    assert list(few.test) == list(many.test)
    assert list(few.train) == list(many.train[:20])


def test_shares_are_rounded_down_but_not_by_floating_point() -> None:
    assert 0.29 * 100 < 29
    split = draw(labelled(60, 40), Splits(train=0.29, test=0.5), 0)
    assert (len(split.train), len(split.test)) == (29, 50)
    split = draw(labelled(5, 4), Splits(train=0.5, test=0.5), 0)
    assert (len(split.train), len(split.test)) == (4, 4)


def test_too_few_texts_say_how_many_there_are_and_what_fits() -> None:
    with pytest.raises(StudyError) as caught:
        draw(labelled(200, 178), Splits(), 0)
    assert "d has 378 texts" in str(caught.value)
    assert "train=200 and test=200 need 400" in str(caught.value)
    assert "splits: {train: 189, test: 189}" in str(caught.value)
    assert caught.value.path == ("splits", "train")
    draw(labelled(200, 178), Splits(train=189, test=189), 0)


@pytest.mark.parametrize("splits", [Splits(train=0.01, test=5), Splits(train=5, test=0.01)])
def test_a_share_that_is_no_text_is_refused(splits: Splits) -> None:
    half = "train" if splits.train < 1 else "test"
    with pytest.raises(StudyError, match=rf"{half}=0.01 of the 20 texts") as caught:
        draw(labelled(10, 10), splits, 0)
    assert caught.value.path == ("splits", half)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(StudyError, match="seed=-5; allowed: 0 or more"):
        draw(labelled(10, 10), Splits(train=5, test=5, seed=-5), 2)


def test_unseen_labels_are_kept_and_told() -> None:
    data = labelled(30, 30, 1)
    told = []
    for number in range(40):
        split = draw(data, Splits(train=10, test=40), number)
        unseen = 60 in split.test
        assert bool(split.notes) == unseen
        told += split.notes
    assert "1 of 40 test texts have a label that no training text has: c (1)" in told[0]


def test_one_label_to_learn_from_is_refused_until_stratified() -> None:
    data = labelled(1000, 20)
    with pytest.raises(StudyError, match=r"all 5 training texts of d have the label 'a'.*stratify: true"):
        draw(data, Splits(train=5, test=5), 0)
    with pytest.raises(StudyError, match="more training texts") as caught:
        draw(data, Splits(train=5, test=5, stratify=True), 0)
    assert "stratify" not in str(caught.value)
    assert len(draw(data, Splits(train=50, test=50, stratify=True), 0).train) == 50


@pytest.mark.parametrize(
    ("there", "total", "expected"),
    [
        ([50, 30, 20], 10, [5, 3, 2]),
        ([47, 16, 15, 12, 10], 10, [5, 2, 1, 1, 1]),  # exact 4.7 1.6 1.5 1.2 1.0: two left, to .7 and .6
        ([1, 1, 1], 2, [1, 1, 0]),  # equal remainders: the first
    ],
)
def test_largest_remainder_by_hand(there: list[int], total: int, expected: list[int]) -> None:
    assert list(largest_remainder(np.array(there), total, np.array(there))) == expected


def test_largest_remainder_takes_no_more_than_there_is() -> None:
    assert list(largest_remainder(np.array([4, 4, 2]), 5, np.array([1, 4, 0]))) == [1, 4, 0]


@given(st.lists(st.integers(2, 60), min_size=2, max_size=8), st.integers(0, 5))
def test_stratified_halves_keep_every_share_to_the_nearest_text(counts: list[int], number: int) -> None:
    data = labelled(*counts)
    rows = sum(counts)
    train, test = rows // 2, rows // 3
    if train < 2 or test < 2:
        return
    try:
        split = draw(data, Splits(train=train, test=test, stratify=True), number)
    except StudyError:
        assert train < len(counts) + 2
        return
    assert (len(split.train), len(split.test)) == (train, test)
    assert not set(split.train) & set(split.test)
    for half, size, slack in ((split.train, train, 1), (split.test, test, 2)):
        seen = Counter(data.labels[row] for row in half)
        for label, count in Counter(data.labels).items():
            assert abs(seen[label] - count * size / rows) < slack


def test_stratified_draws_differ_and_are_shuffled() -> None:
    data = labelled(50, 50)
    first, second = (draw(data, Splits(train=40, test=40, stratify=True), number) for number in (0, 1))
    assert set(first.test) != set(second.test)
    assert [data.labels[row] for row in first.test] != sorted(data.labels[row] for row in first.test)


def test_rare_labels_are_learnt_from_first() -> None:
    for number in range(20):
        split = draw(labelled(5, 5, 1, 1), Splits(train=6, test=6, stratify=True), number)
        assert {10, 11} & set(split.train)


def test_stratified_halves_of_everything_leave_nothing_over() -> None:
    split = draw(labelled(3, 3), Splits(train=3, test=3, stratify=True), 0)
    assert sorted([*split.train, *split.test]) == list(range(6))
