"""FastAPI: what an async, a sync and a streaming endpoint cost. Run it: python examples/fastapi_app.py."""

import asyncio
import threading
import time

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import greeninfer

TEXTS = ["my card is lost", "block the card", "send money abroad", "transfer to a friend"]
model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, ["card", "card", "transfer", "transfer"])

app = FastAPI()
greeninfer.instrument(app)  # the middleware, /metrics, and the hooks into thread pools
app.get("/health")(lambda: "ok")  # health checks are not measured


@app.get("/classify/{text}")  # async: works on the event loop
async def classify(text: str) -> str:
    return str(model.predict([text])[0])


@app.get("/explain/{text}")  # sync: works in a thread of the pool, and is charged all the same
def explain(text: str) -> dict[str, float]:
    return dict(zip(model.classes_, model.predict_proba([text])[0], strict=True))


@app.get("/stream/{text}")  # streamed: every burst of work is charged, the waits in between are not
async def stream(text: str) -> StreamingResponse:
    async def tokens():
        for word in text.split():
            yield f"{model.predict([word])[0]} "
            await asyncio.sleep(0.05)

    return StreamingResponse(tokens())


if __name__ == "__main__":
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    threading.Thread(target=server.run).start()
    while not server.started:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    while "greeninfer_meter_info{" not in httpx.get(url + "/metrics").text:
        time.sleep(0.05)  # until the meters are read
    for path in ("/health", "/classify/lost card", "/explain/lost card", "/stream/money abroad"):
        print(f"GET {path}: {httpx.get(url + path).text}")
    while (page := httpx.get(url + "/metrics").text).count("request_energy_joules_sum{") < 3:
        time.sleep(0.05)  # a request's joules are on the page a moment after its answer
    print(*(line for line in page.splitlines() if "request_energy_joules_sum{" in line), sep="\n")
    server.should_exit = True
