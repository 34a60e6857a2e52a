"""Texts in the state that a language model has after reading them, ready to be gone on with: its key-value cache.

Rows of a batch have different lengths. The shorter ones are filled up on the left, so that every row ends at the same
place; what fills them up is masked, and does not count in the positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from greeninfer.bench._optional import need
from greeninfer.errors import StudyError

INSTALL = "'greeninfer[llm]'"


class Reader:
    """A loaded language model and what of it has to be known to run it.

    Attributes:
        batches: whether rows of different lengths may share a batch: not where the model counts its positions itself.
        ends: ids of the tokens that end an answer.
        pad: id of the token that fills rows up.
        device: where the model is.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        taken = inspect.signature(model.forward).parameters
        self._model = model
        self._keeps = "logits_to_keep" in taken
        self.batches = "position_ids" in taken
        self.device = model.device
        self.pad = int(tokenizer.pad_token_id)
        self.ends = _end_tokens(model, tokenizer)

    def run(self, ids: Any, mask: Any, positions: Any, cache: Any, keep: int) -> Any:
        """Return the model's output for tokens that follow on a cache, logits of the last ``keep`` only."""
        more = {"position_ids": positions} if self.batches else {}
        if self._keeps:
            more["logits_to_keep"] = keep
        return self._model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **more)


class Prefix:
    """Rows of tokens that the model has read.

    Attributes:
        logits: for what comes next, one row for each text, in 32 bits.
    """

    def __init__(self, reader: Reader, rows: Sequence[Sequence[int]]) -> None:
        torch = need("torch", INSTALL)
        longest = max(map(len, rows))
        filled = [[reader.pad] * (longest - len(row)) + list(row) for row in rows]
        real = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        self._reader = reader
        self._cache: Any = None
        self._mask = torch.zeros((len(rows), 0), dtype=torch.long, device=reader.device)
        self._lengths = torch.zeros((len(rows), 1), dtype=torch.long, device=reader.device)
        self.logits = self.read(
            torch.tensor(filled, device=reader.device), torch.tensor(real, device=reader.device), keep=1
        )[:, -1]

    def __len__(self) -> int:
        return len(self._mask)

    def read(self, ids: Any, real: Any, keep: int) -> Any:
        """Go on with tokens; return the logits after each of the last ``keep``.

        Args:
            ids: one row of token ids for each row.
            real: 1 for a token, 0 for what only fills a row up.
            keep: how many.
        """
        torch = need("torch", INSTALL)
        self._mask = torch.cat((self._mask, real), dim=1)
        positions = (self._lengths + real.cumsum(dim=1) - 1).clamp(min=0)
        output = self._reader.run(ids, self._mask, positions, self._cache, keep)
        self._cache = output.past_key_values
        self._lengths = self._lengths + real.sum(dim=1, keepdim=True)
        return output.logits[:, -keep:].float()

    def append(self, tokens: Sequence[int]) -> None:
        """Go on with the same tokens in every row."""
        torch = need("torch", INSTALL)
        ids = torch.tensor([list(tokens)] * len(self), device=self._reader.device)
        self.logits = self.read(ids, torch.ones_like(ids), keep=1)[:, -1]

    def step(self, ids: Any, real: Any) -> None:
        """Go on with one token in each row."""
        self.logits = self.read(ids[:, None], real[:, None], keep=1)[:, -1]

    def spread(self, times: int) -> None:
        """Make so many copies of every row, one after the other.

        Raises:
            StudyError: if the model's cache cannot be copied.
        """
        copy = getattr(self._cache, "batch_repeat_interleave", None)
        if copy is None:
            what = f"the cache of this model ({type(self._cache).__name__}) cannot be copied for each label"
            raise StudyError(what, "", "answer: generation, or scoring: first_token", ("options", "answer"))
        copy(times)
        self._mask = self._mask.repeat_interleave(times, dim=0)
        self._lengths = self._lengths.repeat_interleave(times, dim=0)
        self.logits = self.logits.repeat_interleave(times, dim=0)


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return what ends an answer: a model may have several such tokens, and its tokenizer names one of them only."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    several = named if isinstance(named, list | tuple) else [named]
    return frozenset(int(each) for each in (*several, tokenizer.eos_token_id) if each is not None)
