"""The runtime proxy on machines of known watts."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from greeninfer._settings import Settings
from greeninfer.bench._candidates import Candidate, CandidateKey, Figure
from greeninfer.bench._proxy import Proxy, cores_of, fit, write_power_model
from greeninfer.errors import ResultsError, StudyError
from greeninfer.meters._power_models import parse_power_model

from .results_builders import graded, results, run

DAY = datetime.date(2026, 3, 1)


def candidate(model: str, seconds: float, joules: float | None, cpu: float | None = None, **more: Any) -> Candidate:
    key = CandidateKey(more.pop("machine", "host"), "d", model, more.pop("device", "cpu"), more.pop("batch_size", 1))
    net = more.pop("net", None)
    values: dict[str, Any] = {
        "key": key, "kind": "features", "splits": 3, "failed": 0, "test_items": 600,
        "accuracy": Figure(0.8), "macro_f1": Figure(0.8), "majority": 0.5, "unparsable": 0.0,
        "joules": None if joules is None else Figure(joules), "net_joules": None if net is None else Figure(net),
        "seconds": Figure(seconds), "cpu_seconds": seconds if cpu is None else cpu,
        "p50_seconds": seconds, "p95_seconds": seconds, "quality": None if joules is None else "measured",
    }  # fmt: skip
    return Candidate(**(values | more))


def machine(idle: float = 10.0, core: float = 8.0, **more: Any) -> list[Candidate]:
    """Watts as told; one model on one core, one that waits half the time, one on three cores; runtimes far apart."""
    rows = (("lean", 1e-4, 1.0), ("waits", 0.02, 0.5), ("wide", 5.0, 3.0))
    return [candidate(name, s, s * (idle + core * use), s * use, **more) for name, s, use in rows]


def test_watts_by_hand() -> None:
    """20, 10 and 40 W: x = 1/20, 1/10, 1/40; sum x = 0.175, sum x^2 = 0.013125; watts 13.33, whatever the seconds."""
    (proxy,) = fit([candidate("a", 1.0, 20.0), candidate("b", 0.001, 0.01), candidate("c", 100.0, 4000.0)])
    assert proxy.watts == pytest.approx(0.175 / 0.013125)
    assert [row.error_percent for row in proxy.rows] == pytest.approx([-100 / 3, 100 / 3, -200 / 3])


def test_the_error_for_a_model_not_seen_by_hand() -> None:
    """Two models at 20 and 10 W: each is told by the other alone, so -50 % and +100 %."""
    (proxy,) = fit([candidate("a", 1.0, 20.0), candidate("b", 1.0, 10.0)])
    assert [row.unseen_error_percent for row in proxy.rows] == pytest.approx([-50.0, 100.0])
    assert (proxy.median_error_percent, proxy.worst_error_percent) == (pytest.approx(75.0), pytest.approx(100.0))


def test_other_batch_sizes_of_a_model_do_not_count_as_another_model() -> None:
    (proxy,) = fit([candidate("a", 1.0, 20.0), candidate("a", 0.5, 10.0, batch_size=8), candidate("b", 1.0, 10.0)])
    assert proxy.rows[0].unseen_by_seconds == pytest.approx(10.0)
    assert proxy.rows[1].unseen_by_seconds == pytest.approx(5.0)


def test_one_model_cannot_be_told_from_others() -> None:
    (proxy,) = fit([candidate("a", 1.0, 20.0), candidate("a", 0.5, 10.0, batch_size=8)])
    assert (proxy.median_error_percent, proxy.worst_error_percent, proxy.correlation) == (None, None, None)


def test_a_fine_r_squared_hides_rows_that_are_far_off() -> None:
    """One run of 1,000 s at 100 W beside three short ones at 30 W: r and R2 near 1, the short ones off by a lot."""
    short = [candidate(name, 0.01 * n, 0.3 * n) for n, name in enumerate(("a", "b", "c"), 1)]
    (proxy,) = fit([*short, candidate("long", 1000.0, 100_000.0)])
    assert proxy.correlation == pytest.approx(1.0, abs=1e-6)
    assert proxy.worst_error_percent == pytest.approx(70.0)
    assert proxy.r_squared is not None
    assert proxy.r_squared < 0.5  # of this fit, which does not chase the long run


def test_idle_and_core_watts_are_found_again() -> None:
    (proxy,) = fit(machine())
    assert (proxy.idle_watts, proxy.core_watts) == pytest.approx((10.0, 8.0))
    assert [row.by_cpu for row in proxy.rows] == pytest.approx([row.joules for row in proxy.rows])
    assert not proxy.idle_known


def test_a_measured_idle_power_is_taken_as_it_is() -> None:
    """All on one core: idle and core watts could not be told apart without it."""
    one_core = [candidate(name, s, 18.0 * s, net=8.0 * s) for name, s in (("a", 1.0), ("b", 0.1))]
    (proxy,) = fit(one_core)
    assert (proxy.idle_watts, proxy.core_watts, proxy.idle_known) == (pytest.approx(10.0), pytest.approx(8.0), True)
    (blind,) = fit([candidate(name, s, 18.0 * s) for name, s in (("a", 1.0), ("b", 0.1))])
    assert (blind.idle_watts, blind.core_watts) == (None, None)


def test_watts_are_never_negative() -> None:
    falling = [candidate("a", 1.0, 20.0, 0.5), candidate("b", 1.0, 10.0, 1.0), candidate("c", 1.0, 5.0, 2.0)]
    (proxy,) = fit(falling)
    assert proxy.core_watts == 0.0
    rising = [candidate("a", 1.0, 1.0, 0.5), candidate("b", 1.0, 10.0, 1.0), candidate("c", 1.0, 50.0, 2.0)]
    (proxy,) = fit(rising)
    assert proxy.idle_watts == 0.0


def test_each_device_of_each_machine_has_its_own_and_without_joules_none() -> None:
    made = [*machine(), *machine(machine="other"), candidate("g", 1.0, 300.0, device="cuda"), candidate("n", 1.0, None)]
    assert [(each.machine, each.device, len(each.rows)) for each in fit(made)] == [
        ("host", "cpu", 3), ("other", "cpu", 3), ("host", "cuda", 1),
    ]  # fmt: skip
    assert fit([candidate("n", 1.0, None)]) == ()


def saved(path: Path, made: list[Candidate], cores: int = 4) -> dict[str, Any]:
    (proxy,) = fit(made, {"host": cores})
    write_power_model(proxy, path, date=DAY)
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return tree


def test_a_saved_model_says_where_it_comes_from(tmp_path: Path) -> None:
    tree = saved(tmp_path / "model.json", machine())
    assert tree == {
        "greeninfer_power_model": 1,
        "idle_watts": pytest.approx(2.5),
        "full_watts": pytest.approx(10.5),
        "gain": [0.9, 1.1],
        "source": "fitted by greeninfer bench to 3 candidates on host",
        "machine": "host",
        "logical_cores": 4,
        "date": "2026-03-01",
        "unseen_error_percent": {"median": 0.0, "worst": 0.0},
        "idle": "fitted",
    }


def test_its_gain_is_as_wide_as_what_was_measured_and_the_meters_on_top(tmp_path: Path) -> None:
    """Measured idle 10 W; cores at 2 and 20 W: each told by the other: 30/12 and 12/30 of the model."""
    made = [candidate("a", 1.0, 30.0, 1.0, net=20.0), candidate("b", 1.0, 12.0, 1.0, net=2.0)]
    assert saved(tmp_path / "a.json", made)["gain"] == pytest.approx([0.4, 2.5])
    made = [candidate("a", 1.0, 30.0, 1.0, net=20.0, gain=(0.9, 1.2)), made[1]]
    assert saved(tmp_path / "b.json", made)["gain"] == pytest.approx([0.36, 3.0])


def test_a_gain_that_is_not_the_same_both_ways(tmp_path: Path) -> None:
    """Cores at 2, 2 and 20 W: the last is 30/12 of its model. Either other is told by cores at 2 and 20 W, which the
    relative fit makes 4.4828 W: 12 J of 14.4828.
    """
    made = [candidate(name, 1.0, 10.0 + core, 1.0, net=core) for name, core in (("a", 2.0), ("b", 2.0), ("c", 20.0))]
    assert saved(tmp_path / "model.json", made)["gain"] == pytest.approx([0.8286, 2.5], abs=1e-4)


def test_what_was_saved_is_what_the_setting_reads(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    saved(path, machine())
    model = parse_power_model(Settings(power_model=str(path)).power_model)
    assert (model.idle_watts, model.full_watts, model.gain) == (pytest.approx(2.5), pytest.approx(10.5), (0.9, 1.1))
    assert model.source == "fitted by greeninfer bench to 3 candidates on host, 2026-03-01"


def refused(made: list[Candidate], path: Path, cores: int | None = 4) -> str:
    (proxy,) = fit(made)
    with pytest.raises(StudyError) as caught:
        write_power_model(proxy, path, cores=cores, date=DAY)
    assert not path.exists()
    return str(caught.value)


def test_what_cannot_be_a_power_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    mixed = [*machine()[:2], *machine(quality="estimated")[2:]]
    assert "only return the one they came from" in refused(mixed, path)
    assert "'cuda'" in refused(machine(device="cuda"), path)
    assert "logical cores of host are not known" in refused(machine(), path, None)
    one_core = [candidate(name, s, 18.0 * s) for name, s in (("a", 1.0), ("b", 0.1))]
    assert "too few to tell idle power from that of a busy core" in refused(one_core, path)
    assert "too few" in refused([candidate("a", 1.0, 30.0, net=20.0)], path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (proxy,) = fit(machine(), {"host": 4})
    with pytest.raises(ResultsError, match="cannot be written"):
        write_power_model(proxy, tmp_path / "nowhere" / "model.json", date=DAY)


def test_cores_come_from_the_environment() -> None:
    held = results([(run(), graded([True]))])
    assert cores_of([held]) == {}
    held.environment["hardware"] = {"logical_cores": 8}  # type: ignore[index]
    assert cores_of([held]) == {"host": 8}


def test_a_proxy_is_plain_data() -> None:
    (proxy,) = fit(machine())
    assert isinstance(proxy, Proxy)
    assert proxy == fit(machine())[0]
