"""What stands around the figures: the protocol, the machine, and how to read the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from greeninfer.bench._records import Results
from greeninfer.bench.report._numbers import MISSING, si
from greeninfer.bench.report._tables import Table

HOW_TO_READ = (
    "Gross joules are all that the meters counted while the model worked, less the part of other processes. "
    "Idle-subtracted (net) joules leave out what the machine draws at rest.",
    "The interval in brackets is where the figure, measured again on this machine, would lie with 95 % probability. "
    "It does not hold the meters' common factor.",
    "Estimated energy comes from a power model. The factor by which it may be wrong is common to all candidates of "
    "the machine: it moves all of them together and says little about which is more frugal.",
    "● marks the front: no other candidate on this machine and data set is both at least as accurate and at least as "
    "frugal, and better in one of the two.",
    "– means not known or not measured. It never stands for zero.",
    "× least compares with the most frugal model, always answering the commonest label apart.",
    "1 Wh is 3,600 J.",
)


def protocol(results: Results) -> tuple[str, ...]:
    """Return how a folder was measured, in lines."""
    study, done = results.study, sum(each.status == "ok" for each in results.runs)
    splits, how = study.splits, study.protocol
    drawn = "stratified" if splits.stratify else "drawn at random"
    return (
        f"{study.name}: {len(study.datasets)} data sets, {len(study.models)} models; {done} cells went well, "
        f"{len(results.runs) - done} failed.",
        f"{splits.count} splits, {drawn}, the same for every model: train {splits.train:g}, test {splits.test:g}, "
        f"seed {splits.seed}.",
        f"Steady phase of at least {how.min_seconds:g} s and {how.min_ticks} readings of every meter after "
        f"{how.warmup_seconds:g} s of warm-up; {how.threads} threads; machine at rest measured for "
        f"{how.idle_seconds:g} s.",
    )


def failures(every: Sequence[Results], most: int = 50) -> tuple[str, ...]:
    """Return the cells that failed, each with its reason, and how many there are beyond ``most``."""
    failed = [run for each in every for run in each.runs if run.status == "failed"]
    lines = tuple(f"{run.cell.id} on {run.machine}: {run.reason or 'no reason'}" for run in failed[:most])
    return (*lines, f"and {len(failed) - most} more: see cells.csv") if len(failed) > most else lines


def environment_table(results: Results) -> Table:
    """Return hardware, meters with their quality and gain, and watts at rest, a line for each."""
    known = results.environment
    rows = [(name.replace("_", " "), "not known" if value is None else str(value))
            for name, value in _mapping(known.get("hardware")).items()]  # fmt: skip
    meters = known.get("meters")
    for meter in meters if isinstance(meters, list) else []:
        each = _mapping(meter)
        gain = each.get("gain")
        told = f"{each.get('quality', MISSING)}"
        if isinstance(gain, list) and len(gain) == 2 and gain != [1.0, 1.0]:
            told += f"; true joules are ×{gain[0]} to ×{gain[1]}"
        rows.append((f"meter {each.get('name', MISSING)}", f"{told}; {each['source']}" if "source" in each else told))
    rows += [(f"at rest, {domain}", si(watts, "W") if isinstance(watts, int | float) else MISSING)
             for domain, watts in _mapping(known.get("idle_watts")).items()]  # fmt: skip
    title = f"Machine and meters: {known.get('machine', MISSING)}"
    return Table(title, ("what", "found"), tuple(rows), words=2)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def environment(results: Results) -> tuple[tuple[str, str], ...]:
    """Return what the environment says, one name and value a line."""
    return tuple(_leaves(results.environment, ""))


def _leaves(tree: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name} › ")
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            for index, each in enumerate(value, 1):
                yield from _leaves(each if isinstance(each, Mapping) else {"": each}, f"{name} {index} › ")
        else:
            told = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield name, "not known" if value is None else told
