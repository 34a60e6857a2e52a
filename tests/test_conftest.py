"""The guard against leftovers really sees them, and a leftover fails one test only."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

THREAD = """
import threading
import greeninfer

def test_leaves_a_thread():
    thread = threading.Thread(name="greeninfer-left", daemon=True)
    thread.end = threading.Event()
    thread.run = thread.end.wait
    thread.start()
"""
MONITORS = """
import greeninfer

def test_leaves_one_in_use():
    greeninfer.Monitor(greeninfer.Settings(disabled=True)).__enter__()

def test_leaves_one_running():
    greeninfer.Monitor(meters=[], exporters=[]).__enter__()

def test_is_innocent():
    with greeninfer.Monitor(meters=[], exporters=[]), greeninfer.measure("work"):
        pass
"""


@pytest.mark.parametrize(
    ("text", "passed", "errors", "said"),
    [
        (THREAD, 1, 1, "*threads still running after the test: [[]'greeninfer-left']*"),
        (MONITORS, 3, 2, "*monitors still in use after the test: *"),
    ],
)
def test_leftovers_are_seen(pytester: pytest.Pytester, text: str, passed: int, errors: int, said: str) -> None:
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(text)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio")
    for thread in threading.enumerate():
        if thread.name == "greeninfer-left":
            thread.end.set()  # type: ignore[attr-defined]
            thread.join()
    result.assert_outcomes(passed=passed, errors=errors)
    result.stdout.fnmatch_lines([said])
