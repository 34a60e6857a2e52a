"""The joules that a service charged to its requests, read from its metrics page.

The counter is ``greeninfer_energy_joules_total{state="attributed"}``, joules over a disjoint cover of the machine's
domains, so all of its lines add up. Joules follow a request by at most one tick of the service.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import get_args

from prometheus_client.parser import text_string_to_metric_families

from greeninfer._energy import Quality
from greeninfer.errors import StudyError

COUNTER = "greeninfer_energy_joules_total"
STARTED = "process_start_time_seconds"
_QUALITIES: Mapping[str, Quality] = {each: each for each in get_args(Quality)}  # from best to worst
_log = logging.getLogger("greeninfer")


class ServedJoules:
    """Reads the counter again and again, and knows when it is not the same counter any more.

    Args:
        page: returns the text of the metrics page, or raises ``StudyError``.
        name, model: only lines with these labels; "" for all.
    """

    def __init__(self, page: Callable[[], str], name: str = "", model: str = "") -> None:
        self._page = page
        self._wanted = {key: value for key, value in (("name", name), ("model", model)) if value}
        self._started: float | None = None
        self._joules = 0.0
        self._lost = False
        self.quality: Quality | None = None

    def check(self, url: str) -> None:
        """Raise ``StudyError`` if there is no metrics page of greeninfer at all."""
        if not any(line.startswith(("greeninfer_", "# TYPE greeninfer_")) for line in self._page().splitlines()):
            remedy = "greeninfer.instrument(app) in the service serves /metrics; or leave metrics_url out"
            raise StudyError(f"no metric of greeninfer is on {url}", "", remedy, ("options", "metrics_url"))

    def joules(self) -> float | None:
        """Return the joules charged since the service started.

        None, which is logged, if the page does not come or cannot be read, has no such line (yet), or if the service
        was started anew since the last call: from then on the counter says nothing about what was counted before.
        """
        if self._lost:
            return None
        try:
            joules, quality, started = self._read(self._page())
        except (StudyError, ValueError, IndexError, KeyError) as error:
            self._warn(f"{type(error).__name__}: {error}")
            return None
        if joules is None:
            self._warn("no such line")
            return None
        if joules < self._joules or started != (self._started or started):
            self._lost = True
            self._warn("the service was started anew, or several processes answer in turn")
            return None
        self._joules, self._started, self.quality = joules, started, quality
        return joules

    def _warn(self, reason: str) -> None:
        _log.warning("greeninfer.bench.served_joules_unknown labels=%s reason=%s", self._wanted, reason)

    def _read(self, text: str) -> tuple[float | None, Quality | None, float | None]:
        """Return joules, their worst quality, and when the process was started."""
        lines = [line for line in text.splitlines() if line.startswith((COUNTER, STARTED))]
        joules: list[float] = []
        found: set[Quality] = set()
        started = None
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                if sample.name == STARTED:
                    started = sample.value
                elif sample.name == COUNTER and self._counts(sample.labels):
                    if not 0.0 <= sample.value < math.inf:
                        raise ValueError(f"{COUNTER} is {sample.value}")
                    joules.append(sample.value)
                    found.add(_QUALITIES[sample.labels["quality"]])
        if not joules:
            return None, None, started
        return math.fsum(joules), max(found, key=list(_QUALITIES).index), started

    def _counts(self, labels: dict[str, str]) -> bool:
        wanted = {"state": "attributed"} | self._wanted
        return all(labels.get(key) == value for key, value in wanted.items())
