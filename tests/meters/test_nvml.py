"""NVML on boards of known power: a stand-in for the module, and the real pynvml on a fake driver library."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Rig
from hardware.fake_nvml import play
from hardware.stub_nvml import LOST, NO_PERMISSION, StubBoard, StubClock, StubNvml

from greeninfer._settings import Settings
from greeninfer.errors import MeterError, MeterUnavailable
from greeninfer.meters.nvml import NvmlMeter, open_nvml


def start(*boards: StubBoard, clock: StubClock | None = None) -> tuple[StubNvml, NvmlMeter]:
    nvml = StubNvml(clock or StubClock(), *boards)
    return nvml, NvmlMeter(nvml, nvml.clock, nvml.sleep)


def rig(*boards: StubBoard, tolerance: float) -> Rig:
    nvml, meter = start(*boards)

    def set_code(code: int) -> None:
        for board in boards:
            board.code = code

    watts = tuple(board.watts for board in boards)
    return Rig(meter, watts, nvml.sleep, lambda: set_code(LOST), lambda: set_code(0), tolerance)


def contract_rig(tmp_path: Path) -> Rig:
    return rig(StubBoard(300.0, period=0.0), StubBoard(75.0, period=0.0), tolerance=1e-5)


def polled_rig(tmp_path: Path) -> Rig:
    return rig(StubBoard(300.0, has_energy=False), StubBoard(75.0, has_energy=False), tolerance=1e-6)


def buffered_rig(tmp_path: Path) -> Rig:
    # The newest sample is up to 20 ms old, at either end of 4 s.
    return rig(StubBoard(300.0, has_energy=False, sample_seconds=0.02), tolerance=0.01)


def joules(meter: NvmlMeter) -> list[float]:
    return [reading.joules for reading in meter.read()]


# Which joules


def test_a_board_is_one_gpu_domain() -> None:
    _, meter = start(StubBoard(), StubBoard())
    assert [domain.id for domain in meter.info.domains] == ["nvml/0/gpu", "nvml/1/gpu"]
    assert {domain.device for domain in meter.info.domains} == {"gpu"}
    assert meter.info.quality == "measured"


@pytest.mark.parametrize("seconds", [0.01, 0.02, 0.1])
def test_the_period_of_the_counter_is_found_in_half_a_second(seconds: float) -> None:
    clock = StubClock()
    _, meter = start(StubBoard(period=seconds), clock=clock)
    assert meter.info.period_seconds == pytest.approx(seconds, abs=0.0015)
    assert clock.seconds - 1000.0 <= 0.51


def test_the_slowest_board_gives_the_period_and_a_fast_one_does_not_wait() -> None:
    clock = StubClock()
    start(StubBoard(period=0.01), clock=clock)
    assert clock.seconds - 1000.0 <= 0.12
    _, meter = start(StubBoard(period=0.01), StubBoard(period=0.08))
    assert meter.info.period_seconds == pytest.approx(0.08, abs=0.0015)


@pytest.mark.parametrize("call_seconds", [0.0, 0.004])
def test_a_board_that_does_not_change_is_watched_for_half_a_second(call_seconds: float) -> None:
    clock = StubClock()
    start(StubBoard(has_energy=False, call_seconds=[call_seconds] * 10_000), clock=clock)
    assert clock.seconds - 1000.0 == pytest.approx(0.5, abs=0.1)


def test_an_interruption_while_watching_does_not_spoil_the_period() -> None:
    _, meter = start(StubBoard(period=0.02, call_seconds=[0.0] * 100 + [0.15]))
    assert meter.info.period_seconds == pytest.approx(0.02, abs=0.0015)


def test_without_a_counter_power_is_integrated_by_trapezoids() -> None:
    board = StubBoard(100.0, period=0.0, has_energy=False)
    nvml, meter = start(board)
    first = joules(meter)[0]
    nvml.sleep(1.0)
    board.draw(nvml.clock.seconds, 300.0)
    assert joules(meter)[0] - first == pytest.approx(200.0)  # 1 s at the mean of 100 and 300 W
    nvml.sleep(2.0)
    assert joules(meter)[0] - first == pytest.approx(800.0)
    assert "no energy counter" in meter.info.source
    assert "power read at each tick (instantaneous)" in meter.info.source


def test_power_that_is_a_mean_says_so() -> None:
    _, meter = start(StubBoard(has_energy=False, has_instant=False))
    assert "mean over 1 s" in meter.info.source


def test_a_gap_between_power_readings_is_a_guess() -> None:
    nvml, meter = start(StubBoard(100.0, has_energy=False))
    meter.read()
    nvml.sleep(60.0)
    (reading,) = meter.read()
    assert (reading.fault, reading.guess_joules) == ("gap", pytest.approx(6000.0))


def test_samples_of_the_driver_see_what_happens_between_reads() -> None:
    board = StubBoard(100.0, has_energy=False, sample_seconds=0.02)
    nvml, meter = start(board)
    assert "power samples of the driver" in meter.info.source
    assert meter.info.period_seconds == pytest.approx(0.02)
    nvml.sleep(0.005)
    first = joules(meter)[0]
    begin = nvml.clock.seconds
    for _ in range(5):
        board.draw(nvml.clock.seconds, 500.0)
        nvml.sleep(0.3)
        board.draw(nvml.clock.seconds, 100.0)
        nvml.sleep(0.7)
        meter.read()
    truth = board.used(nvml.clock.seconds) - board.used(begin)
    assert truth == pytest.approx(5 * (0.3 * 500.0 + 0.7 * 100.0))
    assert joules(meter)[0] - first == pytest.approx(truth, rel=1e-3)


def test_no_sample_is_counted_twice() -> None:
    nvml, meter = start(StubBoard(200.0, has_energy=False, sample_seconds=0.1))
    first = joules(meter)[0]
    for _ in range(100):
        nvml.sleep(0.01)
        meter.read()
    assert joules(meter)[0] - first == pytest.approx(200.0, abs=21.0)  # the newest is up to 0.1 s old
    assert nvml.samples <= 120 + 12, "fetched once each: those buffered at the start, then ten a second"


@pytest.mark.parametrize("step", [3600.0, -3600.0, 0.5, -0.5])
def test_somebody_sets_the_wall_clock(step: float) -> None:
    board = StubBoard(200.0, has_energy=False, sample_seconds=0.02)
    nvml, meter = start(board)
    meter.read()
    nvml.sleep(1.0)
    first = joules(meter)[0]
    nvml.sleep(0.05)
    nvml.clock.unix_step, nvml.clock.unix_set_at = step, nvml.clock.seconds
    nvml.sleep(0.05)
    for watts in (200.0, 500.0, 100.0, 200.0):
        board.draw(nvml.clock.seconds, watts)
        for _ in range(10):
            nvml.sleep(0.1)
            assert meter.read()[0].fault == ""
    # The samples between the last read before and the first after it are lost; the newest is up to 20 ms old.
    assert joules(meter)[0] - first == pytest.approx(0.1 * 200.0 + 1000.0, rel=0.01)


def test_samples_stamped_by_another_clock_are_not_used() -> None:
    _, meter = start(StubBoard(has_energy=False, sample_seconds=0.02, stamp_offset=-1.7e9))
    assert "power read at each tick" in meter.info.source


def test_with_mig_the_board_is_one_domain_and_says_so() -> None:
    _, meter = start(StubBoard(is_split=True), StubBoard())
    assert len(meter.info.domains) == 2
    assert "gpu 0 NVIDIA STUB, MIG on so joules of the whole board" in meter.info.source
    assert "gpu 1 NVIDIA STUB, energy counter" in meter.info.source


def test_boards_that_are_alike_share_their_words() -> None:
    _, meter = start(StubBoard(), StubBoard(name=b"NVIDIA STUB"), StubBoard())
    assert meter.info.source == "NVML: gpu 0,1,2 NVIDIA STUB, energy counter, agrees with power within 10 %"


# What the counter is worth


@pytest.mark.parametrize("factor", [0.93, 1.0, 1.07])
def test_a_counter_that_agrees_with_power(factor: float, caplog: pytest.LogCaptureFixture) -> None:
    _, meter = start(StubBoard(factor=factor))
    assert "agrees with power within 10 %" in meter.info.source
    assert meter.info.gain == (0.95, 1.05)
    assert not caplog.records


@pytest.mark.parametrize("factor", [0.57, 0.85, 1.2, 3.0])
def test_a_doubtful_counter_is_kept_and_the_gain_holds_both(factor: float, caplog: pytest.LogCaptureFixture) -> None:
    nvml, meter = start(StubBoard(300.0, factor=factor, period=0.0))
    first = joules(meter)[0]
    nvml.sleep(10.0)
    counted = joules(meter)[0] - first
    assert counted == pytest.approx(3000.0 * factor)
    low, high = meter.info.gain
    assert low * counted <= 3000.0 <= high * counted
    assert low * counted <= counted <= high * counted
    assert "doubtful" in meter.info.source
    assert f"{300 * factor:.0f} W by the counter" in meter.info.source
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("greeninfer.meter_doubtful meter=nvml domain=nvml/0/gpu")
    assert "trusted=counter" in record.getMessage()


def test_one_doubtful_board_among_several_is_named(caplog: pytest.LogCaptureFixture) -> None:
    _, meter = start(StubBoard(), StubBoard(factor=0.5))
    assert "gpu 0 NVIDIA STUB, energy counter, agrees" in meter.info.source
    assert "gpu 1 NVIDIA STUB, energy counter, doubtful" in meter.info.source
    assert [record.getMessage().split()[2] for record in caplog.records] == ["domain=nvml/1/gpu"]


def test_a_counter_that_does_not_move_is_not_trusted(caplog: pytest.LogCaptureFixture) -> None:
    nvml, meter = start(StubBoard(300.0, factor=0.0))
    first = joules(meter)[0]
    nvml.sleep(4.0)
    assert joules(meter)[0] - first == pytest.approx(1200.0)
    assert "energy counter does not move" in meter.info.source
    assert [record.getMessage().split("reason=")[1] for record in caplog.records] == ["stuck trusted=power"]


class Pulsing(StubNvml):
    """The power jumps every 70 ms; the counter is right."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        (board,) = self.boards
        high = int(self.clock.seconds / 0.07) % 2 == 1
        if board.watts != (600.0 if high else 100.0):
            board.draw(self.clock.seconds, 600.0 if high else 100.0)


