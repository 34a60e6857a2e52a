"""What a language model writes: thoughts within a budget, and answers. Always the likeliest token (greedy)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from greeninfer.bench._optional import need
from greeninfer.bench.models._gguf import LLM
from greeninfer.bench.models._prompts import CONCLUDE, Prompt, fitted, tokenize


@dataclass(frozen=True, slots=True)
class Thought:
    """A prompt with what the model thought of it, ready for the answer.

    Args:
        ids: all tokens so far, those that ask for the answer among them.
        read: tokens of the prompt.
        written: tokens thought.
    """

    ids: list[int]
    read: int
    written: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What was written.

    Args:
        text: without special tokens.
        tokens: how many, the end not counted.
        confidence: geometric mean of their probabilities; None for an empty answer.
    """

    text: str
    tokens: int
    confidence: float | None


class Generator:
    """Writes after prompts, a batch at once.

    Args:
        model, tokenizer: of transformers.
        prompt: what is asked.
        room: tokens that a prompt may have.
    """

    def __init__(self, model: Any, tokenizer: Any, prompt: Prompt, room: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._room = room
        ends = getattr(model.generation_config, "eos_token_id", None)
        self._ends = {*([ends] if isinstance(ends, int) else ends or []), tokenizer.eos_token_id}

    def ids(self, text: str) -> list[int]:
        """Return the tokens of the prompt for a text."""
        return fitted(text, self._prompt, self._tokenizer, self._room)[0]

    def think(self, texts: Sequence[str], budget: int) -> list[Thought]:
        """Let the model think of each text, ``budget`` tokens at most, and then ask for the answer."""
        conclude = tokenize(CONCLUDE, self._tokenizer)
        prompts = [self.ids(text) for text in texts]
        thoughts = self._continued(prompts, budget, scores=False)[0]
        return [
            Thought([*prompt, *thought, *conclude], len(prompt), len(thought))
            for prompt, thought in zip(prompts, thoughts, strict=True)
        ]

    def write(self, prompts: Sequence[Sequence[int]], most: int) -> list[Answer]:
        """Return what the model writes after each of these, ``most`` tokens at most."""
        written, sure = self._continued(prompts, most, scores=True)
        return [
            Answer(self._tokenizer.decode(ids, skip_special_tokens=True), len(ids), confidence)
            for ids, confidence in zip(written, sure, strict=True)
        ]

    def _continued(
        self, prompts: Sequence[Sequence[int]], most: int, *, scores: bool
    ) -> tuple[list[list[int]], list[float | None]]:
        """Return new tokens up to the end of each text, and how sure the model was of them."""
        torch = need("torch", LLM)
        longest = max(map(len, prompts))
        pad = self._tokenizer.pad_token_id
        padded = [[pad] * (longest - len(ids)) + list(ids) for ids in prompts]
        seen = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]
        device = self._model.device
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=torch.tensor(padded, device=device),
                attention_mask=torch.tensor(seen, device=device),
                max_new_tokens=most,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=pad,
                return_dict_in_generate=True,
                output_scores=scores,
            )
        rows = out.sequences[:, longest:].tolist()
        written = [self._up_to_the_end(row) for row in rows]
        if not scores:
            return written, [None] * len(rows)
        sure: list[float | None] = []
        for number, ids in enumerate(written):
            logs = [float(torch.log_softmax(out.scores[at][number].float(), -1)[token]) for at, token in enumerate(ids)]
            sure.append(math.exp(sum(logs) / len(logs)) if logs else None)
        return written, sure

    def _up_to_the_end(self, ids: list[int]) -> list[int]:
        end = next((at for at, token in enumerate(ids) if token in self._ends), len(ids))
        return ids[:end]
