"""Litestar: what an async, a sync and a streaming handler cost. Run it: python examples/litestar_app.py."""

import asyncio
import threading
import time

import httpx
import uvicorn
from litestar import Litestar, asgi, get
from litestar.params import FromPath
from litestar.response import Stream
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import greeninfer

TEXTS = ["my card is lost", "block the card", "send money abroad", "transfer to a friend"]
model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, ["card", "card", "transfer", "transfer"])


@get("/classify/{text:str}")  # async: works on the event loop
async def classify(text: FromPath[str]) -> str:
    return str(model.predict([text])[0])


@get("/explain/{text:str}", sync_to_thread=True)  # works in a thread of the pool, and is charged all the same
def explain(text: FromPath[str]) -> dict[str, float]:
    return dict(zip(model.classes_, model.predict_proba([text])[0], strict=True))


@get("/stream/{text:str}")  # streamed: every burst of work is charged, the waits in between are not
async def stream(text: FromPath[str]) -> Stream:
    async def tokens():
        for word in text.split():
            yield f"{model.predict([word])[0]} "
            await asyncio.sleep(0.05)

    return Stream(tokens())


metrics = asgi("/metrics", copy_scope=True)(greeninfer.MetricsApp())
app = Litestar([classify, explain, stream, metrics], middleware=[greeninfer.EnergyMiddleware], logging_config=None)

if __name__ == "__main__":
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    with greeninfer.Monitor():  # reads the meters from here on; without it, from the first request on
        threading.Thread(target=server.run).start()
        while not server.started:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        for path in ("/classify/lost card", "/explain/lost card", "/stream/money abroad"):
            print(f"GET {path}: {httpx.get(url + path).text}")
        while (page := httpx.get(url + "/metrics").text).count("request_energy_joules_sum{") < 3:
            time.sleep(0.05)  # a request's joules are on the page a moment after its answer
        print(*(line for line in page.splitlines() if "request_energy_joules_sum{" in line), sep="\n")
        server.should_exit = True
