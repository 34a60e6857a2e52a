"""Cascades in production: who answers, what each stage is charged, who handed on; and what a wrong stage is told."""

from __future__ import annotations

import asyncio
import gc
import math
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from live import Live, play
from prometheus_client import CollectorRegistry

from greeninfer import measure
from greeninfer._cascade import Answer, Cascade, Stage
from greeninfer.bench._candidates import CandidateKey, CascadeResult, Figure
from greeninfer.exporters.prometheus import PrometheusExporter

SURE, UNSURE, HARD = "sure", "unsure", "hard"


def small(text: str) -> tuple[str, float]:
    return "small", {SURE: 0.9, UNSURE: 0.5, HARD: 0.1}[text]


def medium(text: str) -> tuple[str, float]:
    return "medium", {SURE: 0.9, UNSURE: 0.8, HARD: 0.2}[text]


def large(text: str) -> tuple[str, float]:
    return "large", 0.05


def three(**others: Callable[[Any], Any]) -> list[Stage]:
    return [
        Stage("s", others.get("small", small), 0.6),
        Stage("m", others.get("medium", medium), 0.7),
        Stage("l", others.get("large", large)),
    ]


@pytest.mark.parametrize(
    ("text", "answer"),
    [(SURE, Answer("small", 0.9, "s")), (UNSURE, Answer("medium", 0.8, "m")), (HARD, Answer("large", 0.05, "l"))],
)
def test_the_first_stage_that_is_sure_enough_answers(text: str, answer: Answer) -> None:
    with Live():
        assert Cascade(three())(text) == answer


@pytest.mark.parametrize(
    ("confidence", "keeps"),
    [(0.6, True), (0.5999999, False), (1.0, True), (0.0, False), (None, False), (math.nan, False), (1.0000001, True)],
)
def test_a_stage_keeps_what_reaches_its_threshold(confidence: float | None, keeps: bool) -> None:
    with Live():
        cascade = Cascade([Stage("s", lambda _: ("yes", confidence), 0.6), Stage("l", large)])
        assert (cascade("x").model == "s") is keeps


def test_an_unreadable_answer_is_handed_on_however_sure_and_the_last_stage_keeps_it() -> None:
    with Live():
        cascade = Cascade([Stage("s", lambda _: (None, 1.0), 0.0), Stage("l", lambda _: (None, math.nan))])
        answer = cascade("x")
        assert (answer.label, answer.model) == (None, "l")


def test_an_object_with_label_and_confidence_is_an_answer() -> None:
    with Live():
        cascade = Cascade(
            [Stage("s", lambda _: SimpleNamespace(label=3, confidence=0.1), 0.5), Stage("l", lambda _: (4, None))]
        )
        assert cascade("x") == Answer(4, None, "l")
        inside = Cascade([Stage("both", cascade, 0.5), Stage("last", large)], name="outer")
        assert inside("x").model == "last"


def test_each_stage_is_charged_what_it_burnt_and_says_that_it_handed_on() -> None:
    with Live() as live:

        def burning(joules: float, answer: Callable[[str], Any]) -> Callable[[str], Any]:
            def predict(text: str) -> Any:
                live.burn_apart(joules)
                return answer(text)

            return predict

        cascade = Cascade(three(small=burning(2.0, small), medium=burning(10.0, medium), large=burning(50.0, large)))
        for text in (SURE, UNSURE, HARD):
            cascade(text)
        found = live.named("cascade")
        whole = [each for each in found if each.key[1] == ""]
        joules: dict[str, list[float | None]] = {model: [] for model in ("s", "m", "l")}
        handed_on = dict.fromkeys(joules, 0)
        for each in found:
            if each.key[1]:
                joules[each.key[1]].append(each.energy().joules)
                handed_on[each.key[1]] += each.escalated
        assert joules["s"] == pytest.approx([2.0] * 3, rel=0.05)
        assert joules["m"] == pytest.approx([10.0] * 2, rel=0.05)
        assert joules["l"] == pytest.approx([50.0], rel=0.05)
        assert handed_on == {"s": 2, "m": 1, "l": 0}
        assert [each.escalated for each in whole] == [False] * 3
        assert [each.energy().total_joules for each in whole] == pytest.approx([2.0, 12.0, 62.0], rel=0.05)
        assert [each.energy().joules for each in whole] == pytest.approx([0.0] * 3, abs=0.2)


