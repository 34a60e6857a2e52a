"""A study as YAML: read with errors that name the line, and written.

Besides what a study has in Python, a file may say less: a data set by its source alone, a model by its name in the
catalogue alone, or with ``like`` as a variant of such a model; names are made where none is given; and options of a
model stand beside its name. `_template.py` shows all of it.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from greeninfer.bench import _yaml_tree as tree
from greeninfer.bench._optional import need
from greeninfer.bench._study import Dataset, ModelSpec, Protocol, Splits, Study
from greeninfer.bench._study_fields import Place, mapping, read_fields, sequence, typed
from greeninfer.bench._texts import BUILT_IN
from greeninfer.bench._yaml_tree import Node, did_you_mean
from greeninfer.bench.models import CATALOGUE, KINDS, read_options
from greeninfer.errors import StudyError

MOST_BYTES = 1_000_000
_STUDY_KEYS = tuple(each.name for each in dataclasses.fields(Study))
_SPEC_KEYS = tuple(each.name for each in dataclasses.fields(ModelSpec))


def read_study(path: Path) -> Study:
    """Read a study file.

    Raises:
        StudyError: if it is not there or not right; the message names file, line and column.
    """
    return parse_study(_text_of(path), path.name)


def parse_study(text: str, file: str = "study.yaml") -> Study:
    """Return the study that a YAML text describes.

    Args:
        text: YAML.
        file: its name, for errors.

    Raises:
        StudyError: if it is not right; the message names file, line and column.
    """
    study, root = _parse(text, file)
    for index, model in enumerate(study.models):
        try:
            read_options(model.kind, model.options)
        except StudyError as error:
            raise _placed(error, root, ("models", index)) from error
    if not re.fullmatch(r"[^/\\\0-\x1f]+", study.name) or study.name.strip(". ") == "":
        node = root.at(["name"])
        raise StudyError(
            f"{node.place}: name={study.name!r}", "a name without / and \\", "it names a folder", ("name",)
        )
    return study


def parse_recorded(text: str, file: str = "study.yaml") -> Study:
    """Return the study of a results folder: as ``parse_study``, but models may be of kinds and have options that are
    not known, since those who only read results run none.
    """
    return _parse(text, file)[0]


def locate(error: StudyError, path: Path) -> StudyError:
    """Return an error with the line of the study file that its path leads to; itself if there is none."""
    try:
        root = tree.read_tree(_text_of(path), path.name)
    except StudyError:
        return error
    return error if root is None or not error.path else _placed(error, root)


def render_study(study: Study) -> str:
    """Return a study as YAML that ``parse_study`` reads."""
    from_yaml = need("yaml")

    class Dumper(from_yaml.SafeDumper):  # type: ignore[misc, name-defined]
        """Quotes every text that would be read as something else."""

        def ignore_aliases(self, data: object) -> bool:
            return True

        def represent_text(self, text: str) -> Any:
            # In double quotes what is odd is escaped; in others PyYAML loses some line separators.
            plain = isinstance(tree.resolve(text), str) and text.isprintable()
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')

    Dumper.add_representer(str, Dumper.represent_text)
    plain = _plain(dataclasses.asdict(study))
    plain["models"] = [_rendered_model(each) for each in plain["models"]]
    return str(from_yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**9))


def _rendered_model(model: dict[str, Any]) -> dict[str, Any]:
    options = model.pop("options")
    said = {key: value for key, value in model.items() if value is not None}
    if set(options) & {*_SPEC_KEYS, "like"}:
        return {**said, "options": options}
    return {**said, **options}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            remedy = "name the data set in a study file; greeninfer bench init writes one"
            raise StudyError(f"{path} has more than {MOST_BYTES} bytes", "a study file", remedy)
        content = path.read_bytes()
    except OSError as error:
        remedy = f"greeninfer bench init {path}" if isinstance(error, FileNotFoundError) else ""
        raise StudyError(f"{path} cannot be read ({error.strerror})", "a study file", remedy) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise StudyError(f"{path.name}:{line}: not UTF-8", "UTF-8", "save it as UTF-8") from error


def _parse(text: str, file: str) -> tuple[Study, Node]:
    root = tree.read_tree(text, file)
    if root is None or root.value is None:
        raise StudyError(f"{file} is empty", "a study", "greeninfer bench init writes one to start from")
    where = Place(root, ())
    keys = mapping(where, _STUDY_KEYS, ("name", "datasets", "models"), "a study")
    datasets = tuple(_dataset(each) for each in sequence(keys["datasets"], "data sets"))
    models = tuple(_model(each) for each in sequence(keys["models"], "models"))
    hints = typing.get_type_hints(Study)
    values: dict[str, Any] = {
        key: typed(keys[key], hints[key]) for key in ("name", "batch_sizes", "devices") if key in keys
    }
    for key, made in (("splits", Splits), ("protocol", Protocol)):
        if key in keys:
            values[key] = made(**read_fields(keys[key], made, f"{key}:"))
    try:
        return Study(datasets=datasets, models=models, **values), root
    except StudyError as error:
        raise _placed(error, root) from error


def _placed(error: StudyError, root: Node, before: tree.Path = ()) -> StudyError:
    path = (*before, *error.path)
    node, parent = root.at(path), root.at(path[:-1])
    place = node.place
    last = str(path[-1]) if path else ""
    if node is parent and last in parent.keys:
        place = parent.keys[last]
    if error.what.startswith(place):
        return error
    remedy = error.remedy
    known = error.allowed.split(", ")
    if "has no option" in error.what:
        model = root.at(path[:2])
        written = model.value.get("options", model)
        place = written.keys.get(last, model.keys.get(last, place))
        remedy = remedy or did_you_mean(last, [*known, *_SPEC_KEYS])
    elif isinstance(node.value, str) and node is not parent:
        remedy = remedy or did_you_mean(node.value, known)
    return StudyError(f"{place}: {error.what}", error.allowed, remedy, path)


def _dataset(where: Place) -> Dataset:
    node = where.node
    if isinstance(node.text, str) and node.value is not None:
        return Dataset(_derived(node.text), node.text)
    known = tuple(each.name for each in dataclasses.fields(Dataset))
    mapping(where, known, (), "a data set, or only its name or path")
    values = read_fields(where, Dataset, "a data set", needed=())
    if "source" not in values:
        if values.get("name") not in BUILT_IN:
            allowed = f"source: a path, hf:ID, or one of {', '.join(BUILT_IN)}"
            raise where.error("a data set without source", allowed)
        values["source"] = values["name"]
    values.setdefault("name", _derived(values["source"]))
    return Dataset(**values)


def _derived(source: str) -> str:
    """Return a name that may be part of a file name: of a path its last part without its end."""
    last = re.split(r"[/\\]", source.removeprefix("hf:").rstrip("/"))[-1]
    stem = re.sub(r"\.(csv|tsv|jsonl|ndjson|parquet)$", "", last, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_+-]+", "-", stem).strip("-_+") or "data"


def _model(where: Place) -> ModelSpec:
    node = where.node
    if isinstance(node.text, str) and node.value is not None:
        return ModelSpec(node.text, *_in_catalogue(where, node.text))
    if not isinstance(node.value, dict):
        raise where.error(f"{node.shown} is no model", "a name of the catalogue, or a mapping with name or kind")
    beside = {key: each.plain() for key, each in node.value.items() if key not in {*_SPEC_KEYS, "like"}}
    spec = Place(dataclasses.replace(node, value={k: v for k, v in node.value.items() if k in _SPEC_KEYS}), where.path)
    values = read_fields(spec, ModelSpec, "a model", needed=())
    options = values.pop("options", {})
    for key in beside.keys() & options.keys():
        raise where.error(f"{key} is there twice, also in options", "once", "take out one", at_key=key)
    options = {**options, **beside}
    if "like" in node.value:
        if "kind" in values:
            raise where.error(
                "like and kind", "one of them", "like: takes the kind of the model it names", at_key="kind"
            )
        kind, defaults = _in_catalogue(where.child("like"), typed(where.child("like"), str))
    elif "kind" in values:
        kind, defaults = values["kind"], {}
    elif "name" in values:
        kind, defaults = _in_catalogue(where.child("name"), values["name"], "give it a kind:, or like: one of these")
    else:
        raise where.error("a model without name and kind", "name of the catalogue, or kind: and its options")
    options = {**defaults, **options}
    values.pop("kind", None)
    name = values.pop("name", None) or _model_name(kind, options, node)
    return ModelSpec(name, kind, options, **values)


def _in_catalogue(where: Place, name: str, more: str = "") -> tuple[str, Mapping[str, object]]:
    if name not in CATALOGUE:
        remedy = did_you_mean(name, CATALOGUE) or more
        if name in KINDS:
            remedy = f"write it as a mapping: {{name: my-{name}, kind: {name}, ...}}"
        raise where.error(f"no model {name!r} in the catalogue", ", ".join(CATALOGUE), remedy)
    return CATALOGUE[name]


def _model_name(kind: str, options: Mapping[str, object], node: Node) -> str:
    """Return the catalogue's name if it has just this model, else one made of its kind and what is set."""
    for name, known in CATALOGUE.items():
        if known == (kind, options):
            return name
    parts = [kind, *(_derived(str(each)) for each in options.values() if isinstance(each, str | int | float))]
    return "-".join(parts)[:60].rstrip("-")
