"""Which meters are chosen, which are refused and why, and what is logged about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from greeninfer._clock import Clock, SystemClock
from greeninfer._energy import Quality
from greeninfer._records import Domain, MeterInfo, Reading
from greeninfer._settings import Settings
from greeninfer.errors import MeterUnavailable, SettingsError
from greeninfer.meters import METERS, Constructor, Opened, check_names, open_meters


class Stub:
    """A meter that only says its name and remembers whether it was closed."""

    def __init__(self, name: str, quality: Quality) -> None:
        domain = Domain(name, 0, "thing")
        self.info = MeterInfo(name, (domain,), quality, 0.01, (1.0, 1.0), f"a stub of {name}")
        self.closed = 0

    def read(self) -> tuple[Reading, ...]:
        return ()

    def close(self) -> None:
        self.closed += 1


@dataclass
class Machine:
    """Has the meters that are named, and tells which were asked for."""

    has: tuple[str, ...]
    asked: list[str] = field(default_factory=list)
    built: dict[str, Stub] = field(default_factory=dict)

    def constructors(self) -> dict[str, Constructor]:
        return {name: self._constructor(name) for name in ("rapl", "nvml", "pyrapl", "estimate", "simulated")}

    def _constructor(self, name: str) -> Constructor:
        def construct(settings: Settings, clock: Clock) -> Stub:
            self.asked.append(name)
            if name not in self.has:
                raise MeterUnavailable(name, f"no {name} here.", f"buy {name}")
            self.built[name] = Stub(name, "estimated" if name == "estimate" else "measured")
            return self.built[name]

        return construct

    def open(self, *names: str) -> Opened:
        return open_meters(Settings(meters=names), SystemClock(), self.constructors())


def chosen(opened: Opened) -> list[str]:
    return [meter.info.name for meter in opened.meters]


def reasons(opened: Opened) -> dict[str, str]:
    return {error.meter: error.reason for error in opened.refused}


ALL = ("rapl", "nvml", "pyrapl", "estimate", "simulated")


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        (ALL, ["rapl", "nvml"]),
        (("rapl", "estimate"), ["rapl"]),
        (("estimate", "nvml", "pyrapl", "simulated"), ["estimate", "nvml"]),
        (("estimate",), ["estimate"]),
        (("nvml",), ["nvml"]),
        (("pyrapl", "simulated"), []),
        ((), []),
    ],
)
def test_auto_takes_sensors_and_else_the_estimate(has: tuple[str, ...], expected: list[str]) -> None:
    machine = Machine(has)
    assert chosen(machine.open("auto")) == expected
    assert not {"pyrapl", "simulated"} & set(machine.asked)


def test_auto_keeps_every_reason() -> None:
    assert reasons(Machine(()).open("auto")) == {
        "rapl": "no rapl here.",
        "estimate": "no estimate here.",
        "nvml": "no nvml here.",
    }
    assert reasons(Machine(("estimate",)).open("auto")) == {"rapl": "no rapl here.", "nvml": "no nvml here."}


@pytest.mark.parametrize(
    ("names", "has", "expected", "refused"),
    [
        (("rapl", "estimate", "nvml"), ALL, ["rapl", "nvml"], {"estimate": "covered by rapl"}),
        (("estimate", "rapl"), ALL, ["estimate"], {"rapl": "covered by estimate"}),
        (("pyrapl", "rapl"), ALL, ["pyrapl"], {"rapl": "covered by pyrapl"}),
        (("simulated", "nvml"), ALL, ["simulated", "nvml"], {}),
        (("nvml",), ALL, ["nvml"], {}),
        (("rapl", "rapl"), ALL, ["rapl"], {}),
        (
            ("pyrapl", "rapl", "estimate"),
            ("estimate",),
            ["estimate"],
            {"pyrapl": "no pyrapl here.", "rapl": "no rapl here."},
        ),
    ],
)
def test_names_are_tried_in_order_and_nothing_is_counted_twice(
    names: tuple[str, ...], has: tuple[str, ...], expected: list[str], refused: dict[str, str]
) -> None:
    opened = Machine(has).open(*names)
    assert chosen(opened) == expected
    assert reasons(opened) == refused


def test_what_is_covered_is_not_even_opened() -> None:
    machine = Machine(ALL)
    machine.open("rapl", "pyrapl", "estimate")
    assert machine.asked == ["rapl"]


@pytest.mark.parametrize(
    ("names", "has", "logged"),
    [
        (("auto",), ("rapl",), []),
        (("auto",), ("estimate",), ["greeninfer.estimated meter=estimate"]),
        (("rapl", "estimate"), ("estimate",), ["greeninfer.meter_refused meter=rapl", "greeninfer.estimated"]),
        (("estimate",), ("estimate",), []),
        (("nvml", "estimate"), ("estimate",), ["greeninfer.meter_refused meter=nvml"]),
        (("rapl", "estimate"), ("rapl", "estimate"), []),
        (("auto",), (), ["greeninfer.no_meter"]),
        (("nvml",), (), ["greeninfer.meter_refused meter=nvml", "greeninfer.no_meter"]),
    ],
)
def test_an_estimate_is_never_a_silent_fallback(
    names: tuple[str, ...], has: tuple[str, ...], logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "greeninfer"):
        Machine(has).open(*names)
    messages = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    assert [message[: len(start)] for (_, _, message), start in zip(messages, logged, strict=True)] == logged
    assert all((name, level) == ("greeninfer", "WARNING") for name, level, _ in messages)


def test_the_log_says_that_it_is_an_estimate_and_where_to_ask(caplog: pytest.LogCaptureFixture) -> None:
    Machine(("estimate",)).open("auto")
    assert caplog.messages == [
        "greeninfer.estimated meter=estimate: no sensor, a power model; `greeninfer doctor` says why"
    ]


@pytest.mark.parametrize("names", [("watts",), ("rapl", "RAPL"), ("auto", "rapl"), ("rapl", "auto"), ("",)])
def test_a_name_that_means_nothing_is_refused_at_once(names: tuple[str, ...]) -> None:
    machine = Machine(ALL)
    with pytest.raises(SettingsError) as caught:
        machine.open(*names)
    message = str(caught.value)
    assert f"meters={','.join(names)!r}" in message
    assert "allowed: auto, or a comma list of estimate, nvml, pyrapl, rapl, simulated" in message
    assert "remedy: " in message
    assert machine.asked == []


def test_the_remedy_fits_the_mistake() -> None:
    with pytest.raises(SettingsError, match="leave auto alone"):
        Machine(ALL).open("auto", "rapl")
    with pytest.raises(SettingsError, match="there is no 'raple'"):
        Machine(ALL).open("rapl", "raple")


def test_names_are_checked_without_opening_anything() -> None:
    machine = Machine(ALL)
    assert check_names(Settings(meters=("nvml", "rapl")), machine.constructors()) == ("nvml", "rapl")
    assert check_names(Settings(), machine.constructors()) == ("rapl", "estimate", "nvml")
    assert machine.asked == []


def test_a_power_model_that_makes_no_sense_is_refused_even_where_a_sensor_works() -> None:
    machine = Machine(ALL)
    with pytest.raises(SettingsError, match="power_model"):
        open_meters(Settings(power_model="3:1"), SystemClock(), machine.constructors())
    assert machine.asked == []


@pytest.mark.parametrize("error", [RuntimeError("driver bug"), KeyboardInterrupt()])
def test_when_one_breaks_the_others_are_closed(error: BaseException) -> None:
    machine = Machine(ALL)

    def broken(settings: Settings, clock: Clock) -> Stub:
        raise error

    with pytest.raises(type(error)):
        open_meters(Settings(), SystemClock(), {**machine.constructors(), "nvml": broken})
    assert machine.built["rapl"].closed == 1


def test_what_was_opened_stays_open() -> None:
    machine = Machine(ALL)
    machine.open("auto")
    assert [stub.closed for stub in machine.built.values()] == [0, 0]


def test_the_shelf_is_complete() -> None:
    assert sorted(METERS) == ["estimate", "nvml", "pyrapl", "rapl", "simulated"]


@pytest.mark.parametrize("name", sorted(METERS))
def test_every_meter_on_the_shelf_opens_or_says_why(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with nothing: roots without trees. What needs no root may work here."""
    settings = Settings(powercap_root=str(tmp_path / "powercap"), proc_root=str(tmp_path / "proc"))
    opener: Callable[[Settings, Clock], object] = METERS[name]
    try:
        meter = opener(settings, SystemClock())
    except MeterUnavailable as error:
        assert error.meter == name
        assert error.reason.endswith(".")
    else:
        assert name in ("simulated", "nvml", "pyrapl")
        meter.close()  # type: ignore[attr-defined]
