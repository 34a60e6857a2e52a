"""What a model needs done once and for all (weights converted and cached) is done before any cell is measured.

In a process of its own, so that what it loads is gone when the first cell begins: ``python -m ... STUDY MODEL``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from greeninfer.bench._study_file import parse_study
from greeninfer.bench.models import kind_of, read_options


def needs_preparing(kind: str) -> bool:
    """Return whether the models of a kind have something done beforehand: an adaptor with a ``prepare(options)``."""
    return getattr(kind_of(kind), "prepare", None) is not None


def main(arguments: Sequence[str]) -> int:
    """Prepare one model of the study in a file; raise whatever goes wrong, for the log."""
    path, name = arguments
    model = parse_study(Path(path).read_text(encoding="utf-8")).model(name)
    prepare = getattr(kind_of(model.kind), "prepare", None)
    if prepare is not None:
        prepare(read_options(model.kind, model.options))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
