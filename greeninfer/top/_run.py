"""Looking at a page again and again, and showing what has changed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from greeninfer.top._change import compare
from greeninfer.top._fetch import fetch
from greeninfer.top._page import PageError, Snapshot, parse
from greeninfer.top._report import report
from greeninfer.top._view import View, open_view

Look = Callable[[], Snapshot]

_INTERRUPTED = 130


def run(
    url: str, interval: float, *, once: bool, as_json: bool, sort: str, wait: Callable[[float], None] = time.sleep
) -> int:
    """Show the figures of a service until Ctrl-C, or once, and return the exit status of ``main``."""
    seen = False

    def look() -> Snapshot:
        nonlocal seen
        begun = time.monotonic()
        text = fetch(url)
        snapshot = parse(text, (begun + time.monotonic()) / 2.0)
        seen = True
        return snapshot

    try:
        with open_view(url, interval, once=once, as_json=as_json, sort=sort) as view:
            if once:
                return show_once(look, view, interval, wait)
            watch(look, view, interval, wait)
    except KeyboardInterrupt:
        return 0 if seen and not once else _INTERRUPTED
    except BrokenPipeError:  # whoever read along, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def show_once(look: Look, view: View, interval: float, wait: Callable[[float], None] = time.sleep) -> int:
    """Show what changed between two looks; return 1 if that is not known."""
    try:
        before = look()
        wait(interval)
        change = compare(before, look())
    except PageError as error:
        view.complain(str(error))
        return 1
    view.show(report(change))
    return 1 if change.seconds is None else 0


def watch(
    look: Look,
    view: View,
    interval: float,
    wait: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> None:
    """Look and show for ever; while there is no page, say why and keep looking."""
    before: Snapshot | None = None
    while True:
        begun = now()
        try:
            after = look()
        except PageError as error:
            view.complain(str(error))
        else:
            view.show(report(compare(before, after)))
            before = after
        wait(max(0.0, interval - (now() - begun)))
