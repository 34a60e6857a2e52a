from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from greeninfer import Settings
from greeninfer._share import CpuTime, Whole
from greeninfer.demo._clients import LoadBroken
from greeninfer.demo._run import _measuring, _share, _under_load
from greeninfer.demo._server import ServiceBroken

LONG = 600.0


class FakeLoad:
    """A load that does what the test wants, and knows whether it was stopped."""

    def __init__(self, wait: Callable[[], bool] = lambda: True, broken: str = "") -> None:
        self._wait = wait
        self._broken = broken
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def wait(self, seconds: float) -> bool:
        assert 0.0 <= seconds <= 0.5
        return self._wait()

    def stop(self) -> None:
        self.calls.append("stop")
        if self._broken:
            raise LoadBroken(self._broken)


class FakeService:
    def __init__(self, broken: str = "") -> None:
        self._broken = broken

    def check(self) -> None:
        if self._broken:
            raise ServiceBroken(self._broken)


def under_load(load: FakeLoad, service: FakeService | None = None, seconds: float = LONG) -> tuple[list[str], float]:
    said: list[str] = []
    lasted, _ = _under_load(load, service or FakeService(), seconds, lambda lasted: None, said.append)  # type: ignore[arg-type]
    return said, lasted


def test_the_load_lasts_as_long_as_it_is_told() -> None:
    load = FakeLoad(lambda: time.sleep(0.01) is None)
    said, lasted = under_load(load, seconds=0.05)
    assert (said, load.calls) == ([], ["start", "stop"])
    assert 0.05 <= lasted < 5.0


def test_by_hand_it_ends_early_and_in_order() -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    load = FakeLoad(interrupted)
    said, lasted = under_load(load)
    assert (said, load.calls) == (["stopped by hand"], ["start", "stop"])
    assert lasted < LONG


def test_while_the_clients_start_it_can_be_stopped_too() -> None:
    load = FakeLoad()
    load.start = lambda: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    assert under_load(load)[0] == ["stopped by hand"]
    assert load.calls == ["stop"]


def test_clients_that_break_end_it() -> None:
    load = FakeLoad(lambda: False, "the service said no")
    with pytest.raises(LoadBroken, match="the service said no"):
        under_load(load)
    assert load.calls == ["start", "stop"]


def test_a_server_that_stopped_is_told_rather_than_clients_that_lost_it() -> None:
    with pytest.raises(ServiceBroken, match="out of memory"):
        under_load(FakeLoad(lambda: False, "connection refused"), FakeService("out of memory"))


def test_what_fails_while_it_is_shown_stops_the_load() -> None:
    load = FakeLoad()

    def show(lasted: float) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        _under_load(load, FakeService(), LONG, show, lambda text: None)  # type: ignore[arg-type]
    assert load.calls == ["start", "stop"]


def test_it_exports_also_to_what_the_settings_name(tmp_path: Path) -> None:
    lines = tmp_path / "lines.jsonl"
    settings = Settings(meters=("simulated",), exporters=("prometheus", "jsonl"), jsonl_path=str(lines))
    registry = CollectorRegistry()
    with _measuring(settings, registry) as (monitor, books), monitor:
        monitor.tick(force=True)
        time.sleep(0.002)
        monitor.tick(force=True)
    assert books.totals().metered > 0
    assert registry.get_sample_value("greeninfer_overhead_cpu_seconds_total")
    assert all(json.loads(line) for line in lines.read_text().splitlines())


def test_other_processes_that_measure_are_others() -> None:
    assert isinstance(_share(Settings(meters=("simulated",))), Whole)
    assert isinstance(_share(Settings(proc_root="/nowhere")), Whole)
    if Path("/proc/stat").exists():
        assert isinstance(_share(Settings()), CpuTime)
