"""Panels, variables and a dashboard in the house's style: every panel has a title, a description and a unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as modes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
BY_ROUTE = "{{name}} {{model}}"

JOULES, WATTS, SECONDS, GRAMS, KWH = "joule", "watt", "s", "massg", "kwatth"
SHARE, COUNT, PER_SECOND = "percentunit", "short", "reqps"

COLOURS = {
    "attributed": "green",
    "idle": "blue",
    "other": "orange",
    "unattributed": "red",
    "meters": "text",
    "static": "blue",
    "dynamic": "green",
    "measured": "green",
    "shared": "yellow",
    "estimated": "orange",
}
"""By what a series is called, on every panel."""

Queries = Mapping[str, str]
"""Expressions by legend."""

Panel = timeseries.Panel | stat.Panel | bargauge.Panel | table.Panel


def query(reference: int, expression: str, legend: str = "", *, instant: bool = False) -> prometheus.Dataquery:
    made = prometheus.Dataquery().ref_id(chr(ord("A") + reference)).expr(expression).legend_format(legend or "__auto")
    return made.instant() if instant else made.range()


def lines(
    title: str, description: str, unit: str, queries: Queries, *, width: int = 12, height: int = 8,
    stacked: bool = False, bottom: float | None = 0.0, top: float | None = None,
) -> timeseries.Panel:  # fmt: skip
    """Figures over time."""
    panel = (
        timeseries.Panel().title(title).description(description).datasource(DATASOURCE).unit(unit)
        .span(width).height(height)
        .line_width(1).fill_opacity(60 if stacked else 8).show_points(modes.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(modes.LegendDisplayMode.LIST)
                .placement(modes.LegendPlacement.BOTTOM).show_legend(True).calcs([]))
        .tooltip(common.VizTooltipOptions().mode(modes.TooltipDisplayMode.MULTI).sort(modes.SortOrder.DESCENDING))
    )  # fmt: skip
    if stacked:
        panel.stacking(common.StackingConfig().mode(modes.StackingMode.NORMAL).group("A"))
    if bottom is not None:
        panel.min(bottom)
    if top is not None:
        panel.max(top)
    for reference, (legend, expression) in enumerate(queries.items()):
        panel.with_target(query(reference, expression, legend))
    for name, colour in COLOURS.items():
        if any(legend in (name, "{{state}}", "{{quality}}") for legend in queries):
            panel.override_by_name(name, [_value("color", {"mode": "fixed", "fixedColor": colour}), *_outline(name)])
    return panel


def _outline(name: str) -> list[models.DynamicConfigValue]:
    """What the meters say is the line that the stacked ones have to reach."""
    if name != "meters":
        return []
    return [
        _value("custom.stacking", {"mode": "none", "group": "B"}),
        _value("custom.fillOpacity", 0),
        _value("custom.lineWidth", 2),
        _value("custom.lineStyle", {"fill": "dash", "dash": [6, 6]}),
    ]


def figure(
    title: str, description: str, unit: str, expression: str, *, width: int = 4, height: int = 5,
    steps: Sequence[tuple[float | None, str]] = ((None, "green"),), decimals: int | None = None, shown: bool = False,
) -> stat.Panel:  # fmt: skip
    """One figure: the latest, with its course behind it, or with ``shown`` that of the whole range."""
    panel = (
        stat.Panel().title(title).description(description).datasource(DATASOURCE).unit(unit)
        .span(width).height(height)
        .color_mode(modes.BigValueColorMode.VALUE)
        .graph_mode(modes.BigValueGraphMode.NONE if shown else modes.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
                    .steps([models.Threshold(value=value, color=colour) for value, colour in steps]))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .with_target(query(0, expression, title, instant=shown))
    )  # fmt: skip
    return panel if decimals is None else panel.decimals(decimals)


def bars(
    title: str, description: str, unit: str, legend: str, expression: str, *, width: int = 12, height: int = 8
) -> bargauge.Panel:
    """One bar for each series, over the whole range that is shown."""
    return (
        bargauge.Panel().title(title).description(description).datasource(DATASOURCE).unit(unit)
        .span(width).height(height).min(0)
        .orientation(modes.VizOrientation.HORIZONTAL)
        .display_mode(modes.BarGaugeDisplayMode.BASIC).value_mode(modes.BarGaugeValueMode.TEXT).show_unfilled(True)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.CONTINUOUS_BL_YL_RD))
        .with_target(query(0, f"sort_desc({expression})", legend, instant=True))
    )  # fmt: skip


def rows(
    title: str, description: str, keys: Sequence[str], columns: Mapping[str, tuple[str, str]], *,
    width: int = 24, height: int = 9,
) -> table.Panel:  # fmt: skip
    """A row for each combination of the labels ``keys``, a column (unit, expression) for each query."""
    panel = (
        table.Panel().title(title).description(description).datasource(DATASOURCE).unit(COUNT)
        .span(width).height(height)
        .sort_by([common.TableSortByFieldState().display_name(next(iter(columns))).desc(True)])
    )  # fmt: skip
    for key in keys:
        panel.override_by_name(key, [_value("custom.width", 150)])
    renamed: dict[str, str] = {}
    for reference, (name, (unit, expression)) in enumerate(columns.items()):
        made = query(reference, expression, instant=True).format(PromQueryFormat.TABLE)
        panel.with_target(made).override_by_name(name, [_value("unit", unit)])
        renamed[f"Value #{chr(ord('A') + reference)}" if len(columns) > 1 else "Value"] = name
    order = {name: index for index, name in enumerate((*keys, *renamed))}
    organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": renamed}
    return panel.transformations([
        models.DataTransformerConfig(id_val="merge", options={}),
        models.DataTransformerConfig(id_val="organize", options=organize),
    ])  # fmt: skip


def _value(identifier: str, value: object) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val=identifier, value=value)


def choice(name: str, label: str, description: str, metric: str, within: str, every: str) -> dashboard.QueryVariable:
    """A variable with the values of the label ``name``; ``every`` is what "All" stands for."""
    found = f"label_values({metric}{{{within}}}, {name})" if within else f"label_values({metric}, {name})"
    return (
        dashboard.QueryVariable(name).label(label).description(description).datasource(DATASOURCE)
        .query({"query": found, "refId": f"variable-{name}"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True).include_all(True).all_value(every)
        .current(models.VariableOption(text="All", value="$__all", selected=True))
    )  # fmt: skip


def service_variables() -> list[dashboard.DatasourceVariable | dashboard.QueryVariable]:
    """Data source, job and instance, in this order."""
    there = "greeninfer_overhead_cpu_seconds_total"
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return [
        source.description("Which Prometheus has the metrics."),
        choice("job", "Job", "Services: the job of Prometheus' scrape configuration.", there, "", ".+"),
        choice("instance", "Instance", "Processes of the service.", there, 'job=~"$job"', ".+"),
    ]


def intensity_variable() -> dashboard.TextBoxVariable:
    return (
        dashboard.TextBoxVariable("intensity").label("Grid intensity, g/kWh")
        .description("gCO2e per kWh of the electricity used. 450 is a round figure near the world's mean "
                     "(Ember: 436 in 2022); put in your grid's.")
        .default_value("450").current(models.VariableOption(text="450", value="450", selected=True))
    )  # fmt: skip


def board(title: str, uid: str, description: str, since: str, refresh: Literal["5s", "1m"]) -> dashboard.Dashboard:
    return (
        dashboard.Dashboard(title).uid(uid).description(description).tags(["greeninfer", "energy"])
        .time(since, "now").refresh(refresh).timezone("browser").editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(dashboard.DashboardLink("greeninfer").type(models.DashboardLinkType.DASHBOARDS).tags(["greeninfer"])
              .icon("external link").tooltip("").url("").keep_time(True).include_vars(True).as_dropdown(False)
              .target_blank(False))
    )  # fmt: skip
