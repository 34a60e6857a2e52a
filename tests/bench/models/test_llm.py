"""Language models held against plain forward passes: text by text, label by label, token by token, without a cache."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.models.tiny_models import make_language_model
from greeninfer.bench._model import Place, Task
from greeninfer.bench._study import ModelSpec
from greeninfer.bench.models import CATALOGUE, KINDS, open_model
from greeninfer.bench.models.llm import LanguageModel
from greeninfer.errors import StudyError

pytestmark = pytest.mark.heavy
torch = pytest.importorskip("torch", reason="language models need torch")
transformers = pytest.importorskip("transformers", reason="language models need transformers")

TASK = Task("films", ("mixed", "neg", "pos"), {"mixed": "mixed feelings", "neg": "negative", "pos": "positive"})
TEXTS = ["a very good film", "bad", "the cat sat on the mat and the mat was dull , dull , dull", "", "Ünïcode 🦔 film"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_language_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def plain(folder: Path) -> tuple[Any, Any]:
    """Return the tokenizer and the model by themselves."""
    made = transformers.AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True).eval()
    return transformers.AutoTokenizer.from_pretrained(folder), made


def opened(folder: Path, task: Task = TASK, **options: object) -> LanguageModel:
    model = open_model(ModelSpec("m", "llm", {"path": str(folder), **options}), task, Place())
    assert isinstance(model, LanguageModel)
    return model


def logits_after(model: Any, ids: Sequence[int]) -> Any:
    with torch.inference_mode():
        return model(torch.tensor([list(ids)]), use_cache=False).logits[0].double()


def log_probability(model: Any, ids: Sequence[int], answer: Sequence[int]) -> float:
    """Return the sum over an answer's tokens, by one forward pass over everything."""
    logs = logits_after(model, [*ids, *answer]).log_softmax(dim=-1)
    return sum(float(logs[len(ids) - 1 + number, token]) for number, token in enumerate(answer))


def greedy(model: Any, ids: Sequence[int], budget: int, ends: Collection[int] = (0,)) -> list[int]:
    """Return what the model writes, by a forward pass over everything for each token; its end, if any, is last."""
    written: list[int] = []
    while len(written) < budget and not set(written) & set(ends):
        written.append(int(logits_after(model, [*ids, *written])[-1].argmax()))
    return written


def softmax(scores: Sequence[float]) -> list[float]:
    whole = sum(map(math.exp, scores))
    return [math.exp(each) / whole for each in scores]


def short(text: str) -> str:
    return f"{text}\nCategory:"


def by_hand(plain: tuple[Any, Any], text: str) -> list[float]:
    tokenizer, model = plain
    ids = tokenizer.encode(short(text))
    return [
        log_probability(model, ids, tokenizer.encode(word)) for word in (" mixed feelings", " negative", " positive")
    ]


def test_likelihood_is_that_of_a_plain_pass(folder: Path, plain: tuple[Any, Any]) -> None:
    model = opened(folder, prompt="short")
    assert len({len(plain[0].encode(word)) for word in (" mixed feelings", " negative")}) == 2  # of several lengths
    scores, counts = model._scores(TEXTS)
    wanted = [by_hand(plain, text) for text in TEXTS]
    np.testing.assert_allclose(scores, wanted, atol=1e-4)
    assert np.ptp(scores) > 1.0
    for text, answer, own in zip(TEXTS, model.predict(TEXTS), wanted, strict=True):
        assert answer.label == TASK.labels[int(np.argmax(own))]
        assert answer.confidence == pytest.approx(max(softmax(own)), abs=1e-5)
        assert answer.input_tokens == len(plain[0].encode(short(text)))
        assert (answer.output_tokens, answer.reasoning_tokens) == (0, 0)
    assert counts[1] == (len(plain[0].encode(short("bad"))), 0)


