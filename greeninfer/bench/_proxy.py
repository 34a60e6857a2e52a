"""Runtime as a stand-in for energy: fitted where there is a meter, with its error for every single row.

An R2 near 1 says little: it comes from the few very long runs. So the fit makes errors small in proportion, not in
joules, and what is told first is by how many per cent it misses each row, and would have missed a model that it had
not seen.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from greeninfer._energy import Quality
from greeninfer.bench._candidates import Candidate, CandidateKey
from greeninfer.bench._records import Results
from greeninfer.bench._scores import Reals
from greeninfer.errors import ResultsError, StudyError

POWER_MODEL_FORMAT = 1
NARROWEST_GAIN = (0.9, 1.1)
"""No power model is taken to be surer than this, however well it fits its few rows. A judgement."""


@dataclass(frozen=True, slots=True)
class ProxyRow:
    """One candidate: what it took, and what its runtime says that it took, per request.

    Args:
        key: which.
        seconds, cpu_seconds: in the steady phase.
        joules: gross.
        by_seconds, by_cpu: joules predicted from seconds, and from seconds and CPU seconds; None without that fit.
        unseen_by_seconds, unseen_by_cpu: the same by a fit that had seen no row of this model.
    """

    key: CandidateKey
    seconds: float
    cpu_seconds: float
    joules: float
    by_seconds: float
    by_cpu: float | None
    unseen_by_seconds: float | None
    unseen_by_cpu: float | None

    @property
    def error_percent(self) -> float:
        """Return by how many per cent the runtime misses the joules; above 0 it says too much."""
        return 100.0 * (self.by_seconds / self.joules - 1.0)

    @property
    def unseen_error_percent(self) -> float | None:
        """Return the same for a fit that had not seen this model."""
        return None if self.unseen_by_seconds is None else 100.0 * (self.unseen_by_seconds / self.joules - 1.0)


@dataclass(frozen=True, slots=True)
class Proxy:
    """Energy from runtime, on one device of one machine.

    Args:
        machine, device: where.
        rows: what it was fitted to.
        watts: joules = watts * seconds.
        idle_watts, core_watts: joules = idle_watts * seconds + core_watts * cpu_seconds; None where that could not
            be fitted. ``idle_watts`` is of the whole machine.
        idle_known: the idle power was measured, not fitted.
        correlation: Pearson's r of joules and seconds; ``r_squared``: of joules = watts * seconds. Both are ruled by
            the longest runs and stand here for comparison only; None for fewer than 3 rows.
        quality: worst of the joules.
        gain: of the meters that gave them.
        cores: logical cores of the machine, None where not known.
    """

    machine: str
    device: str
    rows: tuple[ProxyRow, ...]
    watts: float
    idle_watts: float | None
    core_watts: float | None
    idle_known: bool
    correlation: float | None
    r_squared: float | None
    quality: Quality | None
    gain: tuple[float, float]
    cores: int | None = None

    @property
    def unseen_errors_percent(self) -> tuple[float, ...]:
        """Return the sizes of the errors for models not seen, by seconds."""
        return tuple(abs(each.unseen_error_percent) for each in self.rows if each.unseen_error_percent is not None)

    @property
    def median_error_percent(self) -> float | None:
        """Return how wrong it would mostly have been for a model that it had not seen; None with one model."""
        return median(self.unseen_errors_percent) if self.unseen_errors_percent else None

    @property
    def worst_error_percent(self) -> float | None:
        """Return how wrong it would have been at worst for a model that it had not seen; None with one model."""
        return max(self.unseen_errors_percent, default=None)


def fit(candidates: Sequence[Candidate], cores: Mapping[str, int] | None = None) -> tuple[Proxy, ...]:
    """Return a proxy for each device of each machine that has joules.

    Args:
        candidates: of any data sets and batch sizes.
        cores: logical cores by machine, such as ``cores_of`` finds.
    """
    usable = [each for each in candidates if each.joules and each.joules.value > 0.0 and each.seconds.value > 0.0]
    places = dict.fromkeys((each.key.machine, each.key.device) for each in usable)
    return tuple(
        _fit([each for each in usable if (each.key.machine, each.key.device) == place], (cores or {}).get(place[0]))
        for place in places
    )


def cores_of(results: Sequence[Results]) -> dict[str, int]:
    """Return the logical cores of the machines whose folder's environment tells them."""
    found: dict[str, int] = {}
    for each in results:
        hardware = each.environment.get("hardware")
        for place in (each.environment, hardware if isinstance(hardware, Mapping) else {}):
            count = place.get("logical_cores")
            if isinstance(count, int) and count > 0:
                machines = {run.machine for run in each.runs}
                found |= dict.fromkeys(
                    {each.environment["machine"]} if "machine" in each.environment else machines, count
                )
    return found


