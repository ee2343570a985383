"""Model versions whose metadata matches their scores, and versions whose metadata does not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.bundle import build_files
from stream_scorer.model.scoring import score
from stream_scorer.model.store.port import ArtifactStore
from tests.support.factories import make_batch, make_bundle, make_draft
from trainer.evaluation.reference import histogram


@cache
def reference_scores(seed: int = 1) -> NDArray[np.float64]:
    """The scores of this seed's model for rows like those that tests produce."""
    return score(make_batch(4000, 99), make_bundle(seed=seed)).scores


def promises(scores: NDArray[np.float64], flag_rate: float) -> dict[str, Any]:
    """The part of a version's metadata that the guard reads."""
    return {
        "reference": {"scores": histogram(scores)},
        "metrics": {"test": {"review": {"share": flag_rate}}},
    }


def honest_facts(seed: int = 1) -> dict[str, Any]:
    """Metadata that matches the model of this seed."""
    scores = reference_scores(seed)
    return promises(scores, float(np.mean(scores >= 0.5)))


def lying_facts(seed: int = 1) -> dict[str, Any]:
    """Metadata with a histogram of scores that this model never gives."""
    return honest_facts(seed) | {"reference": {"scores": histogram(1 - reference_scores(seed) / 9)}}


def publish_promising(store: ArtifactStore, facts: dict[str, Any], seed: int = 1) -> str:
    """Publish and promote a version with these facts in its metadata."""
    version = store.publish(*build_files(replace(make_draft(seed), facts=facts)))
    store.promote(version, store.current())
    return version
