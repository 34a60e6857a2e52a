"""``greeninfer top``: joules and latency of a running service, live, from its metrics page.

From a page to what is shown, each step by itself: ``_fetch`` gets the page, ``_page`` parses it into a snapshot,
``_change`` compares two of them, ``_report`` makes figures of that, ``_table`` and ``_json`` show the figures, and
``_run`` does so again and again. Only the first and the last touch the world. This module imports nothing heavy.
"""

from __future__ import annotations

import argparse
import math
from urllib.parse import urlsplit

__all__ = ["add_arguments", "main"]

DEFAULT_URL = "http://127.0.0.1:8000/metrics"
"""Where uvicorn listens by default, and where ``greeninfer.instrument`` serves the metrics."""

SORTS = ("watts", "joules", "requests", "p95", "failed", "tokens", "name")
"""What rows can be sorted by: the largest first, names in their order."""

_SECONDS = (0.1, 3600.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``greeninfer top`` to a parser."""
    parser.add_argument(
        "url",
        nargs="?",
        type=_url,
        default=DEFAULT_URL,
        metavar="URL",
        help="the metrics page; HOST:PORT will do for http://HOST:PORT/metrics (default: %(default)s)",
    )
    parser.add_argument(
        "--interval", type=_seconds, default=2.0, metavar="SECONDS", help="between two looks (default: %(default)g)"
    )
    parser.add_argument("--once", action="store_true", help="compare two looks, print that and end")
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each look, for programs")
    parser.add_argument("--sort", choices=SORTS, default=SORTS[0], help="what comes first (default: %(default)s)")


def main(arguments: argparse.Namespace) -> int:
    """Show the figures of a service until Ctrl-C, or once.

    Args:
        arguments: with ``url``, ``interval``, ``once``, ``json`` and ``sort``, as ``add_arguments`` defines them.

    Returns:
        0 if there was something to show, 1 if ``--once`` had nothing, 130 if it was interrupted before there was.
    """
    from greeninfer.top._run import run

    return run(arguments.url, arguments.interval, once=arguments.once, as_json=arguments.json, sort=arguments.sort)


def _seconds(text: str) -> float:
    low, high = _SECONDS
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text} is not possible; allowed: {low:g} to {high:g} seconds")
    return value


def _url(text: str) -> str:
    """Return a whole address: ``localhost:8000`` becomes ``http://localhost:8000/metrics``."""
    url = text.strip()
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not possible; allowed: HOST:PORT, or an http or https address without a user name"
        )
    return parts._replace(path=parts.path if parts.path.strip("/") else "/metrics", fragment="").geturl()
