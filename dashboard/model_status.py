"""The model loaded by the dashboard, or the reason why none is loaded."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final, Protocol

from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.status import PromotionNote, ReloadStatus

_MAX_TEXT_CHARS: Final = 160  # a page carries the texts of all features

PLAIN_PROBLEM: Final = (
    "there is a problem with the artifact store or the promoted version, and people with the role "
    "ops or lead see the reason"
)
"""What everybody reads of a problem. Its own text may name hosts, buckets and users."""


class ModelSource(Protocol):
    """Provides the current bundle: a watcher on the artifact store, or an in-memory fake."""

    @property
    def current(self) -> Bundle | None:
        """The bundle to score with. None until one is loaded."""
        ...

    @property
    def status(self) -> ReloadStatus:
        """The result of the last check of the store: ``problem`` and ``load_seconds``."""
        ...


def describe_model(model: ModelSource, *, in_full: bool = False) -> dict[str, Any]:
    """The loaded version and its thresholds as JSON. Without a model, ``version`` is None.

    The scores of a version that ``is_calibrated`` are estimated probabilities of fraud.
    ``detail`` is the current problem with the store, or why no model is loaded: ``in_full`` in the
    words of the store, otherwise in words for everybody. ``rejected`` is set
    while the promoted version is rejected: the reason, and the version that serves instead.
    ``override`` is set while a version serves that its gate refused or that was promoted by force.
    """
    bundle = model.current
    rolled_back = model.status.rolled_back
    rejected = None if rolled_back is None else asdict(rolled_back)
    if bundle is None:
        detail = describe_problem(model, in_full=in_full) or "waiting for the first model"
        return {"version": None, "detail": detail, "rejected": rejected, "override": None}
    return {
        "version": bundle.version,
        "review_threshold": bundle.thresholds.review,
        "block_threshold": bundle.thresholds.block,
        "is_calibrated": bundle.calibration is not None,
        "detail": describe_problem(model, in_full=in_full),
        "rejected": rejected,
        "override": _describe_override(model.status.promotion_note, bundle.version),
    }


def _describe_override(note: PromotionNote | None, version: str) -> dict[str, Any] | None:
    """Why the gate refused the loaded version, and who promoted it by force, when and why."""
    # After a reload, the note may still be about the previous version.
    if note is None or note.version != version:
        return None
    return {**asdict(note), "refusals": list(note.refusals)}


def describe_problem(model: ModelSource, *, in_full: bool) -> str:
    """The current problem with the store. Empty if there is none."""
    problem = model.status.problem or ""
    return problem if in_full or not problem else PLAIN_PROBLEM


def describe_features(model: ModelSource) -> dict[str, Any]:
    """The loaded version, and what its features are in words. Empty without a model.

    ``texts`` has no feature whose text is its name. Reasons may be of another version: a feature
    that is not in ``texts`` is shown by its name.
    """
    bundle = model.current
    if bundle is None:
        return {"model_version": None, "texts": {}}
    texts = bundle.features.texts
    differing = {name: text[:_MAX_TEXT_CHARS] for name, text in texts.items() if text != name}
    return {"model_version": bundle.version, "texts": differing}
