"""A made-up language model: its next token depends on the last one alone, by a table that is written here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

END = 1
LOGITS = (
    (9.0, 9.0, 9.0, 9.0, 9.0),  # after what only fills a row up: were it read, all would be different
    (0.0, 0.0, 0.0, 0.0, 5.0),
    (0.0, 0.5, -1.0, 2.0, 1.0),  # 2 goes on with 3,
    (0.0, -1.0, 0.3, 0.1, 1.5),  # 3 with 4,
    (0.0, 3.0, 1.0, -0.5, 2.0),  # 4 ends
)


class Marks:
    """What of a tokenizer is asked for."""

    pad_token_id = 0
    eos_token_id = END


class Kept:
    """A cache of nothing: bigrams need none."""

    def batch_repeat_interleave(self, times: int) -> None:
        """Do nothing."""


class Bigrams:
    """Looks its answers up, and counts how often it was asked.

    Attributes:
        passes: how often.
        positions: of the last row's tokens, in the order in which they were read.
    """

    device = "cpu"
    generation_config = None

    def __init__(self) -> None:
        import torch

        self.passes = 0
        self.positions: list[int] = []
        self._table = torch.tensor(LOGITS)

    def forward(self, position_ids: Any) -> None:
        """Have the signature that says that positions are taken."""

    def __call__(self, input_ids: Any, attention_mask: Any, position_ids: Any, **_: Any) -> Any:
        self.passes += 1
        real = attention_mask[-1, -input_ids.shape[1] :].bool()
        self.positions += position_ids[-1][real].tolist()
        return SimpleNamespace(logits=self._table[input_ids], past_key_values=Kept())
