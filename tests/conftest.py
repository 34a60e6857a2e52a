"""After every test nothing of ours is left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail the test that leaves a thread of the library behind."""
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("greeninfer")]
    assert not left, f"still running after the test: {left}"
