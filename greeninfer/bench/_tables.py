"""Two columns out of a file: CSV, JSON lines or Parquet; whatever is wrong is told with its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greeninfer.bench._optional import need
from greeninfer.bench._study import Dataset
from greeninfer.errors import StudyError

DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Columns:
    """What was read, as it is: texts and labels, one each for every row; None where one is missing."""

    texts: Sequence[object]
    labels: Sequence[object]


def read_file(path: Path, dataset: Dataset) -> Columns:
    """Read the two columns of a file.

    Raises:
        StudyError: if it is not there, damaged, or lacks a column.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        remedy = "a path counts from the folder of the study file"
        raise StudyError(f"{path} is not there", "a file", remedy, ("source",)) from None
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror})", "a file", "", ("source",)) from error
    return READERS[path.suffix.lower()](content, path.name, dataset)


def read_csv(content: bytes, name: str, dataset: Dataset) -> Columns:
    """Read CSV with a header; the delimiter is the one of , ; and tab with which the header has the columns."""
    stream = io.StringIO(_decoded(content, name), newline="")
    header, delimiter = _header(stream, name, dataset)
    text_at, label_at = header.index(dataset.text), header.index(dataset.label)
    stream.seek(0)
    # strict: without it, a quote that is never closed swallows the rest of the file into one text.
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    texts, labels = [], []
    limit = csv.field_size_limit(max(len(content), 131_072))
    try:
        next(reader)
        for row in reader:
            if len(row) == len(header):
                texts.append(row[text_at])
                labels.append(row[label_at])
            elif row:
                what = f"{name}:{reader.line_num}: {len(row)} values, but {len(header)} columns ({_listed(header)})"
                raise StudyError(what, "as many as columns", f"put quotes round texts with {delimiter!r}", ("source",))
    except csv.Error as error:
        what = f"{name}:{reader.line_num}: {error}"
        raise StudyError(
            what, "CSV", 'close every quote, and write a quote inside a text as ""', ("source",)
        ) from error
    finally:
        csv.field_size_limit(limit)
    return Columns(texts, labels)


def read_json_lines(content: bytes, name: str, dataset: Dataset) -> Columns:
    """Read one JSON object for each line."""
    texts, labels = [], []
    seen: dict[str, None] = {}
    for number, line in enumerate(_decoded(content, name).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            what = f"{name}:{number}: {error}"
            raise StudyError(what, "one JSON object on each line", path=("source",)) from error
        if not isinstance(row, dict):
            what = f"{name}:{number}: {line[:40]!r}"
            raise StudyError(what, "one JSON object on each line", path=("source",))
        if len(seen) < 1000:
            seen.update(dict.fromkeys(row))
        texts.append(row.get(dataset.text))
        labels.append(row.get(dataset.label))
    for field, column in (("text", texts), ("label", labels)):
        if column.count(None) == len(column):
            _check_columns(tuple(key for key in seen if key != getattr(dataset, field)), name, dataset)
    return Columns(texts, labels)


def read_parquet(content: bytes, name: str, dataset: Dataset) -> Columns:
    """Read Parquet; numbers of classes become names where the file was written by Hugging Face ``datasets``."""
    parquet, arrow = need("pyarrow.parquet"), need("pyarrow")
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        _check_columns(file.schema_arrow.names, name, dataset)
        table = file.read(columns=[dataset.text, dataset.label])
        texts, labels = (table.column(column).to_pylist() for column in (dataset.text, dataset.label))
    except (arrow.ArrowException, OSError) as error:
        raise StudyError(f"{name} is damaged, or no Parquet: {error}", "Parquet", path=("source",)) from error
    names = _class_names(file.schema_arrow.metadata or {}, dataset.label)
    return Columns(texts, [class_name(value, names) for value in labels])


READERS: Mapping[str, Callable[[bytes, str, Dataset], Columns]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
}
"""Readers by the end of a file's name."""


def class_name(value: object, names: Sequence[str]) -> object:
    """Return the name of a class by its number; what is no such number stays, and -1 (no label) becomes None."""
    if not names or not isinstance(value, int) or isinstance(value, bool):
        return value
    if value == -1:
        return None
    return names[value] if 0 <= value < len(names) else value


def _class_names(metadata: Mapping[bytes, bytes], column: str) -> Sequence[str]:
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return names if isinstance(names, list) else ()


def _decoded(content: bytes, name: str) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise StudyError(f"{name} is UTF-16", "UTF-8", "save it as UTF-8", ("source",))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        what = f"{name}:{line}: the byte 0x{content[error.start]:02x} is not UTF-8"
        remedy = f"save it as UTF-8, such as: iconv -f WINDOWS-1252 -t UTF-8 {name}"
        raise StudyError(what, "UTF-8", remedy, ("source",)) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise StudyError(f"{name}:{line}: a NUL byte", "text", "is this the right file?", ("source",))
    return text


def _header(stream: io.StringIO, name: str, dataset: Dataset) -> tuple[list[str], str]:
    found = []
    for delimiter in DELIMITERS:
        stream.seek(0)
        try:
            header = [column.strip() for column in next(csv.reader(stream, delimiter=delimiter), [])]
        except csv.Error as error:
            raise StudyError(f"{name}:1: {error}", "CSV with a header", path=("source",)) from error
        if {dataset.text, dataset.label} <= set(header):
            _check_columns(header, name, dataset)
            return header, delimiter
        found.append(header)
    header = max(found, key=len)
    _check_columns(header, name, dataset)
    raise AssertionError("a header that has the columns was looked for")


def _check_columns(columns: Sequence[str], name: str, dataset: Dataset) -> None:
    """Raise ``StudyError`` if a column is missing or there twice."""
    for field in ("text", "label"):
        wanted = getattr(dataset, field)
        if columns.count(wanted) > 1:
            raise StudyError(f"{name} has {columns.count(wanted)} columns {wanted!r}", "one", "rename one", (field,))
        if wanted not in columns:
            what = f"{name} has no column {wanted!r}"
            remedy = f"{field}: the name of yours, with the data set's source; a file starts with its columns' names"
            raise StudyError(what, _listed(columns) or "none: it is empty", remedy, (field,))


def _listed(columns: Sequence[str]) -> str:
    shown = [column if len(column) <= 40 else column[:37] + "..." for column in columns[:20]]
    return ", ".join(shown) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
