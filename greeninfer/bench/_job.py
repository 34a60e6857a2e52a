"""What one cell's process is told: where the study is, which cell it measures and where the result goes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from greeninfer.bench._study import Cell


@dataclass(frozen=True, slots=True)
class Job:
    """One cell to measure, as a file between processes and machines.

    Args:
        folder: the results folder; its ``study.yaml`` is the study, the cell is written to its ``cells/``.
        cell: which one.
        base: folder that relative paths in the study start from.
        fingerprint: goes into the run as it is.
        idle_watts: power of the machine at rest by domain id; a domain that is missing has none known.
    """

    folder: str
    cell: Cell
    base: str = "."
    fingerprint: str = ""
    idle_watts: Mapping[str, float] = field(default_factory=dict)


def write_job(job: Job, path: Path) -> None:
    """Write a job to a file."""
    path.write_text(json.dumps(dataclasses.asdict(job)), encoding="utf-8")


def read_job(path: Path) -> Job:
    """Read a job from the file that ``write_job`` made."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    return Job(**(tree | {"cell": Cell(**tree["cell"])}))
