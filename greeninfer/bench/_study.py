"""What is to be measured: a study names data sets, models, splits and how long to measure; its cells follow from it.

A study is plain data. `_study_file.py` reads one from YAML and says which line is wrong; in Python it is built here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from greeninfer.errors import StudyError


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled texts.

    Args:
        name: how results call it.
        source: a built-in name, a path (``.csv``, ``.jsonl``, ``.parquet``) or a Hugging Face id or folder ("hf:ID").
        text, label: names of the columns.
        part: of a Hugging Face data set: "train", "test" ...; "" takes all parts together.
        descriptions: what a label means, in words that a language model reads instead of the label itself.
    """

    name: str
    source: str
    text: str = "text"
    label: str = "label"
    part: str = ""
    descriptions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One candidate.

    Args:
        name: how results call it.
        kind: the adaptor that runs it, one of ``bench.models.KINDS``.
        options: what that adaptor takes.
        splits: only the first so many of the study's splits; None for all. For models that take minutes each.
        test_items: only the first so many test texts of each split; None for all.
        batch_sizes, devices: instead of the study's.
    """

    name: str
    kind: str
    options: Mapping[str, object] = field(default_factory=dict)
    splits: int | None = None
    test_items: int | None = None
    batch_sizes: tuple[int, ...] | None = None
    devices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Splits:
    """Random halves of a data set, the same for every model.

    Args:
        count: how many.
        train, test: number of texts (2 and more), or share of the data set (below 1).
        seed: of the first split; the k-th has ``seed + k``.
        stratify: whether every label keeps its share in both halves; the study behind this package draws at random.
    """

    count: int = 10
    train: float = 200
    test: float = 200
    seed: int = 0
    stratify: bool = False


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one cell is measured.

    Args:
        min_seconds: the steady phase repeats its texts at least so long,
        min_ticks: and over at least so many readings of every meter; shorter is "below resolution".
        warmup_seconds: texts are classified so long, and once at least, before the steady phase begins.
        idle_seconds: how long the machine at rest is measured before the first cell.
        time_limit_seconds: a cell that takes longer is ended and fails.
        threads: of native libraries (BLAS, OpenMP, torch), pinned so that runs compare.
        seed: of whatever a model draws.
    """

    min_seconds: float = 2.0
    min_ticks: int = 20
    warmup_seconds: float = 0.2
    idle_seconds: float = 3.0
    time_limit_seconds: float = 1800.0
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement: one model on one split of one data set, at one batch size on one device."""

    dataset: str
    model: str
    batch_size: int
    device: str
    split: int

    @property
    def id(self) -> str:
        """Return its name in results and files, unique in a study."""
        return f"{self.dataset}.{self.model}.b{self.batch_size}.{self.device.replace(':', '')}.s{self.split}"


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that one run measures.

    Args:
        name: for titles and file names.
        datasets, models: what is crossed with each other.
        batch_sizes: how many texts each call of a model gets.
        devices: "cpu", "cuda", "cuda:1".
        splits, protocol: see there.

    Raises:
        StudyError: if a value is out of its range, or two data sets or models share a name.
    """

    name: str
    datasets: tuple[Dataset, ...]
    models: tuple[ModelSpec, ...]
    batch_sizes: tuple[int, ...] = (1,)
    devices: tuple[str, ...] = ("cpu",)
    splits: Splits = Splits()
    protocol: Protocol = Protocol()

    def __post_init__(self) -> None:
        check(self)

    def dataset(self, name: str) -> Dataset:
        """Return the data set of that name."""
        return next(each for each in self.datasets if each.name == name)

    def model(self, name: str) -> ModelSpec:
        """Return the model of that name."""
        return next(each for each in self.models if each.name == name)


def cells(study: Study) -> list[Cell]:
    """Return the cells of a study in the order in which they run.

    Split by split, so that what changes on a machine during a run spreads over all models alike.
    """
    return [
        Cell(dataset.name, model.name, batch_size, device, split)
        for split in range(study.splits.count)
        for dataset in study.datasets
        for model in study.models
        if model.splits is None or split < model.splits
        for device in model.devices or study.devices
        for batch_size in model.batch_sizes or study.batch_sizes
    ]


