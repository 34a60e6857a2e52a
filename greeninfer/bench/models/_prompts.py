"""What a language model is told, and how its answer is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from greeninfer.bench._model import Task
from greeninfer.errors import StudyError

Style = Literal["chat", "plain", "short"]
Parser = Literal["lenient", "exact"]

REASON = "Think step by step about what the text says. Then name the category."
CONCLUDE = "\n\nSo the category is:"


def words_of(task: Task) -> tuple[str, ...]:
    """Return what the labels are called before a model: their descriptions, or their names.

    Raises:
        StudyError: if two labels are called the same.
    """
    words = tuple(task.descriptions.get(label, label).strip() for label in task.labels)
    lowered = [word.casefold() for word in words]
    for number, word in enumerate(lowered):
        if not word or word in lowered[:number]:
            raise StudyError(
                f"descriptions: label {task.labels[number]!r} is called {words[number]!r}",
                "words of their own, that are not empty",
                "describe each label in the study's data set",
            )
    return words


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a text is asked about.

    Args:
        style: "chat" in the form that the model was trained on; "plain" with the categories before the text; "short"
            only the text and the question.
        question: what stands before the answer: Category, Topic, Sentiment ...
        words: of the labels, in their order.
        reasons: whether the model is to think before it answers.
    """

    style: Style
    question: str
    words: tuple[str, ...]
    reasons: bool = False

    def render(self, text: str, tokenizer: Any) -> str:
        """Return all that stands before the answer.

        Raises:
            StudyError: for style "chat" with a tokenizer that has no form for it.
        """
        if self.style == "short":
            return f"{text}\n{self.question}:"
        listed = ", ".join(self.words)
        if self.style == "plain":
            return f"Classify the text as one of these categories: {listed}.\nText: {text}\n{self.question}:"
        if not getattr(tokenizer, "chat_template", None):
            raise StudyError("prompt='chat', and this model's tokenizer has no form for chats", "plain, short")
        bullets = "\n".join(f"- {word}" for word in self.words)
        told = REASON if self.reasons else "Answer with the category alone."
        system = f"Classify the text as one of these categories:\n{bullets}\n{told}"
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        rendered: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return rendered

    @property
    def gap(self) -> str:
        """Return what stands between the prompt and the answer."""
        return "" if self.style == "chat" and not self.reasons else " "


def fitted(text: str, prompt: Prompt, tokenizer: Any, room: int) -> tuple[list[int], bool]:
    """Return the tokens of a prompt within ``room``, and whether the text was cut; the instruction never is."""
    ids = tokenize(prompt.render(text, tokenizer), tokenizer)
    if len(ids) <= room:
        return ids, False
    within = tokenizer(text, add_special_tokens=False)["input_ids"]
    keep = len(within)
    while len(ids) > room and keep:
        keep = max(0, keep - max(1, len(ids) - room))
        ids = tokenize(prompt.render(tokenizer.decode(within[:keep]), tokenizer), tokenizer)
    return ids, True


def tokenize(text: str, tokenizer: Any) -> list[int]:
    """Return the tokens of a text, as they stand in it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def parse(answer: str, task: Task, words: Sequence[str], parser: Parser) -> str | None:
    """Return the label that an answer names, None where it names none.

    Args:
        answer: as it was generated.
        task: what was asked; its labels count beside the words.
        words: of the labels, in their order.
        parser: "exact": the answer is a label and nothing else but spaces, quotes and full stops; "lenient": the first
            label that it names as a word of its own, the longest where several begin there.
    """
    names = dict(zip((word.casefold() for word in words), task.labels, strict=True))
    names |= {label.casefold(): label for label in task.labels if label.casefold() not in names}
    said = answer.casefold()
    if parser == "exact":
        return names.get(said.strip(" \t\r\n\"'`.*"))
    longest = sorted(names, key=len, reverse=True)
    found = re.search("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest), said)
    return names[found[0]] if found else None
