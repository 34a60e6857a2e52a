"""Packages that only a part of the bench needs: imported when that part runs, missed with the line to install them."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str, install: str = "'greeninfer[bench]'") -> Any:
    """Import a module of an optional package.

    Args:
        module: its dotted name.
        install: what follows ``pip install``.

    Raises:
        ImportError: if it is not installed; the message has the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is not installed ({error}); remedy: pip install {install}", name=module) from error
