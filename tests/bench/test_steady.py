"""The steady loop, on a clock that goes on by what a model is told to take."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from greeninfer.bench._cpu_time import Clocks
from greeninfer.bench._model import Prediction
from greeninfer.bench._phases import Mark
from greeninfer.bench._steady import BLOCKS, WrongLength, items_of, loop

TEXTS = [f"text {number}" for number in range(10)]


@dataclass
class Timed:
    """A model, a clock and what cuts it.

    Args:
        seconds: each call takes.
        period_seconds: of the counter.
        wrong: how many answers too many, from that call on.
    """

    seconds: float = 1.0
    period_seconds: float = 0.0
    wrong: dict[int, int] = field(default_factory=dict)
    time: float = 100.0
    calls: list[list[str]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None: ...

    def close(self) -> None: ...

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        self.time += self.seconds
        answers = [Prediction(f"{text} in call {len(self.calls)}") for text in texts]
        extra = self.wrong.get(len(self.calls), 0)
        self.calls.append(list(texts))
        return (answers + answers)[: len(texts) + extra]

    def mark(self) -> Mark:
        return self._made("mark", rest=5.0)

    def cut(self) -> Mark:
        return self._made("cut", rest=0.0)

    def _made(self, what: str, rest: float) -> Mark:
        self.made.append(what)
        before = Clocks(self.time, 0.0, None)
        self.time += rest
        return Mark(before, Clocks(self.time, 0.0, None))


def run(timed: Timed, texts: Sequence[str] = TEXTS, batch_size: int = 1, least_seconds: float = 0.0):
    return loop(timed, texts, batch_size, least_seconds, timed)


def lengths(marks: Sequence[Mark]) -> list[float]:
    return [end.before.instant - begin.after.instant for begin, end in itertools.pairwise(marks)]


def test_every_text_is_asked_once_in_order_however_short_the_time() -> None:
    timed = Timed()
    steady = run(timed)
    assert timed.calls == [[text] for text in TEXTS]
    assert [each.label for each in steady.predictions] == [f"{text} in call {i}" for i, text in enumerate(TEXTS)]
    assert steady.seconds == (1.0,) * 10
    assert (steady.passes, sum(steady.counts)) == (1, 10)


def test_batches_are_full_but_the_last_of_a_pass() -> None:
    timed = Timed(seconds=0.5)
    steady = run(timed, batch_size=4, least_seconds=2.0)
    assert timed.calls == [TEXTS[:4], TEXTS[4:8], TEXTS[8:], TEXTS[:4]]
    assert steady.seconds == (0.5,) * 10
    assert (steady.passes, sum(steady.counts)) == (1, 14)


def test_a_batch_may_be_larger_than_all_texts() -> None:
    timed = Timed()
    steady = run(timed, batch_size=64, least_seconds=2.0)
    assert timed.calls == [TEXTS, TEXTS]
    assert (steady.passes, sum(steady.counts)) == (2, 20)


def test_it_goes_on_until_there_is_enough_and_stops_in_the_middle_of_a_pass() -> None:
    steady = run(Timed(seconds=0.1), least_seconds=2.35)
    assert (steady.passes, sum(steady.counts)) == (2, 24)
    assert sum(lengths(steady.marks)) == pytest.approx(2.4)


def test_predictions_and_seconds_are_those_of_the_first_pass() -> None:
    timed = Timed(seconds=0.1)
    steady = run(timed, least_seconds=3.0)
    assert [each.label for each in steady.predictions] == [f"{text} in call {i}" for i, text in enumerate(TEXTS)]
    assert len(steady.seconds) == 10
    assert steady.passes == 3


@pytest.mark.parametrize("seconds", [0.001, 0.013, 0.05, 0.2])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_blocks_are_about_equal_and_add_up_to_the_phase(seconds: float, batch_size: int) -> None:
    timed = Timed(seconds=seconds)
    steady = run(timed, batch_size=batch_size, least_seconds=2.0)
    assert timed.made == ["mark", *["cut"] * (len(steady.marks) - 2), "mark"]
    assert len(steady.counts) == len(steady.marks) - 1
    assert sum(steady.counts) == sum(len(call) for call in timed.calls)
    parts = lengths(steady.marks)
    whole = steady.marks[-1].before.instant - steady.marks[0].after.instant
    assert sum(parts) == pytest.approx(whole)
    assert 7 <= len(parts) <= BLOCKS
    assert min(parts) >= 0.4 * max(parts)
    assert min(steady.counts) > 0
    first = 0
    for count, part in zip(steady.counts, parts, strict=True):
        assert part == pytest.approx(seconds * sum(1 for _ in batches_of(timed.calls, first, count)))
        first += count


def batches_of(calls: list[list[str]], first: int, count: int):
    """Yield the calls that answered so many texts from there on."""
    passed = 0
    for call in calls:
        if first <= passed < first + count:
            yield call
        passed += len(call)


def test_blocks_of_a_pass_longer_than_asked_for_are_of_its_length() -> None:
    timed = Timed(seconds=3.0)
    texts = [f"text {number}" for number in range(100)]
    steady = run(timed, texts, least_seconds=2.0)
    assert steady.passes == 1
    assert steady.counts == (10,) * 10


def test_blocks_are_longer_where_the_counter_is_slow() -> None:
    steady = run(Timed(seconds=0.01, period_seconds=0.1), least_seconds=2.0)
    assert len(steady.counts) == 4
    assert min(lengths(steady.marks)) >= 0.45


def test_a_single_text_is_one_block_or_more_and_none_is_empty() -> None:
    assert run(Timed(), ["alone"]).counts == (1,)
    assert min(run(Timed(seconds=0.3), ["alone"], least_seconds=2.0).counts) == 1


@pytest.mark.parametrize(("call", "extra", "told"), [(0, -1, "3 predictions for 4"), (4, 2, "6 predictions for 4")])
def test_an_answer_of_the_wrong_length_ends_it(call: int, extra: int, told: str) -> None:
    with pytest.raises(WrongLength, match=told):
        run(Timed(wrong={call: extra}), batch_size=4, least_seconds=100.0)


def test_items_say_what_is_not_known_and_labels_outside_the_task_are_unparsable() -> None:
    answers = [
        Prediction("b", 0.75, input_tokens=12, output_tokens=0),
        Prediction("c"),
        Prediction(None, 0.0, reasoning_tokens=7),
    ]

    class Answers(Timed):
        def predict(self, texts: Sequence[str]) -> list[Prediction]:
            self.time += 0.25
            return answers

    timed = Answers()
    steady = loop(timed, ["x", "y", "z"], 3, 0.0, timed)
    items = items_of(steady, np.array([40, 7, 19]), ["b", "a", "a"], ("a", "b"))
    assert items.item.tolist() == [40, 7, 19]
    assert items.label.tolist() == [1, 0, 0]
    assert items.predicted.tolist() == [1, -1, -1]
    assert items.confidence[[0, 2]].tolist() == [0.75, 0.0]
    assert np.isnan(items.confidence[1])
    assert items.seconds.tolist() == [0.25] * 3
    assert items.input_tokens.tolist() == [12, -1, -1]
    assert items.output_tokens.tolist() == [0, -1, -1]
    assert items.reasoning_tokens.tolist() == [-1, -1, 7]
