"""The file of JSON lines: what stands in a line, and that each line is whole, written once and in the right file."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greeninfer._records import NANO
from greeninfer.errors import SettingsError
from greeninfer.exporters.jsonl import JsonlExporter

from .builders import TRACE, WEIRD, full, line, measurement, settlement, short

GOLDEN = Path(__file__).parent / "golden"


def exported(path: Path, *records: Any) -> list[dict[str, Any]]:
    """Return the lines that a new exporter writes for one settlement of these records."""
    exporter = JsonlExporter(str(path))
    exporter.export(settlement(*records))
    exporter.close()
    return lines(path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [strict(text) for text in path.read_text(encoding="ascii").splitlines()]


def strict(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def test_the_lines_are_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    exporter = JsonlExporter(str(path))
    exporter.export(full())
    exporter.close()
    assert path.read_text(encoding="ascii") == (GOLDEN / "requests.jsonl").read_text(encoding="ascii")


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    [record] = exported(tmp_path / "r", measurement(nanojoules=None, seconds=math.nan))
    unknown = {key for key, value in record.items() if value is None}
    assert unknown == {
        "joules", "total_joules", "static_joules", "dynamic_joules", "uncertainty_joules", "interval_joules", "quality",
        "seconds", "cpu_seconds", "first_byte_seconds", "origin", "trace_id", "trace_span_id",
    }  # fmt: skip
    assert [record[parts] for parts in ("by_domain", "phases", "tokens", "messages")] == [{}] * 4


def test_a_request_that_lost_its_sensor_says_so(tmp_path: Path) -> None:
    [record] = exported(tmp_path / "r", measurement(complete=False, quality="estimated"))
    assert (record["complete"], record["quality"]) == (False, "estimated")


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no repr today")


class Vast:
    def __repr__(self) -> str:
        return "x" * 10**6


def test_attributes_are_written_as_json_or_as_repr(tmp_path: Path) -> None:
    cycle: list[object] = [1]
    cycle.append(cycle)
    attributes: dict[str, object] = {
        "plain": [1, 2.5, None, True, "text", {"deep": (1, 2)}],
        "nan": [math.nan, math.inf, -math.inf],
        "big": 10**5000,
        "key": {1: "one", None: "none", (1, 2): "pair"},
        "object": {1, 2},
        "path": Path("/models"),
        "rude": Rude(),
        "vast": Vast(),
        "cycle": cycle,
        "surrogate": "caf\udce9",
    }
    [record] = exported(tmp_path / "r", measurement(attributes=attributes))
    written = record["attributes"]
    assert written["plain"] == [1, 2.5, None, True, "text", {"deep": [1, 2]}]
    assert written["nan"] == [None, None, None]
    assert int(written["big"], 16) == 10**5000
    assert written["key"] == {"1": "one", "None": "none", "(1, 2)": "pair"}
    assert written["object"] == "{1, 2}"
    assert "/models" in written["path"]
    assert "Rude instance" in written["rude"]
    assert len(written["vast"]) == 200
    assert written["cycle"][1][0] == 1
    assert written["surrogate"] == "caf\udce9"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(st.dictionaries(st.text(), JSON), st.text(), st.floats())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_attribute_makes_one_line_of_strict_json(
    tmp_path: Path, attributes: dict[str, object], name: str, seconds: float
) -> None:
    path = tmp_path / "requests"
    path.unlink(missing_ok=True)
    [record] = exported(path, measurement(name, seconds=seconds, attributes=attributes))
    assert record["name"] == name
    assert record["attributes"].keys() == attributes.keys()
    assert record["seconds"] == (seconds if math.isfinite(seconds) else None)


@pytest.mark.parametrize("text", WEIRD, ids=short)
def test_weird_text_is_read_back(tmp_path: Path, text: str) -> None:
    [record] = exported(tmp_path / "r", measurement(text, text, phases={text: NANO}, trace_id=text))
    assert (record["name"], record["model"], record["phases"]) == (text, text, {text: 1.0})
    assert record["trace_id"] == (text or None)


def test_a_file_that_exists_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "r"
    exported(path, measurement("first"))
    assert [record["name"] for record in exported(path, measurement("second"))] == ["first", "second"]


def test_two_exporters_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "r"
    first, second = JsonlExporter(str(path)), JsonlExporter(str(path))
    for exporter, name in ((first, "a"), (second, "b"), (first, "c")):
        exporter.export(settlement(measurement(name)))
    first.close()
    second.close()
    assert [record["name"] for record in lines(path)] == ["a", "b", "c"]


@pytest.mark.skipif(not Path("/proc/thread-self/io").exists(), reason="no /proc/thread-self/io, which counts writes")
def test_a_settlement_is_one_write_and_none_without_requests(tmp_path: Path) -> None:
    def writes() -> int:
        return int(Path("/proc/thread-self/io").read_text().split("syscw: ")[1].split()[0])

    exporter = JsonlExporter(str(tmp_path / "r"))
    before = writes()
    exporter.export(settlement(*(measurement() for _ in range(300))))
    after = writes()
    exporter.export(settlement(line(NANO)))
    assert (after - before, writes() - after) == (1, 0)
    exporter.close()


@pytest.mark.parametrize("rotate", ["rename", "unlink", "truncate"])
def test_it_follows_a_rotated_file(tmp_path: Path, rotate: str) -> None:
    path = tmp_path / "requests.jsonl"
    exporter = JsonlExporter(str(path))
    exporter.export(settlement(measurement("old")))
    if rotate == "rename":
        path.rename(tmp_path / "requests.jsonl.1")
    elif rotate == "unlink":
        path.unlink()
    else:
        shutil.copy(path, tmp_path / "requests.jsonl.1")
        os.truncate(path, 0)
    exporter.export(settlement(measurement("new")))
    exporter.export(settlement(measurement("newer")))
    exporter.close()
    assert [record["name"] for record in lines(path)] == ["new", "newer"]
    if rotate != "unlink":
        assert [record["name"] for record in lines(tmp_path / "requests.jsonl.1")] == ["old"]


def test_it_keeps_to_its_file_when_the_program_changes_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exporter = JsonlExporter("requests.jsonl")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    exporter.export(settlement(measurement()))
    exporter.close()
    assert len(lines(tmp_path / "requests.jsonl")) == 1
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("made_by_another", [False, True])
def test_a_lost_directory_is_an_error_now_and_none_when_it_is_back(tmp_path: Path, made_by_another: bool) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    exporter = JsonlExporter(str(folder / "r"))
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        exporter.export(settlement(measurement("lost")))
    folder.mkdir()
    if made_by_another:
        (folder / "r").touch()
    exporter.export(settlement(measurement("back")))
    exporter.close()
    assert [record["name"] for record in lines(folder / "r")] == ["back"]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let files grow to this size and no further, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_line_torn_by_a_full_disk_does_not_spoil_the_next(tmp_path: Path, room: int) -> None:
    path = tmp_path / "r"
    exporter = JsonlExporter(str(path))
    exporter.export(settlement(measurement("before")))
    with disk_of(path.stat().st_size + room), pytest.raises(OSError, match="too large"):
        exporter.export(settlement(measurement("torn")))
    exporter.export(settlement(measurement("after")))
    exporter.close()
    texts = path.read_text(encoding="ascii").splitlines()
    assert [len(text) for text in texts[1:-1]] == ([room] if room else [])
    assert [strict(text)["name"] for text in (texts[0], texts[-1])] == ["before", "after"]


def test_a_line_torn_in_the_old_file_leaves_no_empty_line_in_the_new(tmp_path: Path) -> None:
    path = tmp_path / "r"
    exporter = JsonlExporter(str(path))
    with disk_of(10), pytest.raises(OSError, match="too large"):
        exporter.export(settlement(measurement("torn")))
    path.rename(tmp_path / "r.1")
    exporter.export(settlement(measurement("new")))
    exporter.close()
    assert [record["name"] for record in lines(path)] == ["new"]


def test_a_reader_that_does_not_keep_up_is_an_error_and_no_hang(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    exporter = JsonlExporter(f"/dev/fd/{writing}")
    os.set_blocking(exporter._file.fileno(), False)  # type: ignore[union-attr]
    with pytest.raises(BlockingIOError):
        exporter.export(settlement(*(measurement() for _ in range(2_000))))
    exporter.close()
    os.close(reading)
    os.close(writing)


def test_a_dash_is_standard_error_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    exporter = JsonlExporter("-")
    monkeypatch.setattr(sys.stderr, "write", written.append)
    exporter.export(settlement(measurement("a"), measurement("b")))
    exporter.export(settlement())
    exporter.close()
    [text] = written
    assert text.endswith("\n")
    assert [strict(each)["name"] for each in text.splitlines()] == ["a", "b"]
    assert not sys.stderr.closed


@pytest.mark.parametrize(("where", "why"), [("missing/r", "No such file"), (".", "Is a directory")])
def test_a_path_that_cannot_be_written_is_refused_at_once(tmp_path: Path, where: str, why: str) -> None:
    path = str(tmp_path / where)
    with pytest.raises(SettingsError) as refusal:
        JsonlExporter(path)
    message = str(refusal.value)
    assert f"jsonl_path={path!r} is not possible ({why}" in message
    assert "allowed: " in message
    assert "remedy: " in message


def test_the_time_is_utc_and_the_trace_is_kept(tmp_path: Path) -> None:
    [record] = exported(tmp_path / "r", measurement(unix_seconds=0.5, trace_id=TRACE))
    assert (record["time"], record["trace_id"]) == ("1970-01-01T00:00:00.500000Z", TRACE)
