"""A person's own Python: a function, a class or an object that is named "module:name".

The module is imported by this process as any other: from what is installed, from the current working directory if that
is on ``sys.path`` (as ``python -m`` has it), and from ``PYTHONPATH``. That runs its code, so name only what you trust.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greeninfer.bench._model import Model, Place, Prediction, Task
from greeninfer.bench.models._answers import read_answer
from greeninfer.errors import StudyError

_FORMS = "module:function, module:Class or module:object with a method predict"


@dataclass(frozen=True, slots=True)
class Options:
    """What a study may set.

    Args:
        target: "module:name" of a function that takes a list of texts, or of a class (made without arguments) or an
            object with such a method ``predict`` (and ``fit(texts, labels)`` and ``close()``, if it has them). It
            returns for each text a label, a pair (label, confidence), a mapping with the keys of ``Prediction``, or a
            ``Prediction``.
        fit: "module:name" of a function that takes texts and labels before; "" for the object's own, or none.
        each: whether it takes one text at a time, and returns one answer.
    """

    target: str
    fit: str = ""
    each: bool = False

    def __post_init__(self) -> None:
        for name in ("target", "fit"):
            value = getattr(self, name)
            module, colon, attribute = value.partition(":")
            if (value or name == "target") and not (colon and module and attribute):
                raise StudyError(f"{name}={value!r}", _FORMS, path=("options", name))


class Called:
    """Asks a function, and reads what it returns."""

    def __init__(
        self, predict: Callable[..., Any], fit: Callable[..., Any] | None, owner: Any, labels: Sequence[str], each: bool
    ) -> None:
        self._predict = predict
        self._fit = fit
        self._owner = owner
        self._labels = labels
        self._each = each

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Let it learn, if it can."""
        if self._fit is not None:
            self._fit(list(texts), list(labels))

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return what it answers; a label that is none of the task's counts as unparsable.

        Raises:
            StudyError: if the answer is not one for each text, or of no form that is known.
        """
        if not texts:
            return []
        if self._each:
            return [read_answer(self._predict(text), self._labels) for text in texts]
        answers = _listed(self._predict(list(texts)), len(texts))
        return [read_answer(answer, self._labels) for answer in answers]

    def close(self) -> None:
        """Close the object, if it can be closed."""
        close = getattr(self._owner, "close", None)
        if callable(close):
            close()


def open_model(options: Options, task: Task, place: Place) -> Model:
    """Import the function.

    Raises:
        StudyError: if there is no such thing, or it cannot be called.
    """
    owner = _find(options.target, "target")
    if inspect.isclass(owner):
        owner = _made(owner, options.target)
    predict = getattr(owner, "predict", owner)
    if not callable(predict):
        raise StudyError(f"target={options.target!r} is {_kind(owner)}", _FORMS, path=("options", "target"))
    fit = _find(options.fit, "fit") if options.fit else getattr(owner, "fit", None)
    if fit is not None and not callable(fit):
        raise StudyError(
            f"fit={options.fit!r} is {_kind(fit)}", "a function of texts and labels", path=("options", "fit")
        )
    for name, function in (("target", predict), ("fit", fit)):
        if inspect.iscoroutinefunction(function):
            remedy = "name a function that calls it by asyncio.run"
            raise StudyError(f"{name} {function!r} is a coroutine", "a plain function", remedy, ("options", name))
    return Called(predict, fit, owner, task.labels, options.each)


def _made(found: type[Any], target: str) -> Any:
    try:
        return found()
    except TypeError as error:
        remedy = "name a function or an object that makes it as it should be"
        raise StudyError(
            f"target={target!r}: {error}", "a class without arguments", remedy, ("options", "target")
        ) from error


def _find(target: str, option: str) -> Any:
    module, _, attributes = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        remedy = "install it, or run where it is: the folder must be on sys.path (PYTHONPATH)"
        raise StudyError(
            f"{option}={target!r}: {error}", "a module that can be imported", remedy, ("options", option)
        ) from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            there = ", ".join(name for name in dir(found) if not name.startswith("_")) or "nothing"
            what = f"{option}={target!r}: {found!r} has no {attribute!r}"
            raise StudyError(what, there[:300], "correct the name", ("options", option))
        found = getattr(found, attribute)
    return found


def _listed(answer: object, texts: int) -> list[object]:
    """Return the answers to several texts, one each."""
    remedy = "or each: true, if it takes one text at a time"
    if isinstance(answer, str | bytes | Mapping | Prediction) or not isinstance(answer, Iterable):
        raise StudyError(
            f"for {texts} text(s) came {_kind(answer)}: {_brief(answer)}", "a list, one answer a text", remedy
        )
    answers = list(answer)
    if len(answers) != texts:
        raise StudyError(f"for {texts} text(s) came {len(answers)} answer(s): {_brief(answers)}", f"{texts}", remedy)
    return answers


def _kind(value: object) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
