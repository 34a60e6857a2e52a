"""Settlements with figures chosen by hand."""

from __future__ import annotations

from collections.abc import Sequence

from settled import Settled

from greeninfer._energy import Energy, Measurement, Quality
from greeninfer._records import NANO, Delta, Domain, Interval, Line, MeterInfo, Settlement

PACKAGE = Domain("rapl", 0, "package")
DRAM = Domain("rapl", 0, "dram")
RAPL = MeterInfo("rapl", (PACKAGE, DRAM), "measured", 0.001, (0.97, 1.03), "counters of the processor")
CPU = Domain("estimate", 0, "cpu")
ESTIMATE = MeterInfo("estimate", (CPU,), "estimated", 0.01, (0.6, 1.7), "power model, no sensor")


def request(
    name: str = "film-review",
    model: str = "small",
    joules: float | None = 1.0,
    *,
    seconds: float = 0.01,
    plus_minus: float | None = 0.0,
    quality: Quality = "measured",
) -> Measurement:
    energy = Energy(
        joules,
        joules,
        {},
        0.0,
        joules,
        plus_minus,
        (1.0, 1.0),
        quality if joules is not None else None,
        seconds,
        False,
        joules is not None,
    )
    nanojoules = 0 if joules is None else round(joules * NANO)
    return Settled((name, model), energy, nanojoules, seconds=seconds, cpu_seconds=seconds / 2)


def settlement(
    *,
    lines: Sequence[Line] = (),
    deltas: Sequence[tuple[Domain, int]] = (),
    requests: Sequence[Measurement] = (),
    meters: Sequence[MeterInfo] = (RAPL,),
) -> Settlement:
    parts = tuple(Delta(domain, nanojoules, "measured") for domain, nanojoules in deltas)
    intervals = (Interval("rapl", 0.0, 1.0, parts),) if parts else ()
    return Settlement(1.0, 0.0, intervals, tuple(lines), tuple(requests), meters=tuple(meters))


def attributed(nanojoules: int, name: str = "film-review", model: str = "small", domain: Domain = PACKAGE) -> Line:
    return Line("attributed", domain.id, "measured", nanojoules, name, model)


def idle(nanojoules: int, domain: Domain = PACKAGE) -> Line:
    return Line("idle", domain.id, "measured", nanojoules)


def other(nanojoules: int, domain: Domain = PACKAGE) -> Line:
    return Line("other", domain.id, "measured", nanojoules)


def unattributed(nanojoules: int, reason: str, domain: Domain = PACKAGE) -> Line:
    return Line("unattributed", domain.id, "measured", nanojoules, reason=reason)
