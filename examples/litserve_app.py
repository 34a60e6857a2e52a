"""LitServe: predict works in another process, and tells for which request. Run it: python examples/litserve_app.py."""

import json
import os
import signal
import tempfile
import threading
import time
from difflib import SequenceMatcher
from pathlib import Path

import httpx
import litserve
from pydantic import BaseModel, PrivateAttr

import greeninfer

LABELS = {"my card is lost": "card", "block the card": "card", "send money abroad": "transfer"}


class Question(BaseModel):
    text: str
    _carrier: dict[str, str] = PrivateAttr(default_factory=dict)

    def model_post_init(self, _context: object) -> None:  # in the process that answers the request
        greeninfer.inject(self._carrier)


class Classifier(litserve.LitAPI):
    def decode_request(self, request: Question) -> Question:
        return request

    def predict(self, x: Question) -> str:  # in a worker process
        with greeninfer.extract(x._carrier), greeninfer.measure("classify", model="nearest"):
            return LABELS[max(LABELS, key=lambda known: SequenceMatcher(None, x.text, known).ratio())]


def ask(port: int, file: Path) -> None:
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx.HTTPTransport(retries=8))
    try:
        for _ in range(2):  # the first one opens the meters, in both processes
            print("POST /predict:", client.post("/predict", json={"text": "lost my card"}).json())
            time.sleep(0.5)
        while len(lines := file.read_text().splitlines()) < 4:
            time.sleep(0.05)
        for each in map(json.loads, lines[2:]):
            print(each["name"], each["model"], f"{each['joules']} J ({each['quality']})", each["origin"] or "")
    finally:
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    file = Path(tempfile.mkdtemp(), "requests.jsonl")  # both processes write to it, a line per request
    os.environ |= {"GREENINFER_EXPORTERS": "jsonl", "GREENINFER_JSONL_PATH": str(file)}
    port = 20_000 + os.getpid() % 10_000
    threading.Thread(target=ask, args=(port, file)).start()
    server = litserve.LitServer(Classifier(), accelerator="cpu", middlewares=[greeninfer.EnergyMiddleware])
    server.run(port=port, generate_client_file=False, num_api_servers=1, log_level="warning")
