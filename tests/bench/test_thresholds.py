"""Counting what every threshold would do, against doing it; and no threshold scored on what it was chosen on."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from greeninfer.bench._thresholds import STEPS, choose, cuts, grid, levels, score, survey

FOLDS = 3


def test_thresholds_stand_midway_between_confidences() -> None:
    confidence = np.array([0.8, 0.2, 0.2, np.nan, 0.4, 0.8], np.float32)
    assert grid(confidence) == pytest.approx([0.0, 0.3, 0.6])


def test_a_threshold_tells_neighbours_apart_in_another_precision() -> None:
    """0.6 in single precision is above 0.6: a threshold at the recorded value would hand on every one of these."""
    recorded = np.array([0.6] * 50 + [0.3] * 50, np.float32)
    assert float(recorded.max()) > 0.6
    (_, threshold) = grid(recorded)
    assert 0.3 < threshold < 0.6


def test_thresholds_let_equal_parts_pass() -> None:
    confidence = np.random.default_rng(1).random(10_000).astype(np.float32)
    thresholds = grid(confidence)
    assert len(thresholds) == STEPS
    assert [float((confidence >= each).mean()) for each in thresholds] == pytest.approx(
        [1.0 - step / STEPS for step in range(STEPS)], abs=0.001
    )


def test_what_gave_no_confidence_is_below_every_threshold() -> None:
    assert levels(np.array([np.nan, 0.0, 0.29, 0.3, 1.0], np.float32), np.array([0.0, 0.3])).tolist() == [0, 1, 1, 2, 2]
    assert grid(np.full(3, np.nan, np.float32)).tolist() == []


def world(stages: int, rows: int, seed: int) -> tuple[Any, list[Any], list[Any]]:
    """Return folds, confidences of all stages but the last (some unknown) and who is right."""
    rng = np.random.default_rng(seed)
    fold = rng.integers(0, FOLDS, rows).astype(np.int32)
    confidences = []
    for _ in range(stages - 1):
        confidence = rng.integers(0, 5, rows).astype(np.float32) / 4
        confidence[rng.random(rows) < 0.1] = np.nan
        confidences.append(confidence)
    return fold, confidences, [rng.random(rows) < 0.6 for _ in range(stages)]


def ask(text: int, thresholds: tuple[float, ...], confidences: list[Any], rights: list[Any]) -> tuple[bool, int]:
    """Return whether a cascade is right on a text, and how many stages that took: done by hand."""
    for stage, threshold in enumerate(thresholds):
        if confidences[stage][text] >= threshold:
            return bool(rights[stage][text]), stage + 1
    return bool(rights[-1][text]), len(rights)


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_the_survey_is_what_asking_text_by_text_gives(stages: int) -> None:
    fold, confidences, rights = world(stages, 120, stages)
    grids = [grid(each) for each in confidences]
    found = survey(
        fold,
        FOLDS,
        [levels(*each) for each in zip(confidences, grids, strict=True)],
        [len(each) for each in grids],
        rights,
    )
    assert found.right.shape == (FOLDS, *(len(each) for each in grids))
    for place in itertools.product(*(range(len(each)) for each in grids)):
        thresholds = tuple(float(each[at]) for each, at in zip(grids, place, strict=True))
        for number in range(FOLDS):
            asked = [ask(text, thresholds, confidences, rights) for text in np.flatnonzero(fold == number)]
            assert found.right[(number, *place)] == sum(right for right, _ in asked)
            for stage in range(stages):
                assert found.reached[stage][(number, *place)] == sum(took > stage for _, took in asked)


@pytest.mark.parametrize("price", [0.001, 0.03, 0.2])
def test_the_choice_is_the_best_of_all_on_the_other_folds(price: float) -> None:
    fold, confidences, rights = world(3, 200, 7)
    grids = [grid(each) for each in confidences]
    surface = survey(
        fold,
        FOLDS,
        [levels(*each) for each in zip(confidences, grids, strict=True)],
        [len(each) for each in grids],
        rights,
    )
    joules = (1.0, 2.0, 4.0)

    def worth(thresholds: tuple[float, ...], texts: npt.NDArray[np.int64]) -> float:
        asked = [ask(text, thresholds, confidences, rights) for text in texts]
        return sum(right - price * sum(joules[:took]) for right, took in asked)

    def at(index: Any) -> tuple[float, ...]:
        return tuple(float(each[cut - 1]) for each, cut in zip(grids, cuts(surface, index), strict=True))

    (chosen,) = choose(surface, joules, [price])
    every = list(itertools.product(*(map(float, each) for each in grids)))
    hits, reach = 0, np.zeros(3)
    for number in range(FOLDS):
        others, own = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        best = max(worth(each, others) for each in every)
        mine = at(chosen.by_fold[number])
        assert worth(mine, others) == pytest.approx(best)
        for right, took in (ask(text, mine, confidences, rights) for text in own):
            hits += right
            reach[:took] += 1
    everything = np.arange(len(fold))
    assert worth(at(chosen.on_all), everything) == pytest.approx(max(worth(each, everything) for each in every))
    assert score(surface, chosen) == (pytest.approx(hits / 200), pytest.approx(tuple(reach / 200)))


def test_luck_on_the_texts_that_thresholds_are_chosen_on_is_not_in_the_score() -> None:
    """Two models that guess, sure of it at random: every cascade is right half the time, however it is tuned."""
    rng = np.random.default_rng(5)
    scored, on_own = [], []
    for _ in range(300):
        confidence = rng.random(60).astype(np.float32)
        thresholds = grid(confidence)
        rights = [rng.random(60) < 0.5, rng.random(60) < 0.5]
        surface = survey(
            np.arange(60, dtype=np.int32) % FOLDS,
            FOLDS,
            [levels(confidence, thresholds)],
            [len(thresholds)],
            rights,
        )
        (chosen,) = choose(surface, (1.0, 2.0), [1e-6])
        scored.append(score(surface, chosen)[0])
        on_own.append(surface.right.sum(axis=0).ravel()[chosen.on_all] / 60)
    error = float(np.std(scored)) / np.sqrt(len(scored))
    assert np.mean(scored) == pytest.approx(0.5, abs=3 * error)
    assert np.mean(on_own) > 0.5 + 10 * error  # so there was luck to be had
