"""Nodes of a Slurm cluster, each for itself alone: ``exclusive``, one task per node.

The results folder must lie on a file system that the nodes share, which submitit needs as well.
"""

from __future__ import annotations

import math
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from greeninfer.bench._optional import need
from greeninfer.bench._progress import Progress
from greeninfer.bench._serial import Summary
from greeninfer.bench._study import Study, cells
from greeninfer.bench.engines._sweep import Engine, Sweep, joined, measure_there
from greeninfer.errors import StudyError

_POLL_SECONDS = 1.0
_LONGEST_MINUTES = 24 * 60
# Beside the cells: to start, to load the data and to describe the machine.
_MINUTES_BESIDE = 10


def open_submitit(options: Mapping[str, object]) -> Engine:
    """Return an engine that submits one job for each place, and waits for all of them.

    Args:
        options: ``hosts`` or ``partitions``: names, in a list or with commas between them; each gets a job. Without
            either there is one job, on ``nodes`` nodes (1 by default). ``cluster``: "slurm", or "local" for this
            machine. All others go to submitit as they are: ``timeout_min``, ``gpus_per_node``, ``slurm_account`` ...

    Raises:
        StudyError: if there is no Slurm here.
        ImportError: if submitit is not installed.
    """
    submitit = need("submitit", "'greeninfer[slurm]'")
    given = dict(options)
    cluster = str(given.pop("cluster", "slurm"))
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise StudyError(
            "engine submitit needs Slurm, and this machine has no sbatch",
            remedy="run it where jobs are submitted, or with --engine local",
        )
    places = split_places(given)

    def measure(sweep: Sweep, progress: Progress) -> Summary:
        executor = submitit.AutoExecutor(folder=sweep.folder / "jobs", cluster=cluster)
        jobs = {name: submit(executor, sweep, {**place, **given}) for name, place in places.items()}
        progress.say(f"Submitted: {', '.join(f'{name} (job {job.job_id})' for name, job in jobs.items())}")
        try:
            _wait(list(jobs.values()))
        except KeyboardInterrupt:
            for job in jobs.values():
                job.cancel()
            progress.say("Cancelled; waiting for the machines to keep what they have")
            _wait(list(jobs.values()))
        return _gathered(jobs, sweep, progress)

    return measure


def split_places(options: dict[str, object]) -> dict[str, dict[str, object]]:
    """Take the places out of the options; return what each job adds, by name.

    Raises:
        StudyError: if they are no places.
    """
    hosts, partitions = _names(options.pop("hosts", ())), _names(options.pop("partitions", ()))
    if hosts and partitions:
        raise StudyError("engine submitit has both hosts and partitions", "one of them")
    if hosts:
        return {name: {"slurm_additional_parameters": {"nodelist": name}} for name in hosts}
    return {name: {"slurm_partition": name} for name in partitions} or {"any node": {}}


def _names(value: object) -> list[str]:
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple):
        raise StudyError(f"{value!r} names no hosts or partitions", "names with commas between them")
    return [str(each).strip() for each in listed if str(each).strip()]


def submit(executor: Any, sweep: Sweep, options: Mapping[str, object]) -> Any:
    """Hand in one job.

    Args:
        executor: submitit's.
        sweep: what the job does.
        options: of submitit, over those that keep other work off the node.

    Raises:
        StudyError: if submitit does not take them.
    """
    wanted = {
        "name": "greeninfer-bench",
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": sweep.study.protocol.threads + 1,  # one for whatever reads the sensors
        "timeout_min": minutes(sweep.study),
        "slurm_exclusive": True,
        "slurm_mem": "0",  # all of the node's
        **{name: _number(value) for name, value in options.items()},
    }
    try:
        executor.update_parameters(**wanted)
    except (NameError, AssertionError, ValueError) as error:
        raise StudyError(f"submitit does not take {dict(options)!r}: {error}") from error
    return executor.submit(_job, sweep)


def minutes(study: Study) -> int:
    """Return how long a job may take: what all cells at their time limits would, a day at most."""
    longest = len(cells(study)) * study.protocol.time_limit_seconds / 60.0 + _MINUTES_BESIDE
    return math.ceil(min(longest, _LONGEST_MINUTES))


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _job(sweep: Sweep) -> Summary:
    # Slurm cancels with SIGTERM, seconds before it kills: time to keep what is done.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return measure_there(sweep)


def _wait(jobs: Sequence[Any]) -> None:
    while not all(job.done() for job in jobs):
        time.sleep(_POLL_SECONDS)


def _gathered(jobs: Mapping[str, Any], sweep: Sweep, progress: Progress) -> Summary:
    summaries: list[Summary] = []
    unheard = {}
    for name, job in jobs.items():
        error = job.exception()
        if error is None:
            summaries += job.results()
        else:
            unheard[name] = str(error).strip().splitlines()[-1]
            progress.say(f"{name}: {unheard[name]}")
    return joined(summaries, unheard, sweep)
