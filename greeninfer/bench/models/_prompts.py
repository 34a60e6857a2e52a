"""What a language model is asked: the words for the labels, and the text around the text that is classified.

=====  =================================================================================================
chat   the model's own chat template: a system message with the labels as a list; the user's has the text, "Category:"
plain  "Classify the text as one of these categories: a, b. / Text: ... / Category:"
short  the text, and "Category:" (or "Sentiment:") in a new line
=====  =================================================================================================

The chat form is that of the study behind this package (arXiv 2508.14170), in English and without DSPy's markers.
Which form is used moves the accuracy of a small model by 20 points and its cost by a factor of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from greeninfer.bench._model import Task
from greeninfer.errors import StudyError

Form = Literal["chat", "plain", "short"]
FEW_WORDS = 3
"""A description of so many words at most is what the model is to answer; a longer one explains the label."""

_SENTIMENT = {"neg": "negative", "pos": "positive", "neu": "neutral"}
_MARK = "\ue000"  # of the Private Use Area: stands for the text while a chat template is filled in
_USER = "Text: {text}\n{question}:"
_SYSTEM = "Classify the user's text as one of these categories:\n{list}\n{answer}"
_ANSWER = "Answer with the name of the category only."
_THINK_FIRST = "Think step by step, then answer with the name of the category."
_PLAIN = "Classify the text as one of these categories: {categories}.\nText: {text}"
_THINKING = "Let's think step by step."


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt with a gap for the text.

    Args:
        before, after: of the text; the model goes on where ``after`` ends.
        forced: what ends the model's thinking and makes it answer; "" where it does not think first.
        space: what stands between the end of the prompt and a label's word.
        special: whether the tokenizer adds its special tokens, which a chat template has written already.
        ends: whether the end of the message belongs to the answer.
    """

    before: str
    after: str
    forced: str = ""
    space: str = " "
    special: bool = True
    ends: bool = False


def label_words(task: Task) -> dict[str, str]:
    """Return the words that a model answers with, by label: short descriptions, else the labels themselves.

    Where no description is given, neg, pos and neu are written out: as they stand they cost a small model some 20
    points of accuracy.

    Raises:
        StudyError: if two labels have the same word.
    """
    words: dict[str, str] = {}
    usual = _SENTIMENT if set(task.labels) <= set(_SENTIMENT) else {}
    for label in task.labels:
        told = task.descriptions.get(label) or usual.get(label, "")
        words[label] = told.strip() if 0 < len(told.split()) <= FEW_WORDS else label.replace("_", " ")
    taken: dict[str, str] = {}
    for label, word in words.items():
        other = taken.setdefault(" ".join(word.casefold().split()), label)
        if other != label:
            what = f"the labels {other!r} and {label!r} of {task.dataset} are both {word!r} to a language model"
            raise StudyError(what, "a word of its own for each", "descriptions: in the data set", ("descriptions",))
    return words


def question(words: Mapping[str, str]) -> str:
    """Return what is asked for, in one word."""
    return "Sentiment" if set(words.values()) <= set(_SENTIMENT.values()) else "Category"


def make_prompt(
    form: Form,
    task: Task,
    words: Mapping[str, str],
    *,
    asked: str = "",
    template: str = "",
    system: str = "",
    thinks: bool = False,
    tokenizer: Any = None,
) -> Prompt:
    """Return the prompt of a task.

    Args:
        form: which.
        task: its longer descriptions are explained to the model, except in the short form.
        words: by label.
        asked: what is asked for, "" for ``question(words)``.
        template: instead of the form's text; holds ``{text}``, may hold ``{categories}``, ``{list}``, ``{question}``.
        system: instead of the system message of a chat; the same, but no ``{text}``.
        thinks: whether the model thinks before it answers.
        tokenizer: has the chat template.

    Raises:
        StudyError: if the template has no place for the text, or the model no chat template.
    """
    asked = asked or question(words)
    tail = f"\n{asked}:"
    if template and template.count("{text}") != 1:
        raise StudyError(f"template={template!r}", "a text with {text} in it, once", path=("options", "template"))

    def filled(text: str) -> str:
        for name, value in (("categories", ", ".join(words.values())), ("list", _listed(task, words)),
                            ("question", asked), ("answer", _THINK_FIRST if thinks else _ANSWER)):  # fmt: skip
            text = text.replace("{" + name + "}", value)
        return text

    if form == "chat":
        messages = [
            {"role": "system", "content": filled(system or _SYSTEM)},
            {"role": "user", "content": filled(template or _USER).replace("{text}", _MARK)},
        ]
        before, _, after = _chat(tokenizer, messages, thinks).partition(_MARK)
        if thinks:
            return Prompt(before, after + _THINKING, tail, special=False, ends=True)
        return Prompt(before, after, space="", special=False, ends=True)
    text = filled(template or ("{text}" if form == "short" else _explained(_PLAIN, task, words)))
    before, _, after = text.partition("{text}")
    if template:
        return Prompt(before, after, tail if thinks else "")
    return Prompt(before, after + "\n" + _THINKING, tail) if thinks else Prompt(before, after + tail)


def _chat(tokenizer: Any, messages: list[dict[str, str]], thinks: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        remedy = "prompt: plain, or an instruct model"
        raise StudyError("prompt='chat', and the model has no chat template", "plain, short", remedy,
                         ("options", "prompt"))  # fmt: skip
    # Templates that know no such switch ignore it; those that do would have the model think without a budget.
    rendered: str = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=thinks
    )
    if rendered.count(_MARK) != 1:
        remedy = "prompt: plain"
        raise StudyError("the model's chat template does not show the user's text as it is, once", "", remedy,
                         ("options", "prompt"))  # fmt: skip
    return rendered


def _meanings(task: Task, words: Mapping[str, str]) -> dict[str, str]:
    """Return the descriptions that are too long to be answers, by label."""
    return {label: told for label in words if (told := task.descriptions.get(label, "")) and told != words[label]}


def _listed(task: Task, words: Mapping[str, str]) -> str:
    meanings = _meanings(task, words)
    return "\n".join(f"- {word}" + (f": {meanings[label]}" if label in meanings else "")
                     for label, word in words.items())  # fmt: skip


def _explained(template: str, task: Task, words: Mapping[str, str]) -> str:
    return template.replace(" {categories}.", "\n{list}") if _meanings(task, words) else template
