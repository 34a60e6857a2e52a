"""From edges to pieces: who ran when, and for how many CPU seconds, since the last look.

The request path appends edges; at each tick the sampler thread replays them and cuts whatever is still running at
the tick's instant, reading the CPU clocks of the threads involved. A *piece* is one account's running between two
cuts or edges.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from greeninfer._account import EDGE_FIELDS, Account, Edge, Inbox

Piece = tuple[Account, float, float, float]
"""(account, begin, end, seconds that it ran in between)."""

ThreadCpu = Callable[[int], float | None]
"""Returns the CPU seconds of a thread by its native id; None once it is gone, not-a-number if it cannot be known."""


def linux_thread_cpu(thread: int) -> float | None:
    """Return the CPU seconds of another thread of this process, or None once it is gone.

    The clock id is the kernel's own encoding of a thread's CPU clock (include/linux/posix-timers_types.h:
    ``(~tid << 3) | CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED``), which fails cleanly for a thread that has ended;
    pthread_getcpuclockid is undefined there.
    """
    try:
        return time.clock_gettime((~thread << 3) | 6)
    except OSError:
        return None


def unknown_thread_cpu(_thread: int) -> float | None:
    """Return not-a-number: this system does not show the CPU clocks of other threads."""
    return math.nan


def system_thread_cpu() -> ThreadCpu:
    """Return the way in which this system tells the CPU seconds of another thread."""
    return linux_thread_cpu if sys.platform == "linux" else unknown_thread_cpu


@dataclass(slots=True)
class Pieces:
    """Who ran when, a column per figure: less memory to go through than a tuple for each piece.

    Args:
        accounts: which ran.
        begin, end: seconds.
        ran: for how many of the seconds in between.
    """

    accounts: list[Account] = field(default_factory=list)
    begin: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    ran: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Return how many pieces these are."""
        return len(self.accounts)

    def __iter__(self) -> Iterator[Piece]:
        """Yield the pieces one by one."""
        return zip(self.accounts, self.begin, self.end, self.ran, strict=True)

    def add(self, account: Account, begin: float, end: float, ran: float) -> None:
        """Add a piece."""
        self.accounts.append(account)
        self.begin.append(begin)
        self.end.append(end)
        self.ran.append(ran)

    def row(self, row: int) -> Piece:
        """Return one piece."""
        return self.accounts[row], self.begin[row], self.end[row], self.ran[row]

    def remove(self, row: int) -> None:
        """Take one piece out."""
        del self.accounts[row], self.begin[row], self.end[row], self.ran[row]

    def extend(self, other: Pieces) -> None:
        """Add all pieces of others."""
        self.accounts.extend(other.accounts)
        self.begin.extend(other.begin)
        self.end.extend(other.end)
        self.ran.extend(other.ran)


@dataclass(slots=True)
class Cut:
    """What happened between two looks.

    Args:
        ran: pieces by CPU time.
        present: pieces in which an account was open and innermost, for GPUs; empty unless asked for.
        opened: accounts whose open edge was seen.
        closed: accounts whose close edge was seen, in order.
    """

    ran: Pieces = field(default_factory=Pieces)
    present: Pieces = field(default_factory=Pieces)
    opened: list[Account] = field(default_factory=list)
    closed: list[Account] = field(default_factory=list)


def whole_steps(edges: Sequence[float]) -> Iterator[tuple[float, float, float]]:
    """Yield begin, end and CPU seconds of each step that is over.

    Args:
        edges: instant and CPU seconds at the begin and end of each step, one after the other.
    """
    for begin, cpu, end, cpu_then in zip(edges[::4], edges[1::4], edges[2::4], edges[3::4], strict=False):
        yield begin, end, max(0.0, cpu_then - cpu)


