"""One process: how it ended is said truly, it never outlives its time, and waiting for it costs nothing."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from greeninfer.bench._process import Ended, finish, last_lines

PYTHON = (sys.executable, "-S", "-E", "-c")


def ended(tmp_path: Path, program: str, **how: object) -> Ended:
    told: dict[str, object] = {"environ": {"A": "b"}, "limit_seconds": 30.0, "grace_seconds": 0.2, **how}
    return finish([*PYTHON, program], log=tmp_path / "log", **told)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_that_ends_well_has_no_reason(tmp_path: Path) -> None:
    end = ended(tmp_path, "print('hello')")
    assert (end.code, end.timed_out, end.said, end.reason()) == (0, False, "hello", "")
    assert 0.0 < end.seconds < 10.0


def test_it_sees_the_environment_that_it_is_given_and_no_input(tmp_path: Path) -> None:
    (tmp_path / "typed").write_text("meant for us")
    before = os.dup(0)
    with (tmp_path / "typed").open() as typed:
        os.dup2(typed.fileno(), 0)
    try:
        program = "import os, sys; print(dict(os.environ).get('A'), len(os.environ), repr(sys.stdin.read()))"
        end = ended(tmp_path, program)
    finally:
        os.dup2(before, 0)
        os.close(before)
    words = end.said.split()
    assert words[0] == "b"
    assert int(words[1]) <= 3, "nothing of ours but what the interpreter sets itself"
    assert words[2] == "''"


def test_an_exit_status_is_told(tmp_path: Path) -> None:
    end = ended(tmp_path, "import sys; sys.exit('the cause')")
    assert end.reason() == "ended with exit status 1; it last said: the cause"


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_a_signal_is_told_by_name(tmp_path: Path, number: signal.Signals) -> None:
    end = ended(tmp_path, f"import os; os.kill(os.getpid(), {int(number)})")
    assert end.code == -number
    assert end.reason() == f"was ended by {number.name}"


def test_a_kill_that_nobody_here_asked_for_hints_at_memory(tmp_path: Path) -> None:
    assert "memory" in ended(tmp_path, "import os; os.kill(os.getpid(), 9)").reason()


def test_what_takes_too_long_is_ended_and_told(tmp_path: Path) -> None:
    end = ended(tmp_path, "import time; print('at work', flush=True); time.sleep(600)", limit_seconds=0.8)
    assert end.timed_out
    assert end.reason("time_limit_seconds=0.8") == "took longer than time_limit_seconds=0.8; it last said: at work"
    assert 0.8 <= end.seconds < 10.0


def test_it_may_let_go_of_things_before_it_is_killed(tmp_path: Path) -> None:
    program = """
import signal, sys, time
def let_go(number, frame):
    print('let go', flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, let_go)
print('ready', flush=True)
time.sleep(600)
"""
    end = ended(tmp_path, program, limit_seconds=0.8, grace_seconds=20.0)
    assert end.timed_out
    assert end.said == "ready / let go"
    assert end.seconds < 15.0, "nobody waits for the grace to be over"


def test_what_does_not_end_when_asked_is_killed(tmp_path: Path) -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    end = ended(tmp_path, program, limit_seconds=0.8, grace_seconds=0.1)
    assert end.timed_out
    assert end.said == "deaf"
    assert end.code == -signal.SIGKILL


CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])
print(child.pid, flush=True)
"""


@pytest.mark.parametrize("then", ["", "time.sleep(600)"], ids=["ends well", "takes too long"])
def test_its_children_end_with_it(tmp_path: Path, then: str) -> None:
    end = ended(tmp_path, CHILD + then, limit_seconds=0.8 if then else 30.0)
    deadline = time.monotonic() + 5.0
    while alive(int(end.said)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(int(end.said))


def test_an_interruption_ends_it_before_it_goes_on_its_way(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"

    def interrupt() -> None:
        if log.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ended(tmp_path, program, tick=interrupt, tick_seconds=0.02)
    assert not alive(int(log.read_text()))


def test_a_second_interruption_cuts_the_grace_short(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = """
import os, signal, time
signal.signal(15, lambda *_: print('asked', flush=True))
print(os.getpid(), flush=True)
while True:
    time.sleep(600)
"""

    def interrupt() -> None:
        if log.read_text():
            raise KeyboardInterrupt

    def again() -> None:
        while not log.exists() or "asked" not in log.read_text():
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=again)
    thread.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            ended(tmp_path, program, tick=interrupt, tick_seconds=0.02, grace_seconds=60.0)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 30.0
    assert not alive(int(log.read_text().split()[0]))


def test_waiting_sleeps_and_ticks_no_oftener_than_asked(tmp_path: Path) -> None:
    ticks: list[float] = []
    ended(tmp_path, "import time; time.sleep(0.65)", tick=lambda: ticks.append(time.monotonic()), tick_seconds=0.2)
    assert len(ticks) >= 3
    assert all(later - earlier >= 0.19 for earlier, later in itertools.pairwise(ticks))


def test_waiting_does_not_tick_unless_asked(tmp_path: Path) -> None:
    def tick() -> None:
        raise AssertionError

    used = time.process_time()
    ended(tmp_path, "import time; time.sleep(0.5)", tick=tick)
    assert time.process_time() - used < 0.1, "CPU seconds, whatever else the machine does"


def test_where_the_system_cannot_wake_us_the_end_is_seen_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert ended(tmp_path, "print('hello')").said == "hello"
    end = ended(tmp_path, "import time; time.sleep(600)", limit_seconds=0.2)
    assert end.timed_out
    assert end.code == -signal.SIGTERM


def test_descriptors_that_are_kept_open_are_inherited_and_no_others(tmp_path: Path) -> None:
    kept, other = os.pipe(), os.pipe()
    try:
        program = f"""
import os
for each in ({kept[1]}, {other[1]}):
    try:
        os.fstat(each); print('open')
    except OSError:
        print('closed')
"""
        assert ended(tmp_path, program, keep_open=(kept[1],)).said == "open / closed"
    finally:
        for each in (*kept, *other):
            os.close(each)


def test_a_program_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        finish(["/no/such/program"], environ={}, log=tmp_path / "log", limit_seconds=1.0)


TRACEBACK = b"""Traceback (most recent call last):
  File "a.py", line 1, in <module>
    f()
    ~^^
ValueError: no such weights
look elsewhere
"""
FATAL = b"""before
Fatal Python error: Segmentation fault

Current thread (most recent call first):
  File one
  File two
  File three

Extension modules: numpy
"""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", ""),
        (b"\n\n  \n", ""),
        (b"one\ntwo\n\nthree\nfour\nfive\n", "two / three / four / five"),
        (b"\x1b[31mred\x1b[0m \x00\xff", "[31mred[0m \ufffd"),
        (b"10%\r100%\n", "10% / 100%"),
        (b"x" * 100_000, "x" * 600),
        (b"at work\n" + TRACEBACK, "ValueError: no such weights / look elsewhere"),
        (
            TRACEBACK + b"\nAnother:\n\n" + TRACEBACK.replace(b"weights", b"file"),
            "ValueError: no such file / look elsewhere",
        ),
        (b"Traceback (most recent call last):\n  File\n", "Traceback (most recent call last): / File"),
        (
            FATAL,
            "Fatal Python error: Segmentation fault / Current thread (most recent call first): / File one / File two",
        ),
    ],
)
def test_the_last_lines_are_fit_to_be_read(tmp_path: Path, written: bytes, said: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(written)
    assert last_lines(log) == said
