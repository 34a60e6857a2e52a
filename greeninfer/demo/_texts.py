"""Labelled texts that come with the bench; what they are, where from and under which licence: each SOURCE.md."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

_TITLES = {
    "banking77-10": ("bank-question", "bank questions"),
    "tomatoes": ("film-review", "film reviews"),
}


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts with their right labels, in the order of the file."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to classify.

    Args:
        name: name of its spans and metrics.
        title: the same for people.
        data: directory of its files.
        labels: all labels, one of which is the answer.
        train: what the classifiers learn from.
        test: what is sent to them; they have never seen it.
    """

    name: str
    title: str
    data: str
    labels: tuple[str, ...]
    train: Texts
    test: Texts

    @property
    def majority(self) -> float:
        """Return the accuracy on the test texts of always answering the commonest label of the training texts."""
        commonest = max(self.labels, key=self.train.labels.count)
        return self.test.labels.count(commonest) / len(self.test.labels)


def load_tasks() -> tuple[Task, ...]:
    """Read every data set that comes with the package."""
    return tuple(_load(data, name, title) for data, (name, title) in _TITLES.items())


def _load(data: str, name: str, title: str) -> Task:
    folder = files("greeninfer.bench") / "data" / data
    labels = tuple((folder / "labels.txt").read_text(encoding="utf-8").split())
    return Task(
        name, title, data, labels, *(_read((folder / f"{half}.csv").read_text("utf-8")) for half in ("train", "test"))
    )


def _read(text: str) -> Texts:
    rows = list(csv.DictReader(text.splitlines()))
    return Texts(tuple(row["text"] for row in rows), tuple(row["label"] for row in rows))
