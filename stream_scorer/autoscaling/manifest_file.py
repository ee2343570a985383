"""Reads a ScaledObject from a YAML file."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from stream_scorer.autoscaling.fields import Located
from stream_scorer.autoscaling.manifest import Autoscaler, parse_scaled_object
from stream_scorer.errors import UsageError


def load_scaled_object(path: Path, name: str | None = None) -> Autoscaler:
    """Load the ScaledObject from a YAML file (``kustomize build`` output or a single manifest).

    Raises:
        UsageError: the file cannot be read, or does not contain exactly one ScaledObject.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    documents = _parse_yaml(path, text)
    found = [d for d in documents if isinstance(d, dict) and d.get("kind") == "ScaledObject"]
    if name is not None:
        found = [d for d in found if (d.get("metadata") or {}).get("name") == name]
    if len(found) != 1:
        wanted = "ScaledObject" if name is None else f"ScaledObject {name}"
        hint = "; choose with --name" if len(found) > 1 else ""
        raise UsageError(f"{path} has {len(found)} documents of kind {wanted}, not one{hint}")
    if not str(found[0].get("apiVersion", "")).startswith("keda.sh/"):
        raise UsageError(
            f"{path}: apiVersion {found[0].get('apiVersion')!r} is not keda.sh/v1alpha1"
        )
    try:
        return parse_scaled_object(found[0])
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _parse_yaml(path: Path, text: str) -> list[Any]:
    try:
        import yaml
    except ImportError as error:
        raise UsageError("keda-sim requires PyYAML to read YAML: pip install pyyaml") from error

    class StrictLoader(yaml.SafeLoader):
        """Rejects duplicate keys in a mapping, as kubectl does, and keeps the lines of the rest."""

        def construct_yaml_map(self, node: Any) -> Generator[dict[Any, Any], None, None]:
            found = Located()
            yield found
            found.update(self.construct_mapping(node))
            found.line = node.start_mark.line + 1
            found.lines = {
                self.construct_object(key): key.start_mark.line + 1 for key, _ in node.value
            }

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = sorted({str(key) for key in keys if keys.count(key) > 1})
            if twice:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {', '.join(twice)}", node.start_mark
                )
            return super().construct_mapping(node, deep)

    StrictLoader.add_constructor("tag:yaml.org,2002:map", StrictLoader.construct_yaml_map)
    try:
        return list(yaml.load_all(text, Loader=StrictLoader))
    except RecursionError:
        raise UsageError(f"{path} is not a manifest: it nests too deep") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number or date of YAML
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
