"""Labelled texts from wherever they lie: what comes with the package, files, Hugging Face; cleaned, and told how.

A text that is there twice could be learnt from and asked in the same split: only its first copy stays. Nothing is left
out silently: every row that is not used is counted in the notes.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from greeninfer.bench import _hub as hub
from greeninfer.bench import _tables as tables
from greeninfer.bench._study import Dataset
from greeninfer.bench._tables import Columns
from greeninfer.errors import StudyError

BUILT_IN = ("banking77-10", "cycling-dialogues-de", "goemotions-ekman6", "sms-spam", "snips7", "tomatoes")
"""Data sets that come with the package; what each is, from where and under which licence: its SOURCE.md."""

HALVES = ("train.csv", "test.csv")
MOST_LABELS = 32_767  # results keep a label's number in 16 bits


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts with their labels.

    Args:
        name: of the data set.
        texts, labels: one label for each text, in the order of the source.
        notes: what was left out or changed, in words; also what is odd about it.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load(dataset: Dataset, base: Path) -> Labelled:
    """Read a data set.

    Args:
        dataset: which.
        base: folder that a relative path starts from.

    Raises:
        StudyError: if it cannot be read, lacks a column, or has fewer than two labels.
        ImportError: if a package that reads such data is not installed.
    """
    return clean(dataset, _read(dataset, base))


def _read(dataset: Dataset, base: Path) -> Columns:
    source = dataset.source
    if source.startswith("hf:"):
        return hub.read_hub(dataset, base)
    if source in BUILT_IN:
        folder = files("greeninfer.bench") / "data" / source
        parts = [tables.read_csv((folder / half).read_bytes(), f"{source}/{half}", dataset) for half in HALVES]
        return Columns(tuple(text for part in parts for text in part.texts),
                       tuple(label for part in parts for label in part.labels))  # fmt: skip
    path = base / source
    if path.suffix.lower() not in tables.READERS:
        near = difflib.get_close_matches(source, BUILT_IN, 1)
        allowed = f"a built-in set ({', '.join(BUILT_IN)}), a path ending in {', '.join(tables.READERS)}, or hf:ID"
        raise StudyError(f"source={source!r}", allowed, f"did you mean {near[0]}?" if near else "", ("source",))
    return tables.read_file(path, dataset)


def clean(dataset: Dataset, columns: Columns) -> Labelled:
    """Leave out what cannot be used, and say so.

    Raises:
        StudyError: if what remains cannot be classified.
    """
    kept: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for text, value in zip(columns.texts, columns.labels, strict=True):
        label = as_label(value)
        if text is not None and not isinstance(text, str):
            what = f"the column {dataset.text!r} of {dataset.name} holds {text!r}, which is no text"
            raise StudyError(what, "a column of texts", "name another", ("text",))
        if text is None or not text.strip():
            left_out["no text"] += 1
        elif not label:
            left_out["no label"] += 1
        elif not _is_clean(text) or not _is_clean(label):
            left_out["a NUL or half a character in them"] += 1
        elif text not in kept:
            kept[text] = label
        elif kept[text] == label:
            left_out["the text and label of an earlier row"] += 1
        else:
            left_out["the text of an earlier row, with another label"] += 1
    total = len(columns.texts)
    notes = tuple(
        f"{dataset.name}: {count} of {total} rows have {reason} and are left out" for reason, count in left_out.items()
    )
    labels = tuple(kept.values())
    return Labelled(dataset.name, tuple(kept), labels, (*notes, *_check_labels(dataset, labels, notes)))


def as_label(value: object) -> str:
    """Return a label as text, "" for a missing one; whole numbers lose their decimal point, as in files without it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _is_clean(text: str) -> bool:
    if "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _check_labels(dataset: Dataset, labels: Sequence[str], notes: Sequence[str]) -> list[str]:
    counts = Counter(labels)
    if len(counts) < 2:
        found = f"only the label {labels[0]!r}" if labels else "no row that can be used"
        what = "; ".join((f"{dataset.name} has {found}", *notes))
        raise StudyError(
            what, "two labels or more", f"look at the columns {dataset.text} and {dataset.label}", ("label",)
        )
    if len(counts) > MOST_LABELS or (len(counts) == len(labels) > 2):
        what = f"{dataset.name} has {len(counts)} labels in {len(labels)} rows"
        raise StudyError(
            what, f"labels that repeat, {MOST_LABELS} at most", f"is {dataset.label!r} the label?", ("label",)
        )
    strange = sorted(set(dataset.descriptions) - set(counts))
    if strange:
        near = difflib.get_close_matches(strange[0], counts, 1)
        allowed = ", ".join(sorted(counts)[:30])
        remedy = f"did you mean {near[0]}?" if near else ""
        raise StudyError(f"{dataset.name} has no label {strange[0]!r}", allowed, remedy, ("descriptions", strange[0]))
    rare = sorted(label for label, count in counts.items() if count == 1)
    if not rare:
        return []
    more = f" and {len(rare) - 5} more" if len(rare) > 5 else ""
    return [f"{dataset.name}: labels with a single text, learnt or asked but never both: {', '.join(rare[:5])}{more}"]
