"""Scores rows with the scorer's own function, and computes the measures for the metadata."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.model.bundle import Bundle, Thresholds
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.predictor import build_predictor
from stream_scorer.model.scoring import score
from trainer.data.ingest import Part
from trainer.evaluation.measures import (
    TOP_SHARES,
    Ranking,
    above,
    average_precision,
    intervals,
    log_loss,
    rank,
    roc_auc,
    top,
)

CANDIDATE: Final = "candidate"
"""The version name of a bundle that is not published yet."""

BLOCK_ROWS: Final = 8192
NOTHING_FLAGGED: Final = Thresholds(float("inf"), float("inf"))
"""Used where only scores are needed, so that no reasons are computed."""


def candidate_bundle(model_text: str, features: FeatureSet) -> Bundle:
    """A bundle of a trained model, for scoring before it is published."""
    return Bundle(
        CANDIDATE,
        {},
        features,
        build_predictor(model_text),
        LightGBMModel(model_text),
        NOTHING_FLAGGED,
    )


def score_all(batch: TransactionBatch, bundle: Bundle) -> NDArray[np.float64]:
    """The scores of any number of rows, without reasons."""
    quiet = replace(bundle, thresholds=NOTHING_FLAGGED)
    blocks = [
        score(batch.take(slice(start, start + BLOCK_ROWS)), quiet).scores
        for start in range(0, len(batch), BLOCK_ROWS)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0)


def measure(
    part: Part,
    scores: NDArray[np.float64],
    thresholds: Thresholds,
    seed: int,
    decided: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """All measures of a part, as plain data.

    What the thresholds do is measured on the scores ``decided``, if they are given: those of models
    that are made as the one which is served.
    """
    ranking = rank(scores, part.labels)
    decisions = ranking if decided is None else rank(decided, part.labels)
    flagged = (scores if decided is None else decided) >= thresholds.review
    return {
        "rows": len(part),
        "frauds": int(part.labels.sum()),
        "fraud_rate": float(part.labels.mean()),
        **_of_ranking(ranking, seed),
        "log_loss": log_loss(scores, part.labels),
        "accuracy": float(np.mean(flagged == (part.labels == 1))),
        "top": {f"{share:g}": top(ranking, share) for share in TOP_SHARES},
        "review": above(decisions, thresholds.review),
        "block": above(decisions, thresholds.block),
    }


def measure_ranking(
    scores: NDArray[np.float64], labels: NDArray[np.int8], seed: int
) -> dict[str, Any]:
    """Average precision and ROC AUC with their intervals, as plain data."""
    return _of_ranking(rank(scores, labels), seed)


def _of_ranking(ranking: Ranking, seed: int) -> dict[str, Any]:
    found = intervals(ranking, seed)
    return {
        "average_precision": average_precision(ranking),
        "average_precision_interval": found["average_precision"],
        "roc_auc": roc_auc(ranking),
        "roc_auc_interval": found["roc_auc"],
    }
