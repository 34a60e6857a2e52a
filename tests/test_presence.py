"""Who else of ours is there: against a /proc written by hand, and with real sockets and real processes."""

from __future__ import annotations

import gc
import os
import signal
import socket
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import environment
from made_up_proc import Proc

from greeninfer._letterbox import bind_name
from greeninfer._presence import Presence, Sibling, part_of, start_time

CPU, GPU = {"rapl": "c0ffee00"}, {"nvml": "badcab1e"}


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


@pytest.fixture
def join(proc: Proc) -> Callable[..., Presence]:
    """Return what lets a process of ours begin at an instant."""

    def begin(pid: int, now: float = 100.0, meters: dict[str, str] = CPU, **options: object) -> Presence:
        proc.begin(pid, **options)  # type: ignore[arg-type]
        return Presence(proc.of(pid), meters, now, pid=pid, bind=proc.bind)

    return begin


Join = Callable[..., Presence]


def numbers(presence: Presence) -> list[int]:
    return [each.pid for each in presence.siblings]


# Who is there


def test_alone_there_is_nobody_and_all_is_ours(join: Join) -> None:
    presence = join(10)
    assert presence.siblings == ()
    assert presence.speaks
    assert presence.part("rapl", 100.0, 101.0) == 1.0


def test_processes_see_each_other_and_not_themselves(join: Join) -> None:
    several = [join(pid) for pid in (30, 10, 20)]
    for each in several:
        each.look(101.0)
    assert [numbers(each) for each in several] == [[10, 20], [20, 30], [10, 30]]
    assert [each.speaks for each in several] == [False, True, False]


def test_who_ends_is_gone_at_the_next_look(join: Join, proc: Proc) -> None:
    first, second = join(10), join(20)
    first.look(101.0)
    assert numbers(first) == [20]
    proc.end(20)
    first.look(102.0)
    assert numbers(first) == []
    second.close()


def test_who_leaves_is_gone_too_and_a_second_time_nothing_happens(join: Join, proc: Proc) -> None:
    first, second = join(10), join(20)
    second.close()
    second.close()
    first.look(101.0)
    assert numbers(first) == []
    second.look(105.0)  # does not come back by itself
    assert len(proc.names) == 1
    assert told(second, 105.0, "rapl") == ()


def test_a_copy_of_the_name_in_a_forked_child_keeps_nobody_alive(join: Join, proc: Proc) -> None:
    first, _ = join(10), join(20)
    proc.end(20, copied=True)
    assert len(proc.names) == 2
    first.look(101.0)
    assert numbers(first) == []


def test_nor_does_another_process_that_got_the_number(join: Join, proc: Proc) -> None:
    first, _ = join(10), join(20, start=1000)
    proc.begin(20, start=2000)
    first.look(101.0)
    assert numbers(first) == []


@pytest.mark.parametrize("state", ["Z", "X"])
def test_nor_does_one_that_is_dead_and_not_waited_for(join: Join, proc: Proc, state: str) -> None:
    first, _ = join(10), join(20)
    proc.begin(20, state=state)
    first.look(101.0)
    assert numbers(first) == []


def test_other_pid_namespaces_do_not_count(join: Join) -> None:
    first, second = join(10), join(20, namespace="container")
    for each in (first, second):
        each.look(101.0)
        assert each.siblings == ()
        assert each.speaks
        assert each.part("rapl", 200.0, 201.0) == 1.0


def test_who_reads_something_else_does_not_count(join: Join) -> None:
    cpu, gpu, both, other = join(10), join(20, meters=GPU), join(30, meters=CPU | GPU), join(40, meters={"rapl": "0"})
    for each in (cpu, gpu, both, other):
        each.look(101.0)
    assert [numbers(each) for each in (cpu, gpu, both, other)] == [[30], [30], [10, 20], []]
    assert [each.pid for each in both.sharing("rapl")] == [10]
    assert [each.pid for each in both.sharing("nvml")] == [20]
    assert both.sharing("estimate") == ()
    # Each thing that is counted has exactly one who speaks of it, as far as all read the same: nobody speaks for what
    # it does not read.
    assert [each.speaks for each in (cpu, gpu, both, other)] == [True, True, True, True]
    assert both.part("rapl", 200.0, 201.0) == both.part("nvml", 200.0, 201.0) == 0.5
    assert both.part("estimate", 200.0, 201.0) == 1.0


