"""Work that no span covers, against /proc/stat files written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greeninfer._share import CpuTime, Whole, busy_seconds


class Proc:
    """A /proc whose processors have worked for as many seconds as the test says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.busy(0.0)

    def busy(self, seconds: float) -> None:
        self.write(f"cpu  {round(seconds * 100)} 0 0 999999 55 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 0 0 0\n")

    def write(self, text: str) -> None:
        (self.root / "stat").write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


# /proc/stat


def test_busy_is_all_but_idle_waiting_and_stolen_time(tmp_path: Path) -> None:
    #                                        user nice system idle iowait irq softirq steal guest guest_nice
    (tmp_path / "stat").write_text("cpu  1000 200 30 44444 5555 4 6 77777 800 90\ncpu0 9 9 9 9 9 9 9 9 9 9\nintr 1\n")
    assert busy_seconds(tmp_path / "stat") == 12.40


def test_a_kernel_without_stolen_and_guest_time_is_understood(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu 1 2 3 4 5 6 7\n")
    assert busy_seconds(tmp_path / "stat") == 0.19


@pytest.mark.parametrize("text", ["", "\n", "cpu\n", "cpu 1 2 3 4 5 6\n", "cpu0 1 2 3 4 5 6 7\n", "cpu a b c d e f g\n",
                                  "intr 1 2 3 4 5 6 7 8\ncpu 1 2 3 4 5 6 7\n", "\0\0\0\0", "<html>"])  # fmt: skip
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "stat").write_text(text)
    with pytest.raises(ValueError):
        busy_seconds(tmp_path / "stat")
    with pytest.raises(ValueError):
        CpuTime(str(tmp_path), 0.0)


def test_no_file_at_all_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        CpuTime(str(tmp_path / "nowhere"), 0.0)


# Whole


def test_where_the_machine_is_ours_there_are_no_others() -> None:
    assert Whole().other(5.0, 1.0, 3.0) == 0.0


# CpuTime


def test_the_first_look_tells_only_of_the_time_since_the_start(proc: Proc) -> None:
    proc.busy(1000.0)
    share = CpuTime(str(proc.root), 100.0)
    assert share.other(100.02, 0.02, 0.0) == 0.0
    proc.busy(1000.75)
    assert share.other(100.5, 0.02, 0.25) == pytest.approx(0.02)


def test_others_are_what_is_busy_and_not_in_spans(proc: Proc) -> None:
    share = CpuTime(str(proc.root), 100.0)
    proc.busy(2.5)  # 2.5 s in half a second: 5 cores; spans had 2 of them
    assert share.other(100.5, 0.02, 1.0) == pytest.approx(3.0 * 0.02)
    assert share.other(100.52, 0.5, 1.04) == pytest.approx(3.0 * 0.5)


def test_all_ours_is_nobody_elses(proc: Proc) -> None:
    share = CpuTime(str(proc.root), 100.0)
    proc.busy(4.0)
    assert share.other(101.0, 1.0, 4.0) == pytest.approx(0.0, abs=1e-9)


def test_hundredths_that_are_not_counted_yet_do_not_make_others_negative(proc: Proc) -> None:
    share = CpuTime(str(proc.root), 100.0)
    proc.busy(0.01)
    assert share.other(100.2, 0.02, 0.09) == 0.0


def test_the_rate_is_that_of_the_last_second_or_so(proc: Proc) -> None:
    share = CpuTime(str(proc.root), 100.0)
    busy = 0.0
    for tenth in range(30):  # three seconds at 4 cores, then quiet
        share.other(100.0 + 0.1 * tenth, 0.1, 0.0)
        busy += 0.4
        proc.busy(busy)
    assert share.other(103.0, 1.0, 0.0) == pytest.approx(4.0, rel=0.01)
    rates = [share.other(103.0 + 0.1 * tenth, 1.0, 0.0) for tenth in range(1, 13)]
    assert rates == sorted(rates, reverse=True)
    assert 1.0 < rates[4] < 3.0
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


def test_it_does_not_look_at_every_tick(proc: Proc) -> None:
    share = CpuTime(str(proc.root), 100.0)
    proc.busy(1.0)
    rate = share.other(101.0, 1.0, 0.0)
    proc.busy(500.0)
    assert share.other(101.02, 1.0, 0.0) == rate == pytest.approx(1.0)
    assert share.other(101.2, 1.0, 0.0) > 100.0


@pytest.mark.parametrize("text", [None, "", "cpu  what is this 1 2 3 4\n"])
def test_what_cannot_be_read_later_leaves_the_last_rate_in_force(proc: Proc, text: str | None) -> None:
    share = CpuTime(str(proc.root), 100.0)
    proc.busy(2.0)
    assert share.other(101.0, 1.0, 0.0) == pytest.approx(2.0)
    if text is None:
        (proc.root / "stat").unlink()
    else:
        proc.write(text)
    assert share.other(102.0, 1.0, 0.0) == pytest.approx(2.0)
    proc.busy(6.0)
    assert share.other(103.0, 1.0, 0.0) == pytest.approx(2.0)  # 4 s in two seconds
    proc.busy(6.0)
    assert share.other(104.5, 1.0, 0.0) == pytest.approx(0.0, abs=1e-9)


def test_never_readable_after_the_start_means_no_others(proc: Proc) -> None:
    share = CpuTime(str(proc.root), 100.0)
    (proc.root / "stat").unlink()
    assert [share.other(100.0 + second, 1.0, 0.0) for second in range(3)] == [0.0, 0.0, 0.0]


looks = st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(-5.0, 20.0), st.floats(0.0, 20.0)), min_size=1, max_size=12)


@settings(max_examples=12, deadline=None)
@given(looks)
def test_others_never_have_less_than_nothing(
    tmp_path_factory: pytest.TempPathFactory, schedule: list[tuple[float, float, float]]
) -> None:
    # Even where the machine's counts go back, as those of some virtual machines do, or two looks coincide.
    proc = Proc(tmp_path_factory.mktemp("proc"))
    share = CpuTime(str(proc.root), 100.0)
    now, busy, ours = 100.0, 0.0, 0.0
    for seconds, worked, in_spans in schedule:
        now, busy, ours = now + seconds, max(0.0, busy + worked), ours + in_spans
        proc.busy(busy)
        assert 0.0 <= share.other(now, 0.02, ours) < float("inf")
