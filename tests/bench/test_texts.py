from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from greeninfer.bench._study import Dataset
from greeninfer.bench._texts import BUILT_IN, Labelled, as_label, load
from greeninfer.errors import StudyError

DATA = files("greeninfer.bench") / "data"
GOOD = "text,label\nhello,a\nworld,b\nagain,a\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Labelled]:
    def write_and_load(content: str | bytes, name: str = "tickets.csv", **columns: Any) -> Labelled:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return load(Dataset("tickets", name, **columns), tmp_path)

    return write_and_load


def test_built_in_sets_are_those_that_are_there() -> None:
    assert sorted(each.name for each in DATA.iterdir() if each.is_dir()) == sorted(BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_set_is_what_its_source_says(name: str, tmp_path: Path) -> None:
    source = (DATA / name / "SOURCE.md").read_text(encoding="utf-8")
    assert re.search(r"\| licence \| .*(CC BY|CC0)", source)
    assert "| attribution |" in source
    rows = []
    for half in ("train.csv", "test.csv"):
        content = (DATA / name / half).read_bytes()
        assert f"sha256 {half} {sha256(content).hexdigest()}" in source
        rows += list(csv.reader(content.decode().splitlines()))[1:]
    labelled = load(Dataset("x", name), tmp_path)
    assert list(zip(labelled.texts, labelled.labels, strict=True)) == [tuple(row) for row in rows]
    assert len(rows) == 400
    assert sorted(set(labelled.labels)) == (DATA / name / "labels.txt").read_text(encoding="utf-8").split()
    assert labelled.notes == ()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_of_every_delimiter(delimiter: str, start: bytes, end: str, read: Callable[..., Labelled]) -> None:
    lines = ["id,queue,body", '1,a,"one; two, and\tthree ""four"""', '2,b,"über\nzwei Zeilen"', "", "3,a,five"]
    text = end.join(lines)
    if delimiter != ",":
        text = text.replace("id,queue,body", delimiter.join(["id", "queue", "body"]))
        text = re.sub(r"(?m)^(\d),(\w),", rf"\1{delimiter}\2{delimiter}", text)
    found = read(start + text.encode(), text="body", label="queue")
    assert found.texts == ('one; two, and\tthree "four"', "über\nzwei Zeilen", "five")
    assert found.labels == ("a", "b", "a")


def test_a_missing_column_names_those_that_are_there(read: Callable[..., Labelled]) -> None:
    with pytest.raises(StudyError) as caught:
        read("body;queue\nx;a\ny;b\n")
    assert "tickets.csv has no column 'text'; allowed: body, queue; remedy: text: " in str(caught.value)
    assert caught.value.path == ("text",)
    with pytest.raises(StudyError, match="no column 'label'; allowed: text, queue") as caught:
        read("text,queue\nx,a\n")
    assert caught.value.path == ("label",)
    with pytest.raises(StudyError, match="2 columns 'text'"):
        read("text,label,text\nx,a,y\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "none: it is empty"),
        (b"text,label\n", "no row that can be used"),
        (b"text,label\nhello,a\ncaf\xe9,b\n", "tickets.csv:3: the byte 0xe9 is not UTF-8"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (b"text,label\nhello,a\nwo\0rld,b\n", "tickets.csv:3: a NUL byte"),
        (b"text,label\nhello,a\none, two,b\n", "tickets.csv:3: 3 values, but 2 columns"),
        (b"text,label\nhello,a\nalone\n", "tickets.csv:3: 1 values, but 2 columns"),
        (b'text,label\nhello,a\n"open,b\nx,a\n', "tickets.csv:4: unexpected end of data"),
        (b"text,label\nhello,a\nworld,a\n", "only the label 'a'"),
        (b"text,label\nhello,1\nworld,2\nagain,3\n", "3 labels in 3 rows"),
    ],
)
def test_bad_csv_is_told(content: bytes, message: str, read: Callable[..., Labelled]) -> None:
    with pytest.raises(StudyError) as caught:
        read(content)
    assert message in str(caught.value)


def test_what_is_left_out_is_counted(read: Callable[..., Labelled]) -> None:
    rows = ["one,a", ",a", "  ,b", "two,", "one,a", "one,a", "one,b", "two,b", "three,b"]
    found = read("text,label\n" + "\n".join(rows))
    assert found.texts == ("one", "two", "three")
    assert found.labels == ("a", "b", "b")
    assert [note.split(" rows have ")[0].removeprefix("tickets: ") for note in found.notes[:4]] == [
        "2 of 9", "1 of 9", "2 of 9", "1 of 9",
    ]  # fmt: skip
    assert [word in note for word, note in zip(("no text", "no label", "text and label", "another label"), found.notes,
                                               strict=False)] == [True] * 4  # fmt: skip
    assert found.notes[4:] == ("tickets: labels with a single text, learnt or asked but never both: a",)


def test_a_very_long_text_is_read(read: Callable[..., Labelled]) -> None:
    before = csv.field_size_limit()
    long = "word " * 40_000
    assert read(f"text,label\n{long},a\nx,b\ny,b\n").texts[0] == long
    assert csv.field_size_limit() == before


def test_json_lines(read: Callable[..., Labelled]) -> None:
    rows = [
        {"text": "one", "label": 1, "id": 9},
        {"text": "two", "label": 2.0},
        {"text": "three", "label": True},
        {"text": "four", "label": "  1 "},
        {"text": None, "label": 1},
        {"label": 1},
        {"text": "five", "label": None},
        {"text": "half \ud800", "label": 1},
        {"text": "nul \0", "label": 1},
    ]
    found = read("\n\n".join(json.dumps(row) for row in rows), "tickets.jsonl")
    assert found.texts == ("one", "two", "three", "four")
    assert found.labels == ("1", "2", "true", "1")
    assert "2 of 9 rows have no text" in found.notes[0]
    assert "1 of 9 rows have no label" in found.notes[1]
    assert "2 of 9 rows have a NUL or half a character" in found.notes[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a", "label": "b"}\n{"text": \n', "tickets.jsonl:2: "),
        ('{"text": "a", "label": "b"}\n\n["a", "b"]\n', "tickets.jsonl:3: "),
        ('{"body": "a", "label": "b"}\n', "no column 'text'; allowed: body, label"),
        ('{"text": "a", "queue": "b"}\n', "no column 'label'; allowed: text, queue"),
        ('{"text": 5, "label": "b"}\n', "holds 5, which is no text"),
        ("[" * 100_000, "tickets.jsonl:1: "),
    ],
)
def test_bad_json_lines_are_told(content: str, message: str, read: Callable[..., Labelled]) -> None:
    with pytest.raises(StudyError) as caught:
        read(content, "tickets.jsonl")
    assert message in str(caught.value)


