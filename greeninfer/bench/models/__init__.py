"""The models that come with the bench: by kind, what each takes and how it is opened.

Reading this module imports no heavy package; opening a model does, and says which one is missing.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from greeninfer.bench._model import Model, Place, Task
from greeninfer.bench._study import ModelSpec
from greeninfer.bench.models import encoder, features, function, http, llm, majority
from greeninfer.errors import StudyError


@dataclass(frozen=True, slots=True)
class Kind:
    """One adaptor.

    Args:
        options: frozen dataclass of what a study may set; its fields' types and defaults are the contract.
        open: builds the model: everything that counts as loading it.
        summary: one line for people.
        prepare: does once what is no part of loading, such as converting weights.
    """

    options: type[Any]
    open: Callable[[Any, Task, Place], Model]
    summary: str
    prepare: Callable[[Any], None] | None = None


KINDS: Mapping[str, Kind] = {
    "majority": Kind(majority.Options, majority.open_model, "always the commonest label: the bar to clear"),
    "features": Kind(
        features.Options, features.open_model, "words, characters or embeddings, and a classifier on them"
    ),
    "callable": Kind(function.Options, function.open_model, "your own Python: module:function, class or object"),
    "http": Kind(http.Options, http.open_model, "a service: JSON in, JSON out, its energy from its own metrics"),
    "encoder": Kind(
        encoder.Options, encoder.open_model, "a fine-tuned transformers classifier, safetensors only", encoder.prepare
    ),
    "llm": Kind(
        llm.Options, llm.open_model, "a language model, zero-shot: the likeliest label, or what it writes", llm.prepare
    ),
}

CATALOGUE: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "majority": ("majority", {}),
    "bow-lr": ("features", {"features": "bow"}),
    "bow-boosting": ("features", {"features": "bow", "head": "boosting"}),
    "bow-xgboost": ("features", {"features": "bow", "head": "xgboost"}),
    "tfidf-lr": ("features", {"features": "tfidf"}),
    "tfidf-boosting": ("features", {"features": "tfidf", "head": "boosting"}),
    "tfidf-xgboost": ("features", {"features": "tfidf", "head": "xgboost"}),
    "tfidf-char-lr": ("features", {"features": "tfidf-char"}),
    "tfidf-char-boosting": ("features", {"features": "tfidf-char", "head": "boosting"}),
    "tfidf-char-xgboost": ("features", {"features": "tfidf-char", "head": "xgboost"}),
    "wordllama-lr": ("features", {"features": "wordllama"}),
    "wordllama-boosting": ("features", {"features": "wordllama", "head": "boosting"}),
    "wordllama-zero-shot": ("features", {"features": "wordllama", "head": "label-names"}),
    "e5-lr": ("features", {"features": "e5"}),
    "e5-boosting": ("features", {"features": "e5", "head": "boosting"}),
    "e5-zero-shot": ("features", {"features": "e5", "head": "label-names"}),
    "minilm-lr": ("features", {**features.MINILM}),
    "minilm-boosting": ("features", {**features.MINILM, "head": "boosting"}),
    "minilm-xgboost": ("features", {**features.MINILM, "head": "xgboost"}),
    "smollm2-likelihood": ("llm", {"path": "smollm2", "prompt": "short", "calibration": "train"}),
    "smollm2-generation": ("llm", {"path": "smollm2", "answer": "generation", "reasoning_tokens": 0}),
    "smollm2-reasoning-64": ("llm", {"path": "smollm2", "answer": "generation", "reasoning_tokens": 64}),
    "smollm2-reasoning-256": ("llm", {"path": "smollm2", "answer": "generation", "reasoning_tokens": 256}),
}
"""Models that a study may name without describing them: name to kind and options."""


def catalogued(name: str, *, splits: int | None = None, test_items: int | None = None, **options: object) -> ModelSpec:
    """Return a model of the catalogue as a candidate, its options replaced or added to.

    Raises:
        StudyError: if the catalogue does not have it, or its kind has no such option.
    """
    if name not in CATALOGUE:
        raise StudyError(f"model {name!r} is not known", ", ".join(CATALOGUE), "or describe it as a ModelSpec")
    kind, known = CATALOGUE[name]
    read_options(kind, {**known, **options})
    return ModelSpec(name, kind, {**known, **options}, splits, test_items)


def open_model(spec: ModelSpec, task: Task, place: Place) -> Model:
    """Load a model.

    Raises:
        StudyError: for an unknown kind or option.
        ImportError: if its package is not installed; the message says what to install.
    """
    return kind_of(spec.kind).open(read_options(spec.kind, spec.options), task, place)


def kind_of(name: str) -> Kind:
    """Return an adaptor by name, or raise ``StudyError``."""
    if name not in KINDS:
        raise StudyError(f"kind={name!r} is not known", ", ".join(KINDS), path=("kind",))
    return KINDS[name]


def read_options(kind: str, options: Mapping[str, object]) -> Any:
    """Return the options of a kind as its dataclass; what is left out has its default.

    Raises:
        StudyError: for an unknown key, a value of the wrong type or one that is not allowed, or a missing one.
    """
    made = kind_of(kind).options
    hints = typing.get_type_hints(made)
    known = {each.name: each for each in dataclasses.fields(made)}
    for key, value in options.items():
        if key not in known:
            raise StudyError(f"{kind} has no option {key!r}", ", ".join(known) or "none", path=("options", key))
        wanted = _mismatch(value, hints[key])
        if wanted:
            raise StudyError(f"{key}={value!r}", wanted, path=("options", key))
    for name, each in known.items():
        if name not in options and each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise StudyError(f"{kind} needs the option {name!r}", _described(hints[name]), path=("options",))
    return made(**options)


def _mismatch(value: object, hint: Any) -> str:
    """Return what is allowed where the value is not, else ""."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "" if value in arguments else _described(hint)
    if origin in (Mapping, dict):
        return "" if isinstance(value, Mapping) else "a mapping"
    if arguments and type(None) in arguments:
        return "" if any(not _mismatch(value, each) for each in arguments) else _described(hint)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return ""
    if hint is int and isinstance(value, bool):
        return "a whole number"
    return "" if isinstance(value, origin or hint) else _described(hint)


def _described(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return ", ".join(str(each) for each in typing.get_args(hint))
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "nothing"}
    if typing.get_args(hint) and typing.get_origin(hint) not in (Mapping, dict, tuple):
        return " or ".join(_described(each) for each in typing.get_args(hint))
    return words.get(hint, str(hint))
