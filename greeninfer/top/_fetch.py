"""Getting a metrics page over HTTP: within bounds of time and size, and with a plain word on what went wrong."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from greeninfer.top._page import PageError

TIMEOUT_SECONDS: Final = 5.0
"""For an answer to begin, and again for all of it."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of a page: a thousand routes of ours have some 15 MB."""

_ACCEPT: Final = "text/plain;version=0.0.4;q=1, application/openmetrics-text;version=1.0.0;q=0.5, */*;q=0.1"
_CHUNK: Final = 65536
_REMEDIES: Final = {
    401: "it wants credentials, and this command has none; remedy: serve the page where operators need none",
    403: "this client may not see it; remedy: ask from a machine that may",
    404: "there is no page; remedy: greeninfer.instrument(app) in the service serves /metrics; another path: "
    "greeninfer top http://HOST:PORT/PATH",
}


def fetch(
    url: str,
    *,
    timeout: float = TIMEOUT_SECONDS,
    most_bytes: int = MOST_BYTES,
    now: Callable[[], float] = time.monotonic,
) -> str:
    """Return the text of a page.

    Raises:
        PageError: if there is none: nothing listens, it answers late, with an error, without end, or not in HTTP.
    """
    # A proxy from the environment is for the world outside.
    opener = build_opener(ProxyHandler({})) if _is_here(url) else build_opener()
    request = Request(url, headers={"Accept": _ACCEPT, "User-Agent": "greeninfer-top"})  # noqa: S310 - checked: http(s)
    begun = now()
    try:
        with opener.open(request, timeout=timeout) as response:
            data = _read(response, most_bytes, lambda: now() - begun > 2.0 * timeout)
    except HTTPError as error:
        error.close()
        remedy = _REMEDIES.get(error.code, "the service does not work as it should; remedy: look into its log")
        raise PageError(f"the answer is HTTP {error.code} {error.reason}: {remedy}") from error
    except (URLError, OSError) as error:
        raise PageError(_in_words(error.reason if isinstance(error, URLError) else error, timeout)) from error
    except (HTTPException, ValueError) as error:
        raise PageError(f"the answer is not HTTP as it should be ({type(error).__name__})") from error
    return data.decode("utf-8", "replace")


def _read(response: HTTPResponse, most_bytes: int, late: Callable[[], bool]) -> bytes:
    """Read to the end, whatever the server sends and however slowly.

    Raises:
        PageError: if it is too much, or takes too long.
    """
    data = bytearray()
    while chunk := response.read1(_CHUNK):
        data += chunk
        if len(data) > most_bytes:
            raise PageError(
                f"the page has more than {most_bytes / 2**20:g} MiB: that is no metrics page to look at live"
            )
        if late():
            raise PageError("the page does not come to an end in time")
    if response.length:
        raise PageError("the page was cut off")
    return bytes(data)


def _in_words(reason: object, timeout: float) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout:g} s; remedy: look whether the service hangs, or is overloaded"
    if isinstance(reason, ConnectionRefusedError):
        return (
            "nothing listens there; remedy: start the service, with greeninfer.instrument(app) in it, or name its "
            "address: greeninfer top HOST:PORT"
        )
    if isinstance(reason, socket.gaierror):
        return "there is no such host; remedy: correct the name"
    return f"no connection ({reason})"


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
