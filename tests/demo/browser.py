"""A headless Chromium, driven over a pipe by the DevTools protocol: a page is opened, asked and photographed."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "chromium is not installed (apt install chromium)"

_COMMAND = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip


class Page:
    """One tab; what goes wrong inside is in ``errors``."""

    def __init__(self, orders: int, answers: int) -> None:
        self._orders = orders
        self._answers = answers
        self._rest = b""
        self._number = 0
        self._session = ""
        self._loaded = False
        self.errors: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Open an address in a window of this size and scheme."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        self._call("Page.navigate", url=url)
        while not self._loaded:
            self._note(self._read())

    def resize(self, width: int, height: int) -> None:
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def ask(self, script: str) -> Any:
        """Return what an expression of JavaScript is, as JSON can tell it; promises are awaited."""
        told = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, script: str, seconds: float = 20.0) -> Any:
        """Return what an expression is as soon as it is true."""
        deadline = time.monotonic() + seconds
        while not (told := self.ask(script)):
            assert time.monotonic() < deadline, f"never true: {script}; {self.ask('document.body.innerText')}"
            time.sleep(0.05)
        return told

    def photograph(self, path: Path) -> None:
        """Write the whole page as a PNG."""
        told = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        order = {"id": self._number, "method": method, "params": parameters}
        os.write(
            self._orders, json.dumps(order | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while True:
            told = self._read()
            if told.get("id") == self._number:
                assert "error" not in told, f"{method}: {told['error']}"
                return dict(told["result"])
            self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        """Keep what a person would find red in the console."""
        method, parameters = told.get("method"), told.get("params", {})
        self._loaded = self._loaded or method == "Page.loadEventFired"
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.errors.append(str(parameters["args"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._answers], [], [], 30.0)[0], "chromium does not answer"
            part = os.read(self._answers, 1 << 20)
            assert part, "chromium is gone"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))


def _pipe() -> tuple[int, int]:
    """Return a pipe whose ends are none of the descriptors that have a meaning."""
    low = os.pipe()
    high = tuple(fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in low)
    for each in low:
        os.close(each)
    return high[0], high[1]


@contextmanager
def browser() -> Iterator[Page]:
    """Give a page of a fresh Chromium, which is gone at the end."""
    assert CHROMIUM is not None, MISSING
    # Chromium reads orders from descriptor 3 and answers on 4; the shell puts them there.
    order_end, orders = _pipe()
    answers, answer_end = _pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        words = [CHROMIUM, *_COMMAND, f"--user-data-dir={folder}", "about:blank"]
        shell = f'exec "$@" 3<&{order_end} 4>&{answer_end} {order_end}<&- {answer_end}>&-'
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *words],
            pass_fds=(order_end, answer_end),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(order_end)
        os.close(answer_end)
        try:
            yield Page(orders, answers)
        finally:
            os.close(orders)  # the end of the pipe is the end of Chromium
            os.close(answers)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
