"""``greeninfer dashboards DIR``: what it writes, what it refuses, what it says."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

import pytest

from greeninfer import dashboards
from greeninfer.dashboards import shipped

FILES = {
    "docker-compose.yaml",
    "grafana/dashboards/energy-per-request.json",
    "grafana/dashboards/fleet.json",
    "grafana/provisioning/dashboards/greeninfer.yaml",
    "grafana/provisioning/datasources/prometheus.yaml",
    "prometheus/greeninfer.rules.yml",
    "prometheus/prometheus.yml",
}


def command(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    dashboards.add_arguments(parser)
    return dashboards.main(parser.parse_args([str(each) for each in arguments]))


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_written_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "not" / "there yet"
    assert command(folder) == 0
    assert set(tree(folder)) == FILES
    source = Path(dashboards.__file__).parent / "files"
    assert tree(folder) == tree(source)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[: len(FILES)] == [f"wrote     {folder / name}" for name in sorted(FILES)]
    assert f"docker compose -f '{folder / 'docker-compose.yaml'}' up" in said.out
    assert str(folder / "prometheus" / "prometheus.yml") in said.out
    assert said.err == ""


def test_a_second_time_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    assert command(tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert capsys.readouterr().out.count("unchanged ") == len(FILES)


def test_what_somebody_changed_is_kept_and_nothing_else_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "prometheus" / "prometheus.yml"
    changed.parent.mkdir()
    changed.write_text("mine")
    (tmp_path / "notes.txt").write_text("mine, too")
    assert command(tmp_path) == 1
    assert tree(tmp_path) == {"prometheus/prometheus.yml": b"mine", "notes.txt": b"mine, too"}
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"greeninfer dashboards: 1 files in {tmp_path} differ from ours: prometheus/prometheus.yml; "
        "nothing was written; remedy: name another folder, or --force to overwrite them\n"
    )


def test_force_overwrites_ours_and_leaves_what_is_not(tmp_path: Path) -> None:
    command(tmp_path)
    (tmp_path / "prometheus" / "prometheus.yml").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine, too")
    assert command(tmp_path, "--force") == 0
    assert tree(tmp_path) == {**shipped(), "notes.txt": b"mine, too"}


@pytest.mark.parametrize("flags", [(), ("--force",)])
@pytest.mark.parametrize("taken", [".", "prometheus", "prometheus/prometheus.yml"])
def test_what_cannot_be_written_is_named(
    taken: str, flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file stands where a folder has to be, or a folder where a file has to be."""
    folder = tmp_path / "folder"
    obstacle = folder / taken
    if taken.endswith(".yml"):
        obstacle.mkdir(parents=True)
    else:
        obstacle.parent.mkdir(parents=True, exist_ok=True)
        obstacle.write_text("a file")
    assert command(folder, *flags) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"greeninfer dashboards: cannot write into {folder}: ")
    assert str(obstacle) in said and "remedy: name another one" in said
    assert said.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_mine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert command(tmp_path) == 1
    assert os.strerror(errno.EACCES) in capsys.readouterr().err


def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert command(tmp_path) == 1
    said = capsys.readouterr()
    assert os.strerror(errno.ENOSPC) in said.err and "docker-compose.yaml" in said.err
    assert "wrote" not in said.out