def test_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {"body": ["one", "two", None, "four"], "queue": pa.array(["a", "b", "a", None]).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "tickets.parquet")
    found = load(Dataset("t", "tickets.parquet", "body", "queue"), tmp_path)
    assert (found.texts, found.labels) == (("one", "two"), ("a", "b"))
    with pytest.raises(StudyError, match="no column 'text'; allowed: body, queue"):
        load(Dataset("t", "tickets.parquet"), tmp_path)
    (tmp_path / "tickets.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(StudyError, match="damaged, or no Parquet"):
        load(Dataset("t", "tickets.parquet"), tmp_path)


def test_parquet_of_hugging_face_has_names_for_its_classes(tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"names": ["ham", "spam"], "_type": "ClassLabel"}}}}
    table = pa.table({"text": ["one", "two", "three"], "label": [0, 1, -1]})
    named = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(named, tmp_path / "a.parquet")
    found = load(Dataset("t", "a.parquet"), tmp_path)
    assert found.labels == ("ham", "spam")
    assert "1 of 3 rows have no label" in found.notes[0]
    pq.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(StudyError, match="3 labels in 3 rows"):
        load(Dataset("t", "b.parquet"), tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tomatos", "did you mean tomatoes?"),
        ("tickets.xlsx", "a path ending in .csv, .tsv, .jsonl, .ndjson, .parquet"),
        ("nowhere.csv", "nowhere.csv is not there"),
        ("folder.csv", "cannot be read"),
    ],
)
def test_a_source_that_is_not_there(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StudyError) as caught:
        load(Dataset("d", source), tmp_path)
    assert message in str(caught.value)
    assert caught.value.path == ("source",)


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)
    assert len(load(Dataset("d", str(tmp_path / "a.csv")), Path("/nowhere")).texts) == 3


