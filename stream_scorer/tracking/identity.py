"""What MLflow calls our models, and what identifies a version there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

REGISTERED_MODEL: Final = "fraud-scorer"
ALIAS: Final = "champion"
"""Names the registered version that the pointer of the store names."""


def model_digest(metadata: Mapping[str, Any]) -> str:
    """The sha256 of ``model.pkl``: which version of which store it is. Empty where unknown."""
    files = metadata.get("files")
    model = files.get("model.pkl") if isinstance(files, Mapping) else None
    return str(model.get("sha256") or "") if isinstance(model, Mapping) else ""


def identity_tags(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The tags that tell a version from those of other stores on the same server."""
    return {"model_version": str(metadata["version"]), "model_sha256": model_digest(metadata)}
