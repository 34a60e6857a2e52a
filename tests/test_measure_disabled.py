"""GREENINFER_DISABLED=1: every door is a plain pass-through. Each script is a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from live import play

DOORS = """
import asyncio, inspect, json, sys, threading
import greeninfer

class Failing(Exception): pass

@greeninfer.measure
def function(number): return number * 2, greeninfer.current()

@greeninfer.measure("failing")
def failing(): raise Failing("mine")

class Model:
    @greeninfer.measure
    def method(self, number): return number * 2
    @greeninfer.measure
    @classmethod
    def of_class(cls, number): return number * 2
    @greeninfer.measure
    @staticmethod
    def static(number): return number * 2

@greeninfer.measure("coroutine", model="m")
async def coroutine(number):
    await asyncio.sleep(0)
    return number * 2

@greeninfer.measure
def generator():
    got = yield 1
    yield got

@greeninfer.measure
async def async_generator():
    got = yield 1
    yield got

async def later():
    items = async_generator()
    one = await items.__anext__()
    two = await items.asend("sent")
    await items.aclose()
    async with greeninfer.measure("block") as span:
        span.add_tokens(output=3)
        settled = await span.settled(timeout=0.0)
    return [await coroutine(2), one, two, settled.joules]

said = {"function": function(2), "methods": [Model().method(2), Model.of_class(2), Model.static(2)]}
try:
    failing()
except Failing as error:
    said["failing"] = str(error)
items = generator()
said["generator"] = [next(items), items.send("sent")]
said["later"] = asyncio.run(later())
with greeninfer.measure("block", model="m") as span:
    span.add_tokens(input=412, output=33, reasoning=128)
    span.set_attribute("user", 1)
    with span.phase("decode"):
        pass
    # As a dynamic batcher does: each request hands over its current span, and the worker serves them.
    rows = [(span, 3.0), (greeninfer.current(), 1.0)]
    try:
        with greeninfer.batch(rows):
            said["batch"] = "served"
    except Exception as error:
        said["batch"] = repr(error)
energy = span.energy(timeout=0.0)
said["energy"] = [energy.joules, energy.uncertainty_joules, energy.quality]
said["flush"] = greeninfer.flush()
said["threads"] = [thread.name for thread in threading.enumerate() if thread.name.startswith("greeninfer")]
said["modules"] = [name for name in ("pynvml", "pyRAPL", "psutil") if name in sys.modules]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("disabled")
    told: dict[str, Any] = play(DOORS, folder, DISABLED=1, METERS="simulated", EXPORTERS="jsonl")
    told["files"] = [path.name for path in folder.iterdir()]
    return told


def test_results_pass_through(said: dict[str, Any]) -> None:
    assert said["function"] == [4, None]
    assert said["methods"] == [4, 4, 4]
    assert said["generator"] == [1, "sent"]
    assert said["later"] == [4, 1, "sent", None]


def test_exceptions_pass_through(said: dict[str, Any]) -> None:
    assert said["failing"] == "mine"


def test_joules_are_not_known_which_is_not_zero(said: dict[str, Any]) -> None:
    assert said["energy"] == [None, None, None]


def test_a_batch_of_spans_that_are_not_there_is_served(said: dict[str, Any]) -> None:
    assert said["batch"] == "served"


def test_there_is_nothing_to_flush(said: dict[str, Any]) -> None:
    assert said["flush"] is True


def test_no_thread_no_sensor_and_no_file(said: dict[str, Any]) -> None:
    assert said["threads"] == []
    assert said["modules"] == []
    assert said["files"] == []


def test_the_same_script_measures_where_it_is_not_disabled(tmp_path: Path) -> None:
    told = play(
        DOORS.replace("greeninfer.current()\n\n@", "0\n\n@", 1), tmp_path, METERS="simulated", EXPORTERS="jsonl"
    )
    assert told["threads"] == ["greeninfer-sampler"]
    assert told["batch"] == "served"
    lines = [json.loads(line) for line in (tmp_path / "greeninfer.jsonl").read_text().splitlines()]
    assert sorted((line["name"], line["outcome"]) for line in lines) == [
        ("Model.method", "ok"),
        ("Model.of_class", "ok"),
        ("Model.static", "ok"),
        ("async_generator", "cancelled"),
        ("block", "ok"),
        ("block", "ok"),
        ("coroutine", "ok"),
        ("failing", "error"),
        ("function", "ok"),
    ]  # the generator is still open
