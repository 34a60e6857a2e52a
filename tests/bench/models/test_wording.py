"""Prompts in tokens, with tokenizers made up here: what is cut, what never is, and the tokens of labels."""

from __future__ import annotations

import pytest

from greeninfer.bench.models._prompts import Prompt
from greeninfer.bench.models._wording import Wording
from greeninfer.errors import StudyError

END = 3


class Letters:
    """One token for each character; its special tokens are 1 before and, of some, 3 after a text.

    Args:
        pairs: pairs of characters that are one token.
        special: what it puts before and after a text if it is asked to.
    """

    eos_token_id = END
    bos_token_id: int | None = None
    pad_token_id = 0

    def __init__(
        self, pairs: tuple[str, ...] = (), special: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    ) -> None:
        self._pairs = {pair: 0x110000 + number for number, pair in enumerate(pairs)}
        self._special = special

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        before, after = self._special if add_special_tokens else ((), ())
        ids: list[int] = []
        while text:
            pair = self._pairs.get(text[:2])
            ids.append(ord(text[0]) if pair is None else pair)
            text = text[1:] if pair is None else text[2:]
        return [*before, *ids, *after]

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        named = {number: pair for pair, number in self._pairs.items()}
        return "".join(named.get(each) or chr(each) for each in ids if not (skip_special_tokens and each == END))


PROMPT = Prompt("Q:", "\nA:")


def text_of(ids: list[int]) -> str:
    return Letters().decode(ids, skip_special_tokens=False)


def test_a_text_with_room_is_left_alone() -> None:
    worded = Wording(Letters(), PROMPT, 9).text("good")
    assert (text_of(worded.tokens), worded.cut) == ("Q:good\nA:", False)
    assert not Wording(Letters(), PROMPT, None).text("good" * 1000).cut


@pytest.mark.parametrize(("room", "shown"), [(8, "goo"), (6, "g")])
def test_only_the_end_of_the_text_is_cut(room: int, shown: str) -> None:
    worded = Wording(Letters(), PROMPT, room).text("good")
    assert (text_of(worded.tokens), worded.cut) == (f"Q:{shown}\nA:", True)


def test_special_tokens_have_their_place() -> None:
    wording = Wording(Letters(special=((1,), ())), PROMPT, 8)
    assert wording.text("good").tokens == [1, *map(ord, "Q:go\nA:")]
    chat = Wording(Letters(special=((1,), ())), Prompt("Q:", "\nA:", special=False), 8)
    assert chat.text("go").tokens == [*map(ord, "Q:go\nA:")]  # the template has written them


def test_a_tokenizer_that_ends_texts_does_not_end_a_prompt() -> None:
    assert Wording(Letters(special=((1,), (END,))), PROMPT, None).text("x").tokens == [1, *map(ord, "Q:x\nA:")]


class Unstable(Letters):
    """Takes "abcd" for one token, but any part of it letter by letter: a shorter text may have more tokens."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        parts = text.split("abcd")
        ids: list[int] = []
        for number, part in enumerate(parts):
            ids += [0x10FFFF] * (number > 0) + super().encode(part, add_special_tokens=False)
        return ids

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        inner = super().decode(ids, skip_special_tokens=skip_special_tokens)
        return inner.replace(chr(0x10FFFF), "abc")  # what is left of it where it was cut


def test_a_text_whose_tokens_change_when_it_is_cut_still_fits() -> None:
    for room in range(6, 14):
        worded = Wording(Unstable(), PROMPT, room).text("abcd" * 20)
        assert worded.cut and len(worded.tokens) <= room
        assert text_of(worded.tokens).startswith("Q:") and text_of(worded.tokens).endswith("\nA:")


@pytest.mark.parametrize(("room", "said"), [(5, "room for 5"), (0, "room for 0"), (-300, "room for 0")])
def test_no_room_for_any_text_is_refused(room: int, said: str) -> None:
    with pytest.raises(StudyError, match=rf"the prompt alone has 5 tokens, and the model has {said}; remedy: .*short"):
        Wording(Letters(), PROMPT, room)


@pytest.mark.parametrize(("starts", "first"), [((7, 3, 0), 7), ((None, 3, 0), 3), ((None, None, 5), 5)])
def test_nothing_at_all_is_one_token(starts: tuple[int | None, int | None, int | None], first: int) -> None:
    tokenizer = Letters()
    tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id = starts  # type: ignore[assignment]
    assert Wording(tokenizer, Prompt("", ""), None).text("").tokens == [first]
    assert Wording(tokenizer, Prompt("", ""), None).text("x").tokens == [ord("x")]


def test_labels_follow_the_end_of_the_prompt() -> None:
    words = {"n": "no", "y": "yes"}
    spaced = {"n": [*map(ord, " no")], "y": [*map(ord, " yes")]}
    assert Wording(Letters(), PROMPT, None).labels(words, END) == spaced
    chat = Prompt("Q:", "\nA:", space="", ends=True)
    assert Wording(Letters(), chat, None).labels(words, END) == {
        "n": [*map(ord, "no"), END], "y": [*map(ord, "yes"), END],
    }  # fmt: skip
    assert Wording(Letters(), chat, None).labels(words, None)["n"] == [*map(ord, "no")]


def test_a_label_that_melts_into_the_prompt_is_taken_by_itself() -> None:
    """The colon and the space being one token, no token of the label may reach into the prompt."""
    tokenizer = Letters((": ", " n"))
    ids = Wording(tokenizer, PROMPT, None).labels({"n": "no"}, END)["n"]
    assert ids == tokenizer.encode(" no", add_special_tokens=False)
    assert len(ids) == 2


def test_what_ends_the_thinking() -> None:
    wording = Wording(Letters(), Prompt("", "\nThink.", forced="\nA:"), None)
    assert text_of(wording.forced()) == "\nA:"
    assert Wording(Letters(), PROMPT, None).forced() == []
    assert wording.labels({"n": "no"}, END)["n"] == [*map(ord, " no")]


def test_what_was_written_is_read_without_its_end() -> None:
    assert Wording(Letters(), PROMPT, None).read((ord("n"), ord("o"), END)) == "no"
