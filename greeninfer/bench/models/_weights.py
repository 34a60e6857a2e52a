"""Models of transformers from a folder, an id or a GGUF file: safetensors only, and no code that comes with a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from greeninfer.bench._model import Place
from greeninfer.bench._optional import need
from greeninfer.bench.models import _gguf as gguf
from greeninfer.errors import StudyError

INSTALL = "'greeninfer[llm]'"
_PATH = ("options", "path")


def default_cache() -> Path:
    """Return the folder for converted weights: ``$XDG_CACHE_HOME/greeninfer/weights``, else below ``~/.cache``."""
    named = os.path.expandvars("$XDG_CACHE_HOME")
    absolute = Path(named).is_absolute()  # the XDG specification: a relative path is to be ignored
    return (Path(named) if absolute else Path("~/.cache").expanduser()) / "greeninfer" / "weights"


def locate(path: str, cache: str = "") -> str:
    """Return what transformers can load: a folder or a Hugging Face id; a GGUF file is converted unless it is cached.

    Args:
        path: a folder, a file ending in ``.gguf``, a Hugging Face id, or a name in ``_gguf.PACKAGED``.
        cache: folder for converted weights; "" for ``default_cache()``.

    Raises:
        ImportError: if a package is not installed.
        StudyError: if it is not there, or holds no weights that may be loaded.
    """
    if path in gguf.PACKAGED:
        return str(gguf.converted(gguf.packaged(path), Path(cache).expanduser() if cache else default_cache()))
    place = Path(path).expanduser()
    if place.suffix.lower() == ".gguf":
        return str(gguf.converted(place, Path(cache).expanduser() if cache else default_cache()))
    if path.strip() and place.is_dir():
        _check_folder(place)
        return str(place)
    is_file = place.is_file()
    if is_file or not path.strip() or path.startswith((".", "/", "~")) or path.count("/") > 1:
        what = f"path={path!r} is a file" if is_file else f"path={path!r} is not there"
        allowed = "a folder with config.json and *.safetensors, a .gguf file, or an id ORGANISATION/NAME"
        raise StudyError(what, allowed, "correct the path", _PATH)
    return path


def load(auto: str, found: str, place: Place, dtype: str = "auto") -> tuple[Any, Any]:
    """Load a tokenizer and a model, on its device and ready to answer.

    Args:
        auto: class of transformers that loads it.
        found: what ``locate`` returned.
        place: where it runs; the number of threads and the seed of torch are set for this process.
        dtype: of the weights; "auto" for the one they are stored in.

    Raises:
        ImportError: if a package is not installed.
        StudyError: if it cannot be loaded so, or its weights are not all there.
    """
    torch, transformers = need("torch", INSTALL), need("transformers", INSTALL)
    broken = need("safetensors", INSTALL).SafetensorError
    torch.set_num_threads(place.threads)
    torch.manual_seed(place.seed)
    refuse = {"trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(found, **refuse)
        with gguf.quiet(transformers):
            model, told = getattr(transformers, auto).from_pretrained(
                found, dtype=dtype, use_safetensors=True, output_loading_info=True, **refuse
            )
    except (OSError, ValueError, KeyError, RuntimeError, broken) as error:
        remedy = "name a folder or an id of a model with safetensors weights; its own code is never run"
        raise StudyError(f"path={found!r} cannot be loaded: {_brief(error)}", "", remedy, _PATH) from error
    _check_whole(auto, found, told["missing_keys"])
    try:
        model = model.to(place.device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        what = f"device {place.device!r} cannot be used: {_brief(error)}"
        raise StudyError(what, "devices that torch sees here", "devices: [cpu]", ("devices",)) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer, model.eval()


def fetch(auto: str, found: str) -> None:
    """Have the weights of a Hugging Face id on this machine; what lies in a folder is there already.

    Raises:
        ImportError: if a package is not installed.
        StudyError: if they cannot be loaded.
    """
    if not Path(found).is_dir():
        load(auto, found, Place())


def numbers(values: Any) -> Any:
    """Return what a model computed, an array.

    Raises:
        StudyError: if it holds NaN, which would pass for the first label, and a certain one.
    """
    if bool(np.isnan(values).any()):
        what = "the model's output is not a number: its weights are damaged, or too large for their dtype"
        raise StudyError(what, "", "dtype: float32, or bfloat16", ("options", "dtype"))
    return values


def let_go(device: str) -> None:
    """Give back the memory of a device that held a model."""
    if device.startswith("cuda"):
        need("torch", INSTALL).cuda.empty_cache()


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise StudyError(f"{folder} has no config.json", "a model of transformers", "name its folder", _PATH)
    if next(folder.glob("*.safetensors"), None) is not None:
        return
    pickles = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")])
    if pickles:
        what = f"{pickles[0]} is a pickle: reading one runs whatever code is in it"
        remedy = "where you trust it, save the model anew: model.save_pretrained(FOLDER) writes safetensors"
        raise StudyError(what, "*.safetensors", remedy, _PATH)
    raise StudyError(f"{folder} holds no weights", "*.safetensors", "name the model's folder", _PATH)


def _check_whole(auto: str, found: str, missing: Sequence[str]) -> None:
    """Raise for weights that transformers would draw at random: the answers would be, too."""
    if missing:
        names = sorted(missing)
        what = f"path={found!r} lacks weights of {auto.removeprefix('AutoModelFor')}: {', '.join(names[:3])}"
        remedy = "name a model that was trained for this; a bare encoder has no classifier yet"
        raise StudyError(what + (f" and {len(names) - 3} more" if len(names) > 3 else ""), "", remedy, _PATH)


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."