def test_several_monitors_of_a_process_are_one_process(join: Join) -> None:
    first, _, other = join(10), join(20), join(20, now=100.5, meters=CPU | GPU)
    first.look(101.0)
    (sibling,) = first.siblings
    assert (sibling.pid, sibling.joins) == (20, 102.5)
    assert sibling.meters == {*CPU.values(), *GPU.values()}
    other.look(101.5)
    assert numbers(other) == [10]


def test_monitors_of_a_process_that_begin_at_once_have_names_of_their_own(join: Join, proc: Proc) -> None:
    several = [join(20, now=100.0) for _ in range(16)]
    assert len(proc.names) == 16
    with pytest.raises(OSError, match="16 monitors"):
        join(20, now=100.0)
    first = join(10)
    assert [each.pid for each in first.siblings] == [20]
    for each in several:
        each.look(101.0)
        assert numbers(each) == [10]


@pytest.mark.parametrize(
    "name",
    ["@greeninfer", "@greeninfer/", "@greeninfer/1/2", "@greeninfer/{ns}/20/4711/102500/",
     "@greeninfer/{ns}/20/4711//a", "@greeninfer/{ns}/20/-4711/102500/c0ffee00",
     "@greeninfer/{ns}/20/4711/1e3/c0ffee00", "greeninfer/{ns}/20/4711/1/c0ffee00",
     "@greeninfer/{ns}/20/4711/102500/c0ffee00/more", "@x@greeninfer/{ns}/20/4711/102500/c0ffee00",
     "@greeninfer/{ns}/0x14/4711/102500/c0ffee00", "@greeninfer/{ns}/20/4712/102500/c0ffee00",
     "@greeninfer/{ns}/99999999999999999999999/4711/102500/c0ffee00",
     "@greeninfer/{ns}/../20/4711/102500/c0ffee00", "@greeninfer/{ns}/２０/4711/102500/c0ffee00", "\udcff"],
)  # fmt: skip
def test_what_is_no_name_of_ours_is_passed_over(join: Join, proc: Proc, name: str) -> None:
    presence = join(10)
    proc.begin(20)
    proc.list_names([name.format(ns=proc.inode())] if name != "\udcff" else [])
    if name == "\udcff":
        with (proc.root / "net/unix").open("ab") as file:
            file.write(b"@greeninfer/\xff\x00\xfe\n@\n\n")
    presence.look(101.0)
    assert presence.siblings == ()
    proc.list_names([f"@greeninfer/{proc.inode()}/20/4711/102500/c0ffee00"])  # and this one is
    presence.look(102.0)
    assert numbers(presence) == [20]


# When it looks


def test_it_looks_about_once_a_second(join: Join, proc: Proc) -> None:
    first, second = join(10, now=100.0), join(20, now=100.0)
    second.close()
    proc.end(10, copied=True)
    proc.begin(10)
    for box in proc.names.values():
        box.letters.clear()
    join(30, now=200.0)
    for box in proc.names.values():
        box.letters.clear()  # as if word had not come
    first.look(100.5)
    assert numbers(first) == []
    first.look(100.95)
    assert numbers(first) == [30]


def test_a_newcomer_sends_word_and_is_seen_within_a_tenth_of_a_second(join: Join, proc: Proc) -> None:
    first = join(10, now=100.0)
    for tick in range(25):
        first.look(100.0 + 0.02 * tick)
    join(20, now=100.49)
    for tick in range(25, 30):
        first.look(100.0 + 0.02 * tick)
    assert numbers(first) == [20]


def test_who_is_told_of_newcomers_without_end_does_not_look_without_end(join: Join, proc: Proc) -> None:
    first = join(10, now=100.0)
    (own,) = proc.names
    looked = 0
    for tick in range(100):
        proc.names[own].letters.append((b"\0anybody", b"greeninfer"))
        before = first._look_again
        first.look(101.0 + 0.01 * tick)
        looked += first._look_again > before
    assert 9 <= looked <= 12


