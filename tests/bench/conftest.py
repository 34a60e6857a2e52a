"""The bench needs its extra: without it these tests are left out, which is said at the end."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

MISSING = [name for name in ("yaml", "pyarrow", "sklearn", "httpx") if find_spec(name) is None]
collect_ignore_glob = ["test_*.py", "*/test_*.py"] if MISSING else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    if MISSING:
        terminalreporter.write_line(f"tests/bench was left out: {', '.join(MISSING)} not installed (extra bench)")
