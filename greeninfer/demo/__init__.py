"""``greeninfer demo``: a service of real classifiers under load, joules per request live, books that add up.

This module imports nothing heavy; the work begins in ``main``.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys

from greeninfer.errors import GreeninferError

__all__ = ["add_arguments", "main"]

DEFAULT_PORT = 9464
"""The port that OpenTelemetry's Prometheus exporters use by default."""

_NEEDED = ("sklearn", "wordllama", "fastapi", "uvicorn", "httpx")
_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``greeninfer demo`` to a parser."""
    parser.add_argument("--seconds", type=_seconds, default=30.0, help="how long the load lasts (default: %(default)g)")
    parser.add_argument("--json", action="store_true", help="print only the final figures, as JSON")
    parser.add_argument(
        "--port",
        type=_port,
        default=DEFAULT_PORT,
        help="loopback port of the service; another one if it is taken (default: %(default)s)",
    )
    parser.add_argument("--workers", type=_workers, default=3, help="clients at the same time (default: %(default)s)")


def main(arguments: argparse.Namespace) -> int:
    """Run the demo.

    Args:
        arguments: with ``seconds``, ``json``, ``port`` and ``workers``, as ``add_arguments`` defines them.

    Returns:
        0 if the books closed to the last nanojoule, 1 if not, if no meter counted anything or if the service or its
        clients broke, 2 where the extra is not installed or a setting is wrong, 130 if it was interrupted before the
        load began.
    """
    missing = [module for module in _NEEDED if importlib.util.find_spec(module) is None]
    if missing:
        print(f"greeninfer demo needs {', '.join(missing)}: pip install 'greeninfer[demo]'", file=sys.stderr)
        return 2
    from greeninfer.demo._run import run

    try:
        return run(arguments.seconds, port=arguments.port, workers=arguments.workers, only_json=arguments.json)
    except GreeninferError as error:
        print(f"greeninfer demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text} is not possible; allowed: more than 0 seconds")
    return value


def _port(text: str) -> int:
    return _within(text, 0, 65535)


def _workers(text: str) -> int:
    return _within(text, 1, 64)


def _within(text: str, low: int, high: int) -> int:
    value = int(text)
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text} is not possible; allowed: {low} to {high}")
    return value
