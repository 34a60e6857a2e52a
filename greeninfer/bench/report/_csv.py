"""The report as CSV: one row for each candidate, one for each cell; units in the names, empty for what is not known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping

from greeninfer.bench._candidates import Candidate, Figure
from greeninfer.bench._records import PHASES, Run
from greeninfer.bench.report._facts import Facts
from greeninfer.bench.report._numbers import JOULES_PER_WATT_HOUR

Cell = str | float | int | None


def candidates_csv(facts: Facts) -> str:
    """Return a row for each candidate with every figure."""
    return _text([_candidate(each) for each in facts.candidates])


def cells_csv(facts: Facts) -> str:
    """Return a row for each cell, failed ones with their reason."""
    return _text([_run(run) for each in facts.results for run in each.runs])


def _candidate(each: Candidate) -> dict[str, Cell]:
    key = each.key
    row: dict[str, Cell] = {
        "dataset": key.dataset, "machine": key.machine, "model": key.model, "kind": each.kind, "device": key.device,
        "batch_size": key.batch_size, "splits": each.splits, "failed": each.failed, "test_items": each.test_items,
    }  # fmt: skip
    row |= _figure("accuracy", each.accuracy) | _figure("macro_f1", each.macro_f1)
    row |= {"majority_accuracy": each.majority, "unparsable_share": each.unparsable}
    row |= _figure("joules_per_request", each.joules) | _figure("net_joules_per_request", each.net_joules)
    row["watt_hours_per_1000_requests"] = each.joules.value * 1000.0 / JOULES_PER_WATT_HOUR if each.joules else None
    row |= _figure("seconds_per_request", each.seconds)
    row |= {"cpu_seconds_per_request": each.cpu_seconds, "p50_seconds": each.p50_seconds,
            "p95_seconds": each.p95_seconds}  # fmt: skip
    for name in PHASES:
        phase = each.phases.get(name)
        row |= {f"{name}_seconds": phase.seconds if phase else None, f"{name}_joules": phase.joules if phase else None}
    row |= {f"{kind}_tokens_per_request": each.tokens.get(kind) for kind in ("input", "output", "reasoning")}
    row |= {"reasoning_budget_tokens": each.reasoning_budget, "quality": each.quality, "gain_low": each.gain[0],
            "gain_high": each.gain[1], "on_front": "yes" if each.on_front else "no"}  # fmt: skip
    return row | {"caveats": "; ".join(caveat.words for caveat in each.caveats)}


def _run(run: Run) -> dict[str, Cell]:
    cell = run.cell
    row: dict[str, Cell] = {
        "dataset": cell.dataset, "machine": run.machine, "model": cell.model, "device": cell.device,
        "batch_size": cell.batch_size, "split": cell.split, "status": run.status, "reason": run.reason,
        "items": run.items, "passes": run.passes, "train_items": run.train_items, "test_items": run.test_items,
        "joules_per_request": run.joules_per_item, "net_joules_per_request": run.net_joules_per_item,
        "seconds_per_request": run.seconds_per_item, "first_call_seconds": run.first_call_seconds,
    }  # fmt: skip
    for name in PHASES:
        phase = run.phases.get(name)
        row |= {f"{name}_seconds": phase.seconds if phase else None, f"{name}_joules": phase.joules if phase else None}
    return row | {
        "quality": run.quality, "meters": " ".join(run.meters), "other_cpu_share": run.other_share,
        "peak_bytes": run.peak_bytes, "threads": run.threads, "notes": "; ".join(run.notes),
    }  # fmt: skip


def _figure(name: str, figure: Figure | None) -> dict[str, Cell]:
    known = figure or Figure(float("nan"))
    return {name: known.value if figure else None, f"{name}_low": known.low, f"{name}_high": known.high}


def _text(rows: Iterable[Mapping[str, Cell]]) -> str:
    out, rows = io.StringIO(), list(rows)
    writer = csv.DictWriter(out, list(rows[0]) if rows else ["nothing_measured"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _safe(value: Cell) -> Cell:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
