"""Small functions that make the records which exporters get, consistent in themselves."""

from __future__ import annotations

from collections.abc import Mapping

from settled import Settled

from greeninfer._energy import Energy, Measurement, Outcome, Quality
from greeninfer._records import NANO, Delta, Domain, Failure, Interval, Line, MeterInfo, Settlement, State

PACKAGE = "rapl/0/package"
DRAM = "rapl/0/dram"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE_SPAN = "00f067aa0ba902b7"

RAPL = MeterInfo(
    name="rapl",
    domains=(Domain("rapl", 0, "package"), Domain("rapl", 0, "dram")),
    quality="measured",
    period_seconds=0.001,
    gain=(1.0, 1.0),
    source="made up",
)

WEIRD = (
    "",
    " ",
    'quo"te',
    "new\nline",
    "back\\slash",
    "\\n",
    "carriage\rreturn",
    "nul\0",
    "{a=1}",
    "größe ⚡",
    "caf\udce9",
    "x" * 5000,
)
"""Names that a format may choke on; the last but one is what Python makes of a path that is not UTF-8."""


def short(text: str) -> str:
    """Return a name for a test that is about this text."""
    return ascii(text)[:20]


def measurement(
    name: str = "classify",
    model: str = "minilm",
    nanojoules: int | None = 250_000_000,
    *,
    seconds: float = 0.02,
    quality: Quality = "measured",
    outcome: Outcome = "ok",
    complete: bool = True,
    tokens: Mapping[str, int] | None = None,
    phases: Mapping[str, int] | None = None,
    attributes: Mapping[str, object] | None = None,
    trace_id: str = "",
    trace_span_id: str = "",
    origin: str = "",
    first_byte_seconds: float | None = None,
    messages: Mapping[str, int] | None = None,
    escalated: bool = False,
    static_joules: float | None = None,
    unix_seconds: float = 1_700_000_000.25,
) -> Measurement:
    """Make one settled request; without nanojoules, one that no meter saw."""
    joules = None if nanojoules is None else nanojoules / NANO
    static = static_joules if static_joules is not None or joules is None else joules / 4
    energy = Energy(
        joules=joules,
        total_joules=joules,
        by_domain={} if joules is None else {PACKAGE: joules},
        static_joules=static,
        dynamic_joules=None if joules is None or static is None else joules - static,
        uncertainty_joules=None if joules is None else joules / 10,
        gain=(0.9, 1.1),
        quality=None if joules is None else quality,
        seconds=seconds,
        provisional=False,
        complete=complete,
    )
    return Settled(
        key=(name, model),
        unix_seconds=unix_seconds,
        seconds=seconds,
        cpu_seconds=seconds / 2,
        outcome=outcome,
        figures=energy,
        nanojoules=nanojoules or 0,
        tokens=tokens or {},
        phases=phases or {},
        attributes=attributes,
        trace_id=trace_id,
        trace_span_id=trace_span_id,
        origin=origin,
        first_byte_seconds=first_byte_seconds,
        messages=messages or {},
        escalated=escalated,
    )


def line(
    nanojoules: int,
    state: State = "attributed",
    name: str = "classify",
    model: str = "minilm",
    *,
    domain: str = PACKAGE,
    quality: Quality = "measured",
    reason: str = "",
) -> Line:
    """Make one line of the books."""
    if state != "attributed":
        name = model = ""
    return Line(state, domain, quality, nanojoules, name, model, reason)


def settlement(
    *records: Line | Measurement | Failure | Interval,
    instant: float = 100.0,
    watts: Mapping[str, float] | None = None,
    in_flight: Mapping[str, int] | None = None,
    overhead_cpu_seconds: float = 0.0,
    meters: tuple[MeterInfo, ...] = (),
    speaks_for_machine: bool = True,
) -> Settlement:
    """Make what one tick brought."""
    return Settlement(
        instant=instant,
        unix_seconds=1_700_000_000.0 + instant,
        intervals=tuple(each for each in records if isinstance(each, Interval)),
        lines=tuple(each for each in records if isinstance(each, Line)),
        measurements=tuple(each for each in records if isinstance(each, Settled)),
        failures=tuple(each for each in records if isinstance(each, Failure)),
        watts=watts or {},
        in_flight=in_flight or {},
        overhead_cpu_seconds=overhead_cpu_seconds,
        meters=meters,
        speaks_for_machine=speaks_for_machine,
    )


def interval(
    nanojoules: Mapping[str, int], *, fault: str = "", quality: Quality = "measured", meter: MeterInfo = RAPL
) -> Interval:
    """Make the second in which the domains of a meter used this; a domain that is not named is lost."""
    domains = [domain for domain in meter.domains if domain.id in nanojoules]
    deltas = [Delta(domain, nanojoules[domain.id], quality, fault) for domain in domains]
    return Interval(meter.name, 99.0, 100.0, tuple(deltas))


def full(instant: float = 100.0) -> Settlement:
    """Make a settlement that has everything a settlement can have."""
    return settlement(
        line(250_000_000),
        line(30_000_000, domain=DRAM),
        line(1_200_000_000, name="rerank", model=""),
        line(400_000_000, "idle"),
        line(70_000_000, "other"),
        line(1, "unattributed", reason="rounding"),
        line(9_000_000, "unattributed", domain=DRAM, reason="reset"),
        measurement(
            nanojoules=280_000_000,
            tokens={"input": 412, "output": 33, "reasoning": 0},
            phases={"prefill": 80_000_000, "decode": 200_000_000},
            attributes={"batch": 4},
            trace_id=TRACE,
            trace_span_id=TRACE_SPAN,
            first_byte_seconds=0.008,
            escalated=True,
        ),
        measurement(
            *("rerank", "", 1_200_000_000),
            seconds=1.5,
            outcome="error",
            origin="/search",
            messages={"received": 2, "sent": 5},
        ),
        measurement("health", "", None, seconds=0.0004),
        Failure("rapl", "garbage", 2),
        interval({PACKAGE: 1_920_000_001, DRAM: 39_000_000}),
        instant=instant,
        watts={PACKAGE: 96.5, DRAM: 3.25},
        in_flight={"classify": 2, "rerank": 0},
        overhead_cpu_seconds=0.00025,
        meters=(RAPL,),
    )
