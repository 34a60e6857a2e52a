"""What holds for whatever transformers loads: threads, devices, no noise, and no answer that is not a number."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bench.models.tiny_models import make_classifier, make_language_model
from greeninfer.bench._model import Model, Place, Task
from greeninfer.bench._study import ModelSpec
from greeninfer.bench.models import open_model
from greeninfer.errors import StudyError

pytestmark = pytest.mark.heavy
torch = pytest.importorskip("torch", reason="models of transformers need torch")
transformers = pytest.importorskip("transformers", reason="models of transformers need transformers")

TASK = Task("films", ("neg", "pos"))


def opened(folder: Path, kind: str, place: Place | None = None, **options: object) -> Model:
    return open_model(ModelSpec("m", kind, {"path": str(folder), **options}), TASK, place or Place())


def spoilt(folder: Path, kind: str) -> Path:
    """Make a model whose last layer holds one weight that is no number, as a damaged download may."""
    (make_language_model if kind == "llm" else make_classifier)(folder)
    auto = transformers.AutoModelForCausalLM if kind == "llm" else transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, use_safetensors=True)
    last = model.lm_head if kind == "llm" else model.classifier
    with torch.no_grad():
        last.weight[1, 0] = float("nan")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("encoder", {}),
        ("llm", {"prompt": "short"}),
        ("llm", {"prompt": "short", "answer": "generation"}),
        ("llm", {"prompt": "short", "answer": "generation", "reasoning_tokens": 3}),
    ],
)
def test_what_is_not_a_number_is_no_answer(tmp_path: Path, kind: str, options: dict[str, object]) -> None:
    """Taken as it comes, it would be the first label with a confidence of 1."""
    model = opened(spoilt(tmp_path / "m", kind), kind, **options)
    with pytest.raises(StudyError, match=r"not a number: its weights are damaged, or too large .*dtype: float32"):
        model.predict(["a good film", "bad"])


def test_an_empty_text_in_a_template_of_nothing_else(tmp_path: Path) -> None:
    model = opened(make_language_model(tmp_path / "m"), "llm", prompt="short", template="{text}")
    (alone,) = model.predict([""])
    batch = model.predict(["", "a good film"])
    assert alone.label == batch[0].label and alone.input_tokens == batch[0].input_tokens == 1
    assert alone.confidence == pytest.approx(batch[0].confidence, abs=1e-5)


@pytest.mark.parametrize("kind", ["llm", "encoder"])
def test_threads_are_those_of_the_place_and_nothing_is_printed(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = (make_language_model if kind == "llm" else make_classifier)(tmp_path / "m")
    before, shown = torch.get_num_threads(), transformers.utils.logging.is_progress_bar_enabled()
    running = threading.active_count()
    capfd.readouterr()
    try:
        for threads in (2, 1):
            model = opened(folder, kind, Place(threads=threads))
            assert torch.get_num_threads() == threads
            model.predict(["a good film " * 500, ""])
            model.close()
    finally:
        torch.set_num_threads(before)
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled() is shown
    assert threading.active_count() == running


@pytest.mark.parametrize("device", ["cuda:77", "no such device"])
def test_a_device_that_is_not_there_is_named(tmp_path: Path, device: str) -> None:
    folder = make_language_model(tmp_path / "m")
    with pytest.raises(StudyError, match=f"device '{device}' cannot be used.*remedy: devices: ") as told:
        opened(folder, "llm", Place(device))
    assert told.value.path == ("devices",)


def test_a_language_model_in_a_pickle_is_refused(tmp_path: Path) -> None:
    folder = make_language_model(tmp_path / "m")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    os.remove(folder / "model.safetensors")
    with pytest.raises(StudyError, match=r"pytorch_model.bin is a pickle.*allowed: \*.safetensors"):
        opened(folder, "llm")
