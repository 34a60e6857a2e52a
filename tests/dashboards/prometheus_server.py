"""A real Prometheus with the shipped rules, for tests."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greeninfer.dashboards import shipped


@dataclass(frozen=True)
class Series:
    """Its labels and (instant, value) pairs."""

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def values(self) -> tuple[float, ...]:
        return tuple(value for _, value in self.points)

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)


class Prometheus:
    """Asks a server."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, path: str, **parameters: str | Sequence[str]) -> Any:
        body = urllib.parse.urlencode(parameters, doseq=True)
        with urllib.request.urlopen(f"http://{self._address}/api/v1/{path}?{body}", timeout=10) as answer:
            return json.load(answer)["data"]

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=1):
                return True
        except OSError:
            return False

    def range(self, expression: str, start: float, end: float, step: float = 1.0) -> list[Series]:
        found = self.ask("query_range", query=expression, start=str(start), end=str(end), step=str(step))["result"]
        return [
            Series(each["metric"], tuple((float(at), float(value)) for at, value in each["values"])) for each in found
        ]


@contextmanager
def prometheus(folder: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Run a Prometheus with the shipped configuration, but every second and with these targets."""
    import yaml  # not there without the extra dev, and this module is imported before that is looked at

    for name in ("prometheus.yml", "greeninfer.rules.yml"):
        (folder / name).write_bytes(shipped()[f"prometheus/{name}"])
    config = yaml.safe_load((folder / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": list(targets)}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log, stdout=log)
    try:
        server = Prometheus(address)
        deadline = time.monotonic() + 20.0
        while not server.is_ready():
            assert process.poll() is None and time.monotonic() < deadline, (folder / "prometheus.log").read_text()
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(20)
