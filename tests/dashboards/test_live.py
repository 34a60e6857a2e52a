"""Every query of the dashboards, asked of a real Prometheus that scrapes two real services under load.

The services run on simulated machines, so what the figures must be is known from what the machines say of themselves
and from what the clients sent, not from the library.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from dashboards.boards import Target, boards, substitute, targets
from dashboards.load import SETTLE_SECONDS, Load, Service, put_under_load
from dashboards.prometheus_server import Prometheus, Series, prometheus

for module in ("fastapi", "uvicorn", "httpx", "yaml"):
    pytest.importorskip(module, reason=f"{module} is not installed; it comes with the extra dev")

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="Prometheus is not installed: apt install prometheus"
    ),
]

INTERVAL_SECONDS = 5
INTERVAL = f"{INTERVAL_SECONDS}s"
"""What Grafana makes of $__rate_interval where Prometheus scrapes every second: four of them, and the step."""

ADDRESSES = ("127.0.0.1", "127.0.0.2")  # two machines: the host part of the instance is what tells them apart
REST_SECONDS = 5.0
TOKENS = 10
GRAMS_PER_KWH = 450.0

BOUNDS = {  # (more than, less than), of any figure with the unit
    "joule": (-0.1, 5e3),
    "watt": (0.0, 300.0),
    "s": (0.0, 30.0),
    "percentunit": (0.0, 1.01),
    "reqps": (0.5, 100.0),
    "short": (0.0, 1e4),
    "massg": (0.0, 1e5),
    "kwatth": (0.0, 50.0),
}
MAY_BE_ZERO = {"Estimated", "In flight", "Joules not settled yet", "By machine", "By service"}
ATTEMPTS = 3


@dataclass
class Run:
    """What was seen of one spell of load.

    Args:
        server: has scraped it.
        load: the spell.
        missed: what did not go as planned, so that figures cannot be compared, or "".
    """

    server: Prometheus
    load: Load
    missed: str = ""

    def ask(self, target: Target) -> list[Series]:
        """Ask what Grafana would ask: an instant at the end, or the course of the range."""
        start = self.load.end if target.instant else self.load.start
        span = f"{int(self.load.end - self.load.start)}s"
        expression = substitute(target.expression, interval=INTERVAL, span=span)
        return self.server.range(expression, start, self.load.end)

    def panel(self, board: str, title: str) -> dict[str, list[Series]]:
        """Return a panel's series by legend."""
        return {each.legend: self.ask(each) for each in targets(boards()[board]) if each.panel == title}

    @property
    def watts(self) -> float:
        return self.load.watts(INTERVAL_SECONDS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Give the first spell of load that went as planned, or else the last one."""
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        services = [stack.enter_context(Service(address)) for address in ADDRESSES]
        server = stack.enter_context(prometheus(folder, [each.address for each in services]))
        for _ in range(ATTEMPTS):
            run = Run(server, put_under_load([each.address for each in services]))
            time.sleep(REST_SECONDS)  # the last request settled and scraped, and a look at a service at rest
            run.missed = missed(run)
            if not run.missed:
                break
        yield run


@pytest.fixture
def steady(run: Run) -> Run:
    """Give the run, if what Prometheus saw can be held against what clients and machines say."""
    if run.missed:
        pytest.skip(f"this machine is too busy, {ATTEMPTS} times: {run.missed}")
    return run


def missed(run: Run) -> str:
    if not run.load.is_as_planned(len(ADDRESSES)):
        return f"the clients sent {run.load.rates} a second"
    span = f"{int(run.load.end - run.load.start) + INTERVAL_SECONDS}s"
    scrapes = run.server.range(f"sum_over_time(up[{span}])", run.load.end, run.load.end)
    counts = [each.values[0] for each in scrapes]
    return "" if min(counts) >= int(span[:-1]) - 2 else f"of {span} of scrapes there are {counts}"


TARGETS = [each for board in boards().values() for each in targets(board)]


@pytest.mark.parametrize("target", [each for each in TARGETS if not each.instant], ids=str)
def test_a_service_at_rest_leaves_gaps_and_no_nan(run: Run, target: Target) -> None:
    expression = substitute(target.expression, interval="2s", span="10s")
    series = run.server.range(expression, run.load.start - SETTLE_SECONDS - 1.0, run.load.end + REST_SECONDS)
    assert all(math.isfinite(value) for each in series for value in each.values), series


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_query_gives_finite_plausible_series(run: Run, target: Target) -> None:
    series = run.ask(target)
    assert series, "no series"
    low, high = (0.3, 3.0) if "Closure" in (target.panel, target.legend) else BOUNDS[target.unit]
    for each in series:
        assert each.points
        assert all(math.isfinite(value) for value in each.values), each
        assert all(low <= value <= high for value in each.values), each
    if target.panel not in MAY_BE_ZERO:
        assert any(each.mean > 0.0 for each in series)


def test_the_lines_are_the_watts_of_the_machines(steady: Run) -> None:
    panel = steady.panel("Energy per request", "Watts by line")
    lines = {each.labels["state"]: each.mean for each in panel["{{state}}"]}
    assert set(lines) == {"attributed", "idle", "other", "unattributed"}
    assert sum(lines.values()) == pytest.approx(steady.watts, rel=0.1)
    assert panel["meters"][0].mean == pytest.approx(steady.watts, rel=0.15)
    fleet = steady.panel("Fleet", "Watts by machine")["{{machine}}"]
    assert {each.labels["machine"] for each in fleet} == set(ADDRESSES)
    assert sum(each.mean for each in fleet) == pytest.approx(steady.watts, rel=0.1)


def test_closure_is_one(steady: Run) -> None:
    """Within what a dozen scrapes can tell of the means of seconds: not twice, not half."""
    ((figure,),) = steady.panel("Energy per request", "Closure").values()
    assert figure.mean == pytest.approx(1.0, abs=0.2)
    machines = steady.panel("Fleet", "By machine")["Closure"]
    assert {each.labels["machine"] for each in machines} == set(ADDRESSES)
    assert [each.values[-1] for each in machines] == pytest.approx([1.0, 1.0], abs=0.25)


def test_requests_are_those_that_clients_sent(steady: Run) -> None:
    (requests,) = steady.panel("Energy per request", "Requests").values()
    rates = {each.labels["name"]: each.mean for each in requests}
    for name, path in (("/classify/{text}", "/classify/hello"), ("/rank", "/rank"), ("/chat", "/chat")):
        assert rates[name] == pytest.approx(steady.load.rates[path], rel=0.15)
    assert rates["embed"] == pytest.approx(rates["/classify/{text}"], rel=0.1)


def test_joules_per_request_times_requests_are_the_attributed_watts(steady: Run) -> None:
    attributed = sum(
        each.mean
        for (series,) in [steady.panel("Energy per request", "Attributed watts by route and model").values()]
        for each in series
    )
    for title, factor in (("Joules per request", 1.0), ("Per 1,000 requests", 1e-3)):
        ((whole,),) = steady.panel("Energy per request", title).values()
        assert whole.mean * factor * sum(steady.load.rates.values()) == pytest.approx(attributed, rel=0.15)
    ((grams,),) = steady.panel("Energy per request", "CO2e per 1,000").values()
    assert grams.mean * sum(steady.load.rates.values()) * 1e-3 == pytest.approx(
        attributed / 3.6e6 * GRAMS_PER_KWH, rel=0.15
    )


def test_a_route_that_uses_more_is_told_so(steady: Run) -> None:
    (series,) = steady.panel("Energy per request", "Joules per request by route and model").values()
    joules = {(each.labels["name"], each.labels.get("model", "")): each.mean for each in series}
    assert set(joules) == {
        ("/classify/{text}", ""),
        ("embed", "minilm"),
        ("/rank", ""),
        ("/chat", ""),
        ("generate", "tiny"),
    }
    # 0.8 J and 0.2 J at once, 4 and 3 ms at 40 W a core, and a share of some 25 W while they ran.
    assert 0.6 < joules["embed", "minilm"] < 1.6
    assert 0.15 < joules["/rank", ""] < 0.8
    assert joules["embed", "minilm"] > 1.5 * joules["/rank", ""]


def test_a_token_is_a_tenth_of_its_request(run: Run) -> None:
    ((token,),) = run.panel("Energy per request", "Joules per generated token").values()
    ((with_input,),) = run.panel("Energy per request", "Joules per token, input included").values()
    (series,) = run.panel("Energy per request", "Joules per request by route and model").values()
    (generate,) = (each for each in series if each.labels["name"] == "generate")
    # Where counters start again Prometheus guesses how far back each of them began, by its own figure.
    assert token.mean * TOKENS == pytest.approx(generate.mean, rel=0.06)
    assert with_input.mean * (TOKENS + 40) == pytest.approx(generate.mean, rel=0.06)


def test_static_and_dynamic_add_up(run: Run) -> None:
    panel = run.panel("Energy per request", "Static and dynamic joules per request")
    (static,), (dynamic,) = panel["static"], panel["dynamic"]
    assert static.mean > 0.0 and dynamic.mean > 0.0
    expression = (
        "sum(rate(greeninfer_request_energy_joules_sum[5s])) / sum(rate(greeninfer_request_energy_joules_count[5s]))"
    )
    (whole,) = run.server.range(expression, run.load.start, run.load.end)
    assert static.mean + dynamic.mean == pytest.approx(whole.mean, rel=1e-6)


def test_a_day_is_the_watts_of_the_moment(steady: Run) -> None:
    kwh = [each for series in steady.panel("Fleet", "kWh per day").values() for each in series]
    assert sum(each.mean for each in kwh) == pytest.approx(steady.watts * 24 / 1000, rel=0.1)
    assert {each.labels.get("job") or each.labels["state"] for each in kwh} >= {"my-service", "idle", "other"}
    grams = [each for series in steady.panel("Fleet", "CO2e per day").values() for each in series]
    assert sum(each.mean for each in grams) == pytest.approx(steady.watts * 24 / 1000 * GRAMS_PER_KWH, rel=0.1)
    ((services,), (machines,)) = (
        series for title in ("Services", "Machines") for series in steady.panel("Fleet", title).values()
    )
    assert (services.values[-1], machines.values[-1]) == (1.0, 2.0)


def test_the_reset_of_a_counter_is_seen(run: Run) -> None:
    (failures,) = run.panel("Energy per request", "Failures since start, by meter").values()
    assert {each.labels["reason"]: each.values[-1] for each in failures}["reset"] >= 2.0  # of two domains
    (joules,) = run.panel("Energy per request", "Unattributed joules since start, by reason").values()
    assert "reset" in {each.labels["reason"] for each in joules if each.values[-1] > 0.0}


def test_the_books_close_when_all_is_settled(run: Run) -> None:
    now = time.time()
    for target in targets(boards()["Energy per request"]):
        if target.panel == "Joules not settled yet":
            series = run.server.range(substitute(target.expression, interval=INTERVAL, span="10s"), now, now)
            assert {each.labels["name"] for each in series} >= {"/classify/{text}", "embed", "/rank", "generate"}
            assert all(abs(value) < 1e-6 for each in series for value in each.values), series
    (at_rest,) = [run.server.range("max(job_instance_name:greeninfer_unsettled_joules:at_rest)", now, now)]
    assert at_rest[0].values[-1] < 1e-6


@pytest.mark.parametrize("variable", ["job", "instance", "name", "model"])
def test_a_variable_offers_values(run: Run, variable: str) -> None:
    offered = {
        "job": {"my-service"},
        "model": {"minilm", "tiny"},
        "name": {"/chat", "/classify/{text}", "/rank", "embed", "generate"},
    }
    for board in boards().values():
        for each in board["templating"]["list"]:
            if each["name"] == variable:
                expression = substitute(each["query"]["query"], interval=INTERVAL, span="10s")
                selector = expression.removeprefix("label_values(").rsplit(", ", 1)[0]
                values = run.server.ask(f"label/{variable}/values", **{"match[]": selector})
                assert set(values) == offered.get(variable, set(values))
                assert values


def test_the_rules_work_and_nothing_fires(run: Run) -> None:
    groups = run.server.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {group["name"] for group in groups} == {"greeninfer.recording", "greeninfer.alerts"}
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
    empty = [name for name in recorded if not run.server.range(name, run.load.end, run.load.end)]
    assert empty == ["job_name_model:greeninfer_escalations:ratio_rate5m"]  # no cascade serves here
    assert [rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] == "firing"] == []