def test_a_list_that_cannot_be_read_for_a_while_leaves_all_in_place(join: Join, proc: Proc) -> None:
    first, _ = join(10), join(20)
    first.look(101.0)
    (proc.root / "net/unix").rename(proc.root / "net/away")
    first.look(102.0)
    assert numbers(first) == [20]
    (proc.root / "net/away").rename(proc.root / "net/unix")
    proc.end(20)
    first.look(103.0)
    assert numbers(first) == []


def test_a_name_that_somebody_closed_is_bound_again(join: Join, proc: Proc) -> None:
    first, second = join(10), join(20)
    lost = next(iter(proc.names))
    del proc.names[lost]  # all files closed, as daemons do
    proc.list_names()
    second.look(101.0)
    assert numbers(second) == []
    first.look(101.0)
    second.look(102.0)
    assert numbers(second) == [10]
    assert lost in proc.names


def test_a_name_that_cannot_be_bound_again_does_no_harm(join: Join, proc: Proc) -> None:
    first, _ = join(10), join(20)
    first.look(101.0)
    del proc.names[next(iter(proc.names))]
    proc.list_names()
    proc.broken = PermissionError("no more")
    first.look(102.0)
    assert numbers(first) == [20]


# Where it cannot be


def test_where_names_cannot_be_bound_it_says_so(join: Join, proc: Proc) -> None:
    proc.broken = OSError(97, "Address family not supported by protocol")
    with pytest.raises(OSError, match="not supported"):
        join(10)


@pytest.mark.parametrize("missing", ["net/unix", "10/stat", "10/ns/pid", "self"])
def test_where_proc_does_not_show_it_no_name_is_bound(proc: Proc, missing: str) -> None:
    proc.begin(10)
    root = proc.of(10)
    (proc.root / missing).unlink()
    with pytest.raises((OSError, ValueError)):
        Presence(root, CPU, 100.0, pid=10, bind=proc.bind)
    assert proc.names == {}


def test_a_proc_that_numbers_processes_otherwise_is_refused(proc: Proc) -> None:
    proc.begin(10, 20)  # as the host's /proc inside a container
    with pytest.raises(ValueError, match="its own number"):
        Presence(proc.of(20), CPU, 100.0, pid=10, bind=proc.bind)


# Parts


def test_a_newcomer_gets_its_part_once_all_know_of_it(join: Join) -> None:
    first = join(10, now=100.0)
    second = join(20, now=200.0)
    first.look(201.0)
    assert (first.part("rapl", 200.0, 202.5), second.part("rapl", 200.0, 202.5)) == (1.0, 0.0)
    assert first.part("rapl", 202.0, 203.0) == pytest.approx(0.75)
    assert second.part("rapl", 202.0, 203.0) == pytest.approx(0.25)
    assert first.part("rapl", 203.0, 204.0) == second.part("rapl", 203.0, 204.0) == 0.5
    assert first.part("rapl", 203.0, 203.0) == second.part("rapl", 203.0, 203.0) == 0.5
    assert (first.part("rapl", 202.0, 202.0), second.part("rapl", 202.0, 202.0)) == (1.0, 0.0)


def test_the_first_of_those_that_are_there_has_joined_already(join: Join, proc: Proc) -> None:
    first, second, third = join(10, now=100.0), join(20, now=101.0), join(30, now=102.0)
    proc.end(10)
    for each in (second, third):
        each.look(103.0)
    assert (second.part("rapl", 103.0, 103.4), third.part("rapl", 103.0, 103.4)) == (1.0, 0.0)
    first.close()


def test_who_begins_at_the_same_instant_is_told_apart_by_number(join: Join) -> None:
    several = [join(pid, now=100.0) for pid in (30, 10, 20)]
    for each in several:
        each.look(101.0)
    assert [each.part("rapl", 101.0, 102.0) for each in several] == [0.0, 1.0, 0.0]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=8),
    st.floats(0.0, 12.0),
    st.integers(0, 5000).map(lambda count: count / 1000.0),
)
def test_the_parts_of_all_processes_add_up_to_one(joins: list[float], start: float, seconds: float) -> None:
    everybody = [Sibling(b"%d" % pid, pid, joins, frozenset()) for pid, joins in enumerate(joins)]
    parts = [
        part_of(each, [other for other in everybody if other is not each], start, start + seconds) for each in everybody
    ]
    assert sum(parts) == pytest.approx(1.0, abs=1e-9)
    assert all(0.0 <= part <= 1.0 + 1e-12 for part in parts)
    if start > max(joins):
        assert parts == pytest.approx([1.0 / len(joins)] * len(joins))


