"""A study as YAML: read with errors that name the line, and written."""

from __future__ import annotations

import dataclasses
from typing import Any

from greeninfer.bench._optional import need
from greeninfer.bench._study import Dataset, ModelSpec, Protocol, Splits, Study


def parse_study(text: str) -> Study:
    """Return the study that a YAML text describes."""
    tree = need("yaml").safe_load(text)
    return Study(
        tree["name"],
        tuple(Dataset(**each) for each in tree["datasets"]),
        tuple(ModelSpec(**each) for each in tree["models"]),
        tuple(tree.get("batch_sizes", (1,))),
        tuple(tree.get("devices", ("cpu",))),
        Splits(**tree.get("splits", {})),
        Protocol(**tree.get("protocol", {})),
    )


def render_study(study: Study) -> str:
    """Return a study as YAML that ``parse_study`` reads."""
    return str(need("yaml").safe_dump(_plain(dataclasses.asdict(study)), sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value
