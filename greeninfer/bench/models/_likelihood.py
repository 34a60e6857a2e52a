"""How likely a language model finds each label as the answer to a prompt.

The prompt is computed once; its last position already says how likely each label's first token is. Labels of several
tokens go on from there as a batch, on a copy of what the model remembers of the prompt (its key-value cache).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from greeninfer.bench._optional import need
from greeninfer.bench.models._gguf import LLM
from greeninfer.bench.models._prompts import Prompt, fitted, tokenize
from greeninfer.errors import StudyError

Scoring = Literal["sum", "mean", "first_token"]
Calibration = Literal["none", "train", "pmi"]


class Scorer:
    """Scores all labels after a prompt.

    Args:
        model, tokenizer: of transformers.
        prompt: what is asked.
        scoring: of a label of several tokens.
        room: tokens that a prompt may have.

    Raises:
        StudyError: if two labels are one to the scoring: the same tokens, or the same first one.
    """

    def __init__(self, model: Any, tokenizer: Any, prompt: Prompt, scoring: Scoring, room: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._scoring = scoring
        self._room = room
        answers = [tokenize(prompt.gap + word, tokenizer) for word in prompt.words]
        # Where a label begins as another one goes on, the end of the answer tells them apart.
        if prompt.style == "chat" and not prompt.reasons and tokenizer.eos_token_id is not None:
            answers = [[*ids, tokenizer.eos_token_id] for ids in answers]
        self._answers = [ids[:1] for ids in answers] if scoring == "first_token" else answers
        for number, ids in enumerate(self._answers):
            if ids in self._answers[:number]:
                what = "first token" if scoring == "first_token" else "tokens"
                word = prompt.words[number]
                raise StudyError(f"label {word!r} has the {what} of another one", "labels that differ", "describe them")

    def ids(self, text: str) -> list[int]:
        """Return the tokens of the prompt for a text."""
        return fitted(text, self._prompt, self._tokenizer, self._room)[0]

    def scores(self, ids: Sequence[int]) -> tuple[list[float], int]:
        """Return the log-probability of each label after these tokens, and the number of tokens read."""
        torch = need("torch", LLM)
        with torch.inference_mode():
            asked = torch.tensor([list(ids)], device=self._model.device)
            several = max(map(len, self._answers)) > 1
            out = self._model(asked, use_cache=several, logits_to_keep=1)
            first = torch.log_softmax(out.logits[0, -1].float(), -1)
            scores = [[float(first[answer[0]])] for answer in self._answers]
            if several:
                self._go_on(out.past_key_values, len(ids), scores)
        totals = [sum(each) for each in scores]
        if self._scoring == "mean":
            totals = [total / len(each) for total, each in zip(totals, scores, strict=True)]
        return totals, len(ids)

    def _go_on(self, remembered: Any, length: int, scores: list[list[float]]) -> None:
        """Add the log-probabilities of the labels' further tokens."""
        torch = need("torch", LLM)
        longest = max(map(len, self._answers)) - 1
        rows = [number for number, answer in enumerate(self._answers) if len(answer) > 1]
        padded = [[*self._answers[row][:-1], *[0] * (longest + 1 - len(self._answers[row]))] for row in rows]
        remembered.batch_repeat_interleave(len(rows))
        device = self._model.device
        tokens = torch.tensor(padded, device=device)
        positions = torch.arange(length, length + longest, device=device).expand(len(rows), -1)
        seen = torch.ones((len(rows), length + longest), dtype=torch.long, device=device)
        out = self._model(tokens, past_key_values=remembered, attention_mask=seen, position_ids=positions)
        after = torch.log_softmax(out.logits.float(), -1)
        for place, row in enumerate(rows):
            following = self._answers[row][1:]
            scores[row].extend(float(after[place, at, token]) for at, token in enumerate(following))


def probabilities(scores: Sequence[float]) -> list[float]:
    """Return scores as shares that add up to 1 (softmax)."""
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    return [weight / sum(weights) for weight in weights]