class Timeline:
    """Replays edges.

    Args:
        inbox: what the request path leaves.
        thread_cpu: reads another thread's CPU clock.
        presence: whether ``Cut.present`` is wanted.
    """

    def __init__(self, inbox: Inbox, thread_cpu: ThreadCpu, presence: bool) -> None:
        self._edges = inbox.edges
        self._unseen = inbox.unseen
        self._told = inbox.told
        self._thread_cpu = thread_cpu
        self._presence = presence
        self._found: list[tuple[Account, list[float], int]] = []  # last time, and how much of their steps was there
        self._late: list[Edge] = []
        self._running: dict[int, tuple[Account, float, float]] = {}
        self._present: dict[Account, float] = {}

    @property
    def busy(self) -> bool:
        """Return whether something runs on a thread, as far as the edges seen tell."""
        return bool(self._running)

    def cut(self, now: float) -> Cut:
        """Replay all edges up to ``now`` and cut what runs or is present there."""
        cut = Cut()
        late, self._late = self._late, []
        for edge in late:
            self._replay(*edge, now, cut)
        begun = self._find(now, cut)
        take, count = self._edges.popleft, len(self._edges) // EDGE_FIELDS
        while self._told:  # after edges are counted: what they tell of comes first
            self._follow(*self._told.popleft(), cut)
        for _ in range(count):
            instant, cpu, thread, runs, changed = take(), take(), take(), take(), take()
            if begun and thread in begun and begun[thread][0] < instant:
                self._replay(*begun.pop(thread), now, cut)
            self._replay(instant, cpu, thread, runs, changed, now, cut)
        for edge in begun.values():
            self._replay(*edge, now, cut)
        self._cut_running(now, cut)
        for account, since in self._present.items():
            cut.present.add(account, since, now, now - since)
            self._present[account] = now
        return cut

    def _find(self, now: float, cut: Cut) -> dict[int, Edge]:
        """Take the steps of requests that began since the last look and still go on.

        Returns the edge with which each thread began the step that it is in.
        """
        found, self._found = self._found, []
        for account, steps, seen in found:
            if len(steps) > seen:  # one was noted while they were being taken
                self._replay_missed(account, steps, seen, now, cut)
        begun: dict[int, Edge] = {}
        for account in list(self._unseen):
            steps = self._unseen.pop(account, [])
            if not steps:  # it ended meanwhile
                continue
            thread, *edges = steps
            self._found.append((account, steps, 1 + len(edges)))
            self._follow(account, edges, cut)
            if len(edges) % 4:
                begun[int(thread)] = (edges[-2], edges[-1], int(thread), account, None)
        return begun

    def _follow(self, account: Account, edges: Sequence[float], cut: Cut) -> None:
        """Note that an account is open, and when it ran so far."""
        cut.opened.append(account)
        for piece in whole_steps(edges):
            cut.ran.add(account, *piece)

    def _replay_missed(self, account: Account, steps: Sequence[float], seen: int, now: float, cut: Cut) -> None:
        thread, (instant, cpu) = int(steps[0]), steps[seen : seen + 2]
        runs = self._running.get(thread)
        if seen % 4 == 1 and runs is None:
            self._replay(instant, cpu, thread, account, None, now, cut)
        elif seen % 4 == 3 and runs is not None and runs[0] is account:
            self._replay(instant, cpu, thread, None, None, now, cut)

    def _replay(
        self,
        instant: float,
        cpu: float,
        thread: int,
        runs: Account | None,
        changed: Account | None,
        now: float,
        cut: Cut,
    ) -> None:
        if instant > now:
            self._late.append((instant, cpu, thread, runs, changed))
            return
        before = self._running.pop(thread, None)
        if before is not None:
            account, since, cpu_then = before
            # An edge may be appended after a cut whose clock was read later than its own.
            ran = cpu - cpu_then
            cut.ran.add(account, since, instant if instant > since else since, ran if ran > 0.0 else 0.0)
            if account.stepwise:
                self._leaves(account, instant, cut)
        if runs is not None:
            self._running[thread] = (runs, instant, cpu)
            if runs.stepwise:
                self._appears(runs, instant)
        if changed is None:
            return
        if changed is runs:
            cut.opened.append(changed)
            if self._presence:
                self._covers(changed, instant, cut)
        else:
            if self._running:
                self._stop_elsewhere(changed, instant, cut)
            cut.closed.append(changed)
            if self._presence:
                self._uncovers(changed, instant, cut)

    def _covers(self, account: Account, instant: float, cut: Cut) -> None:
        for covered in account.covers:
            covered.children += 1
            self._leaves(covered, instant, cut)
        self._appears(account, instant)

    def _uncovers(self, account: Account, instant: float, cut: Cut) -> None:
        self._leaves(account, instant, cut)
        for covered in account.covers:
            covered.children -= 1
            if not covered.stepwise and (covered.closed is None or covered.closed > instant):
                self._appears(covered, instant)

    def _stop_elsewhere(self, account: Account, instant: float, cut: Cut) -> None:
        """Stop an account where it runs on other threads than the one that closed it."""
        for thread, (runs, since, cpu_then) in list(self._running.items()):
            if runs is account:
                del self._running[thread]
                cpu = self._thread_cpu(thread)
                longest = max(0.0, instant - since)
                ran = longest if cpu is None or math.isnan(cpu) else min(longest, max(0.0, cpu - cpu_then))
                cut.ran.add(account, since, since + longest, ran)

    def _appears(self, account: Account, instant: float) -> None:
        if self._presence and account.device != "cpu" and account.children == 0:
            self._present.setdefault(account, instant)

    def _leaves(self, account: Account, instant: float, cut: Cut) -> None:
        since = self._present.pop(account, None)
        if since is not None:
            present = max(0.0, instant - since)
            cut.present.add(account, since, since + present, present)

    def _cut_running(self, now: float, cut: Cut) -> None:
        for thread, (account, since, cpu_then) in list(self._running.items()):
            cpu = self._thread_cpu(thread)
            if cpu is None:  # the thread ended without an edge; it runs no more
                del self._running[thread]
                continue
            # Where the clock cannot be read, the account is taken to have run; its next edge tells the thread's
            # true CPU time, and never takes back more than what follows.
            ran = now - since if math.isnan(cpu) else max(0.0, cpu - cpu_then)
            self._running[thread] = (account, now, cpu_then + ran)
            cut.ran.add(account, since, now, ran)
