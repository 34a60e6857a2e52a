"""How likely a language model finds each label's words after a prompt: a classifier that needs no parsing.

The prompt is read once for each text. The labels go on from copies of its cache, all at once; and not at all where
every label is a single token, since the prompt's last logits hold all their scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from greeninfer.bench._optional import need
from greeninfer.bench.models._prefix import INSTALL, Prefix
from greeninfer.errors import StudyError

Scoring = Literal["sum", "first_token", "pmi"]


def score_labels(prefix: Prefix, labels: Sequence[Sequence[int]]) -> Any:
    """Return the sum of the log-probabilities of each label's tokens: a row for each text, a column for each label.

    The prefix cannot be used any more.
    """
    torch = need("torch", INSTALL)
    texts, longest = len(prefix), max(map(len, labels))
    device = prefix.logits.device
    first = torch.tensor([label[0] for label in labels], device=device)
    scores = prefix.logits.log_softmax(dim=-1)[:, first]
    if longest == 1:
        return scores
    prefix.spread(len(labels))
    ids = torch.zeros((len(labels), longest), dtype=torch.long, device=device)
    real = torch.zeros_like(ids)
    for row, label in enumerate(labels):
        ids[row, : len(label)] = torch.tensor(label, device=device)
        real[row, : len(label)] = 1
    ids, real = ids.repeat(texts, 1), real.repeat(texts, 1)
    logits = prefix.read(ids[:, :-1], real[:, :-1], keep=longest - 1)
    chosen = logits.log_softmax(dim=-1).gather(-1, ids[:, 1:, None])[..., 0]
    return scores + (chosen * real[:, 1:]).sum(dim=1).view(texts, len(labels))


def to_score(labels: Mapping[str, Sequence[int]], scoring: Scoring) -> list[list[int]]:
    """Return the tokens of each label that are scored.

    Raises:
        StudyError: if labels begin with the same token and only that is scored.
    """
    if scoring != "first_token":
        return [list(tokens) for tokens in labels.values()]
    seen: dict[int, str] = {}
    for label, tokens in labels.items():
        other = seen.setdefault(tokens[0], label)
        if other != label:
            what = f"scoring='first_token', and {other!r} and {label!r} begin with the same token"
            raise StudyError(what, "sum, pmi", "scoring: sum", ("options", "scoring"))
    return [[tokens[0]] for tokens in labels.values()]
