"""A prompt in tokens: around a text, which is cut where the model has no room for all of it; and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from greeninfer.bench.models._prompts import Prompt
from greeninfer.errors import StudyError

_PROBE = "text"
_UNKNOWN_LENGTH = 1_000_000  # tokenizers that know no limit name a number far above this


@dataclass(frozen=True, slots=True)
class Worded:
    """What a model reads for one text.

    Args:
        tokens: their ids.
        cut: whether the text's end was left out.
    """

    tokens: list[int]
    cut: bool = False


class Wording:
    """Makes tokens of texts and labels.

    Args:
        tokenizer: the model's.
        prompt: around each text.
        room: most tokens that a worded text may have, whatever follows it left out.

    Raises:
        StudyError: if there is no room for the prompt alone.
    """

    def __init__(self, tokenizer: Any, prompt: Prompt, room: int | None) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._room = room
        bare = len(self._encoded(prompt.before + prompt.after))
        if room is not None and bare >= room:
            what = f"the prompt alone has {bare} tokens, and the model has room for {max(0, room)}"
            remedy = "prompt: short, a smaller reasoning_tokens, or a model with a longer context"
            raise StudyError(what, "", remedy, ("options", "prompt"))
        # An empty text in a template of nothing else has no token, and a model has to read one to go on.
        starts = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        self._start = next((int(each) for each in starts if each is not None), 0)

    def text(self, text: str) -> Worded:
        """Return the tokens of a text in its prompt; the text is cut where they are too many, never the prompt."""
        tokens = self._around(text)
        if self._room is None or len(tokens) <= self._room:
            return Worded(tokens)
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        keep = len(ids) - (len(tokens) - self._room)
        while True:
            # Tokens do not always stay the same when their text is cut: what is too long still is cut further.
            shorter = self._tokenizer.decode(ids[: max(0, keep)], skip_special_tokens=False)
            tokens = self._around(shorter)
            if len(tokens) <= self._room or keep <= 0:
                return Worded(tokens, cut=True)
            keep -= max(1, len(tokens) - self._room)

    def labels(self, words: Mapping[str, str], end: int | None) -> dict[str, list[int]]:
        """Return the tokens of each label's word where the prompt ends, by label.

        Args:
            words: by label.
            end: the token that ends an answer, if it belongs to it.
        """
        ends = [end] if self._prompt.ends and end is not None else []
        return {label: self._after(self._prompt.space + word) + ends for label, word in words.items()}

    def forced(self) -> list[int]:
        """Return the tokens that end the thinking."""
        return self._plain(self._prompt.forced) if self._prompt.forced else []

    def read(self, tokens: tuple[int, ...]) -> str:
        """Return what a model wrote as text."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def _around(self, text: str) -> list[int]:
        return self._encoded(self._prompt.before + text + self._prompt.after) or [self._start]

    def _encoded(self, text: str) -> list[int]:
        ids = [int(each) for each in self._tokenizer.encode(text, add_special_tokens=self._prompt.special)]
        ended = self._prompt.special and len(ids) > 1 and ids[-1] == self._tokenizer.eos_token_id
        return ids[:-1] if ended else ids  # some tokenizers end every text; a prompt is to be gone on with

    def _after(self, word: str) -> list[int]:
        """Return the tokens that a word adds to the prompt's end; by itself, some tokenizers split it another way."""
        end = (self._prompt.forced or self._prompt.after)[-40:] or _PROBE
        before, whole = self._plain(end), self._plain(end + word)
        alone = self._plain(word)
        ids = whole[len(before) :] if whole[: len(before)] == before else alone
        if not ids:
            raise StudyError(f"the label word {word!r} has no tokens", "a word", "descriptions:", ("descriptions",))
        return ids

    def _plain(self, text: str) -> list[int]:
        return [int(each) for each in self._tokenizer.encode(text, add_special_tokens=False)]


def context_length(tokenizer: Any, model: Any) -> int | None:
    """Return how many tokens a model can read; None where nothing tells."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    told = (getattr(config, "max_position_embeddings", None), tokenizer.model_max_length)
    return min((int(each) for each in told if each and 0 < each < _UNKNOWN_LENGTH), default=None)