# What they tell each other


def both(join: Join) -> tuple[Presence, Presence]:
    first, second = join(10, meters=GPU), join(20, meters=GPU)
    first.look(101.0)
    second.look(101.0)
    return first, second


def told(presence: Presence, now: float, meter: str = "nvml") -> tuple[float, ...]:
    """Return what siblings have told by then."""
    presence.look(now)
    return presence.told(meter, now)


def test_how_much_runs_on_gpus_is_told(join: Join) -> None:
    first, second = both(join)
    assert told(first, 101.0) == ()
    for tenth in range(4):
        second.tell(102.0 + 0.1 * tenth, 7.0 + 0.25 * tenth)  # two and a half spans at a time
    assert told(first, 102.31) == (pytest.approx(2.5),)
    assert told(first, 102.31, "rapl") == ()
    assert told(second, 102.31) == ()


def test_they_do_not_tell_at_every_tick(join: Join, proc: Proc) -> None:
    first, second = both(join)
    for tick in range(50):
        second.tell(102.0 + 0.02 * tick, 1.0)
    box = next(box for name, box in proc.names.items() if b"/20/" in name)
    assert 8 <= sum(box.sent.values()) <= 11
    first.close()


def test_who_is_silent_for_long_runs_nothing(join: Join) -> None:
    first, second = both(join)
    second.tell(102.0, 0.0)
    second.tell(103.0, 1.0)
    assert told(first, 103.0) == (1.0,)
    assert told(first, 105.9) == (1.0,)
    assert told(first, 106.1) == ()


MESSAGES = [b"", b"x", b"\0" * 15, b"\0" * 17, *(struct.pack("<dd", 105.0, value) for value in
            (float("nan"), float("inf"), -1e300, 1e300, -1.0, 5001.0))]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES)
def test_what_makes_no_sense_is_not_believed(join: Join, proc: Proc, message: bytes) -> None:
    first, second = both(join)
    second.tell(102.0, 1.0)
    second.tell(103.0, 2.0)
    own, theirs = proc.names
    proc.names[own].letters.append((theirs, message))
    assert told(first, 103.1) == (1.0,)
    second.tell(104.0, 3.0)
    assert all(0.0 <= rate <= 1000.0 for rate in told(first, 104.1))
    second.tell(106.0, 5.0)
    second.tell(107.0, 6.0)
    assert told(first, 107.1) == (1.0,)


def test_what_strangers_say_is_not_heard(join: Join, proc: Proc) -> None:
    first, second = both(join)
    own, _ = proc.names
    for instant in (102.0, 103.0):
        proc.names[own].letters.append((b"\0greeninfer/somebody", struct.pack("<dd", instant, instant)))
        proc.names[own].letters.append((b"", struct.pack("<dd", instant, instant)))
    assert told(first, 103.0) == ()
    assert first._heard == first._rates == {}
    second.close()


def test_who_has_left_is_forgotten(join: Join, proc: Proc) -> None:
    first, second = both(join)
    second.tell(102.0, 1.0)
    second.tell(103.0, 2.0)
    assert told(first, 103.0) == (1.0,)
    proc.end(20)
    assert told(first, 104.0) == ()
    assert first._heard == first._rates == {}


# The start of a process


@pytest.mark.parametrize("text", ["", "1", "1 (python)", "1 (python) S 1 1", "1 (python) S " + "x " * 40, ")" * 40])
def test_a_stat_that_makes_no_sense_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "stat").write_text(text)
    assert start_time(tmp_path / "stat") is None
    assert start_time(tmp_path / "nowhere") is None


linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract socket names are Linux's own")


@linux
def test_the_start_of_this_process_is_between_boot_and_now() -> None:
    started = start_time(Path("/proc/self/stat"))
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert started is not None
    assert 0.0 < started / os.sysconf("SC_CLK_TCK") <= uptime


# Real sockets and processes


