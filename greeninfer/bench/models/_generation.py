"""A language model that writes: always the likeliest token, up to an end or a budget."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from greeninfer.bench._optional import need
from greeninfer.bench.models._prefix import INSTALL, Prefix


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote after one text.

    Args:
        tokens: without the one that ended it.
        count: tokens that were generated, the one that ended it among them.
        log_probability: of all these tokens together.
    """

    tokens: tuple[int, ...]
    count: int
    log_probability: float


def write(prefix: Prefix, budget: int, ends: Collection[int], pad: int) -> list[Written]:
    """Let a model write after each text, all at once, until each has ended or spent its budget.

    The prefix goes on with what is written, but for the last token of a spent budget: nothing follows that needs it.

    Args:
        prefix: what was read so far.
        budget: most tokens for each text.
        ends: ids of tokens that end.
        pad: id of the token that fills up rows that have ended.
    """
    torch = need("torch", INSTALL)
    device = prefix.logits.device
    stops = torch.tensor(sorted(ends), dtype=torch.long, device=device)
    running = torch.ones(len(prefix), dtype=torch.bool, device=device)
    columns, chances, counted = [], [], []
    for number in range(budget):
        chosen = prefix.logits.argmax(dim=-1)
        likeliest = prefix.logits.gather(-1, chosen[:, None])[:, 0]
        chances.append((likeliest - prefix.logits.logsumexp(dim=-1)).where(running, 0.0))
        counted.append(running)
        columns.append(chosen)
        running = running & ~torch.isin(chosen, stops)
        if not bool(running.any()):
            break
        if number < budget - 1:
            prefix.step(chosen.where(running, pad), running.long())
    if not columns:
        return [Written((), 0, 0.0)] * len(prefix)
    counts = torch.stack(counted).sum(dim=0).tolist()
    sums = torch.stack(chances).sum(dim=0).tolist()
    rows = torch.stack(columns, dim=1).tolist()
    return [_written(row[:count], ends, total) for row, count, total in zip(rows, counts, sums, strict=True)]


def think(prefix: Prefix, budget: int, ends: Collection[int], pad: int) -> list[Written]:
    """Let a model write as ``write`` does, and have the prefix end with all of it."""
    written = write(prefix, budget, ends, pad)
    unread = [len(each.tokens) == budget > 0 for each in written]
    if any(unread):
        torch = need("torch", INSTALL)
        last = [each.tokens[-1] if left else pad for each, left in zip(written, unread, strict=True)]
        device = prefix.logits.device
        prefix.step(torch.tensor(last, device=device), torch.tensor(unread, device=device).long())
    return written


def _written(tokens: Sequence[Any], ends: Collection[int], total: float) -> Written:
    kept = tokens[:-1] if tokens[-1] in ends else tokens
    return Written(tuple(kept), len(tokens), total)
