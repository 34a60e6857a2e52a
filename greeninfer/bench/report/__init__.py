"""The report of a benchmark: table, page, Markdown, CSV and picture, from results folders that it only reads."""

from __future__ import annotations

from greeninfer.bench.report._facts import Facts, gather
from greeninfer.bench.report._terminal import render_terminal
from greeninfer.bench.report._write import Written, write

__all__ = ["Facts", "Written", "gather", "render_terminal", "write"]
