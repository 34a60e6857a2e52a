"""The hooks are the process's: each test finds none and leaves none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from greeninfer import threads


@pytest.fixture(autouse=True)
def no_hooks() -> Iterator[None]:
    assert not threads.instrumented()
    yield
    threads.uninstrument()