def write_power_model(proxy: Proxy, path: Path, *, cores: int | None = None, date: datetime.date | None = None) -> None:
    """Save a proxy as a power model, for ``GREENINFER_POWER_MODEL`` on machines without a sensor.

    Args:
        proxy: fitted to measured joules on a CPU.
        path: file to write, ending in ``.json``.
        cores: logical cores of the machine, where the proxy does not know them.
        date: of the fit; today if left out.

    Raises:
        StudyError: if the proxy cannot serve as a power model; the message says why.
        ResultsError: if the file cannot be written.
    """
    idle, core, count = proxy.idle_watts, proxy.core_watts, cores or proxy.cores
    if proxy.quality == "estimated":
        raise StudyError(
            f"the joules of {proxy.machine} are estimated: a model of them would only return the one they came from",
            remedy="measure where a sensor works: greeninfer doctor",
        )
    if proxy.device != "cpu":
        raise StudyError(f"device {proxy.device!r} has no power model by CPU time", "cpu")
    if count is None:
        raise StudyError(f"the logical cores of {proxy.machine} are not known", "1 or more", "say how many")
    gain = _unseen_gain(proxy)
    if idle is None or core is None or idle + core <= 0.0 or gain is None:
        raise StudyError(
            f"{len(proxy.rows)} rows of {proxy.machine} are too few to tell idle power from that of a busy core",
            "two models and more",
            "measure more models, some of them with several threads",
        )
    errors = [100 * abs(row.unseen_by_cpu / row.joules - 1) for row in proxy.rows if row.unseen_by_cpu is not None]
    tree = {
        "greeninfer_power_model": POWER_MODEL_FORMAT,
        "idle_watts": idle / count,
        "full_watts": idle / count + core,
        "gain": [float(f"{each:.4g}") for each in gain],
        "source": f"fitted by greeninfer bench to {len(proxy.rows)} candidates on {proxy.machine}",
        "machine": proxy.machine,
        "logical_cores": count,
        "date": (date or datetime.datetime.now(datetime.UTC).date()).isoformat(),
        "unseen_error_percent": {"median": round(median(errors), 2), "worst": round(max(errors), 2)},
        "idle": "measured" if proxy.idle_known else "fitted",
    }
    try:
        path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path} cannot be written: {error.strerror}; remedy: name another place") from error


def _fit(here: Sequence[Candidate], cores: int | None) -> Proxy:
    seconds = np.array([each.seconds.value for each in here])
    cpu = np.array([each.cpu_seconds for each in here])
    joules = np.array([0.0 if each.joules is None else each.joules.value for each in here])
    models = np.array([each.key.model for each in here])
    known_idle = _idle_watts(here)
    watts, split = _watts(seconds, joules), _split_watts(seconds, cpu, joules, known_idle)
    rows = []
    for number, each in enumerate(here):
        rest = models != each.key.model
        unseen = _watts(seconds[rest], joules[rest]) if rest.any() else None
        apart = _split_watts(seconds[rest], cpu[rest], joules[rest], known_idle)
        at = (float(seconds[number]), float(cpu[number]))
        rows.append(
            ProxyRow(
                each.key, *at, float(joules[number]), watts * at[0], _power(split, at),
                None if unseen is None else unseen * at[0], _power(apart, at),
            )
        )  # fmt: skip
    order: tuple[Quality, ...] = ("measured", "shared", "estimated")
    return Proxy(
        machine=here[0].key.machine,
        device=here[0].key.device,
        rows=tuple(rows),
        watts=watts,
        idle_watts=None if split is None else split[0],
        core_watts=None if split is None else split[1],
        idle_known=known_idle is not None,
        correlation=_correlation(seconds, joules),
        r_squared=_r_squared(watts * seconds, joules),
        quality=max((each.quality for each in here if each.quality), key=order.index, default=None),
        gain=(min(each.gain[0] for each in here), max(each.gain[1] for each in here)),
        cores=cores,
    )


def _watts(seconds: Reals, joules: Reals) -> float:
    """Return the watts that make the sum of squared relative errors smallest: sum(x) / sum(x^2), x = seconds/joules."""
    x = seconds / joules
    return float(x.sum() / (x @ x))


def _split_watts(seconds: Reals, cpu: Reals, joules: Reals, idle: float | None) -> tuple[float, float] | None:
    """Return (idle watts, watts of a busy core), neither below 0, by the same measure; None where that is not told.

    Without a measured idle power both are fitted, which needs candidates that differ in CPU seconds per second.
    """
    if not len(joules) or not np.any(cpu > 0.0):
        return None
    x, y = seconds / joules, cpu / joules
    if idle is not None:
        return idle, max(0.0, float(y @ (1.0 - idle * x) / (y @ y)))
    use = cpu / seconds
    if len(use) < 2 or np.ptp(use) < 0.1 * use.max():
        return None
    (first, second), *_ = np.linalg.lstsq(np.stack([x, y], axis=1), np.ones(len(x)), rcond=None)
    if first < 0.0:
        return 0.0, float(y.sum() / (y @ y))
    return (_watts(seconds, joules), 0.0) if second < 0.0 else (float(first), float(second))


def _idle_watts(here: Sequence[Candidate]) -> float | None:
    """Return the machine's power at rest: what was taken off a candidate's gross joules, per second."""
    found = [
        (each.joules.value - each.net_joules.value) / each.seconds.value
        for each in here
        if each.joules is not None and each.net_joules is not None
    ]
    return max(0.0, median(found)) if found else None


def _power(split: tuple[float, float] | None, at: tuple[float, float]) -> float | None:
    return None if split is None else split[0] * at[0] + split[1] * at[1]


def _unseen_gain(proxy: Proxy) -> tuple[float, float] | None:
    """Return between what multiples of the model the truth lay for models not seen, and the meters' own gain on top."""
    found = [row.joules / row.unseen_by_cpu for row in proxy.rows if row.unseen_by_cpu]
    if not found:
        return None
    return min(NARROWEST_GAIN[0], *found) * proxy.gain[0], max(NARROWEST_GAIN[1], *found) * proxy.gain[1]


def _correlation(seconds: Reals, joules: Reals) -> float | None:
    if len(joules) < 3 or np.ptp(seconds) == 0.0 or np.ptp(joules) == 0.0:
        return None
    return float(np.corrcoef(seconds, joules)[0, 1])


def _r_squared(predicted: Reals, joules: Reals) -> float | None:
    around = float(np.sum((joules - joules.mean()) ** 2))
    if len(joules) < 3 or math.isclose(around, 0.0, abs_tol=1e-300):
        return None
    return 1.0 - float(np.sum((joules - predicted) ** 2)) / around
