"""Choices in made-up worlds where it is plain what to choose, and what they are told in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from greeninfer.bench._choice_words import amount, plain
from greeninfer.bench._choose import Choice, Needs, Scale, choose, render
from greeninfer.bench._cost import Yearly, yearly
from greeninfer.bench._records import Results
from greeninfer.errors import StudyError

from .results_builders import failed, graded, results, run

MODELS = {"small": (0.70, 0.010), "middle": (0.82, 0.034), "large": (0.90, 2.0)}


def folder(models: dict[str, tuple[float, float]] = MODELS, splits: int = 5, texts: int = 2000, **more: Any) -> Results:
    """Each model right on the first so many of the texts; seconds go with the joules; 1 % of spread."""
    pairs = []
    for split in range(splits):
        for name, (share, joules) in models.items():
            wobble = 1 + 0.01 * (split % 3)
            right = np.random.default_rng((split, len(name))).permutation(texts) < share * texts
            held = graded(right, seconds=joules / 10)
            joules_now = None if more.get("quality", "") is None else joules * wobble
            pairs.append((run(name, split, joules_now, joules / 10 * wobble, **more), held))
    return results(pairs)


def chosen(choice: Choice) -> str | None:
    return choice.chosen.key.model if choice.chosen else None


def reasons(choice: Choice) -> dict[str, tuple[str, ...]]:
    return {each.candidate.key.model: each.reasons for each in choice.others}


def test_the_least_energy_that_keeps_the_accuracy() -> None:
    choice = choose([folder()], Needs(min_accuracy=0.8))
    assert chosen(choice) == "middle"
    assert reasons(choice) == {"large": (), "small": ("accuracy 0.70 < 0.80",)}
    assert choice.probability is not None
    assert choice.probability > 0.95


def test_the_most_accurate_within_a_budget() -> None:
    choice = choose([folder()], Needs(max_joules=0.5))
    assert chosen(choice) == "middle"
    assert reasons(choice)["large"] == ("energy 2.02 J > 500 mJ",)
    assert reasons(choice)["small"] == ()


def test_without_bounds_the_most_accurate() -> None:
    assert chosen(choose([folder()], Needs())) == "large"


def test_a_bound_on_latency() -> None:
    choice = choose([folder()], Needs(max_p95_seconds=0.002))
    assert chosen(choice) == "small"
    assert reasons(choice)["middle"] == ("p95 3.4 ms > 2 ms",)
    assert choice.better is None


def test_several_bounds_together_take_the_least_energy() -> None:
    choice = choose([folder()], Needs(min_accuracy=0.6, max_p95_seconds=0.3, max_joules=3.0))
    assert chosen(choice) == "small"


def test_how_many_times_and_by_how_many_points() -> None:
    (large, _) = choose([folder()], Needs(min_accuracy=0.8)).others
    assert large.times is not None
    assert large.ahead is not None
    assert large.times.value == pytest.approx(2.0 / 0.034)
    assert large.times.low == pytest.approx(large.times.high, rel=1e-9)  # both wobble alike, so their ratio does not
    assert large.ahead.value == pytest.approx(0.08)
    assert large.cost_apart
    assert large.accuracy_apart


def test_what_the_next_better_one_costs_in_a_year() -> None:
    """1e6 requests a day, mean joules 1.008 times those of the table (wobble 0, 1, 2, 0, 1 %)."""
    choice = choose([folder()], Needs(min_accuracy=0.8), Scale(1e6, 350.0, 0.25, "EUR"))
    kwh = 1.008 * (2.0 - 0.034) * 1e6 * 365 / 3.6e6
    assert choice.better is not None
    assert choice.better.candidate.key.model == "large"
    assert choice.extra is not None
    assert choice.extra.kwh == pytest.approx(kwh)
    assert choice.extra.money == pytest.approx(kwh * 0.25)
    assert choice.extra.grams == pytest.approx(kwh * 350.0)
    assert choice.yearly is not None
    assert choice.yearly.kwh == pytest.approx(1.008 * 0.034 * 1e6 * 365 / 3.6e6)


def test_a_year_by_hand() -> None:
    assert yearly(3.6, Scale(1000.0)) == Yearly(pytest.approx(0.365), None, None)


def test_the_better_one_is_the_cheapest_of_those_that_are() -> None:
    models = MODELS | {"dear": (0.95, 50.0)}
    choice = choose([folder(models)], Needs(min_accuracy=0.6))
    assert choice.better is not None
    assert choice.better.candidate.key.model == "middle"


def test_nothing_keeps_the_bounds_and_the_nearest_is_named() -> None:
    choice = choose([folder()], Needs(min_accuracy=0.92), Scale(1e6))
    assert choice.chosen is None
    assert choice.probability is None
    assert choice.nearest is not None
    assert choice.nearest.candidate.key.model == "large"
    text = render(choice)
    assert (
        "**Nothing measured on d has an accuracy of at least 0.92.** "
        "Nearest: large (cpu, batch 1): accuracy 0.90 < 0.92." in text
    )


def test_the_nearest_misses_by_the_smallest_factor() -> None:
    """Large is 10 times too dear and small misses accuracy by a third; middle misses by a tenth."""
    choice = choose([folder()], Needs(min_accuracy=0.91, max_joules=0.2))
    assert choice.nearest is not None
    assert choice.nearest.candidate.key.model == "middle"


def test_two_of_the_same_energy_cannot_be_told_apart_and_share_the_probability() -> None:
    random = np.random.default_rng(0)
    pairs = [
        (run(name, split, float(random.lognormal(0.0, 0.2))), graded(np.arange(1000) < 900))
        for split in range(6) for name in ("one", "two")
    ]  # fmt: skip
    choice = choose([results(pairs)], Needs(min_accuracy=0.8))
    (other,) = choice.others
    assert choice.tied == (other,)
    assert choice.probability is not None
    assert choice.probability < 0.97
    assert choice.probability + other.probability == pytest.approx(1.0)
    assert "In energy it cannot be told apart from" in render(choice)


def test_with_one_split_the_blocks_say_how_sure_the_energy_is() -> None:
    """Two models 1 % apart whose blocks spread by 20 %: about even chances, though each was measured once."""
    random = np.random.default_rng(0)
    pairs = []
    for name, joules in (("one", 1.0), ("two", 1.01)):
        blocks = tuple(float(each) for each in 10 * joules * random.lognormal(0.0, 0.2, 40))
        made = run(name, 0, joules, block_items=(10,) * 40, block_joules=blocks)
        pairs.append((made, graded(np.arange(1000) < 900)))
    choice = choose([results(pairs)], Needs(min_accuracy=0.8))
    assert chosen(choice) == "one"
    assert choice.probability is not None
    assert 0.5 <= choice.probability < 0.8


def test_the_probability_is_that_of_keeping_the_bound() -> None:
    """One of 400 texts, 80.25 % right, must be 80 %: in plain draws of them 53 % are (normal, sd 0.0199)."""
    pairs = [(run("edge", 0), graded(np.arange(400) < 321)), (run("sure", 0, 9.0), graded(np.arange(400) < 390))]
    choice = choose([results(pairs)], Needs(min_accuracy=0.8))
    random = np.random.default_rng(5)
    plain_draws = random.binomial(400, 321 / 400, 20_000) >= 320
    assert chosen(choice) == "edge"
    assert choice.probability == pytest.approx(plain_draws.mean(), abs=0.04)
    assert choice.others[0].probability == pytest.approx(1 - plain_draws.mean(), abs=0.04)
    assert "keeps the bound of 0.8 only by the mean" in render(choice)


def test_a_ratio_below_one_is_turned_round_with_its_interval() -> None:
    """The chosen one takes 4, 5 and 6 J, the other 1 J: 5 times, t(2) * sd(logs 4, 5, 6) * sqrt(2/3) = 0.7135."""
    pairs = [(run("dear", n, joules), graded(np.arange(400) < 380)) for n, joules in enumerate((4.0, 5.0, 6.0))]
    pairs += [(run("cheap", n, 1.0), graded(np.arange(400) < 300)) for n in range(3)]
    text = render(choose([results(pairs)], Needs()))
    assert "- dear (cpu, batch 1) uses 5 times the energy of cheap (cpu, batch 1) (2.45 to 10.2 in a repeat)." in text


def test_estimates_are_said_to_be_estimates_wherever_they_appear() -> None:
    text = render(choose([folder(quality="estimated", gain=(0.6, 1.7))], Needs(min_accuracy=0.8), Scale(1e6)))
    assert "All energies here are estimated by a power model: the true ones are x0.6 to x1.7 of these." in text
    assert "kWh a year (estimated: true x0.6 to x1.7)" in text
    assert "in a repeat), estimated, accuracy" in text
    assert "estimated" not in render(choose([folder()], Needs(min_accuracy=0.8), Scale(1e6)))


def test_without_energy_runtime_stands_in_and_says_so() -> None:
    choice = choose([folder(quality=None)], Needs(min_accuracy=0.8), Scale(1e6))
    assert (choice.basis, chosen(choice), choice.yearly, choice.extra) == ("seconds", "middle", None, None)
    text = render(choice)
    assert text.startswith("**There is no energy in these results.**")
    assert "takes the least time" in text
    assert "times the time of" in text
    assert "kWh" not in text
    with pytest.raises(StudyError, match="no candidate has joules"):
        choose([folder(quality=None)], Needs(max_joules=1.0))


def test_one_without_joules_is_out_where_others_have_them() -> None:
    pairs = [(run("a", 0), graded(np.arange(100) < 90)), (run("b", 0, None), graded(np.arange(100) < 90))]
    choice = choose([results(pairs)], Needs(min_accuracy=0.8))
    assert (chosen(choice), reasons(choice)) == ("a", {"b": ("its joules are not known",)})


def test_the_most_accurate_is_not_one_without_joules() -> None:
    pairs = [(run("a", 0), graded(np.arange(100) < 80)), (run("b", 0, None), graded(np.arange(100) < 90))]
    choice = choose([results(pairs)], Needs())
    assert (chosen(choice), choice.probability, choice.better) == ("a", 1.0, None)


def test_several_data_sets_need_a_name() -> None:
    pairs = [(run("a", 0, dataset=name), graded([True, False] * 50)) for name in ("news", "tickets")]
    held = results(pairs)
    with pytest.raises(StudyError, match=r"none is named; allowed: news, tickets"):
        choose([held], Needs())
    assert choose([held], Needs(dataset="tickets")).dataset == "tickets"
    with pytest.raises(StudyError, match=r"dataset='nws' is not in these results; allowed: news, tickets"):
        choose([held], Needs(dataset="nws"))


def test_only_what_ran_as_asked_is_looked_at() -> None:
    pairs = [(run("a", 0, joules, batch_size=size), graded([True] * 50)) for size, joules in ((1, 2.0), (8, 1.0))]
    held = results(pairs)
    assert choose([held], Needs(min_accuracy=0.5)).chosen.key.batch_size == 8  # type: ignore[union-attr]
    alone = choose([held], Needs(min_accuracy=0.5, batch_size=1))
    assert (alone.chosen.key.batch_size, alone.others) == (1, ())  # type: ignore[union-attr]
    with pytest.raises(StudyError, match=r"batch_size=4 is not in these results; allowed: 1, 8"):
        choose([held], Needs(batch_size=4))


def test_several_machines_are_told_apart_by_name() -> None:
    pairs = [[(run("a", 0, joules, machine=name), graded([True] * 50))] for name, joules in (("x", 2.0), ("y", 1.0))]
    choice = choose([results(each) for each in pairs], Needs(min_accuracy=0.5))
    assert "**a (cpu, batch 1) on y** takes the least energy" in render(choice)


def test_what_failed_is_in_the_table_with_its_reason() -> None:
    held = results([(run("a", 0), graded([True] * 50)), (failed("b", 0, "out of\nmemory | disk"), None)])
    assert "all 1 cells failed: out of memory / disk" in render(choose([held], Needs()))
    with pytest.raises(StudyError, match=r"no good cell \(b \(cpu, batch 1\): it broke\)"):
        choose([results([(failed("b"), None)])], Needs())


def test_the_same_seed_gives_the_same_answer() -> None:
    one, two = (choose([folder()], Needs(min_accuracy=0.8), Scale(1e6)) for _ in range(2))
    assert one == two
    assert render(one) == render(two)


def test_the_text_has_the_sentences_that_people_quote() -> None:
    text = render(choose([folder()], Needs(min_accuracy=0.8, max_p95_seconds=0.5), Scale(2e6, 350.0, 0.25, "EUR")))
    for sentence in (
        "**middle (cpu, batch 1)** takes the least energy on d with an accuracy of at least 0.8 and a p95 of at most",
        "Measured again with other texts and other splits, the same one would be chosen in more than 99 % of the cases",
        "At 2,000,000 requests a day: 6.95 kWh, 1.74 EUR, 2.43 kgCO2e a year.",
        "The next better one is large (cpu, batch 1): 8.0 points (",
        "It would cost 402 kWh, 100 EUR, 141 kgCO2e more a year.",
        "- large (cpu, batch 1) uses 58.8 times the energy of middle (cpu, batch 1) (58.8 to 58.8 in a repeat).",
        "- energy is gross, with idle power, of a request in the steady phase",
    ):
        assert sentence in text, sentence


@pytest.mark.parametrize(
    "wrong",
    [{"min_accuracy": 80.0}, {"min_accuracy": -0.1}, {"max_p95_seconds": 0.0}, {"max_joules": float("nan")},
     {"max_p95_seconds": float("inf")}, {"min_accuracy": float("nan")}],
)  # fmt: skip
def test_bounds_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(StudyError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))!r}; allowed"):
        Needs(**wrong)  # type: ignore[arg-type]


def test_a_scale_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(StudyError, match="requests_per_day=-1"):
        Scale(-1.0)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.0612, "s", "61.2 ms"), (3.4e-3, "J", "3.4 mJ"), (1210.0, "J", "1.21 kJ"), (0.9999, "J", "1 J"),
     (90.0, "s", "90 s"),
     (0.0, "J", "0 J"), (4321.0, "s", "4,321 s"), (2.5e-7, "J", "250 nJ"), (12345.0, "g", "12.3 kg")],
)  # fmt: skip
def test_amounts(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_plain_numbers_keep_three_digits() -> None:
    assert [plain(each) for each in (2e6, 334.2, 3.40, 0.0329, 100.0)] == ["2,000,000", "334", "3.4", "0.0329", "100"]
