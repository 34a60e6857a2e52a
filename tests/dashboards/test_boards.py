"""The dashboards as they are shipped: made by their source, valid PromQL, and kept to the rules of a good dashboard.

The rules are those of Grafana's dashboard-linter, which is written in Go, and a few of our own. Each is a function from
a dashboard to its complaints, and is held against what is shipped and against a dashboard that breaks it.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dashboards.boards import FOLDER, Board, Target, boards, panels, substitute, targets
from greeninfer.dashboards import shipped
from greeninfer.exporters._prometheus_metrics import families_of

promql_parser = pytest.importorskip("promql_parser", reason="promql-parser is not installed; pip install promql-parser")

AUTHOR = Path(__file__).parents[2] / "docs" / "dashboards" / "author.py"
KINDS = {"timeseries", "stat", "gauge", "bargauge", "table", "heatmap"}
WINDOWS = ("rate", "increase", "avg_over_time")
ENDINGS = ("_total", "_sum", "_count", "_bucket")

Rule = Callable[[Board], list[str]]


def parse(target: Target) -> Any:
    return promql_parser.parse(substitute(target.expression, interval="4m", span="1h"))


def walk(node: Any) -> Iterator[Any]:
    """Yield an expression and all below it."""
    yield node
    below = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "param", "vector_selector")]
    for each in (*below, *(getattr(node, "args", None) or ())):
        if each is not None:
            yield from walk(each)


def selectors(target: Target) -> list[Any]:
    return [node for node in walk(parse(target)) if isinstance(node, promql_parser.VectorSelector)]


def there_is_a_choice_of_data_source(board: Board) -> list[str]:
    first = board["templating"]["list"][0]
    return (
        [] if (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus") else ["none"]
    )


def job_and_instance_are_variables(board: Board) -> list[str]:
    wrong = []
    found = {each["name"]: each for each in board["templating"]["list"]}
    for name in ("job", "instance"):
        each = found.get(name, {})
        well = (
            each.get("type") == "query"
            and each.get("label") == name.capitalize()
            and each.get("multi")
            and each.get("includeAll")
            and each.get("allValue") == ".+"
            and each.get("datasource", {}).get("uid") == "${datasource}"
        )
        wrong += [] if well else [name]
    return wrong


def every_variable_says_what_it_is(board: Board) -> list[str]:
    return [each["name"] for each in board["templating"]["list"] if not (each.get("label") and each.get("description"))]


def every_variable_of_a_query_is_there(board: Board) -> list[str]:
    known = {each["name"] for each in board["templating"]["list"]} | {"__rate_interval", "__range", "1"}
    used = re.findall(r"\$\{?(\w+)", str([panel.get("targets") for panel in panels(board)]))
    return sorted(set(used) - known)


def every_panel_says_what_it_is(board: Board) -> list[str]:
    return [
        panel["title"] for panel in panels(board) if not (panel["title"] and len(panel.get("description", "")) > 15)
    ]


def every_panel_has_a_unit(board: Board) -> list[str]:
    return [str(target) for target in targets(board) if target.unit in ("", "none")]


def every_panel_asks_the_chosen_source(board: Board) -> list[str]:
    return [
        each["title"] for each in panels(board) if each["datasource"] != {"type": "prometheus", "uid": "${datasource}"}
    ]


def panels_are_of_kinds_that_were_drawn(board: Board) -> list[str]:
    kinds = [panel["type"] for panel in panels(board)]
    return [kind for kind in kinds if kind not in KINDS] + ["heatmap"] * max(0, kinds.count("heatmap") - 1)


def titles_and_numbers_are_unique(board: Board) -> list[str]:
    seen: list[str] = [panel["title"] for panel in panels(board)] + [str(each["id"]) for each in board["panels"]]
    return sorted({each for each in seen if seen.count(each) > 1})


def panels_stand_side_by_side(board: Board) -> list[str]:
    spaces = [(panel["title"], panel["gridPos"]) for panel in board["panels"]]
    wide = [title for title, space in spaces if space["x"] + space["w"] > 24]
    return wide + [
        f"{one} over {other}"
        for (one, a), (other, b) in itertools.combinations(spaces, 2)
        if a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    ]


def every_query_asks_for_job_and_instance(board: Board) -> list[str]:
    wrong = []
    for target in targets(board):
        for selector in re.findall(r"\{[^{}]*\}", target.expression):
            wrong += [] if 'job=~"$job",instance=~"$instance"' in selector else [f"{target}: {selector}"]
        bare = [each for each in selectors(target) if not each.matchers.matchers]
        wrong += [f"{target}: {each.name}" for each in bare]
    return wrong


def windows_fit_what_is_shown(board: Board) -> list[str]:
    """A rate that is drawn over time takes Grafana's interval; a figure of its own may take the range, or a day."""
    wrong = []
    for target in targets(board):
        allowed = {"$__rate_interval"} | ({"$__range", "1d"} if target.instant else set())
        wrong += [
            f"{target}: {window}" for window in re.findall(r"\}\[([^]]+)\]", target.expression) if window not in allowed
        ]
    return wrong