def test_a_chat_scores_the_end_of_the_message_too(folder: Path, plain: tuple[Any, Any]) -> None:
    tokenizer, inside = plain
    asked = (
        "<|start|>system\nClassify the user's text as one of these categories:\n- mixed feelings\n- negative\n"
        "- positive\nAnswer with the name of the category only.<|end|>\n<|start|>user\nText: bad\nCategory:<|end|>\n"
        "<|start|>assistant\n"
    )
    ids = tokenizer.encode(asked, add_special_tokens=False)
    end = tokenizer.eos_token_id
    words = ("mixed feelings", "negative", "positive")
    wanted = [log_probability(inside, ids, [*tokenizer.encode(word), end]) for word in words]
    model = opened(folder, prompt="chat")
    np.testing.assert_allclose(model._scores(["bad"])[0][0], wanted, atol=1e-4)
    assert model.predict(["bad"])[0].input_tokens == len(ids)


def test_the_first_token_alone(folder: Path, plain: tuple[Any, Any]) -> None:
    tokenizer, inside = plain
    first = [tokenizer.encode(word)[0] for word in (" mixed feelings", " negative", " positive")]
    logs = logits_after(inside, tokenizer.encode(short("bad")))[-1].log_softmax(dim=-1)
    scores = opened(folder, prompt="short", scoring="first_token")._scores(["bad"])[0][0]
    np.testing.assert_allclose(scores, logs[first], atol=1e-4)
    with pytest.raises(StudyError, match=r"begin with the same token; allowed: sum, pmi"):
        opened(folder, Task("d", ("film a", "film b")), prompt="short", scoring="first_token")


def test_calibration_takes_off_the_mean_of_the_first_texts(folder: Path, plain: tuple[Any, Any]) -> None:
    model = opened(folder, prompt="short", calibration="train", calibration_texts=3)
    with pytest.raises(StudyError, match="before fit"):
        model.predict(["bad"])
    model.fit(TEXTS, ["pos"] * len(TEXTS))
    mean = np.mean([by_hand(plain, text) for text in TEXTS[:3]], axis=0)
    for text, answer in zip(TEXTS, model.predict(TEXTS), strict=True):
        own = np.array(by_hand(plain, text)) - mean
        assert answer.label == TASK.labels[int(own.argmax())]
        assert answer.confidence == pytest.approx(max(softmax(own)), abs=1e-5)
    bare = opened(folder, prompt="short")
    assert [each.label for each in bare.predict(TEXTS)] != [each.label for each in model.predict(TEXTS)]


def test_pmi_takes_off_what_a_text_without_content_scores(folder: Path, plain: tuple[Any, Any]) -> None:
    (answer,) = opened(folder, prompt="short", scoring="pmi").predict(["bad"])
    own = np.array(by_hand(plain, "bad")) - by_hand(plain, "N/A")
    assert answer.label == TASK.labels[int(own.argmax())]
    assert answer.confidence == pytest.approx(max(softmax(own)), abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "short"},
        {"prompt": "chat"},
        {"prompt": "plain", "answer": "generation"},
        {"prompt": "plain", "answer": "generation", "reasoning_tokens": 7},
        {"prompt": "chat", "reasoning_tokens": 7},
    ],
)
def test_a_batch_is_answered_as_each_text_alone(folder: Path, options: dict[str, object]) -> None:
    task = Task("d", ("a", "e", "o"))  # letters that random bytes have, so that some answers can be read
    model = opened(folder, task, **options)
    alone = [model.predict([text])[0] for text in TEXTS]
    batch = model.predict(TEXTS)
    for one, other in zip(alone, batch, strict=True):
        assert (one.label, one.input_tokens) == (other.label, other.input_tokens)
        assert (one.output_tokens, one.reasoning_tokens) == (other.output_tokens, other.reasoning_tokens)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
    assert len({each.input_tokens for each in batch}) > 2
    assert model.predict([]) == []


def test_many_labels_go_in_parts(folder: Path, plain: tuple[Any, Any]) -> None:
    labels = tuple(sorted({f"{a} {b}" for a in "abcdefgh" for b in "abcdefghi"}))
    model = opened(folder, Task("d", labels), prompt="short")
    scores, _ = model._scores(["bad", "good film"])
    tokenizer, inside = plain
    for number in (0, 40, 71):
        answer = tokenizer.encode(f" {labels[number]}")
        wanted = log_probability(inside, tokenizer.encode(short("good film")), answer)
        assert scores[1][number] == pytest.approx(wanted, abs=1e-4)


