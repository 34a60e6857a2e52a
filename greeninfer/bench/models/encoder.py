"""A fine-tuned sequence classifier of transformers, from a folder or an id. Safetensors only, no remote code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench._optional import need
from greeninfer.bench.models._gguf import LLM
from greeninfer.errors import StudyError


@dataclass(frozen=True, slots=True)
class Options:
    """What a study may say of a classifier.

    Args:
        path: folder or id.
        labels: the data set's label for each of the model's, where they are not called the same.
        max_length: tokens; longer texts are cut.
    """

    path: str
    labels: Mapping[str, str] = field(default_factory=dict)
    max_length: int = 512


def open_model(options: Options, task: Task, place: Place) -> Model:
    """Load the weights.

    Raises:
        ImportError: without torch or transformers.
        StudyError: if there is no such model, or it knows other labels than the task.
    """
    torch, transformers = need("torch", LLM), need("transformers", LLM)
    torch.set_num_threads(place.threads)
    torch.manual_seed(place.seed)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    safe: dict[str, Any] = {"trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(options.path, **safe)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            options.path, use_safetensors=True, **safe
        )
    except (OSError, ValueError) as error:
        allowed = "a folder with config.json and *.safetensors, or an id on Hugging Face; no pickles, no remote code"
        raise StudyError(f"path={options.path!r} cannot be loaded: {error}", allowed) from error
    names = [options.labels.get(name, name) for _, name in sorted(model.config.id2label.items())]
    unknown = sorted(set(names) - set(task.labels))
    if unknown:
        raise StudyError(
            f"the model answers {', '.join(unknown)}",
            f"the data set's labels: {', '.join(task.labels)}",
            "say which is which in the option labels, such as {LABEL_0: neg, LABEL_1: pos}",
        )
    return _Encoder(model.to(place.device).eval(), tokenizer, names, options.max_length)


class _Encoder:
    """A classifier with its tokenizer; ``names`` are the task's labels in the order of its outputs."""

    def __init__(self, model: Any, tokenizer: Any, names: list[str], max_length: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._names = names
        self._max_length = max_length

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Do nothing: it has learnt already."""

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return the likeliest label of each text, and its probability."""
        torch = need("torch", LLM)
        batch = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._max_length, return_tensors="pt"
        ).to(self._model.device)
        with torch.inference_mode():
            likely = torch.softmax(self._model(**batch).logits.float(), -1).cpu()
        counts = batch["attention_mask"].sum(-1).tolist()
        return [
            Prediction(self._names[int(row.argmax())], float(row.max()), input_tokens=int(count))
            for row, count in zip(likely, counts, strict=True)
        ]

    def close(self) -> None:
        """Let go of the weights."""
        del self._model
