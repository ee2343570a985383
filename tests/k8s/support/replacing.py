"""The replacements of kustomize, as far as our transformers use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

LOCAL = "config.kubernetes.io/local-config"
"""The annotation of an object that kustomize reads but does not print."""


def replace_all(folder: Path, objects: list[Object]) -> None:
    """Apply the transformers of the kustomization in ``folder`` to ``objects``."""
    spec = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    for name in spec["resources"]:
        transformer = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        assert transformer["kind"] == "ReplacementTransformer", name
        for replacement in transformer["replacements"]:
            _replace(replacement, objects)


def is_printed(item: Object) -> bool:
    """Whether kustomize prints the object."""
    return bool(item["metadata"].get("annotations", {}).get(LOCAL) != "true")


def _replace(replacement: Object, objects: list[Object]) -> None:
    source = replacement["source"]
    (found,) = _selected(source, objects)
    ((place, key),) = _places(found, source["fieldPath"].split("."))
    for target in replacement["targets"]:
        for item in _selected(target["select"], objects):
            for path in target["fieldPaths"]:
                _set(item, path, place[key], target.get("options", {}))


def _selected(wanted: Object, objects: list[Object]) -> list[Object]:
    return [
        item
        for item in objects
        if item["kind"] == wanted["kind"]
        and item["metadata"]["name"] == wanted.get("name", item["metadata"]["name"])
    ]


def _set(item: Object, path: str, value: str, options: Object) -> None:
    places = _places(item, path.split("."))
    assert places, f"{path} does not exist in {item['metadata']['name']}"
    for place, key in places:
        if "delimiter" in options:
            parts = place[key].split(options["delimiter"])
            parts[options["index"]] = value
            place[key] = options["delimiter"].join(parts)
        else:
            place[key] = value


def _places(item: Any, steps: list[str]) -> list[tuple[Any, Any]]:
    """The containers and keys that a path selects. A ``*`` selects every item of a list."""
    step, *rest = steps
    if step == "*":
        return [place for child in item for place in _places(child, rest)]
    key: Any = int(step) if isinstance(item, list) else step
    if not isinstance(item, list) and key not in item:
        return []
    return _places(item[key], rest) if rest else [(item, key)]