def counters_are_rated(board: Board) -> list[str]:
    """But for what is said to be since the start, and for the difference of two."""
    wrong = []
    for target in targets(board):
        if "since start" in target.panel or target.panel == "Joules not settled yet" or target.legend == "Failures":
            continue
        nodes = list(walk(parse(target)))
        rated = [
            each
            for node in nodes
            if isinstance(node, promql_parser.Call) and node.func.name in WINDOWS
            for each in walk(node)
            if isinstance(each, promql_parser.VectorSelector)
        ]
        plain = [each.name for each in nodes if isinstance(each, promql_parser.VectorSelector) if each not in rated]
        counted = re.search(r"count by \(\w+\) \(", target.expression)
        wrong += [f"{target}: {name}" for name in plain if name.endswith(ENDINGS) and not counted]
    return wrong


def workers_are_added_up(board: Board) -> list[str]:
    return [
        str(target) for target in targets(board) if re.search(r"\b(by|on) \([^)]*\b(instance|pid)\b", target.expression)
    ]


def metrics_and_labels_exist(board: Board) -> list[str]:
    known = exported()
    target_labels = {"job", "instance"}
    wrong = []
    for target in targets(board):
        for each in selectors(target):
            labels = known.get(each.name)
            asked = {matcher.name for matcher in each.matchers.matchers} - target_labels
            wrong += [f"{target}: no {each.name}"] if labels is None else []
            wrong += [f"{target}: {each.name} without {name}" for name in asked - (labels or asked)]
    return wrong


def exported() -> dict[str, set[str]]:
    """Return the labels of every series that the exporter can show, by its name."""
    known = {}
    for family in families_of(CollectorRegistry())._all:
        labels = set(family._labelnames)
        for ending in ("", *ENDINGS):
            known[family._name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    return known


RULES: dict[Rule, Callable[[Board], None]] = {}
"""Each rule with what breaks it."""


def breaks(rule: Rule) -> Callable[[Callable[[Board], None]], None]:
    def note(change: Callable[[Board], None]) -> None:
        RULES[rule] = change

    return note


def first_query(board: Board) -> dict[str, Any]:
    return next(panel for panel in panels(board) if panel["type"] == "timeseries")["targets"][0]  # type: ignore[no-any-return]


def replace_in_first_query(old: str, new: str) -> Callable[[Board], None]:
    def change(board: Board) -> None:
        query = first_query(board)
        assert old in query["expr"]
        query["expr"] = query["expr"].replace(old, new)

    return change


def set_on_first_panel(key: str, value: object) -> Callable[[Board], None]:
    def change(board: Board) -> None:
        panels(board)[0][key] = value

    return change


breaks(there_is_a_choice_of_data_source)(lambda board: board["templating"]["list"].pop(0))
breaks(job_and_instance_are_variables)(lambda board: board["templating"]["list"][2].update(allValue=".*"))
breaks(every_variable_says_what_it_is)(lambda board: board["templating"]["list"][1].pop("description"))
breaks(every_variable_of_a_query_is_there)(replace_in_first_query("$instance", "$pod"))
breaks(every_panel_says_what_it_is)(set_on_first_panel("description", ""))
breaks(every_panel_has_a_unit)(lambda board: panels(board)[0]["fieldConfig"]["defaults"].pop("unit"))
breaks(every_panel_asks_the_chosen_source)(set_on_first_panel("datasource", {"type": "prometheus", "uid": "mine"}))
breaks(panels_are_of_kinds_that_were_drawn)(set_on_first_panel("type", "geomap"))
breaks(titles_and_numbers_are_unique)(lambda board: panels(board)[0].update(title=panels(board)[1]["title"]))
breaks(panels_stand_side_by_side)(lambda board: board["panels"][0]["gridPos"].update(w=5))
breaks(every_query_asks_for_job_and_instance)(replace_in_first_query('instance=~"$instance"', 'instance=~".*"'))
breaks(windows_fit_what_is_shown)(replace_in_first_query("[$__rate_interval]", "[5m]"))
breaks(counters_are_rated)(lambda board: first_query(board).update(expr='greeninfer_tokens_total{job="a"}'))
breaks(workers_are_added_up)(lambda board: first_query(board).update(expr='sum by (name, instance) (a{job="a"})'))
breaks(metrics_and_labels_exist)(replace_in_first_query("greeninfer_", "greeninfer_no_"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("board", boards().values(), ids=lambda board: board["uid"])
def test_a_dashboard_keeps_the_rule(rule: Rule, board: Board) -> None:
    assert rule(board) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_dashboard_that_breaks_the_rule_is_seen(rule: Rule) -> None:
    board = copy.deepcopy(boards()["Energy per request"])
    RULES[rule](board)
    assert len(rule(board)) >= 1


def test_a_label_that_a_metric_has_not_is_seen() -> None:
    board = copy.deepcopy(boards()["Energy per request"])
    replace_in_first_query('model=~"$model"', 'modell=~"$model"')(board)
    assert any("without modell" in complaint for complaint in metrics_and_labels_exist(board))


@pytest.mark.parametrize("target", [each for board in boards().values() for each in targets(board)], ids=str)
def test_a_query_is_promql(target: Target) -> None:
    assert selectors(target)
    assert "$" not in substitute(target.expression, interval="4m", span="1h").replace('"$1"', "")


def test_the_dashboards_are_what_their_source_makes(tmp_path: Path) -> None:
    if importlib.util.find_spec("grafana_foundation_sdk") is None:
        pytest.skip("grafana-foundation-sdk is not installed; it comes with the extra dev")
    done = subprocess.run(
        [sys.executable, str(AUTHOR), str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    ours = {name.removeprefix(FOLDER): text for name, text in shipped().items() if name.startswith(FOLDER)}
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(made) == set(ours)
    for name in ours:
        assert made[name] == ours[name], f"{name}: run python docs/dashboards/author.py"
