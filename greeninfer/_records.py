"""The plain data that passes between the floors. Frozen, slotted, SI units, no behaviour beyond arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import sub
from typing import Literal

from greeninfer._energy import Measurement, Quality

Device = Literal["cpu", "gpu"]
State = Literal["attributed", "idle", "other", "unattributed"]

NANO = 1_000_000_000
"""Nanojoules in a joule: totals are integers of these, so that the books close to the last unit."""

_EXACT = 2**53  # beyond, a float does not tell every whole number


def whole_nanojoules(joules: Sequence[float], total: int) -> list[int]:
    """Round shares to whole nanojoules that add up to ``total`` exactly: what is rounded is their running sum."""
    sums = list(accumulate(joules))
    weight = sums[-1]
    if not weight > 1e-200:  # shares that say nothing are equal shares
        sums = [float(number) for number in range(1, len(joules) + 1)]
        weight = sums[-1]
    until = [round(each / weight * total) for each in sums]
    if total > _EXACT:
        until = [min(each, total) for each in until]
    until[-1] = total
    return list(map(sub, until, [0, *until]))


@dataclass(frozen=True, slots=True)
class Domain:
    """One thing whose joules are counted: ``rapl/0/package``.

    Args:
        meter: name of the meter that counts it.
        index: which one of its kind, as the meter numbers them.
        name: package, dram, gpu, cpu ...
        device: what makes a span run on it: CPU time ("cpu") or being open and innermost ("gpu").
        parent: id of the domain whose counter includes this one, or "" where none does.
    """

    meter: str
    index: int
    name: str
    device: Device = "cpu"
    parent: str = ""

    @property
    def id(self) -> str:
        """Return the domain's full name, unique on a machine."""
        return f"{self.meter}/{self.index}/{self.name}"


@dataclass(frozen=True, slots=True)
class MeterInfo:
    """What a meter says of itself.

    Args:
        name: its name in settings, labels and logs.
        domains: what it counts, in the order of its readings.
        quality: "measured" by a sensor or "estimated" by a power model.
        period_seconds: how often its counters change.
        gain: (low, high): the true joules lie between low and high times the joules read. Common to all
            requests, so it never averages out.
        source: one line for a person: where the joules come from.
        idle_watts: power of all its domains while nothing runs, where a model says so; None where it has to be learned.
    """

    name: str
    domains: tuple[Domain, ...]
    quality: Quality
    period_seconds: float
    gain: tuple[float, float]
    source: str
    idle_watts: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one domain's counter says at an instant.

    Args:
        domain: which counter.
        joules: cumulative, unwrapped, never smaller than the reading before.
        instant: monotonic seconds at the middle of the read.
        fault: "" for a good reading; else why the joules used since the reading before are not known
            ("reset"): then ``joules`` went on by ``guess_joules``, an estimate, and says so.
        guess_joules: the part of ``joules`` that is a guess because of ``fault``.
    """

    domain: Domain
    joules: float
    instant: float
    fault: str = ""
    guess_joules: float = 0.0


@dataclass(frozen=True, slots=True)
class Delta:
    """Joules that one domain used in an interval.

    Args:
        domain: which domain.
        nanojoules: integer difference of the rounded cumulative joules, so that the deltas of a run add up
            to the whole without an error of rounding.
        quality: of these joules.
        fault: "" if they can be divided among spans; else the reason under which they are unattributed.
    """

    domain: Domain
    nanojoules: int
    quality: Quality
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """The difference between two rounds of readings of one meter; a domain that is lost has no delta."""

    meter: str
    start: float
    end: float
    deltas: tuple[Delta, ...]

    @property
    def seconds(self) -> float:
        """Return how long the interval lasted."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that went wrong with a meter since the last settlement; the metric's labels."""

    meter: str
    reason: str
    count: int = 1


@dataclass(slots=True)
class Row:
    """What the calibration learns from: one interval's activity and joules.

    Args:
        seconds: length of the interval.
        active: expected seconds in which anything ran.
        ran: running seconds by route.
        other: running seconds of what no span covers.
        joules: by domain id; only good deltas.
        squares: by domain id, sum over accounts of their squared dynamic joules.
    """

    seconds: float
    active: float
    ran: dict[tuple[str, str], float] = field(default_factory=dict)
    other: float = 0.0
    joules: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Weights:
    """What the ledger needs to know about one domain's power. Wrong weights misplace joules inside a tick; they
    never break closure.

    Args:
        idle_watts: power while nothing runs (P0).
        active_watts: power that appears as soon as anything runs (Pact).
        watts: watts per running second by (name, model).
        shared_watts: the same for every pair without a weight of its own.
        other_watts: the same for processes that are not instrumented.
        sigma: relative spread of power inside a route (attribution.md 9).
        sigma_idle_watts: standard error of ``idle_watts`` and ``active_watts`` together.
        learned: False until the regression has enough rows; the fallback weights are uniform.
    """

    idle_watts: float = 0.0
    active_watts: float = 0.0
    watts: Mapping[tuple[str, str], float] = field(default_factory=dict)
    shared_watts: float = 1.0
    other_watts: float = 1.0
    sigma: float = 0.0
    sigma_idle_watts: float = 0.0
    learned: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the books: joules of one domain in one state. Lines add up to the deltas exactly.

    ``name`` and ``model`` are set for "attributed", ``reason`` for "unattributed"; otherwise "".
    """

    state: State
    domain: str
    quality: Quality
    nanojoules: int
    name: str = ""
    model: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one tick of the monitor brought; the only thing that exporters see.

    Args:
        instant: monotonic seconds.
        unix_seconds: the same for people.
        intervals: of the meters that were read and gave joules.
        lines: the joules of these intervals, divided.
        measurements: spans that became final.
        watts: mean power by domain id of the last second, or of an interval that is longer; only what has become known.
        failures: what went wrong since the last settlement.
        in_flight: open spans by name, now; a name that has been seen stays, with 0.
        overhead_cpu_seconds: CPU time that the library itself used since the last settlement.
        meters: what is being read.
        speaks_for_machine: False in all but one of the processes that measure the same machine; figures of the
            machine as a whole, such as the counters themselves, are that one's to tell.
    """

    instant: float
    unix_seconds: float
    intervals: tuple[Interval, ...] = ()
    lines: tuple[Line, ...] = ()
    measurements: Sequence[Measurement] = ()
    watts: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    in_flight: Mapping[str, int] = field(default_factory=dict)
    overhead_cpu_seconds: float = 0.0
    meters: tuple[MeterInfo, ...] = ()
    speaks_for_machine: bool = True
