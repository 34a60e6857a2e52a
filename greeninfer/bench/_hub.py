"""Two columns out of a Hugging Face data set, by id or from a folder; never with code of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from greeninfer.bench._optional import need
from greeninfer.bench._study import Dataset
from greeninfer.bench._tables import Columns, class_name
from greeninfer.errors import StudyError


def read_hub(dataset: Dataset, base: Path) -> Columns:
    """Read "hf:ID", "hf:ID:CONFIGURATION" or "hf:FOLDER"; a folder is what ``save_to_disk`` wrote, or files.

    Raises:
        StudyError: if it cannot be loaded, or has no such part or column.
        ImportError: if ``datasets`` is not installed.
    """
    hugging_face = need("datasets", "datasets")
    parts = _parts(hugging_face, dataset, base)
    if dataset.part and dataset.part not in parts:
        what = f"{dataset.source} has no part {dataset.part!r}"
        raise StudyError(what, ", ".join(parts), "leave part out for all together", ("part",))
    texts: list[object] = []
    labels: list[object] = []
    for part in [dataset.part] if dataset.part else list(parts):
        table = parts[part]
        for field in ("text", "label"):
            if getattr(dataset, field) not in table.column_names:
                what = f"{dataset.source} has no column {getattr(dataset, field)!r}"
                raise StudyError(what, ", ".join(table.column_names), f"{field}: one of these", (field,))
        names = getattr(table.features[dataset.label], "names", None) or ()
        texts += list(table[dataset.text])
        labels += [class_name(value, names) for value in table[dataset.label]]
    return Columns(texts, labels)


def _parts(hugging_face: Any, dataset: Dataset, base: Path) -> dict[str, Any]:
    name = dataset.source.removeprefix("hf:")
    folder = base / name
    # Before version 4, data sets could bring code; it is refused there by name, and unknown to later versions.
    refuse = {"trust_remote_code": False} if int(hugging_face.__version__.split(".")[0]) < 4 else {}
    try:
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            loaded = hugging_face.load_from_disk(str(folder))
        elif folder.is_dir():
            loaded = hugging_face.load_dataset(str(folder), **refuse)
        else:
            identity, _, configuration = name.partition(":")
            loaded = hugging_face.load_dataset(identity, configuration or None, **refuse)
    except (OSError, ValueError, RuntimeError, hugging_face.exceptions.DatasetsError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        allowed = "hf:ID, hf:ID:CONFIGURATION or hf:FOLDER"
        remedy = "check the id, the network and HF_HUB_OFFLINE, or save it to a folder first"
        raise StudyError(f"{dataset.source} cannot be loaded: {reason}", allowed, remedy, ("source",)) from error
    return dict(loaded) if isinstance(loaded, dict) else {dataset.part or "all": loaded}
