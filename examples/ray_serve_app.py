"""Ray Serve: what a sync and a streaming endpoint of a replica cost. Run it: python examples/ray_serve_app.py."""

import asyncio
import socket
import time
from difflib import SequenceMatcher

import httpx
import ray
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from ray import serve

import greeninfer

LABELS = {"my card is lost": "card", "block the card": "card", "send money abroad": "transfer"}


def nearest(text: str) -> str:
    return LABELS[max(LABELS, key=lambda known: SequenceMatcher(None, text, known).ratio())]


app = FastAPI()
greeninfer.instrument(app)  # before @serve.ingress, which takes a copy: what is added later does nothing


@serve.deployment
@serve.ingress(app)
class Classifier:
    @app.get("/classify/{text}")  # sync: works in a thread of the pool, and is charged all the same
    def classify(self, text: str) -> str:
        return nearest(text)

    @app.get("/stream/{text}")  # streamed: every burst of work is charged, the waits in between are not
    async def stream(self, text: str) -> StreamingResponse:
        async def tokens():
            for word in text.split():
                yield f"{nearest(word)} "
                await asyncio.sleep(0.05)

        return StreamingResponse(tokens())


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"port": port}, logging_config={"log_level": "ERROR"})
    serve.run(Classifier.bind())
    url = f"http://127.0.0.1:{port}"
    while "greeninfer_meter_info{" not in httpx.get(url + "/metrics").text:
        time.sleep(0.05)  # until the meters are read
    for path in ("/classify/lost card", "/stream/money abroad"):
        print(f"GET {path}: {httpx.get(url + path).text}")
    while (page := httpx.get(url + "/metrics").text).count('request_energy_joules_sum{model="",name="/') < 2:
        time.sleep(0.05)  # a request's joules are on the page of its replica a moment after its answer
    print(*(line for line in page.splitlines() if "request_energy_joules_sum{" in line), sep="\n")
    ray.shutdown()
