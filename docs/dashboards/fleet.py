"""The dashboard *Fleet*: services and machines, kWh and gCO2e per day."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import (
    COUNT,
    GRAMS,
    JOULES,
    KWH,
    PER_SECOND,
    SHARE,
    WATTS,
    Panel,
    board,
    figure,
    intensity_variable,
    lines,
    rows,
    service_variables,
)
from queries import (
    ATTRIBUTED,
    DAY,
    ENERGY,
    GRAMS_PER_JOULE,
    JOULES_PER_KWH,
    SERVICE,
    answered,
    attributed,
    closure,
    lines_watts,
    on_machine,
    over,
    rate,
    total,
)

DAY_SECONDS = "86400"
BOUNDARY = "Of the parts that a meter sees: processor, memory, GPU; without fans, power supplies, network or cooling."
THERE = f"greeninfer_overhead_cpu_seconds_total{{{SERVICE}}}"


def dashboard() -> Dashboard:
    made = board(
        "Fleet",
        "greeninfer-fleet",
        "Services and machines that greeninfer measures: power, kWh and gCO2e per day. " + BOUNDARY,
        "now-24h",
        "1m",
    )
    for variable in (*service_variables(), intensity_variable()):
        made.with_variable(variable)
    for panel in _figures():
        made.with_panel(panel)
    for title, panels in (("Per day", _per_day()), ("Services", _services()), ("Machines", _machines())):
        made.with_row(Row(title))
        for panel in panels:
            made.with_panel(panel)
    return made


def _figures() -> list[Panel]:
    day = total(f"increase({ENERGY}{{{SERVICE}}}[{DAY}])")
    return [
        figure("Services", "Jobs that Prometheus scrapes.", COUNT, f"count(count by (job) ({THERE}))"),
        figure("Machines", "Hosts that their processes run on: the host part of the label instance.", COUNT,
               f"count(count by (machine) ({on_machine(THERE)}))"),
        figure("Power", f"All four lines of all machines. {BOUNDARY}", WATTS, total(rate(ENERGY, SERVICE))),
        figure("Last 24 hours", f"All four lines of all machines. {BOUNDARY}", KWH, f"{day} / {JOULES_PER_KWH}", shown=True),
        figure("CO2e, last 24 hours", "Of these kWh, at the grid intensity above. Operation only, nothing embodied.", GRAMS,
               f"{day} * {GRAMS_PER_JOULE}", shown=True),
        figure("At work for requests", "Attributed joules, as a share of all.", SHARE,
               over(attributed(matchers=SERVICE), total(rate(ENERGY, SERVICE))), decimals=0),
    ]  # fmt: skip


def _per_day() -> list[Panel]:
    services = attributed("job", matchers=SERVICE)
    rest = total(rate(ENERGY, 'state!="attributed",' + SERVICE), "state")
    to_kwh, to_grams = f"{DAY_SECONDS} / {JOULES_PER_KWH}", f"{DAY_SECONDS} * {GRAMS_PER_JOULE}"
    said = "At the rate of the moment, for a day. Attributed joules by service, and what belongs to no request."
    return [
        lines("kWh per day", said, KWH, {"{{job}}": f"{services} * {to_kwh}", "{{state}}": f"{rest} * {to_kwh}"}, stacked=True),
        lines("CO2e per day", f"{said} At the grid intensity above.", GRAMS,
              {"{{job}}": f"{services} * {to_grams}", "{{state}}": f"{rest} * {to_grams}"}, stacked=True),
    ]  # fmt: skip


def _services() -> list[Panel]:
    day = total(f"increase({ENERGY}{{{ATTRIBUTED}{SERVICE}}}[{DAY}])", "job")
    now = attributed("job", matchers=SERVICE)
    requests = answered("job", matchers=SERVICE)
    estimated = total(rate(ENERGY, ATTRIBUTED + 'quality="estimated",' + SERVICE), "job")
    return [
        lines("Joules per request by service", "Attributed joules per answered request, with everything measured inside it.", JOULES,
              {"{{job}}": over(now, requests)}, width=8, height=9),
        rows(
            "By service", "Now, and over the last 24 hours. Joules per request: attributed joules per answered request. Only what is "
            "attributed to requests; idle joules of their machines are not shared out.", ("job",),
            {
                "Watts": (WATTS, now),
                "Requests": (PER_SECOND, requests),
                "Per request": (JOULES, over(now, requests)),
                "24 h": (KWH, f"{day} / {JOULES_PER_KWH}"),
                "CO2e, 24 h": (GRAMS, f"{day} * {GRAMS_PER_JOULE}"),
                "Estimated": (SHARE, over(f"({estimated} or 0 * {now})", now)),
            },
            width=16,
        ),
    ]  # fmt: skip


def _machines() -> list[Panel]:
    def of(state: str) -> str:
        return total(on_machine(rate(ENERGY, f'state=~"{state}",' + SERVICE)), "machine")

    every = lines_watts("machine")
    none = f"0 * {every}"  # a counter that is not there has counted nothing
    failures = f"greeninfer_meter_failures_total{{{SERVICE}}}"
    return [
        lines("Watts by machine", "Attributed, idle, other and unattributed together.", WATTS, {"{{machine}}": every}, width=8, height=9, stacked=True),
        rows(
            "By machine", "Watts now, by line. Closure: what the meters count as a share of the lines, over the range that is "
            "shown; 100 % means that they tell the machine once, if all its processes are selected. Failures: of meters, since "
            "the processes started.", ("machine",),
            {
                "Watts": (WATTS, every),
                "Attributed": (WATTS, of("attributed")),
                "Idle": (WATTS, of("idle")),
                "Other": (WATTS, of("other")),
                "Unattributed": (WATTS, f"{of('unattributed')} or {none}"),
                "Closure": (SHARE, closure("machine")),
                "Failures": (COUNT, f"{total(on_machine(failures), 'machine')} or {none}"),
            },
            width=16,
        ),
    ]  # fmt: skip
