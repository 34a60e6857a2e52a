"""What a phase is said to have used, on a machine whose joules can be written out by hand."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from live import spin

from greeninfer import Settings
from greeninfer.bench._cpu_time import machine_cpu, own_cpu_seconds
from greeninfer.bench._phases import Phases, Taken

from .made_up_machine import Machine, Meter, measuring

REST = {"rapl/0/part": 10.0}
CLOSE = 2e-3  # what a look every half millisecond may hide


def taken(phases: Phases, machine: Machine, seconds: float, cores: float = 1.0) -> Taken:
    begin = phases.mark()
    machine.work(seconds, cores)
    return phases.between(begin, phases.mark())


@pytest.mark.parametrize("period", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("seconds", [1.0, 1.037, 2.499])
def test_joules_at_rest_and_of_the_work_add_up_however_slow_the_counter(period: float, seconds: float) -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0, period_seconds=period)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        found = taken(phases, machine, seconds, cores=0.5)
    assert found.phase.seconds == pytest.approx(seconds, rel=1e-4)
    assert found.phase.cpu_seconds == pytest.approx(0.5 * seconds, rel=1e-4)
    assert found.phase.net_joules == pytest.approx(0.5 * 20.0 * seconds, rel=CLOSE)
    assert found.phase.joules == pytest.approx((10.0 + 0.5 * 20.0) * seconds, rel=CLOSE)
    assert found.by_domain == {"rapl/0/part": found.phase.joules}
    assert found.phase.other_joules == 0.0
    assert found.other_share == 0.0
    assert found.phase.ticks == int(found.phase.seconds / period)
    assert found.notes == ()


def test_work_between_two_steps_of_the_counter_belongs_to_the_phase_in_which_it_ran() -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0, period_seconds=0.1)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        machine.work(0.27, 2.0)  # before the phase begins: not in it, though the counter shows it later
        first = taken(phases, machine, 0.05)
        second = taken(phases, machine, 0.33, cores=0.0)
    assert first.phase.net_joules == pytest.approx(20.0 * 0.05, rel=0.02)
    assert second.phase.net_joules == pytest.approx(0.0, abs=0.02)
    assert second.phase.joules == pytest.approx(10.0 * 0.33, rel=0.01)


def test_without_power_at_rest_all_joules_are_told_and_no_net_ones() -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0)
    with measuring(machine, {}, machine.busy_seconds) as phases:
        found = taken(phases, machine, 2.0)
    assert found.phase.joules == pytest.approx(60.0, rel=CLOSE)
    assert found.phase.net_joules is None
    assert found.notes == ("what the machine draws at rest is not known, nor idle-subtracted joules",)


def test_power_at_rest_that_a_meter_knows_itself_goes_before_what_was_seen() -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0, says_idle=True)
    with measuring(machine, {"rapl/0/part": 25.0}, machine.busy_seconds) as phases:
        found = taken(phases, machine, 2.0)
    assert found.phase.net_joules == pytest.approx(40.0, rel=CLOSE)


def test_power_at_rest_higher_than_what_was_drawn_gives_no_negative_joules() -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0)
    with measuring(machine, {"rapl/0/part": 100.0}, machine.busy_seconds) as phases:
        found = taken(phases, machine, 2.0)
    assert found.phase.net_joules == 0.0
    assert found.phase.joules == pytest.approx(60.0, rel=CLOSE)


def test_what_other_processes_used_is_taken_off_by_cpu_time() -> None:
    machine = Machine(neighbour_cores=0.5)
    Meter(machine, 10.0, 20.0)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        found = taken(phases, machine, 10.0)
    jiffies = 2 * 0.01 / (10.0 + 5.0)  # of two cores, once
    assert found.other_share == pytest.approx(5.0 / 15.0, abs=1.5 * jiffies)
    assert found.phase.net_joules == pytest.approx(20.0 * 10.0, rel=2.5 * jiffies)
    assert found.phase.other_joules == pytest.approx(20.0 * 5.0, rel=5.0 * jiffies)
    assert found.phase.joules == pytest.approx((10.0 + 20.0) * 10.0, rel=2.5 * jiffies)
    parts = found.phase.net_joules + found.phase.other_joules
    assert parts == pytest.approx(20.0 * 15.0, rel=CLOSE)


@pytest.mark.parametrize("seconds", [0.013, 0.4, 1.0])
def test_the_steps_of_the_kernels_clock_are_no_other_processes(seconds: float) -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        found = [taken(phases, machine, seconds) for _ in range(20)]
    assert [each.other_share for each in found] == [0.0] * 20


def test_where_the_machine_does_not_tell_all_joules_are_the_models_and_that_is_said() -> None:
    machine = Machine(neighbour_cores=0.5)
    Meter(machine, 10.0, 20.0)

    def broken() -> float:
        raise OSError("/proc/stat")

    for busy_seconds in (None, broken):
        with measuring(machine, REST, busy_seconds) as phases:
            found = taken(phases, machine, 2.0)
        assert found.phase.net_joules == pytest.approx(20.0 * 3.0, rel=CLOSE)
        assert found.other_share is None
        (note,) = found.notes
        assert "all joules of the processor count as the model's" in note


def test_all_joules_of_a_gpu_are_the_models() -> None:
    machine = Machine(neighbour_cores=3.0)
    Meter(machine, 10.0, 20.0)
    Meter(machine, 60.0, 100.0, name="nvml", device="gpu", domains=2, period_seconds=0.1)
    at_rest = {"rapl/0/part": 10.0, "nvml/0/part": 60.0, "nvml/1/part": 60.0}
    with measuring(machine, at_rest, machine.busy_seconds) as phases:
        found = taken(phases, machine, 5.0)
        assert phases.period_seconds == 0.1
    assert found.by_domain["nvml/0/part"] == found.by_domain["nvml/1/part"] == pytest.approx(800.0, rel=CLOSE)
    assert found.by_domain["rapl/0/part"] == pytest.approx(150.0, rel=0.01)
    assert found.phase.joules == pytest.approx(1750.0, rel=CLOSE)
    assert found.phase.net_joules == pytest.approx(1100.0, rel=CLOSE)
    assert found.phase.ticks == 50


def test_waiting_for_the_counter_is_not_charged_to_the_model() -> None:
    machine = Machine(waiting_cores=1.0)
    Meter(machine, 10.0, 20.0, period_seconds=0.1)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        begin = phases.mark()
        machine.work(0.31 - machine.seconds % 0.1, 1.0)
        found = phases.between(begin, phases.mark())
    seconds = found.phase.seconds
    assert found.phase.net_joules == pytest.approx(20.0 * seconds, rel=0.01)
    assert found.phase.joules == pytest.approx(30.0 * seconds, rel=0.01)
    assert found.phase.other_joules == 0.0


def test_a_reset_leaves_no_joules_of_that_phase_but_of_the_next() -> None:
    machine = Machine()
    meter = Meter(machine)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        begin = phases.mark()
        machine.work(0.5)
        meter.fault = "reset"
        middle = phases.mark()
        machine.work(0.5)
        end = phases.mark()
        lost, good = phases.between(begin, middle), phases.between(middle, end)
    assert lost.phase.joules is None
    assert lost.phase.net_joules is None
    assert lost.phase.seconds == pytest.approx(0.5, rel=1e-3)
    assert lost.by_domain == {}
    assert lost.notes == ("rapl/0/part was reset or lost: joules are not known",)
    assert good.phase.joules == pytest.approx(15.0, rel=0.01)


def test_a_meter_that_stands_still_leaves_no_joules() -> None:
    machine = Machine()
    meter = Meter(machine)
    Meter(machine, name="other")
    with measuring(machine, REST, machine.busy_seconds) as phases:
        begin = phases.mark()
        machine.work(0.5)
        meter.is_frozen = True
        found = phases.between(begin, phases.mark())
    assert found.phase.joules is None
    assert found.notes == ("rapl gave no reading at the end of a phase: joules are not known",)


def test_a_meter_that_was_away_meanwhile_leaves_no_joules() -> None:
    machine = Machine()
    meter = Meter(machine)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        begin = phases.mark()
        meter.is_away = True
        for _ in range(6):
            machine.work(1.0)
            phases.cut()
        meter.is_away = False
        machine.work(0.01)
        found = phases.between(begin, phases.mark())
        machine.work(1.0)
        good = taken(phases, machine, 1.0)
    assert found.phase.joules is None
    assert "joules are not known" in found.notes[0]
    assert good.phase.joules == pytest.approx(30.0, rel=0.01)


def test_one_domain_that_stands_still_leaves_no_joules_though_the_others_count_on() -> None:
    machine = Machine()
    meter = Meter(machine, domains=2)
    with measuring(machine, {}, machine.busy_seconds) as phases:
        begin = phases.mark()
        machine.work(0.5)
        meter.stick(1)
        for _ in range(4):
            machine.work(1.0)
            phases.cut()
        middle = phases.mark()
        machine.work(0.001)
        long, short = phases.between(begin, middle), phases.between(middle, phases.mark())
    for found in (long, short):
        assert found.phase.joules is None
        assert found.by_domain == {}
        assert found.notes == ("rapl/1/part was away: joules are not known",)


def test_blocks_that_end_between_two_steps_of_a_slow_counter_have_joules() -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0, period_seconds=0.1)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        marks = [phases.mark()]
        for _ in range(8):
            machine.work(0.57)
            marks.append(phases.cut())
        joules = [block.phase.joules for block in phases.blocks(marks)]
    assert len(joules) == 8
    for each in joules:
        assert each == pytest.approx(30.0 * 0.57, rel=0.1 / 0.57 + 0.01)


def test_a_block_that_the_counter_was_read_shortly_before_the_end_of_has_joules() -> None:
    machine = Machine()
    Meter(machine, 10.0, 20.0, period_seconds=0.1)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        begin = phases.mark()
        machine.work(0.505)
        phases.cut()  # as the sampler's thread does when it likes
        machine.work(0.085)
        (block,) = phases.blocks([begin, phases.cut()])
    assert block.phase.joules == pytest.approx(30.0 * 0.5, rel=0.06)


def test_without_a_meter_there_are_seconds_and_no_joules() -> None:
    machine = Machine()
    with measuring(machine, {}, machine.busy_seconds) as phases:
        found = taken(phases, machine, 1.0)
        assert (phases.period_seconds, phases.gain, phases.quality) == (0.0, (1.0, 1.0), None)
    assert found.phase.seconds == pytest.approx(1.0, rel=1e-4)
    assert (found.phase.joules, found.phase.net_joules, found.phase.other_joules) == (None, None, None)
    assert found.phase.ticks == 0
    assert found.notes == ()


def test_quality_and_gain_are_the_worst_of_the_meters() -> None:
    machine = Machine()
    Meter(machine, gain=(0.9, 1.02))
    Meter(machine, name="estimate", says_idle=True, gain=(0.95, 1.7))
    with measuring(machine, {}) as phases:
        assert phases.quality == "estimated"
        assert phases.gain == (0.9, 1.7)


@pytest.mark.parametrize("neighbour_cores", [0.0, 0.4])
def test_blocks_are_cut_without_a_rest_and_add_up(neighbour_cores: float) -> None:
    machine = Machine(neighbour_cores=neighbour_cores)
    Meter(machine, 10.0, 20.0, period_seconds=0.02)
    with measuring(machine, REST, machine.busy_seconds) as phases:
        marks = [phases.mark()]
        for _ in range(9):
            machine.work(0.213)
            before = machine.seconds
            marks.append(phases.cut())
            assert machine.seconds - before < 1e-4
        machine.work(0.213)
        marks.append(phases.mark())
        whole = phases.between(marks[0], marks[-1]).phase
        blocks = [block.phase for block in phases.blocks(marks)]
    late = 2 * 0.01 / 2.13  # of two cores, once
    assert whole.joules == pytest.approx(30.0 * 2.13, rel=CLOSE + (late if neighbour_cores else 0.0))
    assert sum(block.joules or 0.0 for block in blocks) == pytest.approx(whole.joules, rel=0.003)
    assert len(blocks) == 10
    for block in blocks:
        assert block.joules == pytest.approx(30.0 * 0.213, rel=0.02 / 0.213 + late)


def test_cpu_time_is_that_of_all_threads_and_of_children_that_have_ended() -> None:
    begun = own_cpu_seconds()
    worker = threading.Thread(target=spin, args=(0.05,))
    worker.start()
    worker.join()
    assert own_cpu_seconds() - begun >= 0.05
    script = "import time\nwhile time.process_time() < 0.2: pass"
    begun, here = own_cpu_seconds(), time.process_time()
    subprocess.run([sys.executable, "-S", "-E", "-c", script], check=True)
    assert own_cpu_seconds() - begun - (time.process_time() - here) >= 0.19


def test_the_machines_busy_time_is_what_proc_stat_says_or_not_known(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    settings = Settings(proc_root=str(tmp_path))
    assert machine_cpu(settings)[0] is None
    stat.write_text("cpu 100 20 3 9000 50 7 1 900 11 12\ncpu0 1 0 0 0 0 0 0 0 0 0\ncpu1 1 0 0 0 0 0 0 0 0 0\n")
    busy_seconds, cores = machine_cpu(settings)
    assert busy_seconds is not None
    assert (busy_seconds(), cores) == (1.31, 2)
    stat.write_text("cpu 0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n")
    assert machine_cpu(settings)[0] is None
    stat.write_text("intr 5\n")
    assert machine_cpu(settings)[0] is None
