"""What is known of one request in the end: its joules, and the record that exporters see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, overload

Quality = Literal["measured", "shared", "estimated"]
Outcome = Literal["ok", "error", "cancelled"]


@dataclass(frozen=True, slots=True)
class Energy:
    """The joules of one span.

    A figure that is not known is None, never 0.

    Args:
        joules: the span's own, without its child spans.
        total_joules: own and child spans together.
        by_domain: own joules by domain id.
        static_joules: share of idle and activation power while it ran.
        dynamic_joules: what its own running added; both add up to ``joules``.
        uncertainty_joules: half width of the interval that holds about 95 % of requests' true joules, as far
            as dividing the meter's joules goes (three standard errors, attribution.md 9).
        gain: (low, high) of the meter, common to all requests; ``interval_joules`` puts both together.
        quality: measured, shared or estimated: the worst of the parts.
        seconds: from open to close, or to now while it is open.
        provisional: the span is open, or its last tick is not settled yet.
        complete: False where a sensor was lost during the span, so that joules are missing.
    """

    joules: float | None
    total_joules: float | None
    by_domain: Mapping[str, float]
    static_joules: float | None
    dynamic_joules: float | None
    uncertainty_joules: float | None
    gain: tuple[float, float]
    quality: Quality | None
    seconds: float
    provisional: bool
    complete: bool

    @property
    def interval_joules(self) -> tuple[float, float] | None:
        """Return (low, high) joules: the uncertainty of dividing and the gain of the meter together."""
        if self.joules is None or self.uncertainty_joules is None:
            return None
        low, high = self.gain
        return max(0.0, (self.joules - self.uncertainty_joules) * low), (self.joules + self.uncertainty_joules) * high

    def __str__(self) -> str:
        """Return the figure as a person reads it, its quality always beside it."""
        if self.joules is None:
            return "joules not known"
        low, high = self.gain
        known = "" if self.quality != "estimated" else f"estimated, true x{low:g} to x{high:g}"
        words = [
            known or self.quality or "",
            "provisional" if self.provisional else "",
            "" if self.complete else "partial",
        ]
        return (
            f"{self.joules:.4g} J ± {round(self.uncertainty_joules or 0.0, 9):.2g} ({', '.join(filter(None, words))})"
        )


@dataclass(slots=True)
class Rate:
    """What the settled requests of a route took lately, child spans included.

    Args:
        joules, cpu_seconds: sums, older requests counting for less.
        quality: of the last of them.
        gain: of its meter.
    """

    joules: float
    cpu_seconds: float
    quality: Quality
    gain: tuple[float, float]

    @property
    def watts(self) -> float:
        """Return joules per CPU second."""
        return self.joules / self.cpu_seconds


class Measurement(Protocol):
    """One span that is closed and settled, as exporters see it.

    A settled ``Span`` is one as it stands: nothing is copied for each request.
    """

    @property
    def key(self) -> tuple[str, str]:
        """Return its route: (name, model), model "" for a span without one."""
        ...

    @property
    def unix_seconds(self) -> float:
        """Return when it opened, for people."""
        ...

    @property
    def seconds(self) -> float:
        """Return how long it was open."""
        ...

    @property
    def cpu_seconds(self) -> float:
        """Return its own CPU time."""
        ...

    @property
    def outcome(self) -> Outcome:
        """Return ok, error or cancelled."""
        ...

    @property
    def nanojoules(self) -> int:
        """Return its own joules as the books keep them; the histogram's ``_sum`` adds up these."""
        ...

    @property
    def static_joules(self) -> float | None:
        """Return the part of its own joules that is its share of idle and activation power, or None."""
        ...

    @property
    def quality(self) -> Quality | None:
        """Return the worst quality of its joules, or None where no meter gave any."""
        ...

    @property
    def tokens(self) -> Mapping[str, int]:
        """Return tokens by kind: input, output, reasoning."""
        ...

    @property
    def phases(self) -> Mapping[str, int]:
        """Return own nanojoules by phase."""
        ...

    @property
    def attributes(self) -> Mapping[str, object] | None:
        """Return what the program attached; free for logs, never a metric label."""
        ...

    @property
    def trace_id(self) -> str:
        """Return the sampled trace that it belongs to, 32 hexadecimal digits, or ""."""
        ...

    @property
    def trace_span_id(self) -> str:
        """Return the span of that trace in which it was opened, 16 hexadecimal digits, or ""."""
        ...

    @property
    def origin(self) -> str:
        """Return the name of the request in another process that this is part of, or ""."""
        ...

    @property
    def first_byte_seconds(self) -> float | None:
        """Return how long its answer's first byte took, from when it was opened; None if it sent none."""
        ...

    @property
    def messages(self) -> Mapping[str, int]:
        """Return websocket messages by direction: received, sent."""
        ...

    @property
    def escalated(self) -> bool:
        """Return whether it was a stage of a cascade that handed on to the next."""
        ...

    def energy(self) -> Energy:
        """Return its final figures."""
        ...


class Columns(Protocol):
    """Measurements of which nothing is known but figures, as columns: whoever adds them up needs no objects."""

    @property
    def keys(self) -> Sequence[tuple[str, str]]:
        """Return the route of each."""
        ...

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """Return how each ended."""
        ...

    @property
    def seconds(self) -> Sequence[float]:
        """Return how long each was open."""
        ...

    @property
    def first_bytes(self) -> Sequence[float | None]:
        """Return how long each one's first byte took."""
        ...

    @property
    def nanojoules(self) -> Sequence[int]:
        """Return what each used."""
        ...

    @property
    def static_nanojoules(self) -> Sequence[int]:
        """Return the part of it that is each one's share of idle and activation power."""
        ...

    @property
    def quality(self) -> Quality:
        """Return the worst quality of these joules, which is the same for all."""
        ...


class Measurements(Sequence[Measurement]):
    """What became final in one tick, some of it in columns: objects are made of that only where somebody asks for them.

    Args:
        single: measurements that are objects.
        columns: the others.
        objects: makes objects of the others, and returns all.
    """

    def __init__(
        self, single: Sequence[Measurement], columns: Columns, objects: Callable[[], Sequence[Measurement]]
    ) -> None:
        self.single = single
        self.columns = columns
        self._objects = objects

    def __len__(self) -> int:
        """Return how many these are."""
        return len(self.single) + len(self.columns.keys)

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Measurement]: ...
    def __getitem__(self, index: int | slice) -> Measurement | Sequence[Measurement]:
        """Return one of them, or some."""
        return self._objects()[index]

    def __iter__(self) -> Iterator[Measurement]:
        """Yield them in the order in which they ended."""
        return iter(self._objects())