def test_moving_power_does_not_accuse_the_counter(caplog: pytest.LogCaptureFixture) -> None:
    # Refreshed each 100 ms, power that jumps each 70 ms is seen badly: nobody can say who is right.
    nvml = Pulsing(StubClock(), StubBoard(100.0, period=0.1))
    meter = NvmlMeter(nvml, nvml.clock, nvml.sleep)
    assert "doubtful" not in meter.info.source
    assert meter.info.gain == (0.95, 1.05)
    assert not caplog.records


class Reloading(StubNvml):
    """The driver is reloaded while the board is watched."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if not self.boards[0].reset_joules and self.clock.seconds > 1000.25:
            self.boards[0].reload(self.clock.seconds)


def test_a_reload_while_watching_does_not_accuse_the_counter() -> None:
    nvml = Reloading(StubClock(), StubBoard())
    meter = NvmlMeter(nvml, nvml.clock, nvml.sleep)
    assert nvml.boards[0].reset_joules > 0.0
    assert "energy counter, not checked against power" in meter.info.source
    assert meter.info.gain == (0.95, 1.05)


class Lagging(Pulsing):
    """The power has just risen, and the reading creeps up after it: a mean over 1 s."""

    def sleep(self, seconds: float) -> None:
        StubNvml.sleep(self, seconds)
        (board,) = self.boards
        board.shown_watts = 100.0 + 500.0 * (self.clock.seconds - 1000.0)


@pytest.mark.parametrize(("has_instant", "verdict"), [(False, "not checked"), (True, "doubtful")])
def test_a_mean_that_lags_does_not_accuse_the_counter(has_instant: bool, verdict: str) -> None:
    nvml = Lagging(StubClock(), StubBoard(600.0, has_instant=has_instant))
    meter = NvmlMeter(nvml, nvml.clock, nvml.sleep)
    assert verdict in meter.info.source


def test_a_counter_without_power_to_compare_is_used_unchecked() -> None:
    _, meter = start(StubBoard(has_power=False, has_instant=False))
    assert "energy counter, not checked against power" in meter.info.source


# What goes wrong


def test_a_driver_reload_is_a_reset_and_no_joules_appear() -> None:
    board = StubBoard(300.0, period=0.0)
    nvml, meter = start(board)
    for _ in range(20):
        meter.read()
        nvml.sleep(0.1)
    before = meter.read()[0]
    nvml.sleep(1.0)
    board.reload(nvml.clock.seconds - 0.4)
    (reading,) = meter.read()
    assert reading.fault == "reset"
    assert reading.joules - before.joules == pytest.approx(300.0, rel=0.01)
    assert reading.guess_joules == pytest.approx(300.0, rel=0.01)
    nvml.sleep(2.0)
    (after,) = meter.read()
    assert (after.fault, after.joules - reading.joules) == ("", pytest.approx(600.0))


def test_a_burst_over_the_limit_is_no_reset() -> None:
    board = StubBoard(300.0, limit_watts=300.0)
    nvml, meter = start(board)
    meter.read()
    board.draw(nvml.clock.seconds, 600.0)
    for _ in range(100):
        nvml.sleep(0.01)
        assert meter.read()[0].fault == ""


def test_two_reads_that_straddle_an_update_see_no_reset() -> None:
    board = StubBoard(500.0, period=0.1)
    nvml, meter = start(board)
    edge = board.shown(nvml.clock.seconds) + 0.4
    nvml.sleep(edge - 0.001 - nvml.clock.seconds)
    meter.read()
    for _ in range(3):
        nvml.sleep(0.099)
        meter.read()
        nvml.sleep(0.002)  # the update brings the joules of 0.1 s
        assert meter.read()[0].fault == ""
        nvml.sleep(0.099)


def test_without_a_limit_any_possible_power_is_believed() -> None:
    board = StubBoard(1200.0, limit_watts=None)
    nvml, meter = start(board)
    first = joules(meter)[0]
    nvml.sleep(10.0)
    (reading,) = meter.read()
    assert (reading.fault, reading.joules - first) == ("", pytest.approx(12000.0, rel=0.01))


def test_one_lost_board_does_not_blind_the_others(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = StubBoard(300.0, period=0.0), StubBoard(100.0, period=0.0)
    nvml, meter = start(good, bad)
    meter.read()
    nvml.sleep(1.0)
    before = joules(meter)
    bad.code = LOST
    for tick in range(1, 4):
        nvml.sleep(1.0)
        here, away = meter.read()
        assert (here.fault, here.joules - before[0]) == ("", pytest.approx(300.0 * tick))
        assert (away.fault, away.joules, away.guess_joules) == ("lost", before[1], 0.0)
        assert away.instant == nvml.clock.seconds
    bad.code = 0
    nvml.sleep(1.0)
    back = meter.read()[1]
    # All four seconds at once: complete, but not to be divided among the requests of the last one.
    assert (back.fault, back.joules - before[1]) == ("lost", pytest.approx(400.0))
    nvml.sleep(1.0)
    assert meter.read()[1].fault == ""
    assert nvml.starts == 1, "NVML was shut down under the board that worked"
    assert [record.getMessage().split(" reason")[0] for record in caplog.records] == [
        "greeninfer.meter_lost meter=nvml domain=nvml/1/gpu",
        "greeninfer.meter_back meter=nvml domain=nvml/1/gpu",
    ]


def test_a_board_that_comes_back_reset_says_reset() -> None:
    good, bad = StubBoard(300.0, period=0.0), StubBoard(100.0, period=0.0)
    nvml, meter = start(good, bad)
    for _ in range(20):
        meter.read()
        nvml.sleep(0.1)
    before = joules(meter)[1]
    bad.code = LOST
    nvml.sleep(5.0)
    meter.read()
    bad.reload(nvml.clock.seconds)
    bad.code = 0
    nvml.sleep(1.0)
    back = meter.read()[1]
    assert (back.fault, back.guess_joules) == ("reset", pytest.approx(600.0, rel=0.01))
    assert back.joules - before == pytest.approx(600.0, rel=0.01)


def test_when_all_boards_are_lost_read_raises_and_the_next_reading_has_everything() -> None:
    boards = StubBoard(300.0, period=0.0), StubBoard(100.0, period=0.0)
    nvml, meter = start(*boards)
    before = joules(meter)
    boards[1].code = LOST
    nvml.sleep(1.0)
    meter.read()
    boards[0].code = LOST
    nvml.sleep(1.0)
    with pytest.raises(MeterError) as raised:
        meter.read()
    assert (raised.value.meter, raised.value.reason) == ("nvml", "lost")
    boards[0].code = boards[1].code = 0
    nvml.sleep(1.0)
    first, second = meter.read()
    # The first was never handed out as lost: the interval of its reading is as long as its joules.
    assert (first.fault, first.joules - before[0]) == ("", pytest.approx(900.0))
    assert (second.fault, second.joules - before[1]) == ("lost", pytest.approx(300.0))


@pytest.mark.parametrize(
    ("code", "reason"),
    [(LOST, "lost"), (16, "lost"), (NO_PERMISSION, "permission"), (3, "unsupported"), (999, "failed")],
)
def test_the_reason_of_a_failure_is_one_word(code: int, reason: str) -> None:
    board = StubBoard()
    _, meter = start(board)
    board.code = code
    with pytest.raises(MeterError, match=f"nvml: {reason} ") as raised:
        meter.read()
    assert raised.value.reason == reason
    assert f"code {code}" in raised.value.detail


def test_somebody_else_shuts_nvml_down() -> None:
    nvml, meter = start(StubBoard(300.0, period=0.0))
    before = joules(meter)[0]
    nvml.nvmlShutdown()
    nvml.sleep(1.0)
    with pytest.raises(MeterError, match="lost"):
        meter.read()
    nvml.sleep(1.0)
    assert joules(meter)[0] - before == pytest.approx(600.0)
    meter.close()
    assert nvml.references == 0


def test_a_driver_that_is_gone_is_asked_again_only_now_and_then() -> None:
    nvml, meter = start(StubBoard(300.0, period=0.0))
    before = joules(meter)[0]
    nvml.nvmlShutdown()
    nvml.init_code = 9
    for _ in range(50):
        nvml.sleep(0.1)
        with pytest.raises(MeterError, match="lost"):
            meter.read()
    assert nvml.starts == 2, "once at the start, once after the first failure"
    nvml.init_code = 0
    nvml.sleep(10.0)
    with pytest.raises(MeterError, match="lost"):
        meter.read()  # asks again after this failure
    assert joules(meter)[0] - before == pytest.approx(4500.0)
    meter.close()
    assert nvml.references == 0


def test_an_interrupted_call_is_asked_again_and_twice_is_late() -> None:
    board = StubBoard(300.0, period=0.01)
    nvml, meter = start(board)
    meter.read()
    nvml.sleep(1.0)
    board.call_seconds = [0.05]
    begin = nvml.clock.seconds
    (reading,) = meter.read()
    assert reading.instant == pytest.approx(begin + 0.05)
    board.call_seconds = [0.05, 0.05]
    with pytest.raises(MeterError, match="late"):
        meter.read()
    assert meter.read()[0].fault == ""


@pytest.mark.parametrize("sample_seconds", [0.0, 0.02])
def test_impossible_power_is_garbage_and_not_integrated(sample_seconds: float) -> None:
    board = StubBoard(200.0, has_energy=False, sample_seconds=sample_seconds)
    nvml, meter = start(board)
    meter.read()
    nvml.sleep(1.0)
    before = joules(meter)[0]
    board.shown_watts = 4_294_967.295  # 2^32 - 1 milliwatts: what an unsigned -1 looks like
    nvml.sleep(0.1)
    with pytest.raises(MeterError, match="garbage"):
        meter.read()
    board.shown_watts = None
    nvml.sleep(0.9)
    assert joules(meter)[0] - before == pytest.approx(200.0, abs=5.0)


# Not on this machine


@pytest.mark.parametrize(
    ("code", "reason", "remedy"),
    [
        (12, "libnvidia-ml.so.1 is missing", "docker run --gpus all"),
        (9, "not loaded", "modprobe nvidia"),
        (18, "differ in version", "reboot"),
        (NO_PERMISSION, "does not let this user in", "/dev/nvidiactl"),
        (999, "code 999", "nvidia-smi"),
    ],
)
def test_nvml_does_not_start(code: int, reason: str, remedy: str) -> None:
    nvml = StubNvml(StubClock(), StubBoard())
    nvml.init_code = code
    with pytest.raises(MeterUnavailable, match=reason) as raised:
        NvmlMeter(nvml, nvml.clock, nvml.sleep)
    assert remedy in raised.value.remedy
    assert nvml.references == 0


@pytest.mark.parametrize(
    ("boards", "reason", "remedy"),
    [
        ([], "shows no board", "docker run --gpus all"),
        ([StubBoard(code=NO_PERMISSION)], "code 4", "/dev/nvidiactl"),
        ([StubBoard(code=LOST)], "code 15", ""),
        ([StubBoard(has_energy=False, has_power=False, has_instant=False)], "nvmlDeviceGetPowerUsage", ""),
    ],
)
def test_no_board_can_be_counted(boards: list[StubBoard], reason: str, remedy: str) -> None:
    nvml = StubNvml(StubClock(), *boards)
    with pytest.raises(MeterUnavailable, match=reason) as raised:
        NvmlMeter(nvml, nvml.clock, nvml.sleep)
    assert remedy in raised.value.remedy
    assert nvml.references == 0


def test_a_board_that_cannot_be_counted_is_named_and_the_others_work() -> None:
    no_sensor = StubBoard(has_energy=False, has_power=False, has_instant=False)
    _, meter = start(StubBoard(code=NO_PERMISSION), StubBoard(), no_sensor)
    assert [domain.id for domain in meter.info.domains] == ["nvml/1/gpu"]
    assert meter.info.source.startswith("NVML: gpu 0 not counted: permission; gpu 1 NVIDIA STUB, energy counter")
    assert meter.info.source.endswith("gpu 2 not counted: unsupported")


def test_without_nvidia_ml_py_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MeterUnavailable) as raised:
        open_nvml(Settings(), StubClock())
    assert raised.value.remedy == "pip install 'greeninfer[nvidia]'"


def test_an_old_module_without_field_values_works() -> None:
    class Old(StubNvml):
        nvmlDeviceGetFieldValues = None  # noqa: N815

    nvml = Old(StubClock(), StubBoard(has_energy=False))
    meter = NvmlMeter(nvml, nvml.clock, nvml.sleep)
    assert "mean over 1 s" in meter.info.source


def test_nvml_is_given_back_once() -> None:
    nvml, meter = start(StubBoard())
    other_users = 2
    nvml.references += other_users
    meter.close()
    meter.close()
    assert nvml.references == other_users
    with pytest.raises(ValueError, match="closed"):
        meter.read()


def test_only_read_calls_the_driver() -> None:
    nvml, meter = start(StubBoard(), StubBoard())
    calls = nvml.calls
    assert meter.info is meter.info
    assert nvml.calls == calls
    meter.read()
    assert nvml.calls == calls + 2


# The real pynvml


WAYS: dict[str, dict[str, str]] = {
    "energy counter, agrees with power": {},
    "energy counter, agrees with power within": {"NO_FIELDS": "1"},
    "power read at each tick (instantaneous)": {"NO_ENERGY": "1"},
    "power read at each tick (on Ampere and newer a mean over 1 s)": {"NO_ENERGY": "1", "NO_FIELDS": "1"},
    "integrates the power samples of the driver": {"NO_ENERGY": "1", "SAMPLES_MS": "20"},
    "MIG on so joules of the whole board": {"MIG": "1"},
}
REFUSALS: dict[str, dict[str, str]] = {
    "is installed but not loaded": {"INIT": "9"},
    "shows no board": {"DEVICES": "0"},
    "Insufficient Permissions": {"HIDDEN": "0"},
}


@pytest.fixture(scope="module")
def played() -> dict[str, Any]:
    """Return what each way to read a board, and each refusal, brought on the real pynvml, by its name."""
    scenario = f"""
