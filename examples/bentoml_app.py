"""BentoML: what a sync and a streaming API cost. Run it: python examples/bentoml_app.py."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from difflib import SequenceMatcher
from pathlib import Path

import bentoml
import httpx

import greeninfer

LABELS = {"my card is lost": "card", "block the card": "card", "send money abroad": "transfer"}


def nearest(text: str) -> str:
    return LABELS[max(LABELS, key=lambda known: SequenceMatcher(None, text, known).ratio())]


@bentoml.service
class Classifier:
    @bentoml.api  # sync: BentoML runs it in a thread, and it is charged all the same
    def classify(self, text: str) -> str:
        return nearest(text)

    @bentoml.api  # streamed: every burst of work is charged
    async def stream(self, text: str) -> AsyncGenerator[str, None]:
        for word in text.split():
            yield f"{nearest(word)} "


Classifier.add_asgi_middleware(greeninfer.EnergyMiddleware, model="nearest")  # BentoML has a /metrics of its own

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "bentoml", "serve", "bentoml_app:Classifier", "--port", str(port)]
    folder, environment = Path(__file__).parent, {**os.environ, "BENTOML_DO_NOT_TRACK": "true"}
    server = subprocess.Popen(serve, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=8), timeout=60)
        while "greeninfer_meter_info{" not in client.get("/metrics").text:
            time.sleep(0.05)  # until the meters are read
        for api in ("classify", "stream"):
            print(f"POST /{api}: {client.post(f'/{api}', json={'text': 'lost my card'}).text}")
        while (page := client.get("/metrics").text).count('request_energy_joules_sum{model="nearest"') < 2:
            time.sleep(0.05)  # a request's joules are on the page a moment after its answer
        print(*(line for line in page.splitlines() if "request_energy_joules_sum{" in line), sep="\n")
    finally:
        server.terminate()
        server.wait()
