"""Reading a label out of what a language model wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Parsing = Literal["lenient", "exact"]


class Parser:
    """Finds the label that an answer names.

    exact
        the whole answer is a label's word, but for space around it and for case.
    lenient
        the first label's word in the answer, whatever stands around it; where two begin at the same place, the longer
        ("not spam", not "not"). Words count as a whole only: "unspam" names nothing. A negation is not understood:
        "not negative" names "negative".

    Args:
        words: what the model was told to answer, by label; the label itself is understood, too.
    """

    def __init__(self, words: Mapping[str, str], parsing: Parsing = "lenient") -> None:
        labels = {_plain(label): label for label in words}
        self._labels = labels | {_plain(word): label for label, word in words.items()}
        self._exact = parsing == "exact"
        longest = sorted(self._labels, key=lambda each: (-len(each), each))
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)")

    def read(self, answer: str) -> str | None:
        """Return the label, or None where none is named."""
        plain = _plain(answer)
        if self._exact:
            return self._labels.get(plain)
        found = self._pattern.search(plain)
        return self._labels[found.group()] if found else None


def _plain(text: str) -> str:
    """Return a text with case, and the form of the space in it, taken out; ``_`` is often written as a space."""
    return " ".join(text.casefold().replace("_", " ").split())
