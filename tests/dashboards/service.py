"""A service on a simulated machine whose joules are known: python service.py ADDRESS. Prints its port when it serves.

``/truth`` tells what the machine really used; ``/reset`` lets its counters start again, as a driver does.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import greeninfer
from greeninfer._clock import SystemClock
from greeninfer._records import Domain
from greeninfer.asgi import EXCLUDED
from greeninfer.meters.simulated import SimulatedMeter

IDLE_WATTS, CORE_WATTS, DRAM_WATTS = 20.0, 40.0, 3.0
EMBED_JOULES, RANK_JOULES, TOKEN_JOULES = 0.8, 0.2, 0.05
TOKENS = 10
PACKAGE, DRAM = Domain("simulated", 0, "package"), Domain("simulated", 0, "dram")


def neighbour_cores(instant: float) -> float:
    """Somebody else keeps half a core busy, every other second."""
    return 0.5 if int(instant) % 2 else 0.0


class Neighbour:
    """Tells of it, as ``/proc/stat`` does."""

    period_seconds = 0.0

    def other(self, now: float, seconds: float, ours: float) -> float:
        return neighbour_cores(now - seconds / 2) * seconds


meter = SimulatedMeter(
    [lambda instant, cores: IDLE_WATTS + CORE_WATTS * (cores + neighbour_cores(instant)), DRAM_WATTS],
    clock=SystemClock(),
    domains=(PACKAGE, DRAM),
    running=time.process_time,
)
app = FastAPI()
greeninfer.instrument(app, exclude=(*EXCLUDED, "/truth", "/reset"))


def work(seconds: float, joules: float) -> None:
    """Use CPU time, and joules at once in the midst of it."""
    begun = time.thread_time()
    while time.thread_time() - begun < seconds / 2:
        pass
    meter.burn(joules)
    while time.thread_time() - begun < seconds:
        pass


@greeninfer.measure("embed", model="minilm")
def embed() -> None:
    work(0.004, EMBED_JOULES)


@app.get("/classify/{text}")
async def classify(text: str) -> str:
    embed()
    await asyncio.sleep(0.005)
    return "complaint"


@app.get("/rank")
def rank() -> int:
    work(0.003, RANK_JOULES)
    return 1


@app.get("/chat")
async def chat() -> StreamingResponse:
    return StreamingResponse(generate(), media_type="text/plain")


@greeninfer.measure("generate", model="tiny")
async def generate() -> AsyncIterator[str]:
    span = greeninfer.current()
    assert span is not None
    with span.phase("prefill"):
        work(0.002, 2 * TOKEN_JOULES)
    for _ in range(TOKENS):
        with span.phase("decode"):
            work(0.001, TOKEN_JOULES)
        yield "word "
        await asyncio.sleep(0.01)
    span.add_tokens(input=40, output=TOKENS)


@app.get("/truth")
async def truth() -> dict[str, float]:
    return {"seconds": time.time(), "joules": meter.true_joules(PACKAGE) + meter.true_joules(DRAM)}


@app.get("/reset")
async def reset() -> None:
    meter.reset()


def main(address: str) -> None:
    listener = socket.create_server((address, 0))
    with greeninfer.Monitor(greeninfer.Settings(), meters=[meter], share=Neighbour()):
        print(listener.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main(sys.argv[1])