@pytest.fixture
def name() -> bytes:
    return b"\0greeninfer-test/%d/%d" % (os.getpid(), int(perf_counter() * 1e9))


def bound(name: bytes) -> bool:
    return b"@" + name[1:] in Path("/proc/net/unix").read_bytes().split()


@linux
def test_a_name_is_there_until_it_is_closed(name: bytes) -> None:
    box = bind_name(name)
    assert bound(name)
    with pytest.raises(OSError):
        bind_name(name)
    box.close()
    assert not bound(name)
    box.close()


@linux
def test_a_name_that_is_dropped_goes_without_a_warning(name: bytes) -> None:
    box = bind_name(name)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del box
        gc.collect()
    assert not bound(name)
    assert [str(each.message) for each in seen] == []


@linux
def test_messages_come_with_their_sender_and_none_is_waited_for(name: bytes) -> None:
    first, second = bind_name(name), bind_name(name + b"b")
    assert first.take() == []
    second.send(name, b"hello")
    second.send(name + b"nobody", b"hello")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
        nameless.sendto(b"x" * 100, name)
    assert first.take() == [(name + b"b", b"hello"), (b"", b"x" * 64)]
    begun = perf_counter()
    for _ in range(2000):  # whoever does not listen keeps nobody waiting
        second.send(name, b"hello")
    assert perf_counter() - begun < 5.0
    assert 1 <= len(first.take()) <= 1000
    first.close()
    second.close()
    second.send(name, b"nobody is there")
    assert first.take() == []


@linux
def test_a_file_that_got_the_number_since_stays_open(name: bytes, tmp_path: Path) -> None:
    box = bind_name(name)
    number = next(
        int(each.name)
        for each in Path("/proc/self/fd").iterdir()
        if each.is_symlink() and os.readlink(each) == f"socket:[{inode_of(name)}]"
    )
    os.close(number)  # as daemons close all files
    mine = os.open(tmp_path / "mine", os.O_CREAT | os.O_WRONLY)
    if mine != number:
        os.dup2(mine, number)
        os.close(mine)
    box.close()
    os.write(number, b"still open")
    os.close(number)


def inode_of(name: bytes) -> int:
    (line,) = [line for line in Path("/proc/net/unix").read_bytes().splitlines() if line.endswith(b"@" + name[1:])]
    return int(line.split()[6])


SIBLING = r"""
import os, sys, time
from greeninfer._presence import Presence
presence = Presence("/proc", {"rapl": sys.argv[1]}, time.perf_counter())
if sys.argv[2] == "fork":
    child = os.fork()
    os.write(1, b"%d\n" % child)
else:
    os.write(1, b"here\n")
time.sleep(60)
"""


@pytest.fixture
def sibling(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Return what begins another process that reads ``bad`` plus the number of this one."""
    begun: list[subprocess.Popen[str]] = []

    def begin(kind: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", SIBLING, f"bad{os.getpid():x}", kind]
        process = subprocess.Popen(command, env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def real(now: float) -> Presence:
    return Presence("/proc", {"rapl": f"bad{os.getpid():x}"}, now)


@linux
def test_a_process_that_is_killed_is_gone_at_once(sibling: Callable[[str], subprocess.Popen[str]]) -> None:
    process = sibling("alone")
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    presence = real(100.0)
    assert numbers(presence) == [process.pid]
    process.kill()
    process.wait()
    presence.look(101.0)
    assert numbers(presence) == []
    presence.close()


@linux
def test_a_forked_child_does_not_keep_its_parent_alive(sibling: Callable[[str], subprocess.Popen[str]]) -> None:
    process = sibling("fork")
    assert process.stdout is not None
    child = max(int(process.stdout.readline()) for _ in range(2))
    try:
        presence = real(100.0)
        assert numbers(presence) == [process.pid]
        process.kill()  # dead, and not waited for: a zombie
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        names = Path("/proc/net/unix").read_bytes()
        assert f"/{process.pid}/".encode() in names, "the child holds no copy, so that this shows nothing"
        presence.look(101.0)
        assert numbers(presence) == []
        process.wait()
        presence.look(102.0)
        assert numbers(presence) == []
        presence.close()
    finally:
        os.kill(child, signal.SIGKILL)
