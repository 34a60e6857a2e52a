"""What determines a cell, in one short text: if that is the same, a cell that was measured need not be measured again.

It covers the texts and labels themselves, the model with its options and the files they name, how texts are split, how
long is measured, and the version of this package. It leaves out what only selects cells (how many splits, which batch
sizes), where a data set lies, how long a cell may take, and the machine: a results folder is of one machine anyway.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from greeninfer.bench._records import FORMAT
from greeninfer.bench._study import Cell, ModelSpec, Study

_SELECTING = {"count"}
_HARMLESS = {"time_limit_seconds"}
_READ_WHOLE_BYTES = 1_000_000  # larger files, weights above all, are told by size and time of change


def of_texts(texts: Sequence[str], labels: Sequence[str]) -> str:
    """Return the fingerprint of a data set's content, in its order: splits draw numbers of rows."""
    digest = hashlib.sha256()
    for part in (texts, labels):
        digest.update(f"{len(part)}\n".encode())
        for text in part:
            raw = text.encode("utf-8", errors="surrogatepass")
            digest.update(f"{len(raw)}:".encode())
            digest.update(raw)
    return digest.hexdigest()


def of_model(model: ModelSpec, base: Path) -> str:
    """Return the fingerprint of a model: its kind, its options and every file that they name."""
    files = {name: _of_path(path) for name, path in _files_in(model.options, base)}
    return _digest({"kind": model.kind, "options": model.options, "files": files})


def of_protocol(study: Study) -> str:
    """Return the fingerprint of what all cells of a study share: splits, protocol and the version of this package."""
    splits = {name: value for name, value in dataclasses.asdict(study.splits).items() if name not in _SELECTING}
    protocol = {name: value for name, value in dataclasses.asdict(study.protocol).items() if name not in _HARMLESS}
    return _digest({"format": FORMAT, "version": _version(), "splits": splits, "protocol": protocol})


def of_cell(study: Study, cell: Cell, *, protocol: str, texts: str, model: str) -> str:
    """Return the fingerprint of a cell.

    Args:
        study: that it belongs to.
        cell: which.
        protocol: fingerprint of what all cells share, by ``of_protocol``.
        texts: fingerprint of its data set's content, by ``of_texts``.
        model: fingerprint of its model, by ``of_model``.
    """
    return _digest(
        {
            "cell": dataclasses.asdict(cell),
            "protocol": protocol,
            "texts": texts,
            "model": model,
            "descriptions": study.dataset(cell.dataset).descriptions,
            "test_items": study.model(cell.model).test_items,
        }
    )


def _version() -> str:
    try:
        return version("greeninfer")
    except PackageNotFoundError:  # run from its source, not installed
        return "unknown"


def _digest(tree: object) -> str:
    text = json.dumps(_canonical(tree), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def _canonical(tree: object) -> object:
    """Return the same for what means the same: 200 and 200.0, a tuple and a list, keys in any order."""
    if isinstance(tree, Mapping):
        return {str(key): _canonical(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_canonical(each) for each in tree]
    return int(tree) if isinstance(tree, float) and tree.is_integer() else tree


def _files_in(options: object, base: Path) -> Iterator[tuple[str, Path]]:
    """Yield what options name that is there: paths, and the source of ``module:function``."""
    if isinstance(options, Mapping):
        options = list(options.values())
    if isinstance(options, list | tuple):
        for each in options:
            yield from _files_in(each, base)
    elif isinstance(options, str) and options:
        module, colon, _ = options.partition(":")
        source = module.replace(".", "/")
        for name in (options, *((f"{source}.py", f"{source}/") if colon and source else ())):
            path = _found(name, base)
            if path is not None:
                yield name, path


def _found(name: str, base: Path) -> Path | None:
    try:
        path = base / Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long for a name, with a NUL, of no user: a prompt, not a path
        return None


def _of_path(path: Path) -> list[object]:
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts)
        return [[str(each.relative_to(path)), *_of_path(each)] for each in inside]
    stat = path.stat()
    if stat.st_size > _READ_WHOLE_BYTES:
        return [stat.st_size, stat.st_mtime_ns]
    return [stat.st_size, hashlib.sha256(path.read_bytes()).hexdigest()]
