"""Fine-tuned classifiers held against a forward pass by hand; what is not one of them is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from greeninfer.bench._model import Place, Task
from greeninfer.bench._study import ModelSpec
from greeninfer.bench.models import open_model
from greeninfer.bench.models.encoder import Encoder, columns_of
from greeninfer.errors import StudyError

TASK = Task("films", ("neg", "pos"))


@pytest.mark.parametrize(
    ("named", "renamed", "columns"),
    [
        ({0: "neg", 1: "pos"}, {}, ["neg", "pos"]),
        ({1: "neg", 0: "pos"}, {}, ["pos", "neg"]),
        ({0: "LABEL_0", 1: "LABEL_1"}, {"LABEL_0": "pos", "LABEL_1": "neg"}, ["pos", "neg"]),
        ({0: "1 star", 1: "2 stars", 2: "5 stars"}, {"1 star": "neg", "2 stars": "neg", "5 stars": "pos"},
         ["neg", "neg", "pos"]),
    ],
)  # fmt: skip
def test_labels_of_the_model(named: dict[int, str], renamed: dict[str, str], columns: list[str]) -> None:
    assert columns_of(named, renamed, TASK) == columns


@pytest.mark.parametrize(
    ("named", "renamed", "complaint"),
    [
        ({0: "LABEL_0", 1: "pos"}, {}, r"labels LABEL_0 of the model \(it has LABEL_0, pos\) are none of films's; "
                                       r"allowed: neg, pos; remedy: labels: \{"),
        ({0: "neg", 1: "pos"}, {"neg": "bad"}, "labels bad of the model"),
        ({0: "neg", 1: "pos"}, {"POS": "pos"}, "no label 'POS'; allowed: neg, pos"),
        ({0: "score"}, {"score": "pos"}, "the model has 1 output"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(named: dict[int, str], renamed: dict[str, str], complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint):
        columns_of(named, renamed, TASK)


def opened(folder: Path, task: Task = TASK, **options: object) -> Encoder:
    model = open_model(ModelSpec("m", "encoder", {"path": str(folder), **options}), task, Place())
    assert isinstance(model, Encoder)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="encoders need transformers and torch")
    from bench.models.tiny_models import make_classifier

    return make_classifier(tmp_path_factory.mktemp("bert"))


TEXTS = ["a very good film", "bad", "what a bad film in every way positive through", "unknownword", ""]


def chances(folder: Path, text: str, length: int | None = None) -> tuple[list[float], int]:
    """Return the softmax for one text, and its tokens, made from its words by hand."""
    import torch
    from transformers import BertForSequenceClassification

    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    ids = [words.index(word) if word in words else 1 for word in text.split()]
    ids = [2, *ids[: length and length - 2], 3]
    model = BertForSequenceClassification.from_pretrained(folder, use_safetensors=True).eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    return logits.double().exp().div(logits.double().exp().sum()).tolist(), len(ids)


@pytest.mark.heavy
def test_it_answers_what_a_pass_by_hand_answers(folder: Path) -> None:
    model = opened(folder)
    answers = model.predict(TEXTS)
    for text, answer in zip(TEXTS, answers, strict=True):
        wanted, count = chances(folder, text)
        assert answer.label == TASK.labels[wanted.index(max(wanted))]
        assert answer.confidence == pytest.approx(max(wanted), abs=1e-5)
        assert (answer.input_tokens, answer.output_tokens) == (count, None)
        (alone,) = model.predict([text])
        assert (alone.label, alone.input_tokens) == (answer.label, count)
        assert alone.confidence == pytest.approx(answer.confidence, abs=1e-5)
    assert len({round(each.confidence or 0, 3) for each in answers}) > 3
    assert {each.label for each in answers} == {"neg", "pos"}
    assert model.predict([]) == []
    model.fit(TEXTS, ["neg"] * 5)
    assert model.predict(TEXTS)[0] == answers[0]
    model.close()


@pytest.mark.heavy
def test_labels_are_renamed_and_added_up(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="encoders need transformers and torch")
    from bench.models.tiny_models import make_classifier

    three = make_classifier(tmp_path / "three", ("1", "2", "3"))
    with pytest.raises(StudyError, match=r"labels 1, 2, 3 of the model.*allowed: neg, pos"):
        opened(three)
    model = opened(three, labels={"1": "pos", "2": "neg", "3": "pos"})
    for text, answer in zip(TEXTS, model.predict(TEXTS), strict=True):
        (one, two, other), _ = chances(three, text)
        assert answer.label == ("pos" if one + other > two else "neg")
        assert answer.confidence == pytest.approx(max(one + other, two), abs=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize(("option", "longest"), [(10, 10), (None, 32), (100, 32)])
def test_long_texts_are_cut_and_told(
    folder: Path, option: int | None, longest: int, caplog: pytest.LogCaptureFixture
) -> None:
    model = opened(folder, max_length=option)
    long = "bad film " * 40
    exact = " ".join(["bad"] * (longest - 2))
    answers = model.predict(["bad", long, exact])
    wanted, count = chances(folder, long, longest)
    assert answers[1].input_tokens == answers[2].input_tokens == count == longest
    assert answers[1].confidence == pytest.approx(max(wanted), abs=1e-5)
    assert model.notes == (f"1 texts, repeats among them, were cut to {longest} tokens",)
    with caplog.at_level(logging.WARNING, "greeninfer"):
        model.close()
    assert "greeninfer.bench.texts_cut" in caplog.text


@pytest.mark.heavy
def test_roberta_numbers_its_positions_from_two(tmp_path: Path, folder: Path) -> None:
    """Of its table of 20 positions two are never a token's: 18 tokens fit, and the 19th would break the model."""
    transformers = pytest.importorskip("transformers", reason="encoders need transformers and torch")
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    config = transformers.RobertaConfig(
        vocab_size=100, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=20, id2label={0: "neg", 1: "pos"}, pad_token_id=1, type_vocab_size=2,
    )  # fmt: skip
    transformers.RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    assert opened(tmp_path).predict(["bad " * 50])[0].input_tokens == 18


