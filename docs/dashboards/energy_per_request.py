"""The dashboard *Energy per request*: what a request costs, where the machine's power goes, whether it adds up."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import (
    BY_ROUTE,
    COUNT,
    GRAMS,
    JOULES,
    PER_SECOND,
    SECONDS,
    SHARE,
    WATTS,
    Panel,
    bars,
    board,
    choice,
    figure,
    intensity_variable,
    lines,
    rows,
    service_variables,
)
from queries import (
    ATTRIBUTED,
    ENERGY,
    FIRST_BYTE,
    GRAMS_PER_JOULE,
    REQUEST_JOULES,
    ROUTE,
    SERVICE,
    SHOWN,
    STATIC,
    answered,
    attributed,
    closure,
    meters,
    over,
    per_request,
    quantile,
    rate,
    total,
    whole,
)
from queries import SECONDS as DURATION

OWN = (
    "Own joules: those of a part that is measured by itself (a model call inside a route) stand in that part's own "
    "row, not in the route's."
)
# A counter that appears with its first event shows no increase, and these events are rare.
SINCE_START = "Since the processes started: a step is when it happened."
NOT_YET = "A request is told when it is settled, so a long stream shows at its end."


def dashboard() -> Dashboard:
    made = board(
        "Energy per request",
        "greeninfer-energy-per-request",
        "Joules and seconds of every inference request, by route and model; the four lines that add up to the meter. "
        "Joules are those of the parts that a meter sees (processor, memory, GPU), without fans, power supply or network.",
        "now-15m",
        "5s",
    )
    there = DURATION + "_count"
    for variable in (
        *service_variables(),
        choice("name", "Name", "Routes and measured functions.", there, SERVICE, ".*"),
        choice("model", "Model", "As given to measure(); empty for a route.", there, SERVICE + ',name=~"$name"', ".*"),
        intensity_variable(),
    ):
        made.with_variable(variable)
    for panel in _figures():
        made.with_panel(panel)
    for title, panels in (
        ("Requests", _requests()),
        ("Where the power goes", _power()),
        ("Latency beside energy", _latency()),
        ("Tokens and phases", _tokens()),
        ("Does it add up?", _trust()),
    ):
        made.with_row(Row(title))
        for panel in panels:
            made.with_panel(panel)
    return made


def _figures() -> list[Panel]:
    estimated = over(total(rate(ENERGY, ATTRIBUTED + 'quality="estimated",' + ROUTE)), attributed())
    answer = (
        "per request that was answered, with everything that was measured inside it (all spans, where none is served)."
    )
    return [
        figure("Joules per request", f"Joules attributed to requests, {answer}", JOULES, whole()),
        figure("Per 1,000 requests", f"The same for a thousand: joules {answer}", JOULES, f"1000 * {whole()}"),
        figure(
            "CO2e per 1,000", "Of the joules of 1,000 requests, at the grid intensity above. Operation only, nothing embodied.",
            GRAMS, f"1000 * {whole()} * {GRAMS_PER_JOULE}",
        ),
        figure("Latency p95", "95 % of the requests and measured parts take less, from open to close.", SECONDS, quantile(0.95, DURATION)),
        figure(
            "Closure", "What the meters count, as a share of attributed, idle, other and unattributed joules together, over the "
            "range that is shown. 100 % means that the books tell the machine once; 50 %, twice. The meters' power is one sample "
            "a scrape, so over a short range it is rough. All processes of a machine must be selected.", SHARE, closure(),
            decimals=0, shown=True, steps=((None, "red"), (0.8, "yellow"), (0.95, "green"), (1.05, "yellow"), (1.25, "red")),
        ),
        figure(
            "Estimated", "Share of the attributed joules that no sensor measured: they come from a power model and are true "
            "to a factor of 0.6 to 1.7.", SHARE, f"{estimated} or 0 * {attributed()}", decimals=0,
            steps=((None, "green"), (0.001, "orange")),
        ),
    ]  # fmt: skip


def _requests() -> list[Panel]:
    by = ("name", "model")
    everything = f"scalar({total(f'increase({ENERGY}{{{ATTRIBUTED}{SERVICE}}}[{SHOWN}])')})"
    joules = total(f"increase({ENERGY}{{{ATTRIBUTED}{ROUTE}}}[{SHOWN}])", *by)
    return [
        lines("Joules per request by route and model", f"{OWN} {NOT_YET}", JOULES, {BY_ROUTE: per_request(*by)}),
        lines(
            "Static share of a request's joules", "Static: the request's share of the power that is there while anything "
            "runs. Dynamic: what its own running added. Static falls when more requests run at the same time.", SHARE,
            {BY_ROUTE: over(total(rate(STATIC), *by), total(rate(REQUEST_JOULES + "_sum"), *by))}, top=1.0,
        ),
        bars(
            "Joules per 1,000 requests by route and model", f"Over the range that is shown. {OWN}", JOULES, BY_ROUTE,
            f"1000 * {per_request(*by, window=SHOWN)}", width=8, height=9,
        ),
        rows(
            "Top consumers", f"Over the range that is shown, by joules. Share: of everything that is attributed. {OWN}", by,
            {
                "Joules": (JOULES, joules),
                "Share": (SHARE, f"{joules} / {everything}"),
                "Requests": (COUNT, total(f"increase({DURATION}_count{{{ROUTE}}}[{SHOWN}])", *by)),
                "Per request": (JOULES, per_request(*by, window=SHOWN)),
                "Static": (JOULES, per_request(*by, metric=STATIC, window=SHOWN)),
                "Latency p95": (SECONDS, quantile(0.95, DURATION, *by, window=SHOWN)),
            },
            width=16,
        ),
    ]  # fmt: skip


def _power() -> list[Panel]:
    return [
        lines(
            "Watts by line", "Attributed to requests; idle: nothing of ours ran; other: processes and code outside requests; "
            "unattributed: could not be divided. The dashed line is what the meters count, and the stack has to reach it.",
            WATTS, {"{{state}}": total(rate(ENERGY, SERVICE), "state"), "meters": meters()}, stacked=True,
        ),
        lines(
            "Attributed watts by route and model", f"Who uses the power that is attributed. {OWN}", WATTS,
            {BY_ROUTE: attributed("name", "model")}, stacked=True,
        ),
        lines(
            "Static and dynamic joules per request", "All selected requests and parts together: their share of the power that "
            "is there while anything runs, and what their own running added.", JOULES,
            {
                "static": per_request(metric=STATIC),
                "dynamic": f"{per_request()} - {per_request(metric=STATIC)}",
            },
            stacked=True,
        ),
        lines(
            "Requests", "Answered requests a second, by route, and measured parts by name.", PER_SECOND,
            {"{{name}}": answered("name")}, width=6,
        ),
        lines("In flight", "Open requests and parts, by name.", COUNT,
              {"{{name}}": total(f'greeninfer_requests_in_flight{{{SERVICE},name=~"$name"}}', "name")}, width=6),
    ]  # fmt: skip


def _latency() -> list[Panel]:
    by = ("name", "model")
    quantiles = {"p50": 0.5, "p95": 0.95}
    return [
        lines(title, description, unit, {f"{p} {BY_ROUTE}": quantile(q, histogram, *by) for p, q in quantiles.items()}, width=8)
        for title, description, unit, histogram in (
            ("Seconds per request", "p50 and p95 from open to close, by route and model.", SECONDS, DURATION),
            ("Seconds to the first byte", "p50 and p95, of requests that were served.", SECONDS, FIRST_BYTE),
            ("Joules per request, p50 and p95", f"By route and model. {OWN}", JOULES, REQUEST_JOULES),
        )
    ]  # fmt: skip


def _tokens() -> list[Panel]:
    by = ("name", "model")
    joules = total(rate(REQUEST_JOULES + "_sum"), *by)

    def per_token(kinds: str) -> str:
        return over(joules, total(rate("greeninfer_tokens_total", ROUTE + f',kind=~"{kinds}"'), *by))

    given = "Own joules of the spans that say their tokens (span.add_tokens)."
    return [
        lines("Joules per generated token", f"{given} Generated: output and reasoning.", JOULES,
              {BY_ROUTE: per_token("output|reasoning")}, width=8),
        lines("Joules per token, input included", f"{given} Input, output and reasoning.", JOULES,
              {BY_ROUTE: per_token("input|output|reasoning")}, width=8),
        lines("Watts by phase", "Of spans that name their phases (span.phase), such as prefill and decode.", WATTS,
              {"{{phase}}": total(rate("greeninfer_phase_energy_joules_total"), "phase")}, width=8, stacked=True),
    ]  # fmt: skip


def _trust() -> list[Panel]:
    by = ("name",)
    so_far = total(f"{ENERGY}{{{ATTRIBUTED}{ROUTE}}}", *by)
    settled = total(f"{REQUEST_JOULES}_sum{{{ROUTE}}}", *by)
    return [
        lines(
            "Joules not settled yet", "Attributed to requests that are still open. Falls to 0 when none is; where it does not, "
            "the books do not close.", JOULES, {"{{name}}": f"{so_far} - ({settled} or 0 * {so_far})"}, width=8, bottom=None,
        ),
        lines(
            "Attributed watts by quality", "measured: by a sensor. shared: by a sensor, and divided among processes. "
            "estimated: by a power model.", WATTS, {"{{quality}}": attributed("quality")}, width=8, stacked=True,
        ),
        lines(
            "Unattributed joules since start, by reason", "Joules that the meters counted and nobody could be told to have used. "
            f"{SINCE_START}", JOULES,
            {"{{reason}}": total(f'{ENERGY}{{state="unattributed",{SERVICE}}}', "reason")}, width=8,
        ),
        lines(
            "Failures since start, by meter", "What went wrong with a meter, by reason; a failed read loses nothing, the next one "
            f"covers it. Also failures of the library itself. {SINCE_START}", COUNT,
            {"{{meter}} {{reason}}": total(f"greeninfer_meter_failures_total{{{SERVICE}}}", "meter", "reason")}, width=8,
        ),
        lines("What measuring costs", "CPU time of the library itself, all processes together; 100 % is one core.", SHARE,
              {"of one core": total(rate("greeninfer_overhead_cpu_seconds_total", SERVICE))}, width=8),
        lines("Watts by domain", "What each meter counts: processor package, memory, GPU ...", WATTS,
              {"{{machine}} {{domain}}": meters("machine", "domain")}, width=8),
    ]  # fmt: skip
