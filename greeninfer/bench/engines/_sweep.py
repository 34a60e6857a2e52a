"""What an engine carries to a machine, what happens there, and how the machines' ends become one."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from greeninfer.bench._folder import ENVIRONMENT
from greeninfer.bench._launch import Launch
from greeninfer.bench._progress import Progress, Silence
from greeninfer.bench._serial import Summary, measure_here
from greeninfer.bench._study import Study, cells
from greeninfer.errors import ResultsError


@dataclass(frozen=True, slots=True)
class Sweep:
    """A study on its way to machines.

    Args:
        study: what each of them measures.
        folder: absolute; each writes ``folder/MACHINE``.
        base: absolute; relative paths of the study start there, on every machine.
        settings: the ``GREENINFER_*`` variables of whoever started it; everything else is the machine's own.
        launch: how processes are started there; None for that machine's own way.
    """

    study: Study
    folder: Path
    base: Path
    settings: Mapping[str, str]
    launch: Launch | None = None


Engine = Callable[[Sweep, Progress], Summary]
"""Has a study measured on machines and waits for them."""


def machine_name() -> str:
    """Return the name of this machine as a folder may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", platform.node()).strip(".") or "machine"


def measure_there(sweep: Sweep, machine: str | None = None) -> Summary:
    """Measure the study on the machine that this is called on; go on where an earlier attempt ended.

    Args:
        sweep: what was brought here.
        machine: instead of the host's name: something that is to count as a host of its own, with its own lock.
    """
    launch = sweep.launch or Launch({**os.environ, **sweep.settings})
    if machine is not None:
        launch = replace(launch, lock=launch.lock.with_name(f"{launch.lock.name}.{machine}"))
    folder = sweep.folder / (machine or machine_name())
    return measure_here(sweep.study, folder, base=sweep.base, resume=True, progress=Silence(), launch=launch)


def refuse_results(folder: Path) -> None:
    """Raise ``ResultsError`` if a machine's results lie in the folder already."""
    held = sorted(path.parent.name for path in folder.glob(f"*/{ENVIRONMENT}"))
    if held:
        raise ResultsError(
            f"{folder} holds results of {', '.join(held)} already; remedy: --resume to measure what is missing, or "
            "another folder"
        )


def joined(summaries: Sequence[Summary], unheard: Mapping[str, str], sweep: Sweep) -> Summary:
    """Return the sum of what machines did.

    Args:
        summaries: of those that came to an end.
        unheard: why the others did not, by name.
        sweep: what they were to do.

    Raises:
        ResultsError: if none of them came to an end.
    """
    notes = tuple(f"{name}: {reason}" for name, reason in unheard.items())
    if not summaries:
        raise ResultsError(f"no machine measured anything: {'; '.join(notes) or 'there was none'}")
    total = Summary(0, 0, 0, len(unheard) * len(cells(sweep.study)), sweep.folder, bool(unheard), notes)
    for each in summaries:
        total = replace(
            total,
            done=total.done + each.done,
            kept=total.kept + each.kept,
            failed=total.failed + each.failed,
            left=total.left + each.left,
            interrupted=total.interrupted or each.interrupted,
            notes=total.notes + each.notes,
        )
    return total
