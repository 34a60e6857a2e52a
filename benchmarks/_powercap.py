"""A powercap tree in a folder, whose counter grows as if a package drew constant power."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

UNIT_UJ = 61  # of the hardware's counter, which has 32 bits: the largest value is one unit below where it wraps
WRAP_UJ = UNIT_UJ * 2**32
RANGE_UJ = WRAP_UJ - UNIT_UJ
START_UJ = WRAP_UJ - 40_000_000 * UNIT_UJ  # so that it wraps soon
PERIOD_SECONDS = 0.005


class Powercap:
    """One package; a thread of this process writes its counter, so that nobody who reads it pays for that.

    Args:
        watts: while it grows.
    """

    def __init__(self, watts: float = 100.0) -> None:
        # In memory where possible: sysfs knows no locks that a reader shares with the writing back to a disk.
        memory = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(prefix="powercap-", dir=memory if memory.is_dir() else None)
        self.root = Path(self._folder.name)
        zone = self.root / "intel-rapl/intel-rapl:0"
        zone.mkdir(parents=True)
        texts = {"name": "package-0", "energy_uj": f"{START_UJ:012}", "max_energy_range_uj": str(RANGE_UJ)}
        for name, text in texts.items():
            (zone / name).write_text(text + "\n", encoding="ascii")
        (self.root / "intel-rapl:0").symlink_to("intel-rapl/intel-rapl:0")
        self._file = os.open(zone / "energy_uj", os.O_WRONLY)
        self._watts = watts
        self._microjoules = START_UJ
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._grow, name="powercap", daemon=True)

    @property
    def joules(self) -> float:
        """Return what the counter has counted since the start."""
        return (self._microjoules - START_UJ) / 1e6

    def start(self) -> None:
        """Let the counter grow."""
        self._thread.start()

    def stop(self) -> None:
        """Let the counter stand still."""
        self._over.set()
        self._thread.join()

    def close(self) -> None:
        """Stop, and take the tree away."""
        if self._thread.ident is not None:
            self.stop()
        os.close(self._file)
        self._folder.cleanup()

    def _grow(self) -> None:
        begun = time.monotonic()
        while not self._over.wait(PERIOD_SECONDS):
            self._microjoules = START_UJ + int((time.monotonic() - begun) * self._watts * 1e6 / UNIT_UJ) * UNIT_UJ
            os.pwrite(self._file, b"%012d\n" % (self._microjoules % WRAP_UJ), 0)
