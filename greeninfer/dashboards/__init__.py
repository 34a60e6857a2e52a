"""``greeninfer dashboards DIR``: write the Grafana dashboards, the Prometheus rules and what starts both into a folder.

The files are package data under ``files/``, in the tree in which they are written out. The dashboards there are made by
``docs/dashboards/author.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

__all__ = ["add_arguments", "main", "shipped"]

_REFUSED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``greeninfer dashboards`` to a parser."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="folder to write into; made if it is missing")
    parser.add_argument("--force", action="store_true", help="overwrite files there that differ from ours")


def main(arguments: argparse.Namespace) -> int:
    """Write everything into the folder, or nothing if a file there differs and ``force`` is not set.

    Args:
        arguments: with ``directory`` and ``force``, as ``add_arguments`` defines them.

    Returns:
        0 if everything is there now, 1 if not.
    """
    directory: Path = arguments.directory
    try:
        ours = shipped()
        differing = [name for name, content in ours.items() if _differs(directory / name, content)]
        if differing and not arguments.force:
            return _refuse(directory, differing)
        for name, content in ours.items():
            print(f"{_write(directory / name, content):9} {directory / name}")
    except OSError as error:
        reason = error.strerror or str(error)
        print(
            f"greeninfer dashboards: cannot write into {directory}: {error.filename or directory}: {reason}; "
            "allowed: a folder that you may write to, or a new one; remedy: name another one",
            file=sys.stderr,
        )
        return _REFUSED
    print(_next(directory))
    return 0


def shipped() -> Mapping[str, bytes]:
    """Return the contents of the files that are written out, by their path below the folder."""
    return dict(sorted(_walk(files(__name__) / "files", "")))


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()


def _differs(path: Path, content: bytes) -> bool:
    """Tell whether something else than this content is there; a folder in its place is an error when it is read."""
    try:
        return path.read_bytes() != content
    except FileNotFoundError:
        return False


def _write(path: Path, content: bytes) -> str:
    if path.exists() and not _differs(path, content):
        return "unchanged"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return "wrote"


def _refuse(directory: Path, differing: list[str]) -> int:
    print(
        f"greeninfer dashboards: {len(differing)} files in {directory} differ from ours: {', '.join(differing)}; "
        "nothing was written; remedy: name another folder, or --force to overwrite them",
        file=sys.stderr,
    )
    return _REFUSED


def _next(directory: Path) -> str:
    return f"""
Next: name your service in {directory / "prometheus" / "prometheus.yml"}, then
  docker compose -f '{directory / "docker-compose.yaml"}' up     Prometheus on :9090, Grafana on :3000
Without Docker: prometheus --config.file='{directory / "prometheus" / "prometheus.yml"}', and in Grafana
Dashboards > New > Import, each file of {directory / "grafana" / "dashboards"}."""
