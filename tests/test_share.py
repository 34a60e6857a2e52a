"""Work that no span covers, against a /proc written by hand."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_proc import Proc
from simulated_world import GPU, PACKAGE, ManualClock, ScriptedMeter

from greeninfer._activity import Company
from greeninfer._presence import Presence
from greeninfer._records import Domain, Interval, MeterInfo
from greeninfer._share import Among, CpuTime, Divided, Whole, busy_seconds, open_share, process_cpu, token
from greeninfer.meters.simulated import SimulatedMeter


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


# Among siblings

CPU_METER = ScriptedMeter(ManualClock(), PACKAGE).info
GPU_METER = ScriptedMeter(ManualClock(), GPU).info


class Worker:
    """One process of ours: 10 unless another number is given."""

    def __init__(self, proc: Proc, pid: int = 10, now: float = 100.0, *meters: MeterInfo) -> None:
        proc.begin(pid)
        tokens = {meter.name: token(meter) for meter in meters or (CPU_METER,)}
        presence = Presence(proc.of(pid), tokens, now, pid=pid, bind=proc.bind)
        self.share = Among(CpuTime(str(proc.root), now), presence, proc.process_cpu)
        self.now = now

    def company(self, seconds: float, ours: float = 0.0, meter: MeterInfo = CPU_METER) -> Company | None:
        """Return what siblings mean for the next so many seconds."""
        start, self.now = self.now, self.now + seconds
        return self.share.company(meter, Interval(meter.name, start, self.now, ()), ours)

    def strangers(self, ours: float = 0.0) -> float:
        """Return how many cores they keep busy."""
        return self.share.other(self.now, 1.0, ours)


def test_alone_it_is_as_if_nobody_had_looked(proc: Proc) -> None:
    worker, plain = Worker(proc), CpuTime(str(proc.root), 100.0)
    for look in range(1, 30):
        proc.busy(0.3 * look)
        proc.cpu[10] = 0.2 * look
        assert worker.company(0.1, 0.1 * look) is None
        assert worker.strangers(0.1 * look) == pytest.approx(plain.other(worker.now, 1.0, 0.1 * look))
    assert isinstance(worker.share, Divided)
    assert worker.share.speaks
    assert worker.share.period_seconds == plain.period_seconds


def test_what_is_busy_is_told_apart(proc: Proc) -> None:
    # Spans 0.4 cores, the rest of this process 0.1, siblings 0.3 and 1.5, strangers 0.7: 3 cores.
    worker, _, _ = Worker(proc), Worker(proc, 20), Worker(proc, 30)
    worker.company(1.0)
    company = None
    for tick in range(1, 101):
        seconds = 0.02 * tick
        proc.cpu.update({10: 0.5 * seconds, 20: 0.3 * seconds, 30: 1.5 * seconds})
        proc.busy(3.0 * seconds)
        company = worker.company(0.02, 0.4 * seconds)
        strangers = worker.strangers(0.4 * seconds)
    assert company is not None
    assert company.own == pytest.approx(0.1 * 0.02)
    assert company.siblings == pytest.approx((0.3 * 0.02, 1.5 * 0.02))
    assert strangers == pytest.approx(0.7, abs=0.03)
    assert company.part == pytest.approx(1.0 / 3.0)


def test_siblings_are_known_tick_by_tick(proc: Proc) -> None:
    worker, _ = Worker(proc), Worker(proc, 20)
    worker.company(1.0)
    bursts = [0.013, 0.0, 0.02, 0.001]
    seen = []
    for burst in bursts:
        proc.cpu[20] += burst
        company = worker.company(0.02)
        assert company is not None
        seen.append(company.siblings[0])
    assert seen == pytest.approx(bursts)


def test_an_interval_that_was_longer_than_the_last_look_has_its_seconds(proc: Proc) -> None:
    worker, _ = Worker(proc), Worker(proc, 20)
    worker.company(1.0)
    proc.cpu[20] += 0.25
    company = worker.company(0.5)
    assert company is not None
    assert company.siblings == pytest.approx((0.25,))


def test_who_comes_is_a_stranger_for_one_look_and_who_goes_leaves_nothing(proc: Proc) -> None:
    worker = Worker(proc)
    assert worker.company(0.1) is None
    Worker(proc, 20)
    proc.cpu[20] = 500.0  # it has been there for long
    assert worker.company(1.0) == Company(0.0, (0.0,), 1.0)
    proc.cpu[20] += 0.03
    company = worker.company(0.1)
    assert company is not None
    assert company.siblings == pytest.approx((0.03,))
    proc.end(20)
    assert worker.company(0.1) == Company(0.0, (0.0,), 1.0)  # not looked again yet, but its clock is gone
    assert worker.company(1.0) is None
    proc.busy(700.0)
    assert 0.0 <= worker.strangers() < float("inf")


def test_a_clock_that_cannot_be_read_leaves_its_process_with_the_strangers(proc: Proc) -> None:
    worker, _ = Worker(proc), Worker(proc, 20)
    del proc.cpu[10], proc.cpu[20]
    worker.company(1.0)
    worker.strangers()
    proc.busy(1.0)
    assert worker.company(1.0, 0.25) == Company(0.0, (0.0,), 1.0)
    assert worker.strangers(0.25) == pytest.approx(0.75)


@pytest.mark.parametrize(("cores", "strangers"), [(4, 1.0), (2, 0.5), (1, 0.0)])
def test_where_cores_are_scarce_strangers_have_what_ours_leave(tmp_path: Path, cores: int, strangers: float) -> None:
    # They keep one core busy as a rule, and in this tick this process and a sibling run for 1.5 cores' time.
    proc = Proc(tmp_path, cores)
    worker, _ = Worker(proc), Worker(proc, 20)
    for second in range(1, 4):
        worker.company(1.0)
        assert worker.strangers() == pytest.approx(min(cores, 1.0) if second > 1 else 0.0)
        proc.busy(second)
    proc.cpu.update({10: 0.02, 20: 0.01})
    worker.company(0.02, 0.015)
    assert worker.strangers(0.015) == pytest.approx(strangers, rel=0.1)


def test_many_siblings_are_not_looked_at_every_time(proc: Proc) -> None:
    looks = 0

    def counted(pid: int) -> float:
        nonlocal looks
        looks += 1
        return 0.0

    worker = Worker(proc)
    for pid in range(100, 140):
        Worker(proc, pid)
    worker.share._process_cpu = counted  # type: ignore[assignment]
    for _ in range(500):
        worker.company(0.002)
    assert 30 * 41 <= looks <= 50 * 41  # in a second


def test_more_in_spans_than_the_process_has_used_is_nothing_outside(proc: Proc) -> None:
    # Clocks are read one after the other, so a span may be ahead by microseconds.
    worker, _ = Worker(proc), Worker(proc, 20)
    worker.company(1.0)
    proc.cpu[10] = 0.01
    company = worker.company(0.02, 0.011)
    assert company is not None
    assert company.own == 0.0


def test_on_gpus_siblings_tell_what_they_run(proc: Proc) -> None:
    workers = [Worker(proc, pid, 100.0, CPU_METER, GPU_METER) for pid in (10, 20)]
    for worker in workers:
        worker.company(1.0, 0.0, GPU_METER)
    for tick in range(20):  # three spans at a time there, none here
        workers[1].company(0.1, 0.3 * tick, GPU_METER)
        company = workers[0].company(0.1, 0.0, GPU_METER)
    assert company is not None
    assert company.own == 0.0
    assert company.siblings == pytest.approx((0.3,))


def test_what_runs_on_gpus_is_no_cpu_time(proc: Proc) -> None:
    worker, _ = (Worker(proc, pid, 100.0, CPU_METER, GPU_METER) for pid in (10, 20))
    worker.company(1.0)
    for tick in range(1, 20):
        proc.cpu.update({10: 0.03 * tick, 20: 0.01 * tick})
        worker.company(0.01, 5.0 * tick, GPU_METER)
        company = worker.company(0.09, 0.02 * tick)
        assert company is not None
        assert (company.own, *company.siblings) == pytest.approx((0.009, 0.009), rel=0.2)


def test_whose_gpu_nobody_shares_has_no_company_there(proc: Proc) -> None:
    worker, _ = Worker(proc, 10, 100.0, CPU_METER, GPU_METER), Worker(proc, 20)
    assert worker.company(1.0, 0.0, GPU_METER) is None
    assert worker.company(0.1) is not None
    assert worker.company(0.1, 0.0, ScriptedMeter(ManualClock(), Domain("another", 0, "package")).info) is None


def test_after_closing_nobody_is_seen_to_come(proc: Proc) -> None:
    worker = Worker(proc)
    worker.share.close()
    other = Worker(proc, 20)
    assert worker.company(2.0) is None
    assert other.company(2.0) is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0.001, 2.0), st.floats(-1.0, 9.0), *[st.floats(-0.5, 3.0)] * 3), max_size=12))
def test_whatever_the_clocks_say_no_share_is_less_than_nothing(
    tmp_path_factory: pytest.TempPathFactory, schedule: list[tuple[float, float, float, float, float]]
) -> None:
    proc = Proc(tmp_path_factory.mktemp("proc"))
    worker, _ = Worker(proc), Worker(proc, 20)
    busy = ours = 0.0
    for seconds, worked, own, sibling, spans in schedule:
        busy, ours = max(0.0, busy + worked), max(0.0, ours + spans)
        proc.busy(busy)
        proc.cpu[10] += own
        proc.cpu[20] += sibling
        company = worker.company(seconds, ours)
        if company is not None:
            assert 0.0 <= company.own < float("inf")
            assert all(0.0 <= each < float("inf") for each in company.siblings)
            assert 0.0 <= company.part <= 1.0
        assert 0.0 <= worker.strangers(ours) < float("inf")


# Which share a process has


def test_a_simulated_machine_is_all_ours(proc: Proc) -> None:
    share = open_share(proc.of(os.getpid()), 100.0, [SimulatedMeter(1.0, clock=ManualClock())])
    assert isinstance(share, Whole)
    assert proc.names == {}


def test_without_proc_all_is_ours_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(open_share(str(tmp_path), 100.0, [ScriptedMeter(ManualClock())]), Whole)
    assert "greeninfer.other_unknown" in caplog.text


def test_where_siblings_cannot_be_found_others_are_told_as_ever(proc: Proc, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "greeninfer"):
        share = open_share(str(proc.root), 100.0, [ScriptedMeter(ManualClock())])
    assert isinstance(share, CpuTime)
    (record,) = [each for each in caplog.records if "greeninfer.siblings_unknown" in each.getMessage()]
    assert record.levelno == logging.INFO


@pytest.mark.skipif(sys.platform != "linux", reason="abstract socket names are Linux's own")
def test_two_monitors_of_one_process_are_no_siblings() -> None:
    meters = [ScriptedMeter(ManualClock(), Domain("test", os.getpid(), "package"))]
    shares = [open_share("/proc", 100.0, meters) for _ in range(2)]
    for share in shares:
        assert isinstance(share, Among)
        assert share.company(meters[0].info, Interval("test", 101.0, 102.0, ()), 0.0) is None
        share.close()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract socket names are Linux's own")
def test_only_what_is_real_is_shared() -> None:
    real = ScriptedMeter(ManualClock(), Domain("test", os.getpid(), "package"))
    share = open_share("/proc", 100.0, [SimulatedMeter(1.0, clock=ManualClock()), real])
    assert isinstance(share, Among)
    assert share._presence._meters == {"test": token(real.info)}
    share.close()


def info(name: str = "rapl", ids: tuple[int, ...] = (0,), source: str = "here", kind: str = "package") -> MeterInfo:
    device = "gpu" if kind == "gpu" else "cpu"
    domains = tuple(Domain(name, index, kind, device) for index in ids)  # type: ignore[arg-type]
    return MeterInfo(name, domains, "measured", 0.001, (1.0, 1.0), source)


def test_a_token_tells_the_same_sensors_and_no_others() -> None:
    assert token(info()) == token(info())
    others = [info("pyrapl"), info(ids=(0, 1)), info(source="a simulated tree"), info(kind="gpu")]
    assert len({token(each) for each in (info(), *others)}) == 5
    assert token(info("nvml", kind="gpu")) == token(info("nvml", kind="gpu", source="by another way"))


# CPU clocks of processes


clocks = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the CPU clocks of other processes")


@clocks
def test_the_clock_of_this_process_is_that_of_the_system() -> None:
    before = process_time()
    seen = process_cpu(os.getpid())
    assert seen is not None
    assert before <= seen <= process_time()


@clocks
def test_the_clock_of_another_process_counts_what_it_says() -> None:
    script = "import sys, time\nwhile time.process_time() < 0.2: pass\nprint(time.process_time(), flush=True)\ninput()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = float(process.stdout.readline())
    seen = process_cpu(process.pid)
    process.communicate("\n")
    assert seen == pytest.approx(told, abs=0.05)
    assert process_cpu(process.pid) is None


@clocks
@pytest.mark.parametrize("pid", [2**22 + 1, 2**28])
def test_a_process_that_is_not_there_has_no_clock(pid: int) -> None:
    assert process_cpu(pid) is None
