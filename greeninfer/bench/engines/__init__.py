"""Engines bring a study to other machines. Each machine measures it whole, serially, into ``folder/MACHINE``.

A measurement needs its machine for itself, so the work is not cut into pieces that a scheduler may pile on one host:
one run per host, guarded there by the lock of `_host_lock.py`, and results that lie side by side for the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from greeninfer.bench.engines._ray import open_ray
from greeninfer.bench.engines._submitit import open_submitit
from greeninfer.bench.engines._sweep import Engine, Sweep, refuse_results
from greeninfer.errors import StudyError

__all__ = ["ENGINES", "Engine", "Sweep", "open_engine", "refuse_results"]

ENGINES: Mapping[str, Callable[[Mapping[str, object]], Engine]] = {
    "submitit": open_submitit,
    "ray": open_ray,
}
"""Engines by name; "local", which needs none of this, is the run itself."""


def open_engine(name: str, options: Mapping[str, object]) -> Engine:
    """Return an engine.

    Raises:
        StudyError: for an unknown name or option, or a cluster that is not there.
        ImportError: if its package is not installed.
    """
    if name not in ENGINES:
        raise StudyError(f"engine={name!r} is not known", ", ".join(("local", *ENGINES)))
    return ENGINES[name](options)