def test_generation_writes_what_plain_passes_write(folder: Path, plain: tuple[Any, Any]) -> None:
    tokenizer, inside = plain
    model = opened(folder, Task("d", ("a", "e", "o")), prompt="short", answer="generation", max_new_tokens=9)
    answers = model.predict(TEXTS)
    for text, answer in zip(TEXTS, answers, strict=True):
        ids = tokenizer.encode(short(text))
        written = greedy(inside, ids, 9)
        assert answer.output_tokens == len(written)
        assert answer.input_tokens == len(ids)
        wanted = model._parser.read(tokenizer.decode([each for each in written if each]))
        assert answer.label == wanted
        if wanted is None:
            assert answer.confidence is None
        else:
            sure = math.exp(log_probability(inside, ids, written) / len(written))
            assert answer.confidence == pytest.approx(sure, abs=1e-5)


def ending(model: LanguageModel, plain: tuple[Any, Any], head: str) -> frozenset[int]:
    """Have tokens that the texts write sooner or later end what is written; return them."""
    rows = [greedy(plain[1], plain[0].encode(text + head), 8, ends=()) for text in TEXTS]
    model._reader.ends = frozenset((rows[0][2], rows[1][0], rows[2][5]))
    return model._reader.ends


@pytest.mark.parametrize("budget", range(1, 9))
def test_rows_that_end_early_do_not_disturb_the_others(folder: Path, plain: tuple[Any, Any], budget: int) -> None:
    tokenizer, inside = plain
    model = opened(folder, prompt="short", reasoning_tokens=budget)
    head = "\nLet's think step by step."
    ends = ending(model, plain, head)
    scores, counts = model._scores(TEXTS)
    for text, row, (_, thought) in zip(TEXTS, scores, counts, strict=True):
        written = greedy(inside, tokenizer.encode(text + head), budget, ends=ends)
        assert thought == len(written)
        kept = written[:-1] if written[-1] in ends else written
        ids = [*tokenizer.encode(text + head), *kept, *tokenizer.encode("\nCategory:")]
        words = (" mixed feelings", " negative", " positive")
        wanted = [log_probability(inside, ids, tokenizer.encode(word)) for word in words]
        np.testing.assert_allclose(row, wanted, atol=1e-4)


def test_an_answer_that_ends_early_is_counted_to_its_end(folder: Path, plain: tuple[Any, Any]) -> None:
    tokenizer, inside = plain
    model = opened(folder, prompt="short", answer="generation", max_new_tokens=8)
    ends = ending(model, plain, "\nCategory:")

    class Anything:
        def read(self, answer: str) -> str:
            return "pos"

    model._parser = Anything()  # type: ignore[assignment]
    lengths = set()
    for text, answer in zip(TEXTS, model.predict(TEXTS), strict=True):
        ids = tokenizer.encode(short(text))
        written = greedy(inside, ids, 8, ends=ends)
        lengths.add(len(written))
        assert answer.output_tokens == len(written)
        sure = math.exp(log_probability(inside, ids, written) / len(written))
        assert answer.confidence == pytest.approx(sure, abs=1e-5)
    assert len(lengths) > 1


def test_positions_do_not_count_what_fills_up(tmp_path: Path) -> None:
    """A model of GPT-2's kind learns each position by itself: a shift by the filling changes all its answers."""
    from bench.models.tiny_models import make_tokenizer

    tokenizer = make_tokenizer(tmp_path)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.4,
        bos_token_id=1, eos_token_id=0,
    )  # fmt: skip
    inside = transformers.GPT2LMHeadModel(config).eval()
    inside.save_pretrained(tmp_path)
    scores, _ = opened(tmp_path, prompt="short")._scores(TEXTS)
    np.testing.assert_allclose(scores, [by_hand((tokenizer, inside), text) for text in TEXTS], atol=1e-4)