def test_descriptions_are_of_labels_that_are_there(read: Callable[..., Labelled]) -> None:
    read(GOOD, descriptions={"a": "first"})
    with pytest.raises(StudyError, match="no label 'A'; allowed: a, b") as caught:
        read(GOOD, descriptions={"A": "first"})
    assert caught.value.path == ("descriptions", "A")


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (None, ""),
        (float("nan"), ""),
        (0, "0"),
        (False, "false"),
        (3.0, "3"),
        (0.5, "0.5"),
        ("007", "007"),
        (" a ", "a"),
    ],
)
def test_labels_become_text(value: object, label: str) -> None:
    assert as_label(value) == label


class FakeTable:
    def __init__(self, columns: dict[str, list[Any]], names: list[str] | None = None) -> None:
        self._columns = columns
        self.column_names = list(columns)
        self.features = {name: SimpleNamespace(names=names) if name == "label" else object() for name in columns}

    def __getitem__(self, name: str) -> list[Any]:
        return self._columns[name]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the made-up package ``datasets`` was asked for."""
    calls: list[Any] = []
    fake = ModuleType("datasets")
    parts = {
        "train": FakeTable({"text": ["one", "two"], "label": [0, 1]}, ["neg", "pos"]),
        "test": FakeTable({"text": ["three", "four"], "label": [1, -1]}, ["neg", "pos"]),
    }

    def load_dataset(*arguments: Any, **more: Any) -> Any:
        calls.append((*arguments, more))
        if arguments[0] == "org/gone":
            raise FileNotFoundError("Couldn't find it\nmany lines")
        return parts

    vars(fake).update(
        __version__="5.2.0", load_dataset=load_dataset, exceptions=SimpleNamespace(DatasetsError=KeyError)
    )
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return calls


def test_hugging_face(asked: list[Any], tmp_path: Path) -> None:
    found = load(Dataset("d", "hf:org/name"), tmp_path)
    assert (found.texts, found.labels) == (("one", "two", "three"), ("neg", "pos", "pos"))
    assert "1 of 4 rows have no label" in found.notes[0]
    assert load(Dataset("d", "hf:org/name:easy", part="train"), tmp_path).texts == ("one", "two")
    assert asked == [("org/name", None, {}), ("org/name", "easy", {})]
    for dataset, message in (
        (Dataset("d", "hf:org/name", part="dev"), "no part 'dev'; allowed: train, test"),
        (Dataset("d", "hf:org/name", text="body"), "no column 'body'; allowed: text, label"),
        (Dataset("d", "hf:org/gone"), "cannot be loaded: Couldn't find it; allowed"),
    ):
        with pytest.raises(StudyError) as caught:
            load(dataset, tmp_path)
        assert message in str(caught.value)


def test_hugging_face_never_runs_code_of_a_data_set(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["datasets"], "__version__", "3.6.0")
    load(Dataset("d", "hf:org/name"), tmp_path)
    assert asked == [("org/name", None, {"trust_remote_code": False})]


def test_hugging_face_without_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="pip install datasets"):
        load(Dataset("d", "hf:org/name"), tmp_path)


@pytest.mark.heavy
def test_real_hugging_face_folders(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the package datasets reads them")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    table = datasets.Dataset.from_dict({"text": ["one", "two", "three"], "label": [0, 1, 1]}, features=features)
    table.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": table}).save_to_disk(str(tmp_path / "parts"))
    for source in ("hf:one", "hf:parts"):
        assert load(Dataset("d", source), tmp_path).labels == ("no", "yes", "yes")
    (tmp_path / "script").mkdir()
    ran = tmp_path / "ran"
    (tmp_path / "script" / "script.py").write_text(f"open({str(ran)!r}, 'w')")
    with pytest.raises(StudyError, match="cannot be loaded"):
        load(Dataset("d", "hf:script"), tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(name: str, read: Callable[..., Labelled]) -> None:
    lines = '{"text": "hello", "label": "a"}\n{"text": "world", "label": "b"}\n{"text": "again", "label": "a"}\n'
    assert read(b"\xef\xbb\xbf" + (GOOD if name == "a.csv" else lines).encode(), name).texts[0] == "hello"
