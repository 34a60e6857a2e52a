"""`import greeninfer` is free of side effects: no heavy package, no thread, no look at the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "transformers",
    "sklearn",
    "scipy",
    "opentelemetry.sdk",
    "rich",
    "psutil",
    "pynvml",
    "pyRAPL",
)

# Runs in a fresh interpreter. A look at the environment counts when the code that looks is the package's own:
# NumPy reads variables of its own while it is imported from there.
WATCH = """
import json, os, sys, threading
package, heavy = sys.argv[1], sys.argv[2].split(",")
readers, plumbing = [], ("os.py", "_collections_abc.py", "<frozen os>", "<frozen _collections_abc>")

class Watched(type(os.environ)):
    def look(self):
        frame = sys._getframe(2)
        while frame and frame.f_code.co_filename.endswith(plumbing):
            frame = frame.f_back
        if frame and frame.f_globals.get("__name__", "").split(".")[0] == package:
            readers.append(f"{frame.f_globals['__name__']}:{frame.f_lineno}")
    def __getitem__(self, key):
        self.look()
        return super().__getitem__(key)
    def __iter__(self):
        self.look()
        return super().__iter__()

old = os.environ
os.environ = Watched(old._data, old.encodekey, old.decodekey, old.encodevalue, old.decodevalue)
__import__(package)
print(json.dumps({
    "heavy": [name for name in heavy if name in sys.modules],
    "threads": [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()],
    "readers": readers,
}))
"""


def watch(package: str, path: Path | None = None) -> dict[str, list[str]]:
    """Import a package in a fresh interpreter and return what it did besides."""
    environ = {**os.environ, "GREENINFER_NONSENSE": "1"} | ({"PYTHONPATH": str(path)} if path else {})
    command = [sys.executable, "-c", WATCH, package, ",".join(HEAVY)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_import_has_no_side_effect() -> None:
    assert watch("greeninfer") == {"heavy": [], "threads": [], "readers": []}


@pytest.mark.parametrize(
    ("text", "what", "seen"),
    [
        ("import rich", "heavy", ["rich"]),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(5,), name='early', daemon=True).start()",
            "threads",
            ["early"],
        ),
        ("import os\nos.environ.get('HOME')", "readers", ["guest:2"]),
        ("import os\n\nos.getenv('GREENINFER_TICK_SECONDS')", "readers", ["guest:3"]),
        ("import os\n{key: 1 for key in os.environ}", "readers", ["guest:2"]),
    ],
)
def test_the_watch_sees(text: str, what: str, seen: list[str], tmp_path: Path) -> None:
    (tmp_path / "rich.py").touch()
    (tmp_path / "guest.py").write_text(text, encoding="utf-8")
    assert watch("guest", tmp_path)[what] == seen
