"""A span: one request, or one part of it, from its open edge to its close edge, and the joules credited to it."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import SupportsIndex

from greeninfer._account import Account, Credited, Inbox, Key, Record, Settler, Share, Source, SpanAccount
from greeninfer._energy import Energy, Outcome, Quality
from greeninfer._parts import Phase
from greeninfer._records import NANO, Failure
from greeninfer._remote import Remote
from greeninfer._route_name import UNMATCHED, route_name


class Span(Credited):
    """One request, or one part of it; made by ``greeninfer.measure`` and the middleware."""

    # Defaults stand on the class, so that opening a span sets only what differs: it is on the request path.
    given: Mapping[str, object] | None = None  # attributes
    trace: tuple[str, str] | None = None  # ids of the sampled trace and of the user's span in it
    first_byte_seconds: float | None = None
    message_counts: dict[str, int] | None = None
    served = False  # a request that came through a server
    inbox: Inbox | None = None  # where its steps are as long as the sampler has not seen it
    wanted = False  # by somebody who holds it
    rated = False  # one whose kind is told early figures
    method = ""
    status: int | None = None
    answered = False  # an answer was begun, so that the application has chosen its route
    owed: dict[tuple[str, Quality], int] | None = None  # nanojoules that wait for the route to be booked
    scope: Mapping[str, object] | None = None  # of such a request while its route is not known
    root_path = ""  # of its app, when it came
    step_cpu = 0.0  # CPU clock of its thread at the begin of its own step that goes on now
    ran_seconds = 0.0  # CPU seconds of its own steps so far, child spans included
    stepwise = False  # a generator: for a GPU it exists only while it is being stepped
    escalated = False  # a stage of a cascade that handed its text on
    interleaved = False  # other tasks ran in between and could not be told apart
    parent: SpanAccount | None = None
    resume: Account | None = None
    opened = 0.0
    closed: float | None = None
    lasted_until: float | None = None  # if its consumer left before it was closed
    outcome: Outcome = "ok"
    token_counts: dict[str, int] | None = None
    # What follows is written by the sampler thread alone.
    counted_as = ""  # the name under which it is counted as in flight
    phase_nanojoules: dict[str, int] | None = None
    cpu_seconds = 0.0
    children = 0
    held = 0  # by parts that are open: phases, batches
    parts_closed = 0.0  # when the last of them closed
    nested = 0
    nested_cpu_seconds = 0.0
    settled_at: float | None = None
    unix_seconds = 0.0

    def __init__(self, key: Key, record: Record, settler: Settler, device: str = "any", door: object = None) -> None:
        self.key = key
        self.record = record
        self.settler = settler
        self.device = device
        self.door = door  # whoever opened it and will close it

    @property
    def name(self) -> str:
        """Return the name of the route; "(unmatched)" while that is not known."""
        self.is_routed()
        return self.key[0]

    @property
    def model(self) -> str:
        """Return the model, or ""."""
        return self.key[1]

    def add_tokens(self, *, input: int = 0, output: int = 0, reasoning: int = 0) -> None:
        """Add tokens that this span read or wrote; any kind may be left out.

        Raises:
            ValueError: for a count that is negative or not a whole number; nothing is added then.
        """
        counts = {"input": input, "output": output, "reasoning": reasoning}
        given = {kind: _whole(kind, count) for kind, count in counts.items()}
        before = self.token_counts or {}
        self.token_counts = {kind: before.get(kind, 0) + count for kind, count in given.items()}

    def set_attribute(self, name: str, value: object) -> None:
        """Attach a value for logs and traces; it never becomes a metric label."""
        self.given = {**(self.given or {}), name: value}

    def phase(self, name: str) -> Phase:
        """Return a context manager for a named part of this span, such as prefill, decode or reasoning.

        Raises:
            ValueError: for a name that is empty or not a string.
        """
        return Phase(self, name)

    def energy(self, timeout: float = 1.0) -> Energy:
        """Return this span's joules, waiting up to ``timeout`` seconds for its last tick once it is closed.

        While it is open, or if that tick has not come in time, the figure says ``provisional``. Joules that are
        not known are None: no meter, or no tick yet.
        """
        if self.closed is not None and self.settled_at is None:
            self.settler.settle(self, timeout)
        return self._energy()

    async def settled(self, timeout: float = 1.0) -> Energy:
        """Return what ``energy`` returns, without blocking the event loop."""
        import asyncio

        deadline = perf_counter() + timeout
        while self.closed is not None and self.settled_at is None and perf_counter() < deadline:
            await asyncio.sleep(0.005)
        return self._energy()

    def is_routed(self) -> bool:
        """Look for the route of a request that came through a server; return whether it is known for good."""
        scope = self.scope
        if scope is None:
            return True
        ended = self.answered or self.closed is not None
        try:
            name = route_name(scope, self.root_path, ended=ended)
        except Exception as error:  # noqa: BLE001 - a framework's objects: foreign code
            self.settler.note(Failure("asgi", "route_name"), str(error))
            name = UNMATCHED
        if name is None and not ended:
            return False
        self.key, self.scope = (name or UNMATCHED, self.key[1]), None
        return True

    def leave_row(self, inbox: Inbox, steps: tuple[float, ...] | None) -> None:
        """Leave a row of figures in place of this span, with its steps if they are several."""
        inbox.rows.extend(
            (
                *(self.opened, self.closed, self.ran_seconds, self.key),
                *(self.outcome, self.first_byte_seconds, self.method, self.status, steps),
            )
        )

    def _traced(self) -> tuple[str, str]:
        if self.parent is None:
            return self.trace or ("", "")
        account: SpanAccount | None = self
        while isinstance(account, Span):
            if account.trace is not None:
                return account.trace
            account = account.parent
        return (account.trace_id, account.trace_span_id) if isinstance(account, Remote) else ("", "")

    def _energy(self) -> Energy:
        final, seconds = self.settled_at is not None, self.seconds
        if self.quality is None:  # no meter gave anything while it ran
            return Energy(None, None, {}, None, None, None, (1.0, 1.0), None, seconds, not final, False)
        joules = self.nanojoules / NANO
        static = min(self.static, joules)
        spread = joules / 3.0 if self.interleaved else math.hypot(self.spread, math.sqrt(self.variance))
        return Energy(
            joules=joules,
            total_joules=(self.nanojoules + self.nested) / NANO,
            by_domain={domain: share / NANO for domain, share in self.by_domain.items()},
            static_joules=static,
            dynamic_joules=joules - static,
            uncertainty_joules=3.0 * spread,
            gain=self.gain,
            quality=self.quality,
            seconds=seconds,
            provisional=not final,
            complete=not self.missing,
        )

    @property
    def seconds(self) -> float:
        """Return how long it was open, or is by now."""
        end = self.lasted_until or (self.closed if self.closed is not None else perf_counter())
        return end - self.opened if 0.0 < self.opened < end else 0.0

    @property
    def static_joules(self) -> float | None:
        """Return the part of its own joules that is its share of idle and activation power, or None."""
        if self.quality is None:
            return None
        static, joules = self.static, self.nanojoules / NANO
        return static if static < joules else joules

    @property
    def is_charged(self) -> bool:
        """Return whether joules were credited, also none at all, or are known to be missing."""
        return self.quality is not None or self.missing

    @property
    def attributes(self) -> Mapping[str, object] | None:
        """Return what the program attached, and what the server tells of the request."""
        if not self.served:
            return self.given
        told: dict[str, object] = {"http.request.method": self.method} if self.method else {}
        if self.status is not None:
            told["http.response.status_code"] = self.status
        return {**told, **(self.given or {})}

    @property
    def tokens(self) -> Mapping[str, int]:
        """Return tokens by kind: input, output, reasoning."""
        return self.token_counts or {}

    @property
    def messages(self) -> Mapping[str, int]:
        """Return websocket messages by direction: received, sent."""
        return self.message_counts or {}

    @property
    def trace_id(self) -> str:
        """Return the sampled trace that it belongs to, or ""."""
        return "" if self.trace is None and self.parent is None else self._traced()[0]

    @property
    def trace_span_id(self) -> str:
        """Return the span of that trace in which it, or the request that it is part of, was opened, or ""."""
        return self._traced()[1]

    @property
    def origin(self) -> str:
        """Return the name of the request in another process that this is part of, or ""."""
        root: SpanAccount | None = self
        while isinstance(root, Span):
            root = root.parent
        return root.name if isinstance(root, Remote) else ""

    @property
    def phases(self) -> Mapping[str, int]:
        """Return own nanojoules by phase."""
        return self.phase_nanojoules or {}

    @property
    def refusal(self) -> str:
        """Return why it takes no joules now, or ""."""
        return "late" if self.settled_at is not None else ""

    @property
    def covers(self) -> Sequence[Account]:
        """Return the parent: it is not innermost while this span is open."""
        return () if self.parent is None else (self.parent,)

    def begun(self) -> None:
        """Do nothing: a span is held by its parts only."""

    ended = begun

    def credit(self, source: Source, share: Share, totals: dict[Key, int]) -> int:
        """Take a share (sampler thread only); return the nanojoules that come too late.

        While its route is not known, what goes to no total is owed, and booked as soon as it is.
        """
        if self.settled_at is not None:
            return share[0]
        self.add_share(source, share)
        if self.scope is None or self.is_routed():
            totals[self.key] = totals.get(self.key, 0) + share[0]
        else:
            owed, part = self.owed or {}, (source.domain, source.quality)
            self.owed = {**owed, part: owed.get(part, 0) + share[0]}
        return 0

    def take_owed(self) -> Sequence[tuple[tuple[str, Quality], int]]:
        """Return what is owed by (domain, quality), in nanojoules, and owe it no more (sampler thread only)."""
        owed, self.owed = self.owed, None
        return tuple(owed.items()) if owed else ()

    def lack(self) -> None:
        """Note that joules are missing from a tick in which this ran (sampler thread only)."""
        self.missing = True

    def credit_phase(self, name: str, nanojoules: int) -> None:
        """Count a part of what was credited as that of a phase (sampler thread only)."""
        phases = self.phase_nanojoules = self.phase_nanojoules or {}
        phases[name] = phases.get(name, 0) + nanojoules


def _whole(kind: str, count: object) -> int:
    """Return a number of tokens, also one that an array library counted.

    Raises:
        ValueError: if it is negative or not a whole number.
    """
    if isinstance(count, SupportsIndex) and not isinstance(count, bool) and operator.index(count) >= 0:
        return operator.index(count)
    raise ValueError(f"{kind}={count!r} tokens is not possible; allowed: whole numbers from 0 up")
