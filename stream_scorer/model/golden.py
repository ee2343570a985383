"""Golden rows: transactions in a bundle with the scores that they had where it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.json.codec import decode_objects
from stream_scorer.errors import ArtifactCorrupt, ArtifactIncompatible
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.model.bundled_history import MAX_ROWS, plain_rows, plain_values, read_values
from stream_scorer.model.calibration import Calibration, calibrate, to_scores
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.predictor import Predictor, build_predictor
from stream_scorer.runtime.json_limits import shown

_SCORE_ULPS: Final = 4  # the C library's exp may differ by an ulp or two between machines
_ATTRIBUTION_TOLERANCE: Final = 1e-6  # in log-odds; the sums have thousands of terms


def golden_facts(
    model_text: str,
    features: FeatureSet,
    golden: TransactionBatch,
    calibration: Calibration | None,
) -> dict[str, Any]:
    """The first golden rows with their scores, for the metadata; with their card history, if any.

    Raises:
        ArtifactCorrupt: the compiled predictor and LightGBM disagree on them.
    """
    batch = golden.take(slice(0, MAX_ROWS))
    matrix = features.transform(batch)
    raw = LightGBMModel(model_text).raw(matrix)
    if not np.array_equal(raw, build_predictor(model_text).raw(matrix)):
        raise ArtifactCorrupt("the compiled predictor and LightGBM disagree on the golden rows")
    scores = to_scores(raw, calibration)
    history = {} if batch.history is None else {"history": plain_values(batch.history.values)}
    return {
        "rows": plain_rows(batch),
        "raw": raw.tolist(),
        "scores": scores.tolist(),
        **history,
    }


def check_golden(
    metadata: Mapping[str, Any],
    features: FeatureSet,
    predictor: Predictor,
    calibration: Calibration | None,
) -> None:
    """Check that the golden rows get the scores that they had.

    Raises:
        ArtifactCorrupt: the rows cannot be read, or the attributions do not add up.
        ArtifactIncompatible: they get other scores.
    """
    try:
        golden = metadata["golden"]
        if len(golden["rows"]) > MAX_ROWS or len(golden["raw"]) > MAX_ROWS:
            raise ValueError(f"more than {MAX_ROWS} rows")
        batch, kept, faults = decode_objects(golden["rows"], strict=True)
        if (spec := features.program.history) is not None:
            batch = batch.with_history(read_values(golden["history"], len(batch), spec))
        raw, scores = np.array(golden["raw"], float), np.array(golden["scores"], float)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ArtifactCorrupt(f"cannot read the golden rows: {shown(repr(error))}") from error
    if faults or not raw.shape == scores.shape == (len(kept),) or len(raw) == 0:
        raise ArtifactCorrupt("golden rows are missing or are not valid transactions")
    if not np.isfinite(raw).all() or not np.isfinite(scores).all():
        raise ArtifactCorrupt("golden scores are not finite numbers")
    matrix = features.transform(batch)
    actual = predictor.raw(matrix)
    if not np.array_equal(actual, raw) or not _close(scores, raw, calibration):
        raise ArtifactIncompatible("golden rows do not get the scores they had in training")
    _check_attribution(predictor, matrix[:1], actual[:1])


def _check_attribution(
    predictor: Predictor, matrix: NDArray[np.float64], raw: NDArray[np.float64]
) -> None:
    """Check that attributions work, on one row only: LightGBM's own are slow."""
    total = predictor.base + predictor.contributions(matrix).sum(axis=1)
    if not np.allclose(total, raw, rtol=0, atol=_ATTRIBUTION_TOLERANCE):
        raise ArtifactCorrupt("attributions do not add up to the raw score")


def _close(
    scores: NDArray[np.float64], raw: NDArray[np.float64], calibration: Calibration | None
) -> bool:
    """Whether scores are those of ``raw``, but for the last bits of ``exp``.

    The map itself is exact and increasing, so it keeps a score between the ends of that interval.
    """
    again = to_scores(raw)
    margin = _SCORE_ULPS * np.spacing(again)
    low, high = calibrate(again - margin, calibration), calibrate(again + margin, calibration)
    return bool(((low <= scores) & (scores <= high)).all())
