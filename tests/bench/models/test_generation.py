"""What is written and counted, held against a made-up model whose next token depends on the last one alone."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench.models.bigrams import END, LOGITS, Bigrams, Marks
from greeninfer.bench.models._generation import Written, think, write
from greeninfer.bench.models._prefix import Prefix, Reader

pytestmark = pytest.mark.heavy
torch = pytest.importorskip("torch", reason="language models need torch")


def chance(before: int, after: int) -> float:
    """Return the log-probability of a token after another: softmax, written out."""
    row = LOGITS[before]
    return row[after] - math.log(sum(map(math.exp, row)))


AFTER_2 = chance(2, 3) + chance(3, 4) + chance(4, END)
AFTER_3 = chance(3, 4) + chance(4, END)
AFTER_4 = chance(4, END)


def begun(*texts: list[int]) -> tuple[Any, Prefix]:
    model: Any = Bigrams()
    return model, Prefix(Reader(model, Marks()), list(texts))


def close(found: list[Written], wanted: list[tuple[tuple[int, ...], int, float]]) -> bool:
    return [(each.tokens, each.count) for each in found] == [each[:2] for each in wanted] and all(
        each.log_probability == pytest.approx(other[2], abs=1e-5) for each, other in zip(found, wanted, strict=True)
    )


def test_each_row_writes_up_to_its_own_end() -> None:
    """The token that ends an answer was generated, and counts; it is no part of what was said."""
    model, prefix = begun([4, 4, 2], [3], [2, 4])
    found = write(prefix, 10, {END}, 0)
    assert close(found, [((3, 4), 3, AFTER_2), ((4,), 2, AFTER_3), ((), 1, AFTER_4)])
    assert model.passes == 3  # the texts, and two tokens more: nothing follows the last


@pytest.mark.parametrize(("budget", "tokens"), [(1, (3,)), (2, (3, 4))])
def test_a_budget_is_kept(budget: int, tokens: tuple[int, ...]) -> None:
    model, prefix = begun([2])
    (found,) = write(prefix, budget, {END}, 0)
    assert (found.tokens, found.count) == (tokens, budget)
    assert found.log_probability == pytest.approx(sum([chance(2, 3), chance(3, 4)][:budget]), abs=1e-5)
    assert model.passes == budget


def test_no_budget_writes_nothing() -> None:
    model, prefix = begun([2], [3])
    assert write(prefix, 0, {END}, 0) == think(prefix, 0, {END}, 0) == [Written((), 0, 0.0)] * 2
    assert model.passes == 1


def test_there_may_be_several_ends() -> None:
    _, prefix = begun([2], [3])
    assert close(write(prefix, 10, {END, 4}, 0), [((3,), 2, chance(2, 3) + chance(3, 4)), ((), 1, chance(3, 4))])


def test_thoughts_are_gone_on_with_whole() -> None:
    """A spent budget's last token is read, too; the row that ended is left as it was before its end."""
    model, prefix = begun([4], [4, 4, 2])
    found = think(prefix, 2, {END}, 0)
    assert close(found, [((), 1, AFTER_4), ((3, 4), 2, chance(2, 3) + chance(3, 4))])
    assert model.positions == [0, 1, 2, 3, 4]  # three of the text, two thought
    assert prefix.logits[1].tolist() == pytest.approx(LOGITS[4])
    prefix.append([2, 3])
    assert model.positions == [0, 1, 2, 3, 4, 5, 6]
    assert [row.tolist() for row in prefix.logits] == [pytest.approx(LOGITS[3])] * 2