def test_prometheus_shows_the_escalation_rate() -> None:
    registry = CollectorRegistry()
    with Live(1.0, PrometheusExporter(registry)) as live:
        cascade = Cascade(three(), name="triage")
        for text in (SURE, SURE, SURE, UNSURE, HARD):
            cascade(text)
        live.settle()

    def figure(metric: str, model: str, **labels: str) -> float | None:
        return registry.get_sample_value(metric, {"name": "triage", "model": model, **labels})

    assert [figure("greeninfer_escalations_total", model) for model in ("s", "m", "l", "")] == [2.0, 1.0, None, None]
    reached = [
        figure("greeninfer_request_duration_seconds_count", model, outcome="ok") for model in ("", "s", "m", "l")
    ]
    assert reached == [5.0, 5.0, 2.0, 1.0]


def test_it_is_a_child_of_the_request_that_it_answers() -> None:
    with Live() as live:

        @measure("request", model="")
        def request() -> Answer:
            answer: Answer = Cascade(three())(HARD)
            return answer

        request()
        assert {each.key for each in live.settle()} == {
            ("request", ""), ("cascade", ""), ("cascade", "s"), ("cascade", "m"), ("cascade", "l"),
        }  # fmt: skip
        assert not live.one("request").escalated


# What goes wrong in a stage.


class Failing(Exception):
    pass


def test_what_a_stage_raises_goes_to_the_caller_as_it_is() -> None:
    error = Failing("mine")

    def failing(_text: str) -> tuple[str, float]:
        raise error

    with Live() as live:
        with pytest.raises(Failing) as caught:
            Cascade(three(medium=failing))(HARD)
        assert caught.value is error
        outcomes = {each.key[1]: each.outcome for each in live.named("cascade")}
        assert outcomes == {"": "error", "s": "ok", "m": "error"}


@pytest.mark.parametrize(
    "said", ["yes", None, ("yes",), ("yes", 0.9, 1), ("yes", "sure"), {"label": "yes"}, ["yes", 0.9], ("yes", [0.1])]
)
def test_a_stage_that_returns_something_else_is_named(said: object) -> None:
    with Live(), pytest.raises(TypeError) as caught:
        Cascade([Stage("s", lambda _: said, 0.5), Stage("l", large)])("x")
    assert "'s'" in str(caught.value)
    assert repr(said) in str(caught.value)


@pytest.mark.parametrize("confidence", [87.0, -3.2, math.inf, 1.01])
def test_a_confidence_that_is_no_probability_is_refused(confidence: float) -> None:
    with Live(), pytest.raises(ValueError, match=r"'s' returned a confidence of .*allowed: 0 to 1"):
        Cascade([Stage("s", lambda _: ("yes", confidence), 0.5), Stage("l", large)])("x")