@pytest.mark.parametrize("budget", [1, 5, 30])
def test_likelihood_after_thinking(folder: Path, plain: tuple[Any, Any], budget: int) -> None:
    tokenizer, inside = plain
    model = opened(folder, prompt="short", reasoning_tokens=budget)
    scores, counts = model._scores(TEXTS)
    for text, row, (read, thought) in zip(TEXTS, scores, counts, strict=True):
        asked = tokenizer.encode(f"{text}\nLet's think step by step.")
        written = greedy(inside, asked, budget)
        assert (read, thought) == (len(asked), len(written))
        assert thought <= budget
        ids = [*asked, *[each for each in written if each], *tokenizer.encode("\nCategory:")]
        words = (" mixed feelings", " negative", " positive")
        wanted = [log_probability(inside, ids, tokenizer.encode(word)) for word in words]
        np.testing.assert_allclose(row, wanted, atol=1e-4)


def test_a_long_text_is_cut_and_the_prompt_is_not(
    folder: Path, plain: tuple[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer, _ = plain
    model = opened(folder, prompt="plain", max_length=60)
    longest = max(len(tokenizer.encode(word)) for word in (" mixed feelings", " negative", " positive"))
    worded = model._wording.text("the cat sat on the mat " * 50)
    assert worded.cut and 60 - longest - 6 < len(worded.tokens) <= 60 - longest
    shown = tokenizer.decode(worded.tokens)
    assert shown.startswith(
        "Classify the text as one of these categories: mixed feelings, negative, positive.\nText: the"
    )
    assert shown.endswith("\nCategory:")
    assert model.notes == ()
    model.predict(["bad", "the cat sat on the mat " * 50])
    assert model.notes == ("1 texts, repeats among them, were cut to fit into the context",)
    with caplog.at_level(logging.WARNING, "greeninfer"):
        model.close()
    assert "greeninfer.bench.texts_cut" in caplog.text and "texts=1" in caplog.text


def test_without_room_for_the_prompt_it_says_so(folder: Path) -> None:
    with pytest.raises(StudyError, match=r"the prompt alone has \d+ tokens.*room for 0.*reasoning_tokens"):
        opened(folder, prompt="plain", reasoning_tokens=1000)


def test_a_model_for_completion_has_no_chat(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no chat template"):
        opened(make_language_model(tmp_path, chat=False), prompt="chat")


def test_smollm2_does_about_as_well_as_published(tmp_path: Path) -> None:
    """Calibrated on 50 texts it was right for 0.745 of 200 of these; 40 of them scatter by 0.07."""
    pytest.importorskip("gguf", reason="reading SmolLM2 needs gguf")
    tomatoes = pytest.importorskip("bench.models.tomatoes")
    kind, options = CATALOGUE["smollm2-likelihood"]
    try:
        KINDS[kind].prepare(KINDS[kind].options(**options))
    except ImportError as error:
        pytest.skip(str(error))
    texts, labels = tomatoes.DATA.test.texts[:40], tomatoes.DATA.test.labels[:40]
    model = tomatoes.opened("smollm2-likelihood")
    model.fit(tomatoes.DATA.train.texts, tomatoes.DATA.train.labels)
    answers = [each for first in range(0, 40, 8) for each in model.predict(texts[first : first + 8])]
    model.close()
    share = sum(each.label == label for each, label in zip(answers, labels, strict=True)) / 40
    assert 0.60 <= share <= 0.90
    assert 20 < np.mean([each.input_tokens for each in answers]) < 45
    writer = tomatoes.opened("smollm2-generation")
    written = writer.predict(texts[:20])
    assert any(each.label is None for each in written) and any(each.label for each in written)
    assert all(1 <= (each.output_tokens or 0) <= 16 for each in written)
    assert all((each.label is None) == (each.confidence is None) for each in written)
    exact = tomatoes.opened("smollm2-generation", parser="exact", max_new_tokens=8).predict(texts[:5])
    assert [each.label for each in exact].count(None) >= 4
    thinker = tomatoes.opened("smollm2-reasoning-64", reasoning_tokens=20).predict(texts[:2])
    assert all(0 < (each.reasoning_tokens or 0) <= 20 for each in thinker)
