"""Always the commonest label of the training texts: what every other model has to beat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from greeninfer.bench._model import Model, Place, Prediction, Task


@dataclass(frozen=True, slots=True)
class Options:
    """It takes none."""


class Majority:
    """Answers the commonest label; its confidence is that label's share of the training texts."""

    def __init__(self) -> None:
        self._answer = Prediction(None)

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Count the labels; of equally common ones the first in the alphabet stands."""
        label, count = min(Counter(labels).items(), key=lambda each: (-each[1], each[0]))
        self._answer = Prediction(label, count / len(labels))

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return the same answer for every text."""
        return [self._answer] * len(texts)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def open_model(options: Options, task: Task, place: Place) -> Model:
    """Return the model."""
    return Majority()
