"""Exporters by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from greeninfer._records import Settlement
from greeninfer._settings import Settings
from greeninfer.errors import SettingsError
from greeninfer.exporters import EXPORTERS, Exporter, open_exporters


def test_they_open_once_each_in_the_order_of_the_settings(tmp_path: Path) -> None:
    asked = Settings(exporters=("log", "jsonl", "log", "prometheus", "jsonl"), jsonl_path=str(tmp_path / "requests"))
    opened = open_exporters(asked)
    assert [exporter.name for exporter in opened] == ["log", "jsonl", "prometheus"]
    assert (tmp_path / "requests").exists()
    for exporter in opened:
        exporter.close()


def test_none_is_possible() -> None:
    assert open_exporters(Settings(exporters=())) == ()


def test_a_name_is_the_exporters_own(tmp_path: Path) -> None:
    for name, make in EXPORTERS.items():
        exporter = make(Settings(jsonl_path=str(tmp_path / "requests")))
        assert exporter.name == name
        exporter.close()


def test_an_unknown_name_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    asked = Settings(exporters=("jsonl", "promethues"), jsonl_path=str(tmp_path / "requests"))
    with pytest.raises(SettingsError) as refusal:
        open_exporters(asked)
    assert "exporters='promethues' is not possible" in str(refusal.value)
    assert "allowed: jsonl, log, otel, prometheus; remedy: " in str(refusal.value)
    assert not list(tmp_path.iterdir())


class Spy:
    """An exporter that knows whether it is open."""

    name = "spy"

    def __init__(self) -> None:
        self.closed = 0

    def export(self, settlement: Settlement) -> None: ...

    def close(self) -> None:
        self.closed += 1


def test_those_that_are_open_are_closed_when_a_later_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy()

    def make(settings: Settings) -> Exporter:
        return spy

    monkeypatch.setitem(EXPORTERS, "spy", make)
    with pytest.raises(SettingsError, match="jsonl_path"):
        open_exporters(Settings(exporters=("spy", "jsonl"), jsonl_path=str(tmp_path / "missing" / "requests")))
    assert spy.closed == 1
