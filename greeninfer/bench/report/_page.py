"""The report as one HTML page that loads nothing from anywhere."""

from __future__ import annotations

import html
from importlib import resources

from greeninfer.bench.report._charts import (
    budget_chart,
    energy_chart,
    kinds_of,
    machine_chart,
    phase_chart,
    proxy_chart,
)
from greeninfer.bench.report._dots import Dots, draw_dots
from greeninfer.bench.report._facts import Facts, Group
from greeninfer.bench.report._plot import Plot, draw
from greeninfer.bench.report._tables import (
    Table,
    answer_table,
    budget_table,
    machine_table,
    main_table,
    phase_table,
    proxy_table,
    sure_words,
)
from greeninfer.bench.report._words import HOW_TO_READ, environment, environment_table, failures, protocol


def render_page(facts: Facts) -> str:
    """Return the page; names and reasons from files are shown as text, whatever they contain."""
    style, script = (resources.files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    kinds, title = kinds_of(facts), html.escape(facts.title)
    colours = {str(each.key): kinds.index(each.kind) for each in facts.candidates}
    answer = "".join(map(_answer, facts.groups))
    body = [
        f'<header><h1>{title}</h1><section class="answer">{answer or "<p>No cell went well.</p>"}</section></header>'
    ]
    body += [_group(group, kinds) for group in facts.groups]
    machines = machine_table(facts)
    body += [_section(machines, machine_chart(facts))] if machines else []
    body += [_section(proxy_table(each), proxy_chart(each, colours)) for each in facts.proxies]
    body += [f"<section><h2>How to read it</h2>{_list(HOW_TO_READ)}</section>", _failures(facts), _measured(facts)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; img-src data:\">"
        f"<title>{title}</title><style>{style}</style></head><body><main>{''.join(body)}</main>"
        f"<script>{script}</script></body></html>\n"
    )


def _answer(group: Group) -> str:
    table = answer_table(group)
    shown = f"<h2>{html.escape(table.title)}</h2>{_table(table)}" if table else ""
    return f"{shown}<p>{html.escape(sure_words(group))}</p>"


def _group(group: Group, kinds: tuple[str, ...]) -> str:
    plot = energy_chart(group, kinds)
    drawn = {each.series for each in plot.points} if plot else set()
    buttons = "".join(_legend(kinds.index(kind), kind) for kind in kinds if kinds.index(kind) in drawn)
    buttons += _legend(len(kinds), "cascades") if group.cascades else ""
    parts = [_section(main_table(group, 5), plot, buttons)]
    if len(group.cascades) > len(group.best_cascades(5)):
        every = _table(main_table(group))
        parts.append(f"<details><summary>All {len(group.cascades)} cascades</summary>{every}</details>")
    budgets = budget_table(group)
    parts += [_section(budgets, budget_chart(group, kinds))] if budgets else []
    return "".join([*parts, _section(phase_table(group), phase_chart(group))])


def _legend(series: int, name: str) -> str:
    return (
        f'<button type="button" class="legend s{series % 7}" data-series="{series}" aria-pressed="true">'
        f"<i></i>{html.escape(name)}</button>"
    )


def _section(table: Table, plot: Plot | Dots | None, legend: str = "") -> str:
    chart = ""
    if isinstance(plot, Dots):
        legend = "".join(_legend(series, name) for series, name in enumerate(plot.legend))
    if plot is not None:
        zoom = "".join(f'<button type="button" data-zoom="{how}" aria-label="zoom {how}">{sign}</button>'
                       for how, sign in (("in", "+"), ("out", "−"), ("reset", "reset")))  # fmt: skip
        chart = f'<figure><div class="bar">{legend}<span class="zoom">{zoom}</span></div>'
        drawn = draw_dots(plot) if isinstance(plot, Dots) else draw(plot)
        chart += f'<div class="scroll" tabindex="0">{drawn}</div></figure>'
    return f"<section><h2>{html.escape(table.title)}</h2>{chart}{_table(table)}</section>"


def _table(table: Table) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(
            f'<{tag}{"" if index < table.words else " class=figure"}>{html.escape(cell)}</{tag}>'
            for index, cell in enumerate(cells)
        ) + "</tr>"  # fmt: skip

    notes = f'<ol class="notes">{"".join(f"<li>{html.escape(note)}</li>" for note in table.notes)}</ol>'
    rows = "".join(row(cells, "td") for cells in table.rows)
    head = row(table.headers, "th").replace("<th", '<th scope="col"')
    grid = f'<div class="scroll" tabindex="0"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    above = "".join(f"<p>{html.escape(each)}</p>" for each in table.above)
    return above + grid + (notes if table.notes else "")


def _failures(facts: Facts) -> str:
    lines = failures(facts.results)
    return f"<section><h2>Cells that failed</h2>{_list(lines)}</section>" if lines else ""


def _measured(facts: Facts) -> str:
    parts = []
    for each in facts.results:
        rows = "".join(f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(told)}</td></tr>"
                       for name, told in environment(each))  # fmt: skip
        table = environment_table(each)
        parts.append(f'{_list(protocol(each))}<h3>{html.escape(table.title)}</h3>{_table(table)}'
                     f'<details><summary>Versions and everything else recorded</summary><div class="scroll">'
                     f"<table>{rows}</table></div></details>")  # fmt: skip
    return f"<section><h2>How it was measured</h2>{''.join(parts)}</section>"


def _list(lines: tuple[str, ...]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"
