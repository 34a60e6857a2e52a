"""After every test nothing of ours is left running; and what several folders of tests need."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from greeninfer._monitor import in_use

pytest_plugins = ["pytester"]

# How long an example takes says something of the machine, which may be busy, and nothing of the code.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail the test that leaves a thread or a monitor of the library behind, and spare the tests after it."""
    yield
    monitors = list(in_use)
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("greeninfer")]
    in_use.clear()
    for monitor in monitors:
        monitor.stop()
    assert not threads, f"threads still running after the test: {threads}"
    assert not monitors, f"monitors still in use after the test: {monitors}"


@pytest.fixture
def finished() -> list[Any]:
    """Return the trace spans that have ended; ``tracer`` fills it."""
    return []


@pytest.fixture
def tracer(finished: list[Any]) -> Iterator[Any]:
    """Return what makes recorded and sampled spans; finished ones are kept."""
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")

    class Keep(sdk.SpanProcessor):  # type: ignore[misc, name-defined]
        def on_end(self, span: Any) -> None:
            finished.append(span)

    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    yield provider.get_tracer("test")
    provider.shutdown()
