"""How the processes of a run are started: which programs, in which environment, under which lock of the host."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from greeninfer.bench._host_lock import default_lock
from greeninfer.bench._process import GRACE_SECONDS
from greeninfer.bench._study import Protocol

CANNOT_KEEP = 74
"""Exit status of a cell's process whose result could not be written: EX_IOERR of sysexits.h."""

_THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Launch:
    """How the processes of a run are started.

    Args:
        environ: what they inherit: the user's ``GREENINFER_*`` above all.
        cell: program that measures the cell of the job file that it gets as its argument.
        environment: program that describes the machine; its arguments are the file to write and the seconds at rest.
        prepare: program that does once what a model needs done; its arguments are the study's file and the model.
        lock: file that is locked so that nothing else is measured on this host.
        grace_seconds: how long a process that is asked to end may take.
    """

    environ: Mapping[str, str]
    cell: Sequence[str] = (sys.executable, "-m", "greeninfer.bench._cell")
    environment: Sequence[str] = (sys.executable, "-m", "greeninfer.bench._environment")
    prepare: Sequence[str] = (sys.executable, "-m", "greeninfer.bench._prepare")
    lock: Path = field(default_factory=default_lock)
    grace_seconds: float = GRACE_SECONDS


def pinned(environ: Mapping[str, str], protocol: Protocol, base: Path) -> dict[str, str]:
    """Return the environment of a process that measures: the user's, with all that would make runs differ pinned.

    ``base`` comes first on the path of Python, so that a study may name functions in modules that lie beside it.
    """
    path = [str(base.resolve()), *filter(None, [environ.get("PYTHONPATH")])]
    return {
        **environ,
        **dict.fromkeys(_THREADS, str(protocol.threads)),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": str(protocol.seed % 2**32),
        "PYTHONPATH": os.pathsep.join(path),
        # What it said last is on disk however it ends, and a crash in native code says where.
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