def test_a_coroutine_from_a_plain_function_is_told_apart() -> None:
    async def late(text: str) -> tuple[str, float]:
        return small(text)

    with Live(), pytest.raises(TypeError, match="'s' returned a coroutine; remedy: make its predict an async function"):
        Cascade([Stage("s", lambda text: late(text), 0.5), Stage("l", large)])("x")
    gc.collect()  # a coroutine that was left open would warn now


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, math.inf])
def test_a_threshold_outside_0_to_1_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold=.* of s is not possible; allowed: 0 to 1"):
        Stage("s", small, threshold)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Cascade([]), ValueError, "without stages"),
        (lambda: Cascade([Stage("s", small), Stage("l", large)]), ValueError, "'s' has no threshold"),
        (lambda: Cascade([Stage("s", small, 0.5)]), ValueError, "nobody to hand on to"),
        (lambda: Cascade([Stage("s", small, 0.5), Stage("s", large)]), ValueError, "two stages of one model"),
        (lambda: Cascade([("s", small, 0.5), Stage("l", large)]), TypeError, "is no stage"),  # type: ignore[list-item]
        (lambda: Cascade([Stage("l", large)], name=""), ValueError, "name=''"),
        (lambda: Stage("", small), ValueError, "model=''"),
        (lambda: Stage(3, small), TypeError, "model=3"),  # type: ignore[arg-type]
        (lambda: Stage("s", "small"), TypeError, "cannot be called"),  # type: ignore[arg-type]
        (lambda: Stage("s", small, "0.5"), TypeError, "threshold='0.5'"),  # type: ignore[arg-type]
        (lambda: Stage("s", small, True), TypeError, "threshold=True"),
    ],
)
def test_a_cascade_that_cannot_be_is_refused(make: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


# Async.


class AsyncModel:
    async def __call__(self, text: str) -> tuple[str, float]:
        await asyncio.sleep(0)
        return large(text)


def test_one_async_stage_makes_the_call_async() -> None:
    with Live() as live:
        cascade = Cascade(three(large=AsyncModel()))
        assert cascade.is_async
        assert not Cascade(three()).is_async
        assert asyncio.run(cascade(HARD)) == Answer("large", 0.05, "l")
        assert asyncio.run(cascade(SURE)) == Answer("small", 0.9, "s")
        found = live.named("cascade")
        assert sorted(each.key[1] for each in found if each.escalated) == ["m", "s"]


def test_tasks_share_a_cascade() -> None:
    """Each waits for the others in the midst of its first stage, so all of them are open at once."""
    texts = [SURE, UNSURE, HARD] * 4

    async def main() -> list[Answer]:
        gate = asyncio.Barrier(len(texts))

        async def first(text: str) -> tuple[str, float]:
            await gate.wait()
            return small(text)

        cascade = Cascade(three(small=first))
        return list(await asyncio.gather(*(cascade(text) for text in texts)))

    with Live() as live:
        answers = asyncio.run(main())
        assert [each.model for each in answers] == ["s", "m", "l"] * 4
        handed_on = [each.key[1] for each in live.named("cascade") if each.escalated]
        assert (handed_on.count("s"), handed_on.count("m"), len(handed_on)) == (8, 4, 12)


def test_threads_share_a_cascade() -> None:
    texts = [SURE, UNSURE, HARD] * 2
    gate = threading.Barrier(len(texts))

    def first(text: str) -> tuple[str, float]:
        gate.wait(timeout=20.0)
        return small(text)

    with Live() as live, ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(Cascade(three(small=first)), texts))
        assert [each.model for each in answers] == ["s", "m", "l"] * 2
        handed_on = [each.key[1] for each in live.named("cascade") if each.escalated]
        assert (handed_on.count("s"), handed_on.count("m"), len(handed_on)) == (4, 2, 6)


# Where it comes from and where it goes.


def key(model: str) -> CandidateKey:
    return CandidateKey("node", "tickets", model, "cpu", 1)


RESULT = CascadeResult(
    stages=(key("s"), key("m"), key("l")),
    thresholds=(0.6, 0.7),
    accuracy=Figure(0.9),
    joules=Figure(1.0),
    net_joules=None,
    seconds=Figure(0.1),
    p95_seconds=0.2,
    reach=(1.0, 0.4, 0.1),
)


def test_it_is_built_from_what_the_benchmark_chose() -> None:
    cascade = Cascade.from_result(RESULT, {"l": large, "m": medium, "s": small}, name="triage")
    assert cascade.stages == tuple(three())
    assert repr(cascade) == "Cascade('triage': s (>= 0.6), m (>= 0.7), l)"
    with Live() as live:
        assert [cascade(text).model for text in (SURE, UNSURE, HARD)] == ["s", "m", "l"]
        assert len(live.named("triage")) == 9


def test_a_model_without_a_predictor_is_named() -> None:
    with pytest.raises(ValueError, match=r"predictors lack 'm', 'l'; needed: s, m, l; given: 's'"):
        Cascade.from_result(RESULT, {"s": small})


def test_it_can_be_pickled() -> None:
    cascade = pickle.loads(pickle.dumps(Cascade(three())))
    with Live() as live:
        assert cascade(HARD).model == "l"
        assert len(live.named("cascade")) == 4


DISABLED = """
import asyncio, json, threading
from greeninfer._cascade import Cascade, Stage

async def late(text):
    return "large", None

plain = Cascade([Stage("s", lambda text: ("small", 0.2), 0.5), Stage("l", lambda text: ("large", None))])
mixed = Cascade([Stage("s", lambda text: ("small", 0.2), 0.5), Stage("l", late)])
print(json.dumps([plain("x").model, asyncio.run(mixed("x")).model, threading.active_count()]))
"""


def test_it_answers_where_nothing_is_measured(tmp_path: Path) -> None:
    assert play(DISABLED, tmp_path, DISABLED="1") == ["l", "l", 1]
