"""What a language model is asked, word for word; and which words stand for the labels."""

from __future__ import annotations

import pytest

from greeninfer.bench._model import Task
from greeninfer.bench.models import CATALOGUE, KINDS, read_options
from greeninfer.bench.models._prompts import Form, Prompt, label_words, make_prompt
from greeninfer.errors import StudyError

FILMS = Task("films", ("neg", "pos"))
TICKETS = Task("tickets", ("access", "billing"), {"access": "cannot log in at all", "billing": "money"})


class ChatML:
    """A tokenizer's chat template, written out; ``strips`` is what some templates do."""

    chat_template = "ChatML"

    def __init__(self, repeats: int = 1) -> None:
        self.repeats = repeats
        self.thinking: list[bool] = []

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool, enable_thinking: bool
    ) -> str:
        assert not tokenize and add_generation_prompt
        self.thinking.append(enable_thinking)
        turns = "".join(f"<{each['role']}>{each['content'] * self.repeats}<end>" for each in messages)
        return turns + "<assistant>"


def made(form: Form, task: Task = FILMS, *, thinks: bool = False, **more: str) -> Prompt:
    return make_prompt(form, task, label_words(task), thinks=thinks, tokenizer=ChatML(), **more)


def test_words_for_labels() -> None:
    assert label_words(FILMS) == {"neg": "negative", "pos": "positive"}
    assert label_words(Task("d", ("neg", "pos"), {"pos": "good"})) == {"neg": "negative", "pos": "good"}
    assert label_words(TICKETS) == {"access": "access", "billing": "money"}
    assert label_words(Task("d", ("card_arrival", "pos"))) == {"card_arrival": "card arrival", "pos": "pos"}


def test_two_labels_with_one_word_are_refused() -> None:
    with pytest.raises(StudyError, match=r"'a' and 'b' of d are both 'Same'"):
        label_words(Task("d", ("a", "b"), {"a": "same", "b": "Same"}))


def test_short() -> None:
    assert made("short") == Prompt("", "\nSentiment:")
    assert made("short", TICKETS) == Prompt("", "\nCategory:")
    assert made("short", asked="Topic") == Prompt("", "\nTopic:")


def test_plain() -> None:
    asked = "Classify the text as one of these categories: negative, positive.\nText: "
    assert made("plain") == Prompt(asked, "\nSentiment:")
    explained = "Classify the text as one of these categories:\n- access: cannot log in at all\n- money\nText: "
    assert made("plain", TICKETS).before == explained


def test_chat() -> None:
    system = "Classify the user's text as one of these categories:\n- negative\n- positive\nAnswer with the name of the category only."  # noqa: E501
    before = f"<system>{system}<end><user>Text: "
    assert made("chat") == Prompt(before, "\nSentiment:<end><assistant>", space="", special=False, ends=True)


@pytest.mark.parametrize(
    ("form", "after"),
    [("short", "\nLet's think step by step."), ("plain", "\nLet's think step by step."),
     ("chat", "\nSentiment:<end><assistant>Let's think step by step.")],
)  # fmt: skip
def test_thinking_comes_before_the_answer(form: Form, after: str) -> None:
    prompt = made(form, thinks=True)
    assert (prompt.after, prompt.forced, prompt.space) == (after, "\nSentiment:", " ")
    assert ("Answer with the name of the category only." in prompt.before) is False


def test_a_template_of_ones_own() -> None:
    own = made("plain", template="{categories}? {question} of {text} =")
    assert own == Prompt("negative, positive? Sentiment of ", " =")
    chat = made("chat", template="Is it {list}? {text}", system="Be {question}.")
    assert chat.before == "<system>Be Sentiment.<end><user>Is it - negative\n- positive? "
    for template in ("no text", "{text} {text}"):
        with pytest.raises(StudyError, match=r"\{text\} in it, once"):
            made("short", template=template)


def test_a_model_without_a_usable_chat_template_is_refused() -> None:
    with pytest.raises(StudyError, match=r"no chat template; allowed: plain, short"):
        make_prompt("chat", FILMS, label_words(FILMS), tokenizer=object())
    with pytest.raises(StudyError, match="does not show the user's text"):
        make_prompt("chat", FILMS, label_words(FILMS), tokenizer=ChatML(repeats=2))


def test_a_model_that_can_think_is_told_whether_to() -> None:
    tokenizer = ChatML()
    for thinks in (False, True):
        make_prompt("chat", FILMS, label_words(FILMS), thinks=thinks, tokenizer=tokenizer)
    assert tokenizer.thinking == [False, True]


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.startswith("smollm2")])
def test_the_catalogues_options_are_allowed(name: str) -> None:
    kind, options = CATALOGUE[name]
    assert read_options(kind, options).path == "smollm2"
    assert KINDS[kind].prepare is not None


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("llm", {}, "needs the option 'path'"),
        ("llm", {"path": "m", "answer": "guess"}, "answer='guess'; allowed: likelihood, generation"),
        ("llm", {"path": "m", "reasoning_tokens": -1}, "reasoning_tokens=-1; allowed: 0 or more"),
        ("llm", {"path": "m", "max_new_tokens": 0}, "max_new_tokens=0; allowed: 1 or more"),
        ("llm", {"path": "m", "calibration_texts": 0}, "calibration_texts=0"),
        ("llm", {"path": "m", "scoring": "pmi", "calibration": "train"}, "remedy: calibration: none"),
        ("encoder", {"path": "m", "max_length": 3}, "max_length=3; allowed: 4 or more"),
        ("encoder", {"path": "m", "labels": "pos"}, "labels='pos'; allowed: a mapping"),
    ],
)
def test_options_that_cannot_be(kind: str, options: dict[str, object], complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint):
        read_options(kind, options)
