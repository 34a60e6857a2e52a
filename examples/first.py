"""What does one request cost? Run it: python examples/first.py."""

import greeninfer


def answer(text: str, effort: int) -> greeninfer.Span:
    with greeninfer.measure("answer", model=f"effort-{effort}") as span:
        for _ in range(effort):
            sorted(text * 5000)
    return span


with greeninfer.Monitor():
    for effort in (1, 10, 100):
        span = answer("which card can I use abroad?", effort)
        print(span.model, span.energy())
