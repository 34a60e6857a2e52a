"""The settings: from the environment, checked once, with errors that say what is allowed."""

from __future__ import annotations

import dataclasses

import pytest

from greeninfer._settings import Settings
from greeninfer.errors import GreeninferError, SettingsError


def test_defaults_are_those_that_the_documents_promise() -> None:
    settings = Settings()
    assert settings.meters == ("auto",)
    assert settings.powercap_root == "/sys/class/powercap"
    assert settings.proc_root == "/proc"
    assert settings.idle_watts is None
    assert settings.power_model == ""
    assert settings.disabled is False
    assert Settings.from_env({}) == settings


def test_every_setting_has_its_variable() -> None:
    environ = {
        "GREENINFER_METERS": "rapl, nvml",
        "GREENINFER_EXPORTERS": "prometheus,jsonl",
        "GREENINFER_POWERCAP_ROOT": "/host/sys/class/powercap",
        "GREENINFER_PROC_ROOT": "/host/proc",
        "GREENINFER_TICK_SECONDS": "0.1",
        "GREENINFER_IDLE_WATTS": "41.5",
        "GREENINFER_POWER_MODEL": "0.7:3.5",
        "GREENINFER_JSONL_PATH": "-",
        "GREENINFER_DISABLED": "1",
    }
    settings = Settings.from_env(environ)
    assert settings == Settings(
        meters=("rapl", "nvml"),
        exporters=("prometheus", "jsonl"),
        powercap_root="/host/sys/class/powercap",
        proc_root="/host/proc",
        tick_seconds=0.1,
        idle_watts=41.5,
        power_model="0.7:3.5",
        jsonl_path="-",
        disabled=True,
    )
    assert len(environ) == len(dataclasses.fields(Settings))


def test_the_rest_of_the_environment_is_not_ours() -> None:
    assert Settings.from_env({"PATH": "/bin", "GREEN": "x", "greeninfer_meters": "rapl"}) == Settings()


@pytest.mark.parametrize("text", ["1", "true", "Yes", " on ", "TRUE"])
def test_flags_on(text: str) -> None:
    assert Settings.from_env({"GREENINFER_DISABLED": text}).disabled is True


@pytest.mark.parametrize("text", ["", "0", "false", "No", " off "])
def test_flags_off(text: str) -> None:
    assert Settings.from_env({"GREENINFER_DISABLED": text}).disabled is False


@pytest.mark.parametrize("text", ["rapl,,nvml", " rapl , nvml ", "rapl,nvml,"])
def test_lists_forgive_blanks_and_empty_places(text: str) -> None:
    assert Settings.from_env({"GREENINFER_METERS": text}).meters == ("rapl", "nvml")


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("GREENINFER_METER", "rapl", "GREENINFER_METERS"),
        ("GREENINFER_", "rapl", "GREENINFER_METERS"),
        ("GREENINFER_DISABLED", "maybe", "true"),
        ("GREENINFER_TICK_SECONDS", "fast", "could not convert"),
        ("GREENINFER_TICK_SECONDS", "0", "0.001 to 10 seconds"),
        ("GREENINFER_TICK_SECONDS", "nan", "0.001 to 10 seconds"),
        ("GREENINFER_TICK_SECONDS", "inf", "0.001 to 10 seconds"),
        ("GREENINFER_TICK_SECONDS", "10.1", "0.001 to 10 seconds"),
        ("GREENINFER_IDLE_WATTS", "-1", "0 or more watts"),
        ("GREENINFER_IDLE_WATTS", "inf", "0 or more watts"),
        ("GREENINFER_IDLE_WATTS", "", "could not convert"),
        ("GREENINFER_METERS", " , ", "at least one name"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_does(variable: str, text: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({variable: text})
    message = str(caught.value)
    assert variable.removeprefix("GREENINFER_").lower() in message.lower()
    assert allowed in message
    assert "remedy: " in message


@pytest.mark.parametrize("seconds", [0.001, 10.0])
def test_the_bounds_themselves_are_allowed(seconds: float) -> None:
    assert Settings(tick_seconds=seconds).tick_seconds == seconds
    assert Settings(idle_watts=0.0).idle_watts == 0.0


def test_the_error_is_a_value_error_and_one_of_ours() -> None:
    with pytest.raises(ValueError) as caught:
        Settings(tick_seconds=-1.0)
    assert isinstance(caught.value, GreeninferError)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().tick_seconds = 1.0  # type: ignore[misc]
