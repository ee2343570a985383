"""The model as the dashboard sees it: what is loaded, or why nothing is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.status import ReloadStatus


class ModelSource(Protocol):
    """Where the current bundle comes from: a watcher on the artifact store, or a test's twin."""

    @property
    def current(self) -> Bundle | None:
        """The bundle to score with; None until one is loaded."""
        ...

    @property
    def status(self) -> ReloadStatus:
        """What the last look at the store came to: ``problem`` and ``load_seconds``."""
        ...


def describe_model(model: ModelSource) -> dict[str, Any]:
    """The loaded version and thresholds, or None for each and why.

    ``rejected`` says that the promoted version is rejected, why, and which one serves instead.
    """
    bundle = model.current
    rolled_back = model.status.rolled_back
    rejected = None if rolled_back is None else asdict(rolled_back)
    if bundle is None:
        detail = model_trouble(model) or "no model is loaded yet"
        return {"version": None, "detail": detail, "rejected": rejected}
    return {
        "version": bundle.version,
        "review_threshold": bundle.thresholds.review,
        "block_threshold": bundle.thresholds.block,
        "detail": model_trouble(model),
        "rejected": rejected,
    }


def model_trouble(model: ModelSource) -> str:
    """What is wrong at the store now; empty when nothing is."""
    return model.status.problem or ""
