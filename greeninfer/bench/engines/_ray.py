"""Nodes of a Ray cluster that were started with a ``greeninfer_host`` to give: one measurement per host at once.

    ray start --address=HEAD:6379 --resources='{"greeninfer_host": 1}'

Folders need not be shared: what a machine wrote comes back with its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greeninfer.bench._folder import ENVIRONMENT, ITEMS, RUNS, STUDY
from greeninfer.bench._optional import need
from greeninfer.bench._plan import unwritten
from greeninfer.bench._progress import Progress
from greeninfer.bench._serial import Summary
from greeninfer.bench.engines._sweep import Engine, Sweep, joined, measure_there
from greeninfer.errors import StudyError

RESOURCE = "greeninfer_host"
_FILES = (STUDY, RUNS, ITEMS, ENVIRONMENT)  # the last one makes it a results folder, so it is written last


def open_ray(options: Mapping[str, object]) -> Engine:
    """Return an engine that gives each host of a Ray cluster the study, all of its CPUs and GPUs, and waits.

    Args:
        options: ``address`` of the cluster, "auto" by default. ``nodes_are_hosts``: count Ray nodes on one machine as
            hosts of their own, to try the engine out; what they measure at once disturbs each other.

    Raises:
        StudyError: for another option.
        ImportError: if ray is not installed.
    """
    need("ray", "'greeninfer[ray]'")
    unknown = options.keys() - {"address", "nodes_are_hosts"}
    if unknown:
        raise StudyError(f"engine ray has no option {sorted(unknown)[0]!r}", "address, nodes_are_hosts")
    address, nodes_are_hosts = str(options.get("address", "auto")), bool(options.get("nodes_are_hosts"))

    def measure(sweep: Sweep, progress: Progress) -> Summary:
        ray = need("ray")
        connected = ray.is_initialized()
        if not connected:
            try:
                ray.init(address=address, log_to_driver=False)
            except ConnectionError as error:
                raise StudyError(f"no Ray cluster at {address!r}: {error}", remedy="ray start --head") from error
        try:
            return _measure_on(hosts(ray.nodes(), nodes_are_hosts), sweep, progress)
        finally:
            if not connected:
                ray.shutdown()

    return measure


def hosts(nodes: list[dict[str, Any]], nodes_are_hosts: bool = False) -> dict[str, dict[str, Any]]:
    """Return one living node of each host that has a ``greeninfer_host`` to give, by the host's name.

    Raises:
        StudyError: if there is none.
    """
    found: dict[str, dict[str, Any]] = {}
    for node in nodes:
        if node["Alive"] and node["Resources"].get(RESOURCE, 0) >= 1:
            name = str(node["NodeManagerHostname"])
            found.setdefault(f"{name}-{node['NodeID'][:8]}" if nodes_are_hosts else name, node)
    if not found:
        raise StudyError(
            f"no node of the Ray cluster has the resource {RESOURCE}",
            remedy=f"start them with ray start --address=... --resources='{{\"{RESOURCE}\": 1}}'",
        )
    return found


def _measure_on(nodes: Mapping[str, dict[str, Any]], sweep: Sweep, progress: Progress) -> Summary:
    ray, strategies = need("ray"), need("ray.util.scheduling_strategies")
    jobs = {}
    for name, node in nodes.items():
        own = node["NodeManagerHostname"] != name
        jobs[name] = (
            ray.remote(_job)
            .options(
                num_cpus=node["Resources"].get("CPU", 0),
                num_gpus=node["Resources"].get("GPU", 0),
                resources={RESOURCE: 1},
                max_retries=0,
                scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            )
            .remote(sweep, name if own else None)
        )
    progress.say(f"Measuring on {', '.join(jobs)}")
    summaries, unheard = [], {}
    try:
        ray.wait(list(jobs.values()), num_returns=len(jobs))
    except KeyboardInterrupt:
        for job in jobs.values():
            ray.cancel(job)
    for name, job in jobs.items():
        try:
            summary, files = ray.get(job)
        except ray.exceptions.RayError as error:
            unheard[name] = str(error).strip().splitlines()[-1]
            progress.say(f"{name}: {unheard[name]}")
            continue
        _unpack(summary.folder, files)
        summaries.append(summary)
    return joined(summaries, unheard, sweep)


def _job(sweep: Sweep, own_name: str | None) -> tuple[Summary, dict[str, bytes]]:
    """Measure on this host and return what it wrote."""
    summary = measure_there(sweep, own_name)
    return summary, {name: (summary.folder / name).read_bytes() for name in _FILES}


def _unpack(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write what a machine wrote, unless it wrote it here: the folder is shared."""
    if (folder / ENVIRONMENT).exists():
        return
    with unwritten(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (folder / name).write_bytes(files[name])