def check(study: Study) -> None:
    """Raise ``StudyError`` for the first value that is out of its range."""
    if not study.datasets:
        raise StudyError("a study without data sets measures nothing", "one or more", path=("datasets",))
    if not study.models:
        raise StudyError("a study without models measures nothing", "one or more", path=("models",))
    for part in ("datasets", "models"):
        _check_names([each.name for each in getattr(study, part)], part)
    _check_splits(study.splits)
    _check_protocol(study.protocol)
    _check_crossed(study.batch_sizes, study.devices, ())
    for index, model in enumerate(study.models):
        path = ("models", index)
        _check_crossed(
            (1,) if model.batch_sizes is None else model.batch_sizes,
            ("cpu",) if model.devices is None else model.devices,
            path,
        )
        for field_name in ("splits", "test_items"):
            count = getattr(model, field_name)
            if count is not None and count < 1:
                raise StudyError(f"{field_name}={count!r}", "1 or more", "leave it out for all", (*path, field_name))


def _check_names(names: list[str], part: str) -> None:
    for index, name in enumerate(names):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]*(\.[A-Za-z0-9_+-]+)*", name):
            allowed = "letters, digits, _ + - and single dots between them: names become file names"
            raise StudyError(f"name={name!r}", allowed, "rename it", (part, index, "name"))
        if name in names[:index]:
            raise StudyError(f"name={name!r} is there twice", "names of their own", "rename one", (part, index, "name"))


def _check_splits(splits: Splits) -> None:
    if splits.count < 1:
        raise StudyError(f"count={splits.count!r}", "1 or more", "10 is the default", ("splits", "count"))
    for half in ("train", "test"):
        size = getattr(splits, half)
        if not (0.0 < size < 1.0 or (size >= 2 and size == int(size))):
            allowed = "a number of texts, 2 or more, or a share between 0 and 1"
            raise StudyError(f"{half}={size!r}", allowed, "200 is the default", ("splits", half))
    if splits.train < 1.0 and splits.test < 1.0 and splits.train + splits.test > 1.0:
        raise StudyError(f"train={splits.train} and test={splits.test} are more than everything", "1 in sum",
                         "make one smaller", ("splits", "train"))  # fmt: skip


def _check_protocol(protocol: Protocol) -> None:
    for name, low in (("min_seconds", 0.0), ("warmup_seconds", 0.0), ("idle_seconds", 0.0)):
        seconds = getattr(protocol, name)
        if not (math.isfinite(seconds) and seconds >= low):
            raise StudyError(f"{name}={seconds!r}", "0 or more seconds", path=("protocol", name))
    limit = protocol.time_limit_seconds
    if not limit > 0.0:
        raise StudyError(f"time_limit_seconds={limit!r}", "above 0", path=("protocol", "time_limit_seconds"))
    for name in ("min_ticks", "threads"):
        if getattr(protocol, name) < 1:
            raise StudyError(f"{name}={getattr(protocol, name)!r}", "1 or more", path=("protocol", name))


def _check_crossed(batch_sizes: tuple[int, ...], devices: tuple[str, ...], path: tuple[str | int, ...]) -> None:
    if not batch_sizes or min(batch_sizes) < 1 or len(set(batch_sizes)) < len(batch_sizes):
        allowed = "one or more different sizes, each 1 or more"
        raise StudyError(f"batch_sizes={list(batch_sizes)!r}", allowed, path=(*path, "batch_sizes"))
    for device in devices:
        if not re.fullmatch(r"cpu|cuda(:\d+)?|mps", device):
            raise StudyError(f"device {device!r}", "cpu, cuda, cuda:N, mps", path=(*path, "devices"))
    if not devices or len(set(devices)) < len(devices):
        raise StudyError(f"devices={list(devices)!r}", "one or more different devices", path=(*path, "devices"))
