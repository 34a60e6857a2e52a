"""A machine and a program that are moved by hand: a clock, a meter, threads. What happened in it is known exactly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from greeninfer._account import Account, Inbox
from greeninfer._books import Books
from greeninfer._energy import Quality
from greeninfer._parts import Batch, Phase
from greeninfer._records import NANO, Domain, MeterInfo, Reading, Settlement, State
from greeninfer._sampler import Meter
from greeninfer._span import Span
from greeninfer.errors import MeterError

PACKAGE = Domain("scripted", 0, "package")
DRAM = Domain("scripted", 0, "dram")
GPU = Domain("board", 0, "gpu", "gpu")

A = TypeVar("A", Span, Phase, Batch)


class ManualClock:
    def __init__(self, seconds: float = 100.0) -> None:
        self.seconds = seconds
        self.slept = 0.0

    def now(self) -> float:
        return self.seconds

    def asleep(self) -> float:
        return self.slept

    def unix(self) -> float:
        return 1.7e9 + self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class ScriptedMeter:
    """Counters that show what the test says; ``broken`` is the reason with which reads fail, "" while they work."""

    def __init__(
        self,
        clock: ManualClock,
        *domains: Domain,
        period_seconds: float = 0.0,
        quality: Quality = "measured",
        gain: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.domains = domains or (PACKAGE,)
        self.info = MeterInfo(self.domains[0].meter, self.domains, quality, period_seconds, gain, "made up")
        self.clock = clock
        self.joules = {domain.id: 0.0 for domain in self.domains}
        self.broken = ""
        self.readings: list[tuple[Reading, ...]] = []
        self._faults: dict[str, tuple[str, float]] = {}

    def use(self, joules: float, domain: Domain | None = None) -> None:
        self.joules[(domain or self.domains[0]).id] += joules

    def reset(self, guess_joules: float, domain: Domain | None = None) -> None:
        """Let the next reading say that the joules since the one before are a guess, as a real meter does once."""
        domain = domain or self.domains[0]
        self.joules[domain.id] += guess_joules
        self._faults[domain.id] = ("reset", guess_joules)

    def read(self) -> tuple[Reading, ...]:
        if self.broken:
            raise MeterError(self.info.name, self.broken, "as told")
        faults, self._faults = self._faults, {}
        now = self.clock.now()
        self.readings.append(
            tuple(
                Reading(domain, self.joules[domain.id], now, *faults.get(domain.id, ("", 0.0)))
                for domain in self.domains
            )
        )
        return self.readings[-1]


class Kept:
    """A meter that keeps the readings it gave."""

    def __init__(self, meter: Meter) -> None:
        self.info = meter.info
        self.readings: list[tuple[Reading, ...]] = []
        self._meter = meter

    def read(self) -> tuple[Reading, ...]:
        self.readings.append(self._meter.read())
        return self.readings[-1]


class Cores:
    """A share that knows: so many cores are busy with work that no span covers."""

    period_seconds = 0.0

    def __init__(self, cores: float = 0.0) -> None:
        self.cores = cores

    def other(self, now: float, seconds: float, ours: float) -> float:
        return self.cores * seconds


class Program:
    """Threads that open, step and close accounts as told, and leave the edges that real ones leave.

    Attributes:
        ran: exact CPU seconds by account, without what was innermost inside it.
        running: what runs on each thread now.
    """

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.inbox = Inbox()
        self.edges = self.inbox.edges
        self.cpu: dict[int, float] = defaultdict(float)
        self.running: dict[int, Account | None] = {}
        self.ran: dict[Account, float] = defaultdict(float)
        self.spans: list[Span] = []
        self.ended: set[int] = set()
        self._stacks: dict[int, list[Account]] = defaultdict(list)
        self._paused: dict[Account, list[Account]] = {}
        self._thread_of: dict[Account, int] = {}

    def settle(self, span: Span, timeout: float) -> None:
        """Do nothing: whoever asks for joules early gets provisional ones."""

    def thread_cpu(self, thread: int) -> float | None:
        return None if thread in self.ended else self.cpu[thread]

    def open(
        self,
        name: str = "classify",
        *,
        model: str = "",
        thread: int = 1,
        device: str = "any",
        stepwise: bool = False,
        parent: Span | None = None,
    ) -> Span:
        """Open a span, a child of the innermost one on its thread unless another parent is named."""
        span = Span((name, model), self.edges.extend, self, device)
        if stepwise:
            span.stepwise = True
        span.parent = parent or self.innermost_span(thread)
        self.spans.append(span)
        self.begin(span, thread)
        return span

    def phase(self, span: Span, name: str, thread: int = 1) -> Phase:
        return self.begin(span.phase(name), thread)

    def batch(self, rows: Iterable[tuple[Span, float]], thread: int = 1) -> Batch:
        return self.begin(Batch(rows, self.edges.extend), thread)

    def begin(self, account: A, thread: int = 1) -> A:
        account.opened = self.clock.now()
        self._stacks[thread].append(account)
        self._thread_of[account] = thread
        self._edge(thread, account)
        return account

    def close(self, account: Account, thread: int | None = None) -> None:
        """Close an account, on the thread where it is unless another one is named."""
        home = self._thread_of[account]
        thread = home if thread is None else thread
        account.closed = self.clock.now()
        self._stacks[home].remove(account)
        if thread != home and self.running.get(home) is account:
            self.running[home] = None
        self._edge(thread, account)

    def pause(self, span: Span) -> None:
        """End a step: the span, and what is open inside it, leaves its thread."""
        stack = self._stacks[self._thread_of[span]]
        at = stack.index(span)
        self._paused[span] = stack[at:]
        del stack[at:]
        self._edge(self._thread_of[span], None)

    def resume(self, span: Span, thread: int) -> None:
        """Begin the next step, on any thread."""
        inside = self._paused.pop(span)
        self._stacks[thread].extend(inside)
        for account in inside:
            self._thread_of[account] = thread
        self._edge(thread, None)

    def run(self, seconds: float, shares: float | Mapping[int, float] = 1.0) -> None:
        """Let time pass; each thread with something open is on a CPU for its share of it, all of it by default."""
        for thread, account in self.running.items():
            share = shares.get(thread, 0.0) if isinstance(shares, Mapping) else shares
            if account is not None:
                self.ran[account] += share * seconds
                self.cpu[thread] += share * seconds
        self.clock.advance(seconds)

    def inside(self, thread: int) -> Sequence[Account]:
        """Return what is open on a thread, the innermost last."""
        return tuple(self._stacks[thread])

    def innermost_span(self, thread: int) -> Span | None:
        return next((account for account in reversed(self._stacks[thread]) if isinstance(account, Span)), None)

    @property
    def waiting(self) -> Sequence[Account]:
        """Return the spans that are between two steps."""
        return tuple(self._paused)

    def _edge(self, thread: int, changed: Account | None) -> None:
        stack = self._stacks[thread]
        runs = stack[-1] if stack else None
        self.running[thread] = runs
        self.edges.extend((self.clock.now(), self.cpu[thread], thread, runs, changed))


class World:
    """A program, the meters that watch it, and the books that bring them together."""

    def __init__(
        self,
        *meters: Meter,
        clock: ManualClock,
        other_cores: float = 0.0,
        tick_seconds: float = 0.02,
        idle_watts: float | None = None,
    ) -> None:
        self.clock = clock
        self.program = Program(clock)
        self.meters = [Kept(meter) for meter in meters]
        self.settlements: list[Settlement] = []
        self.books = Books(
            self.meters,
            self.program.inbox,
            settler=self.program,
            clock=clock,
            share=Cores(other_cores),
            thread_cpu=self.program.thread_cpu,
            tick_seconds=tick_seconds,
            idle_watts=idle_watts,
        )

    def tick(self, *, force: bool = True) -> Settlement:
        self.settlements.append(self.books.tick(force=force))
        return self.settlements[-1]

    def line(self, domain: Domain, *states: State) -> int:
        """Return all nanojoules of a domain in these states, all states by default."""
        return sum(
            line.nanojoules
            for settlement in self.settlements
            for line in settlement.lines
            if line.domain == domain.id and (not states or line.state in states)
        )

    def metered(self, domain: Domain) -> int:
        """Return what a domain's counter went up by since its first reading."""
        shown = [
            reading.joules
            for meter in self.meters
            for readings in meter.readings
            for reading in readings
            if reading.domain == domain
        ]
        return round(shown[-1] * NANO) - round(shown[0] * NANO)