@pytest.mark.heavy
def test_a_pickle_is_refused(folder: Path, tmp_path: Path) -> None:
    import torch

    fired = tmp_path / "fired"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (fired,))

    copied(folder, tmp_path / "m", without="model.safetensors")
    torch.save({"a": Bomb()}, tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(StudyError, match=r"pytorch_model.bin is a pickle.*allowed: \*.safetensors; remedy: .*anew"):
        opened(tmp_path / "m")
    assert not fired.exists()


@pytest.mark.heavy
def test_code_that_comes_with_a_model_is_never_run(folder: Path, tmp_path: Path) -> None:
    copied(folder, tmp_path / "m")
    fired = tmp_path / "fired"
    (tmp_path / "m" / "own.py").write_text(f"open({str(fired)!r}, 'w')\n", encoding="utf-8")
    config = tmp_path / "m" / "config.json"
    tree = json.loads(config.read_text(encoding="utf-8"))
    tree |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config",
                                                "AutoModelForSequenceClassification": "own.Model"}}  # fmt: skip
    config.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(StudyError, match=r"cannot be loaded.*its own code is never run"):
        opened(tmp_path / "m")
    assert not fired.exists()


@pytest.mark.heavy
def test_an_encoder_without_a_classifier_is_refused(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertModel

    BertModel.from_pretrained(folder).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8")) | {"id2label": {"0": "neg", "1": "pos"}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(StudyError, match=r"lacks weights of SequenceClassification: classifier"):
        opened(tmp_path)


@pytest.mark.heavy
def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(StudyError, match=r"device 'cuda:77' cannot be used.*devices: "):
        open_model(ModelSpec("m", "encoder", {"path": str(folder)}), TASK, Place("cuda:77"))


@pytest.mark.heavy
def test_damaged_weights(folder: Path, tmp_path: Path) -> None:
    copied(folder, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(StudyError, match="cannot be loaded"):
        opened(tmp_path / "m")


def copied(folder: Path, to: Path, without: str = "") -> None:
    to.mkdir()
    for each in folder.iterdir():
        if each.name != without:
            (to / each.name).write_bytes(each.read_bytes())
