"""Everything the report shows beyond the measures, as one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.model.bundle import Bundle
from trainer.data.ingest import Part
from trainer.evaluation.curve_bands import curve_bands
from trainer.evaluation.described import describe
from trainer.evaluation.feature_drift import drift_facts
from trainer.evaluation.measures import rank
from trainer.evaluation.shap_sample import shap_facts
from trainer.evaluation.slices import slice_facts
from trainer.synth.marks import count_synthetic

MOST_ROWS: Final = 20_000
"""For feature distributions: deciles of this many rows are close enough."""

RANKED_FEATURES: Final = 60
UNGROUPED: Final = "other"


def report_facts(
    part: Part,
    scores: NDArray[np.float64],
    bundle: Bundle,
    gains: Mapping[str, float],
    earlier: TransactionBatch | None,
    seed: int,
    described: TransactionBatch | None = None,
    decided: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """The report's part of the metadata: about 200 kB of plain data.

    ``scores`` are those of the evaluated rows in ``part``. The slices are measured at the review
    threshold of ``bundle``, on the scores ``decided`` if they are given. ``gains`` are feature →
    total gain of its splits. ``earlier`` are training rows (a sample is enough), with which the
    features of the evaluated rows are compared; None leaves the comparison out.

    ``bundle`` explains and transforms rows, so none of them may be among those it was trained on:
    if ``part`` has such rows, as with several folds, ``described`` are those that it has not seen.

    Keys: ``slices``, ``curves``, ``feature_gain``, ``shap``, ``feature_drift``, ``synthetic``.
    """
    matrix = bundle.features.transform(thin(part.batch if described is None else described))
    ranked = sorted(gains, key=lambda name: -gains[name])
    facts = {
        "slices": slice_facts(
            part, scores if decided is None else decided, bundle.thresholds.review, seed
        ),
        "curves": curve_bands(rank(scores, part.labels), seed),
        "feature_gain": _gain_facts(bundle.features, gains, ranked),
        "shap": shap_facts(matrix, bundle, seed),
        "synthetic": {"rows": count_synthetic(part.batch.ids), "of": len(part)},
    }
    if earlier is not None and len(earlier):
        before = bundle.features.transform(thin(earlier))
        facts["feature_drift"] = drift_facts(before, matrix, bundle.features, ranked)
    return facts


def thin(batch: TransactionBatch) -> TransactionBatch:
    """At most ``MOST_ROWS`` rows, evenly spaced."""
    step = max(1, -(-len(batch) // MOST_ROWS))
    return batch.take(slice(None, None, step))


def _gain_facts(
    features: FeatureSet, gains: Mapping[str, float], ranked: Sequence[str]
) -> dict[str, Any]:
    """Shares of the whole gain, by feature and by group."""
    total = sum(gains.values()) or 1.0
    groups: dict[str, dict[str, Any]] = {}
    of = features.groups
    for name, gain in gains.items():
        group = groups.setdefault(of.get(name, UNGROUPED), {"features": 0, "used": 0, "gain": 0.0})
        group["features"] += 1
        group["used"] += gain > 0
        group["gain"] += gain / total
    used = [name for name in ranked if gains[name] > 0]
    return {
        "total": len(gains),
        "used": len(used),
        "groups": [
            {"group": name, **group}
            for name, group in sorted(groups.items(), key=lambda item: -item[1]["gain"])
        ],
        "features": [
            describe(features, name) | {"gain": float(f"{gains[name] / total:.5g}")}
            for name in used[:RANKED_FEATURES]
        ],
    }
