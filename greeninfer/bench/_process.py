"""One process, from its start to its end: a limit on its time, nothing of it left behind, and what it said last.

It runs in a session of its own, so Ctrl-C in the terminal reaches the caller alone, which ends it; and its whole
process group ends with it, so that no child of a model goes on working while the next one is measured.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# What a process in an orderly state needs to let go of a GPU and of its children.
GRACE_SECONDS = 5.0
_LONGEST_WAIT = 3600.0  # poll() counts milliseconds in a C int
_LAST_BYTES, _LAST_LINES, _LAST_LETTERS = 8192, 4, 600


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Args:
        code: its exit status, or minus the number of the signal that ended it.
        timed_out: it took longer than it was allowed to and was ended.
        seconds: from start to end.
        said: the last lines that it wrote, in one.
    """

    code: int
    timed_out: bool
    seconds: float
    said: str

    def reason(self, limit: str = "") -> str:
        """Return in words why it went wrong, or "" if it did not; ``limit`` is how the caller calls its time limit."""
        if self.timed_out:
            return f"took longer than {limit or 'it may'}" + self._saying()
        if self.code < 0:
            return f"was ended by {_signal_name(-self.code)}" + self._saying()
        return f"ended with exit status {self.code}" + self._saying() if self.code else ""

    def _saying(self) -> str:
        return f"; it last said: {self.said}" if self.said else ""


def finish(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    log: Path,
    limit_seconds: float,
    tick: Callable[[], None] = lambda: None,
    tick_seconds: float | None = None,
    keep_open: Sequence[int] = (),
    grace_seconds: float = GRACE_SECONDS,
) -> Ended:
    """Run a command to its end and say how it ended; sleep meanwhile.

    Whatever interrupts the wait, ``KeyboardInterrupt`` above all, ends the process before it goes on its way.

    Args:
        command: program and arguments.
        environ: all of its environment.
        log: file that gets what it writes to standard output and error.
        limit_seconds: after so long it is ended.
        tick: called while it runs,
        tick_seconds: so often; never, if that is None.
        keep_open: file descriptors that it inherits.
        grace_seconds: from being asked to end to being killed.

    Raises:
        OSError: if it cannot be started, or the log cannot be written.
    """
    began = time.monotonic()
    with log.open("wb") as said, _start(command, environ, said, keep_open) as process:
        try:
            timed_out = not _wait(process, began + limit_seconds, tick, tick_seconds)
            if timed_out:
                _end(process, grace_seconds)
        except BaseException:
            _end(process, grace_seconds)
            raise
        finally:
            _signal_group(process, _KILL)
        code = process.wait()
    return Ended(code, timed_out, time.monotonic() - began, last_lines(log))


def last_lines(log: Path) -> str:
    """Return what a log says last, joined, as far as it can be printed: of an error of Python's, what it is."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    lines = ["".join(letter for letter in line if letter.isprintable()).rstrip() for line in text.splitlines()]
    return " / ".join(line.strip() for line in _telling([line for line in lines if line]))[-_LAST_LETTERS:]


def _telling(lines: list[str]) -> list[str]:
    for number, line in reversed(list(enumerate(lines))):
        if line.startswith("Fatal Python error"):
            return lines[number : number + _LAST_LINES]
        if line.startswith("Traceback (most recent call last)"):
            error = [each for each in lines[number:] if not each.startswith(" ")][1:]
            return error[-_LAST_LINES:] or lines[-_LAST_LINES:]
    return lines[-_LAST_LINES:]


_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def _start(
    command: Sequence[str], environ: Mapping[str, str], said: BinaryIO, keep_open: Sequence[int]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the caller's own program, without a shell
        list(command),
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(keep_open),
    )


def _wait(
    process: subprocess.Popen[bytes], deadline: float, tick: Callable[[], None], tick_seconds: float | None
) -> bool:
    """Return True as soon as it has ended, False when its time is over."""
    while (left := deadline - time.monotonic()) > 0.0:
        if _ended_within(process, min(left, _LONGEST_WAIT if tick_seconds is None else tick_seconds)):
            return True
        tick()
    return process.poll() is not None


def _ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Sleep until it has ended, ``seconds`` at most; leave it to be reaped, so that its number stays its own."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # Not Linux, or a kernel before 5.3: the standard library looks 20 times a second.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.returncode is not None
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(min(seconds, _LONGEST_WAIT) * 1000.0))
    finally:
        os.close(descriptor)


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    _signal_group(process, signal.SIGTERM)
    try:
        _ended_within(process, grace_seconds)
    finally:
        # Also when a second Ctrl-C cuts the grace short.
        _signal_group(process, _KILL)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if not hasattr(os, "killpg"):
        process.terminate()
        return
    # PermissionError is how macOS says that only the unreaped leader is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (the system does that when memory runs out)" if name == "SIGKILL" else name
