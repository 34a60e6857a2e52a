"""Django under ASGI: what an async and a sync view cost. Run it: python examples/django_app.py."""

import threading
import time

import httpx
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import greeninfer

TEXTS = ["my card is lost", "block the card", "send money abroad", "transfer to a friend"]
model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, ["card", "card", "transfer", "transfer"])


async def classify(request, text):  # async: works on the event loop
    return HttpResponse(model.predict([text])[0])


def explain(request, text):  # sync: Django runs it in a thread, and it is charged all the same
    return JsonResponse(dict(zip(model.classes_, model.predict_proba([text])[0], strict=True)))


urlpatterns = [path("classify/<str:text>", classify), path("explain/<str:text>", explain)]
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    MIDDLEWARE=["greeninfer.integrations.django.RouteName"],  # tells the route, which ASGI does not know
    ROOT_URLCONF=__name__,
)
django = greeninfer.EnergyMiddleware(get_asgi_application())
metrics = greeninfer.MetricsApp()


async def app(scope, receive, send):
    await (metrics if scope.get("path") == "/metrics" else django)(scope, receive, send)


if __name__ == "__main__":
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    threading.Thread(target=server.run).start()
    while not server.started:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    while "greeninfer_meter_info{" not in httpx.get(url + "/metrics").text:
        time.sleep(0.05)  # until the meters are read
    for address in ("/classify/lost card", "/explain/lost card"):
        print(f"GET {address}: {httpx.get(url + address).text}")
    while (page := httpx.get(url + "/metrics").text).count("request_energy_joules_sum{") < 2:
        time.sleep(0.05)  # a request's joules are on the page a moment after its answer
    print(*(line for line in page.splitlines() if "request_energy_joules_sum{" in line), sep="\n")
    server.should_exit = True
