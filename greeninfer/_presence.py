"""Which other processes of ours measure this machine, its *siblings*. They find each other without files or a server.

Each binds a datagram socket to an abstract name (unix(7)), and ``/proc/net/unix`` lists all of them. The kernel takes a
name back however its process ends; a forked child may hold a copy of its parent's, so a name counts only while its
process is the one that began when the name says. Names are of one network namespace and count in one PID namespace:
containers do not see each other.

What belongs to none of us is divided by the number of siblings. That number changes for all at one instant, which a
newcomer's name tells some seconds ahead, so that nothing is booked twice while the others have not looked yet. Until
they look, its CPU time is a stranger's to them, so it sends them word. Where a process dies, what would have been its
part is nobody's for a second.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from time import thread_time

from greeninfer._letterbox import Letterbox, bind_name

_log = logging.getLogger("greeninfer")

_LOOK_SECONDS = (1.0, 2.0)  # between two looks: usually, and where sockets are so many that a look takes long
_LOOK_COST = 0.005  # of a core's time, at most, between these limits
_LISTEN_SECONDS = 0.09  # between two looks into the letterbox, and at newcomers, however many say that they are new
_JOIN_SECONDS = 2.5  # by then everybody has looked
_TELL_SECONDS = 0.1
_TELL_COST_SECONDS = 0.002  # more between two rounds for each that is told: a message costs some microseconds
_MOST_MONITORS = 16  # of one process, that begin in the same milliseconds
_SILENT_SECONDS = 3.0  # a process at rest tells once a second
_MOST_AT_ONCE = 1000.0  # spans of one process on one GPU; more is not believed

_NAME = re.compile(rb" @(greeninfer/(\d+)/(\d+)/(\d+)/(\d+)/([0-9a-f+]+))$", re.MULTILINE)
_MESSAGE = struct.Struct("<dd")
_I_AM_NEW = b"greeninfer"


@dataclass(frozen=True, slots=True)
class Sibling:
    """A process of ours, as its name tells.

    Args:
        address: its name, with which it can be written to.
        pid: in the PID namespace of this process.
        joins: monotonic seconds from which on it books its part of what belongs to none of us.
        meters: what it reads.
    """

    address: bytes
    pid: int
    joins: float
    meters: frozenset[str]


class Presence:
    """Lets siblings see this process, and sees them.

    Args:
        proc_root: where /proc is.
        meters: what this process reads: by meter name, what tells the same sensors of the same machine.
        now: monotonic seconds.
        pid: of this process.
        bind: takes a name.

    Attributes:
        pid: of this process.
        siblings: the others that were there at the last look and read a meter of ours.

    Raises:
        OSError, ValueError: where processes cannot be found in this way.
    """

    def __init__(
        self,
        proc_root: str,
        meters: Mapping[str, str],
        now: float,
        *,
        pid: int | None = None,
        bind: Callable[[bytes], Letterbox] = bind_name,
    ) -> None:
        self.pid = os.getpid() if pid is None else pid
        self._proc = Path(proc_root)
        self._meters = dict(meters)
        began = start_time(self._proc / str(self.pid) / "stat")
        if began is None or (self._proc / "self").readlink().name != str(self.pid):
            raise ValueError(f"{proc_root} does not show this process under its own number")
        self._namespace = (self._proc / "self/ns/pid").stat().st_ino
        self._names()
        self._bind = bind
        self._box: Letterbox | None
        self._me, self._box = self._begin(began, math.ceil((now + _JOIN_SECONDS) * 1000.0))
        self._listen_again = self._look_again = -math.inf
        self._tell_again = -math.inf
        self._heard: dict[bytes, tuple[float, float]] = {}
        self._rates: dict[bytes, tuple[float, float]] = {}
        self._sharing: dict[str, tuple[Sibling, ...]] = {}
        self.siblings: tuple[Sibling, ...] = ()
        self.look(now)
        self._tell_all(_I_AM_NEW)

    @property
    def speaks(self) -> bool:
        """Return whether this process has the lowest number of all that read what it reads."""
        return not any(each.pid < self.pid and each.meters >= self._me.meters for each in self.siblings)

    def sharing(self, meter: str) -> tuple[Sibling, ...]:
        """Return the siblings that read this meter, too."""
        found = self._sharing.get(meter)
        if found is None:
            found = self._sharing[meter] = tuple(
                each for each in self.siblings if self._meters.get(meter) in each.meters
            )
        return found

    def part(self, meter: str, start: float, end: float) -> float:
        """Return the part of what belongs to none of us, between two instants, that this process books."""
        return part_of(self._me, self.sharing(meter), start, end)

    def look(self, now: float) -> None:
        """Look for siblings, if it is time; what cannot be read leaves those in place that were there."""
        if now < self._listen_again or self._box is None:
            return
        self._listen_again = now + _LISTEN_SECONDS
        for address, data in self._box.take():
            self._hear(address, data, now)
        if now < self._look_again:
            return
        begun = thread_time()
        try:
            found = self._names()
            if self._me.address not in found:  # somebody closed all files, as daemons do
                self._box.close()
                self._box = self._bind(self._me.address)
        except OSError as error:
            _log.debug("greeninfer.siblings_unknown error=%r", error)
        else:
            self._see(found.values())
        often, seldom = _LOOK_SECONDS
        pause = min(max(often, (thread_time() - begun) / _LOOK_COST), seldom)
        self._look_again = now + 0.9 * pause  # a tick that comes a little early must not wait for the next one

    def tell(self, now: float, seconds: float) -> None:
        """Tell siblings the running seconds so far of this process's spans on GPUs, of which nobody else knows."""
        if self._box is None or now < self._tell_again:
            return
        self._tell_again = now + max(0.9 * _TELL_SECONDS, _TELL_COST_SECONDS * len(self.siblings))
        self._tell_all(_MESSAGE.pack(now, seconds))

    def told(self, meter: str, now: float) -> tuple[float, ...]:
        """Return how many spans each sibling had running on this meter's GPUs of late, on average."""
        rates = (self._rates.get(each.address, (0.0, -math.inf)) for each in self.sharing(meter))
        return tuple(rate for rate, heard in rates if now - heard < _SILENT_SECONDS)

    def close(self) -> None:
        """Be seen no more."""
        if self._box is not None:
            self._box.close()
            self._box = None

    def _begin(self, began: int, joins: int) -> tuple[Sibling, Letterbox]:
        """Take a name that says when it joins, in milliseconds; another monitor of this process may have that one."""
        meters = frozenset(self._meters.values())
        for at in range(joins, joins + _MOST_MONITORS):
            name = f"greeninfer/{self._namespace}/{self.pid}/{began}/{at}/{'+'.join(sorted(meters))}"
            me = Sibling(b"\0" + name.encode(), self.pid, at / 1000.0, meters)
            try:
                return me, self._bind(me.address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, f"{_MOST_MONITORS} monitors of this process began at once")

    def _see(self, found: Iterable[Sibling]) -> None:
        """Take in who is there; a process with several monitors has several names, and counts once."""
        by_pid: dict[int, Sibling] = {}
        for each in sorted(found, key=lambda each: each.joins):
            if each.pid != self.pid and each.meters & self._me.meters:
                before = by_pid.setdefault(each.pid, each)
                by_pid[each.pid] = replace(before, meters=before.meters | each.meters)
        self.siblings = tuple(by_pid[pid] for pid in sorted(by_pid))
        self._sharing.clear()
        there = {each.address for each in self.siblings}
        self._heard = {address: last for address, last in self._heard.items() if address in there}
        self._rates = {address: last for address, last in self._rates.items() if address in there}

    def _tell_all(self, data: bytes) -> None:
        if self._box is not None:
            for sibling in self.siblings:
                self._box.send(sibling.address, data)

    def _hear(self, address: bytes, data: bytes, now: float) -> None:
        """Take a message; it may come from anybody."""
        if data == _I_AM_NEW:
            self._look_again = now
        if len(data) != _MESSAGE.size or not any(each.address == address for each in self.siblings):
            return
        instant, seconds = _MESSAGE.unpack(data)
        then, before = self._heard.get(address, (instant, seconds))
        rate = (seconds - before) / (instant - then) if instant > then else math.nan
        if math.isfinite(instant) and math.isfinite(seconds):
            self._heard[address] = instant, seconds
        if 0.0 <= rate <= _MOST_AT_ONCE:
            self._rates[address] = rate, now

    def _names(self) -> dict[bytes, Sibling]:
        """Return who has a name of ours in this PID namespace, this process too."""
        found: dict[bytes, Sibling] = {}
        for name, namespace, pid, began, joins, meters in _NAME.findall((self._proc / "net/unix").read_bytes()):
            if int(namespace) == self._namespace and start_time(self._proc / pid.decode() / "stat") == int(began):
                address = b"\0" + name
                found[address] = Sibling(address, int(pid), int(joins) / 1000.0, frozenset(meters.decode().split("+")))
        return found


def part_of(me: Sibling, siblings: Iterable[Sibling], start: float, end: float) -> float:
    """Return one process's part of the time between two instants; those of all processes add up to 1.

    At any instant all that have joined have equal parts. Who joins first of those that are there has joined already,
    for nobody else was there.
    """
    first, *others = sorted([me, *siblings], key=lambda each: (each.joins, each.pid))

    def at(instant: float) -> float:
        joined = [first, *(each for each in others if each.joins <= instant)]
        return 1.0 / len(joined) if me in joined else 0.0

    if end <= start:
        return at(end)
    instants = [start, *sorted(each.joins for each in others if start < each.joins < end), end]
    return sum((finish - begin) * at(begin) for begin, finish in pairwise(instants)) / (end - start)


def start_time(stat: Path) -> int | None:
    """Return when a process began, in clock ticks since boot, or None if it is gone, dead or cannot be seen.

    Field 22 of /proc/PID/stat, proc_pid_stat(5); the name in field 2 may hold blanks and brackets.
    """
    try:
        fields = stat.read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