clock = LibraryClock()
said = {{}}
for words, fake in {WAYS | REFUSALS!r}.items():
    os.environ.update({{"FAKE_NVML_" + name: value for name, value in fake.items()}})
    try:
        meter = NvmlMeter(pynvml, clock, clock.sleep)
    except MeterUnavailable as error:
        said[words] = error.reason, error.remedy, references()
    else:
        first = meter.read()
        clock.sleep(1.0)
        joules = [b.joules - a.joules for a, b in zip(first, meter.read())]
        said[words] = meter.info.source, joules, references()
        meter.close()
    for name in fake:
        del os.environ["FAKE_NVML_" + name]
    os.environ["FAKE_NVML_DEVICES"] = "2"
report(said)
"""
    said: dict[str, Any] = play(scenario, DEVICES=2, POWER_W="300,75")
    return said


@pytest.mark.parametrize("words", WAYS)
def test_real_pynvml_counts_power_times_time(played: dict[str, Any], words: str) -> None:
    source, used, references = played[words]
    assert words in source
    assert used == pytest.approx([300.0, 75.0], rel=0.02)
    assert references == 1


@pytest.mark.parametrize("words", REFUSALS)
def test_real_pynvml_gives_the_reason_and_the_remedy(played: dict[str, Any], words: str) -> None:
    reason, remedy, references = played[words]
    assert words in reason
    assert remedy
    assert references == 0


OPEN = """
clock = LibraryClock()
meter = NvmlMeter(pynvml, clock, clock.sleep)
first = meter.read()
clock.sleep(1.0)
"""


def test_real_pynvml_reads_a_lost_and_a_reloaded_board(tmp_path: Path) -> None:
    lost, reset = tmp_path / "lost", tmp_path / "reset"
    scenario = f"""{OPEN}
