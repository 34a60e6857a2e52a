"""Never two measurements on one host at once: they would be billed each other's joules.

A lock on a file in the system's folder for temporary files, held from the first reading of a run to the last. The
processes that a run starts inherit it, so one that outlives a killed run still keeps the next run waiting for its end.
It does not reach across containers with a ``/tmp`` of their own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from greeninfer.errors import ResultsError


def default_lock() -> Path:
    """Return the file that all users of this host lock."""
    return Path(tempfile.gettempdir()) / "greeninfer-bench.lock"


@contextmanager
def host_to_ourselves(path: Path) -> Iterator[tuple[int, ...]]:
    """Hold the lock; give the descriptors that started processes inherit (none where the system has no such locks).

    Raises:
        ResultsError: if another run holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield ()
        return
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResultsError(
                f"another benchmark is being measured on this host (it holds {path}), and each would be billed the "
                f"joules of the other; remedy: let it end or stop it; this shows its process: fuser {path}"
            ) from error
        yield (descriptor,)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the file to read, which is enough to lock it and all that other users of the host may do."""
    try:
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CREAT, 0o644)
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, 0o644)
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be opened ({error}); remedy: set TMPDIR to a folder you may write"
        ) from error
    return descriptor
