"""Renders the manifests in Python, with the parts of kustomize that they use.

Covers resources, components, generated ConfigMaps (by their plain names), JSON patches, deletions,
image names and replacements. Labels and name suffixes are not rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.support.replacing import is_printed, replace_all

ROOT = Path(__file__).parents[3]
K8S = ROOT / "k8s"
VARIANTS = ("base", "overlays/local", "overlays/production")
OPTIONAL = "live-.*"  # CronJobs of components that an overlay may leave out
OURS = "stream-scorer/"  # how the base names our own images

Object = dict[str, Any]


def load(path: Path) -> Any:
    """The only YAML document in ``path``."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_env(path: Path) -> dict[str, str]:
    """``NAME=value`` lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


@cache
def _render(variant: str) -> list[Object]:
    return _build((K8S / variant).resolve(), [])


def render(variant: str) -> list[Object]:
    """Every object of ``base`` or an overlay, as a new copy each time."""
    return [item for item in deepcopy(_render(variant)) if is_printed(item)]


def render_with(variant: str, *components: str) -> list[Object]:
    """The same with optional components on top, as in a user's own overlay."""
    objects = render(variant)
    for name in components:
        _build(K8S / "components" / name, objects)
    return objects


def _build(folder: Path, found: list[Object]) -> list[Object]:
    spec = load(folder / "kustomization.yaml")
    objects: list[Object] = [] if spec["kind"] == "Kustomization" else found
    for name in spec.get("resources", []):
        path = (folder / name).resolve()
        objects += _build(path, []) if path.is_dir() else [load(path)]
    for name in spec.get("components", []):
        _build((folder / name).resolve(), objects)
    for generator in spec.get("configMapGenerator", []):
        _generate(folder, generator, objects)
    for patch in spec.get("patches", []):
        _patch(load(folder / patch["path"]), patch["target"], objects)
    for image in spec.get("images", []):
        _rename(image, objects)
    for name in spec.get("transformers", []):
        replace_all((folder / name).resolve(), objects)
    for item in objects:
        if item["kind"] != "Namespace" and "namespace" in spec:
            item["metadata"]["namespace"] = spec["namespace"]
    return objects


def _generate(folder: Path, generator: Object, objects: list[Object]) -> None:
    values: dict[str, str] = {}
    for name in generator.get("envs", []):
        values |= read_env(folder / name)
    for name in generator.get("files", []):
        key, _, path = name.rpartition("=")
        values[key or Path(path).name] = (folder / path).read_text(encoding="utf-8")
    if generator.get("behavior") == "merge":
        select(objects, "ConfigMap", generator["name"])["data"] |= values
    else:
        notes = generator.get("options", {}).get("annotations", {})
        metadata = {"name": generator["name"], "annotations": notes}
        objects.append({"kind": "ConfigMap", "metadata": metadata, "data": values})


def _patch(operations: list[Object] | Object, target: Object, objects: list[Object]) -> None:
    matches = [
        item
        for item in objects
        if re.fullmatch(target["kind"], item["kind"])
        and re.fullmatch(target.get("name", ".*"), item["metadata"]["name"])
    ]
    assert matches or target.get("name") == OPTIONAL, f"the patch for {target} matches no object"
    if isinstance(operations, dict):
        assert operations["$patch"] == "delete"
        objects[:] = [item for item in objects if not any(item is match for match in matches)]
        return
    for item in matches:
        for operation in operations:
            _apply(item, deepcopy(operation))


def _apply(item: Object, operation: Object) -> None:
    *parents, last = operation["path"].strip("/").split("/")
    place: Any = item
    for step in parents:
        place = place[int(step) if isinstance(place, list) else step]
    if operation["op"] == "remove":
        del place[last]
    elif isinstance(place, list):
        assert last == "-", operation
        place.append(operation["value"])
    else:
        assert operation["op"] == "add" or last in place, operation
        place[last] = operation["value"]


def _rename(image: Object, objects: list[Object]) -> None:
    for item in objects:
        for container in all_containers(item):
            name = container["image"].split(":")[0]
            if name == image["name"]:
                container["image"] = f"{image.get('newName', name)}:{image['newTag']}"


def pod_spec(item: Object) -> Object | None:
    """The spec of the pod template of a workload; None for any other object."""
    if item["kind"] not in {"CronJob", "Deployment", "StatefulSet", "Job"}:
        return None
    job = item["spec"]["jobTemplate"] if item["kind"] == "CronJob" else item
    spec: Object = job["spec"]["template"]["spec"]
    return spec


def all_containers(item: Object) -> Iterator[Object]:
    """Containers and init containers of a workload; nothing for any other object."""
    spec = pod_spec(item) or {}
    yield from spec.get("initContainers", [])
    yield from spec.get("containers", [])


def select(objects: list[Object], kind: str, name: str) -> Object:
    """The only object of that kind and name."""
    matches = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    assert len(matches) == 1, f"{len(matches)} objects {kind}/{name}"
    return matches[0]


def workload(objects: list[Object], name: str) -> Object:
    """The only Deployment or StatefulSet of that name."""
    kinds = {"Deployment", "StatefulSet"}
    (found,) = [o for o in objects if o["kind"] in kinds and o["metadata"]["name"] == name]
    return found


def trigger(objects: list[Object]) -> dict[str, str]:
    """The metadata of the Kafka trigger of the scorer."""
    (found,) = select(objects, "ScaledObject", "stream-scorer")["spec"]["triggers"]
    assert found["type"] == "kafka"
    metadata: dict[str, str] = found["metadata"]
    return metadata
