"""Write a report into a folder, each file whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greeninfer.bench._folder import whole
from greeninfer.bench._optional import need
from greeninfer.bench._records import Results
from greeninfer.bench.report._charts import energy_chart, kinds_of
from greeninfer.bench.report._csv import candidates_csv, cells_csv
from greeninfer.bench.report._facts import Facts, gather
from greeninfer.bench.report._markdown import render_markdown
from greeninfer.bench.report._page import render_page
from greeninfer.bench.report._plot import draw, standalone_style


@dataclass(frozen=True, slots=True)
class Written:
    """The files that a report is in."""

    paths: tuple[Path, ...]


def write(results: Sequence[Results], folder: Path) -> Written:
    """Write report.html, report.md, candidates.csv, cells.csv, and report.svg and report.png of the first chart.

    Raises:
        ResultsError: if folders mean different labels by one name of a data set.
        OSError: if the folder cannot be written to.
    """
    return write_facts(gather(results), folder)


def write_facts(facts: Facts, folder: Path) -> Written:
    """Write the same of facts that are there already; the PNG needs vl-convert-python and is left out without it."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.html": render_page(facts),
        "report.md": render_markdown(facts),
        "candidates.csv": candidates_csv(facts),
        "cells.csv": cells_csv(facts),
    }
    charts = [energy_chart(group, kinds_of(facts)) for group in facts.groups]
    first = next((chart for chart in charts if chart is not None), None)
    if first is not None:
        texts["report.svg"] = draw(first, standalone_style())
    files = {name: text.encode("utf-8") for name, text in texts.items()}
    if first is not None:
        with contextlib.suppress(ImportError):  # without it the SVG is the same picture
            files["report.png"] = need("vl_convert").svg_to_png(texts["report.svg"], scale=2)
    for name, content in files.items():
        with whole(folder / name) as path:
            path.write_bytes(content)
    return Written(tuple(folder / name for name in files))
