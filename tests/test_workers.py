"""Several real processes on one simulated node: what all of them book together is the meter, once.

The node is played by a process that knows what each of them uses (`benchmarks/_shared_node.py`), and draws power for
whatever else this machine is busy with, too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from _shared_node import CORE_WATTS, SharedNode, Snapshot, shared_node

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the CPU time of other processes in this way"),
    pytest.mark.heavy,
]

SUM, TRUTH = 0.03, 0.15  # relative; the second on a machine that is busy with other things, too


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def assert_right(seen: Snapshot, processes: int) -> None:
    """Check what was booked while all of these were there."""
    assert seen.counted > 20.0
    assert seen.booked() == pytest.approx(seen.counted, rel=SUM)
    # As many trackers of the whole counter show this, and it is far off.
    assert processes * seen.counted > (1.0 + 10 * SUM) * seen.booked()
    assert seen.booked("attributed") <= seen.counted
    assert seen.booked("attributed") == pytest.approx(seen.true_joules, rel=TRUTH)
    assert seen.booked("idle") <= seen.joules["idle"] + 0.1 * seen.counted
    assert seen.booked("unattributed") <= 0.02 * seen.counted
    assert {quality for (_, quality), joules in seen.lines.items() if joules > 0.001} == {"shared"}


# uvicorn --workers


def test_the_books_of_four_uvicorn_workers_are_the_meter_once_and_go_on_when_one_is_killed() -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    from _worker_service import serving
    from prometheus_client.multiprocess import mark_process_dead

    with serving(4) as service:
        node = service.node
        pids = service.meet(4)
        assert len(pids) == 4
        with service.loaded(8.0) as until:
            before = node.snapshot()
            time.sleep(max(0.0, until - time.monotonic()))
            seen = node.snapshot().since(before)
        assert service.load.failed == 0
        assert all(seen.told[pid] > 0.0 for pid in pids), "a worker had nothing to do"
        assert_right(seen, 4)
        assert seen.booked("attributed") > CORE_WATTS * sum(seen.told.values()) * 0.8

        with service.loaded(5.0) as until:
            before = node.snapshot()
            os.kill(pids[0], signal.SIGKILL)
            time.sleep(max(0.0, until - time.monotonic()))
            seen = node.snapshot().since(before)
        # Until the others look, and again while a new one joins, some joules are nobody's.
        assert 0.8 * seen.counted < seen.booked() < (1.0 + SUM) * seen.counted
        assert seen.booked("attributed") > 0.8 * CORE_WATTS * sum(seen.told.values())

        mark_process_dead(pids[0], str(node.metrics))  # type: ignore[no-untyped-call]
        wait_for(lambda: node.snapshot().in_flight == 0.0, 10.0, "no request in flight")


# Processes that are forked


FORKED = r"""
import json, os, random, select, sys, time
import greeninfer

def burn(milliseconds):
    begun = time.thread_time()
    while time.thread_time() - begun < milliseconds / 1000.0: pass
    return time.thread_time() - begun

@greeninfer.measure("work")
def work(milliseconds):
    return burn(milliseconds)

def tell(**facts):
    os.write(1, (json.dumps({"pid": os.getpid(), **facts}) + "\n").encode())

work(50.0)  # the master has measured something before it forks, as with gunicorn --preload
greeninfer.flush(10.0)
children = []
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if not child:
        children = []
        break
    children.append(child)
chance = random.Random(os.getpid())
work(1.0)
tell(ready=True)
while not select.select([0], [], [], 0.0)[0]:  # until standard input ends
    tell(cpu_seconds=work(chance.uniform(5.0, 25.0)))
    time.sleep(chance.expovariate(1000.0 / 50.0))
ended = greeninfer.flush(10.0)
for child in children:
    ended &= os.waitpid(child, 0)[1] == 0
tell(ended=ended)
os._exit(0 if ended else 1)
"""


@contextmanager
def forked(node: SharedNode, children: int) -> Iterator[list[int]]:
    """Run a master and its children; yield their numbers once all measure."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", FORKED, str(children)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=node.environment, cwd=node.folder, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    ready: list[int] = []
    ended: list[bool] = []

    def listen() -> None:
        for line in process.stdout or ():
            said = json.loads(line)
            node.told[said["pid"]] += said.get("cpu_seconds", 0.0)
            ready.extend([said["pid"]] if "ready" in said else [])
            ended.extend([said["ended"]] if "ended" in said else [])

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        wait_for(lambda: len(ready) == children + 1, 60.0, "all processes measure")
        for pid in ready:
            node.watch(pid)
        yield ready
        process.stdin.close()
        assert process.wait(30.0) == 0
        listener.join()
        assert ended == [True] * (children + 1)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        listener.join()
        process.stdout.close()


def test_a_master_that_measured_before_it_forked_and_its_children_are_the_meter_once() -> None:
    with shared_node() as node:
        with forked(node, 2) as pids:
            assert len(set(pids)) == 3
            time.sleep(3.5)  # until all have joined
            before = node.snapshot()
            time.sleep(8.0)
            seen = node.snapshot().since(before)
        assert_right(seen, 3)
        assert all(seen.told[pid] > 0.0 for pid in pids)
        assert node.snapshot().in_flight == 0.0
