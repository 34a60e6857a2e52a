"""The report as Markdown, for a README or a ticket."""

from __future__ import annotations

import html
import re

from greeninfer.bench.report._facts import Facts
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
from greeninfer.bench.report._words import HOW_TO_READ, environment_table, failures, protocol


def render_markdown(facts: Facts) -> str:
    """Return the whole report as Markdown tables."""
    parts = [f"# {escape(facts.title)}"]
    for group in facts.groups:
        answer = answer_table(group)
        parts += [_table(answer)] if answer else []
        parts.append(escape(sure_words(group)))
        tables = (main_table(group), budget_table(group), phase_table(group))
        parts += [_table(each) for each in tables if each is not None]
    machines = machine_table(facts)
    parts += [_table(each) for each in (machines, *map(proxy_table, facts.proxies)) if each is not None]
    parts.append(
        "## Protocol\n\n" + "\n".join(f"- {escape(line)}" for each in facts.results for line in protocol(each))
    )
    parts += [_table(environment_table(each)) for each in facts.results]
    failed = failures(facts.results)
    parts += ["## Cells that failed\n\n" + "\n".join(f"- {escape(line)}" for line in failed)] if failed else []
    parts.append("## How to read it\n\n" + "\n".join(f"- {line}" for line in HOW_TO_READ))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line: no markup, no HTML, no end of a cell."""
    return re.sub(r"([\\`*_|\[\]])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _table(table: Table) -> str:
    ruler = ["---" if index < table.words else "---:" for index in range(len(table.headers))]
    rows = [table.headers, tuple(ruler), *(tuple(map(escape, row)) for row in table.rows)]
    notes = "".join(f"\n{number}. {escape(note)}" for number, note in enumerate(table.notes, 1))
    grid = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    above = "".join(f"{escape(each)}\n\n" for each in table.above)
    return f"## {escape(table.title)}\n\n{above}{grid}" + (f"\n\n{notes.strip()}" if notes else "")
