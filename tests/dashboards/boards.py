"""The dashboards that are shipped, as data: panels, targets, expressions with their variables put in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from greeninfer.dashboards import shipped

FOLDER = "grafana/dashboards/"

Board = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    board: str
    panel: str
    kind: str
    unit: str
    legend: str
    expression: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.board} / {self.panel} / {self.legend}"


def boards() -> dict[str, Board]:
    """Return the dashboards by their titles."""
    loaded = [json.loads(text) for name, text in shipped().items() if name.startswith(FOLDER)]
    return {each["title"]: each for each in loaded}


def panels(board: Board) -> list[dict[str, Any]]:
    """Return what shows something: all but the rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def targets(board: Board) -> Iterator[Target]:
    """Yield every query; those of a table are called by the names of their columns."""
    for panel in panels(board):
        config = panel["fieldConfig"]
        names = {}
        for step in panel.get("transformations", []):
            names.update(step["options"].get("renameByName", {}))
        units = {
            each["matcher"]["options"]: value["value"]
            for each in config["overrides"]
            for value in each["properties"]
            if value["id"] == "unit"
        }
        for target in panel["targets"]:
            legend = names.get(f"Value #{target['refId']}", target["legendFormat"])
            yield Target(
                board["title"],
                panel["title"],
                panel["type"],
                units.get(legend, config["defaults"].get("unit", "")),
                legend,
                target["expr"],
                bool(target["instant"]),
            )


def substitute(expression: str, *, interval: str, span: str, **variables: str) -> str:
    """Put in what Grafana puts in; a variable that is not named here stands for all."""
    values: Mapping[str, str] = {
        "$__rate_interval": interval,
        "$__range": span,
        **{f"${name}": ".+" for name in ("job", "instance")},
        **{f"${name}": ".*" for name in ("name", "model")},
        "$intensity": "450",
        **{f"${name}": value for name, value in variables.items()},
    }
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression
