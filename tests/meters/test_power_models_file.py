"""Power models from files: what ``estimate`` makes of them, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from greeninfer._settings import Settings
from greeninfer.errors import SettingsError
from greeninfer.meters import check_names
from greeninfer.meters._power_models import parse_power_model
from greeninfer.meters.estimate import GAIN, open_estimate

GOOD = {
    "greeninfer_power_model": 1, "idle_watts": 2.0, "full_watts": 10.0, "gain": [0.8, 1.3],
    "source": "fitted by greeninfer bench to 6 candidates on node7", "date": "2026-03-01",
}  # fmt: skip


@dataclass
class Hand:
    """A clock that is moved by hand."""

    seconds: float = 100.0

    def now(self) -> float:
        return self.seconds

    def unix(self) -> float:
        return 0.0

    def asleep(self) -> float:
        return 0.0


def model_file(folder: Path, **changed: Any) -> str:
    path = folder / "model.json"
    path.write_text(json.dumps(GOOD | changed), encoding="utf-8")
    return str(path)


def proc(folder: Path) -> str:
    (folder / "stat").write_text("cpu  100 0 0 500 0 0 0 0 0 0\ncpu0 50 0 0 0\ncpu1 50 0 0 0\n")
    return str(folder)


def test_the_estimate_counts_by_the_file_and_says_so(tmp_path: Path) -> None:
    """2 cores at 2 W idle for 10 s, nothing busy: 40 J."""
    clock = Hand()
    settings = Settings(proc_root=proc(tmp_path), power_model=model_file(tmp_path))
    meter = open_estimate(settings, clock, process_seconds=lambda: 0.0)
    clock.seconds += 10.0
    (reading,) = meter.read()
    assert reading.joules == pytest.approx(40.0)
    assert meter.info.quality == "estimated"
    assert meter.info.gain == (0.8, 1.3)
    assert "node7, 2026-03-01" in meter.info.source
    assert "2 to 10 W per logical core" in meter.info.source
    meter.close()


def test_watts_in_the_setting_keep_the_gain_of_an_estimate(tmp_path: Path) -> None:
    clock = Hand()
    meter = open_estimate(Settings(proc_root=proc(tmp_path), power_model="2:10"), clock)
    assert meter.info.gain == GAIN
    meter.close()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"greeninfer_power_model": 2}, "greeninfer_power_model 2, not 1"),
        ({"greeninfer_power_model": None}, "greeninfer_power_model None, not 1"),
        ({"idle_watts": "2"}, "idle_watts is '2', not a number"),
        ({"full_watts": None}, "full_watts is None, not a number"),
        ({"full_watts": True}, "full_watts is True, not a number"),
        ({"full_watts": 1.0}, "the file has 2.0 and 1.0 watts"),
        ({"idle_watts": -1.0}, "the file has -1.0 and 10.0 watts"),
        ({"idle_watts": float("inf")}, "idle_watts is inf, not a number"),
        ({"gain": None}, "gain is None"),
        ({"gain": [0.8]}, "gain is [0.8]"),
        ({"gain": [1.1, 1.3]}, "gain is [1.1, 1.3]"),
        ({"gain": [0.0, 1.3]}, "gain is [0.0, 1.3]"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_by_name(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    text = model_file(tmp_path, **changed)
    with pytest.raises(SettingsError) as caught:
        check_names(Settings(power_model=text))
    message = str(caught.value)
    assert reason in message
    assert repr(text) in message
    assert "remedy:" in message


@pytest.mark.parametrize(("content", "reason"), [("{", "is no JSON"), ("[1, 2]", "greeninfer_power_model None")])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "other"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=reason):
        parse_power_model(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.json.*No such file"):
        parse_power_model(str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize("text", ["lots", "1:2:3", "x" * 5000, "a\0b"])
def test_a_word_is_neither_watts_nor_a_file(text: str) -> None:
    with pytest.raises(SettingsError, match="write two numbers with a colon between them"):
        parse_power_model(text)


def test_a_file_without_an_ending_is_found_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "watts").write_text(json.dumps(GOOD), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert parse_power_model("watts").full_watts == 10.0