lost, reset = Path({str(lost)!r}), Path({str(reset)!r})
meter.read()
lost.write_text("1")
clock.sleep(1.0)
away = meter.read()
lost.write_text("")
try:
    meter.read()
except MeterError as error:
    raised = error.reason
lost.unlink()
clock.sleep(1.0)
back = meter.read()
reset.write_text(str(clock.seconds + 0.5))
clock.sleep(1.0)
again = meter.read()
meter.close()
meter.close()
faults = [[reading.fault for reading in readings] for readings in (away, back, again)]
report([raised, faults, [b.joules - a.joules for a, b in zip(first, again)], references()])
"""
    raised, faults, used, references = play(scenario, DEVICES=2, POWER_W="300,75", LOST_FILE=lost, RESET_FILE=reset)
    assert raised == "lost"
    assert faults == [["", "lost"], ["", "lost"], ["reset", "reset"]]
    assert used == pytest.approx([1200.0, 300.0], rel=0.01)
    assert references == 0


def test_real_pynvml_without_the_library_says_so() -> None:
    scenario = """
try:
    open_nvml(Settings(), SystemClock())
except MeterUnavailable as error:
    report(error.reason)
else:
    report("")
"""
    reason = play(scenario, no_library=True)
    if not reason:
        pytest.skip("this machine has the NVIDIA driver")
    assert reason == "no NVIDIA driver here: libnvidia-ml.so.1 is missing."


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_opens_its_own_meter_and_the_parent_goes_on() -> None:
    scenario = f"""{OPEN}
child = os.fork()
if not child:
    own = NvmlMeter(pynvml, clock, clock.sleep)
    a = own.read(); clock.sleep(1.0); b = own.read(); own.close()
    os._exit(0 if abs(b[0].joules - a[0].joules - 300.0) < 1.0 and references() == 1 else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
clock.sleep(1.0)
report([code, meter.read()[0].joules - first[0].joules])
"""
    assert play(scenario) == [0, pytest.approx(600.0, rel=1e-3)]


def test_open_in_real_time_takes_half_a_second_at_most() -> None:
    scenario = """
import time
begin = time.perf_counter()
meter = open_nvml(Settings(), SystemClock())
report([time.perf_counter() - begin, meter.info.period_seconds, meter.info.source])
"""
    seconds, period, source = play(scenario, UPDATE_MS=20)
    assert seconds < 1.0  # of that half is slack for a busy machine
    assert period == pytest.approx(0.02, rel=0.5)
    assert "energy counter" in source
