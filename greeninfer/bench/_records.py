"""What a run leaves behind: a row for each cell, a row for each prediction. Plain data; `_folder.py` keeps it on disk.

Whatever can be computed from these rows (accuracy, intervals, fronts) is computed from them and stored nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from greeninfer._energy import Quality
from greeninfer.bench._study import Cell, Study

FORMAT = 1
"""Version of the results folder; a folder of another version is refused by name."""

PhaseName = Literal["load", "fit", "warmup", "steady"]
PHASES: tuple[PhaseName, ...] = ("load", "fit", "warmup", "steady")


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase of a cell took.

    Args:
        seconds: by the monotonic clock.
        cpu_seconds: of the process and its children, all threads.
        joules: gross: what the meters counted, less the part of other processes; None where no meter gave any.
        net_joules: the same less what the machine draws at rest; None where that is not known.
        other_joules: the part of other processes that was taken off.
        ticks: readings of the slowest meter within it.
    """

    seconds: float
    cpu_seconds: float
    joules: float | None = None
    net_joules: float | None = None
    other_joules: float | None = None
    ticks: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One measured cell.

    Args:
        cell: which.
        machine: name of the host that ran it.
        status: "ok", or "failed" with ``reason``; a failed cell keeps the phases that it finished.
        reason: why it failed, in words.
        fingerprint: of everything that determines the cell; resuming keeps a cell only if it is the same.
        phases: by name; those that were reached.
        items: predictions made in the steady phase, over all passes.
        passes: times that all test texts were gone through in the steady phase.
        train_items, test_items: texts learnt from, texts asked.
        majority: accuracy on the test texts of always answering the commonest label of the training texts.
        first_call_seconds: the very first call of predict.
        block_seconds, block_items, block_joules: the steady phase cut into consecutive blocks, for its spread.
        quality: worst of the joules; None without a meter.
        gain: (low, high) of the meters: the true joules lie between these multiples, common to all cells.
        meters: names of the meters that were read.
        joules_by_domain: gross joules of the steady phase by domain id.
        below_resolution: the steady phase was shorter than ``min_ticks`` readings.
        other_share: CPU share of other processes in what was busy during the steady phase; None if unknown.
        peak_bytes: largest resident memory of the process.
        threads: of native libraries.
        started_unix_seconds: for people.
        notes: what else a reader has to know, in words.
    """

    cell: Cell
    machine: str
    status: Literal["ok", "failed"]
    reason: str = ""
    fingerprint: str = ""
    phases: Mapping[PhaseName, Phase] = field(default_factory=dict)
    items: int = 0
    passes: int = 0
    train_items: int = 0
    test_items: int = 0
    majority: float | None = None
    first_call_seconds: float | None = None
    block_seconds: tuple[float, ...] = ()
    block_items: tuple[int, ...] = ()
    block_joules: tuple[float, ...] = ()
    quality: Quality | None = None
    gain: tuple[float, float] = (1.0, 1.0)
    meters: tuple[str, ...] = ()
    joules_by_domain: Mapping[str, float] = field(default_factory=dict)
    below_resolution: bool = False
    other_share: float | None = None
    peak_bytes: int | None = None
    threads: int = 1
    started_unix_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def joules_per_item(self) -> float | None:
        """Return gross joules per prediction in the steady phase."""
        steady = self.phases.get("steady")
        return None if steady is None or steady.joules is None or not self.items else steady.joules / self.items

    @property
    def net_joules_per_item(self) -> float | None:
        """Return idle-subtracted joules per prediction in the steady phase."""
        steady = self.phases.get("steady")
        return None if steady is None or steady.net_joules is None or not self.items else steady.net_joules / self.items

    @property
    def seconds_per_item(self) -> float | None:
        """Return seconds per prediction in the steady phase."""
        steady = self.phases.get("steady")
        return None if steady is None or not self.items else steady.seconds / self.items


@dataclass(frozen=True, slots=True)
class Items:
    """The predictions of one cell, one array element a test text, all in the same order.

    Args:
        item: number of the text in its data set.
        label, predicted: numbers in the data set's sorted labels; predicted is -1 where the answer was unparsable.
        confidence: NaN where the model gave none.
        seconds: how long the call took that answered it, the first time it was asked in the steady phase.
        input_tokens, output_tokens, reasoning_tokens: -1 where not known.
    """

    item: npt.NDArray[np.int32]
    label: npt.NDArray[np.int16]
    predicted: npt.NDArray[np.int16]
    confidence: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.float32]
    input_tokens: npt.NDArray[np.int32]
    output_tokens: npt.NDArray[np.int32]
    reasoning_tokens: npt.NDArray[np.int32]

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Return which predictions are right."""
        right: npt.NDArray[np.bool_] = self.label == self.predicted
        return right

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.item)


@dataclass(frozen=True, slots=True)
class Results:
    """One results folder, read.

    Args:
        study: what was run.
        environment: what `_environment.py` wrote: host, hardware, meters, versions.
        runs: cells in the study's order, failed ones among them; cells that did not run yet are missing.
        items: predictions by cell id.
        labels: sorted labels by data set.
        folder: where it was read from, for people.
    """

    study: Study
    environment: Mapping[str, Any]
    runs: tuple[Run, ...]
    items: Mapping[str, Items]
    labels: Mapping[str, tuple[str, ...]]
    folder: str = ""
