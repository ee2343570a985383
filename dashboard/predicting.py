"""``/predict`` without HTTP: scores the body of a request with the same code as the stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboard.history.past import Histories, Past, read_nothing
from dashboard.predict_request import (
    MAX_BODY_BYTES,
    MAX_ROWS,
    SHAP,
    InputFault,
    InvalidInput,
    TooManyRows,
    read_request,
)
from schemas.batch import TransactionBatch
from schemas.json.codec import decode_objects
from stream_scorer.errors import ArtifactIncompatible, FatalError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Attribution, Decision, Reason, Scores, attribute, score

ROW_SECONDS: Final = 15e-6
"""CPU time of a short row: 13 to 15 microseconds, decoding included (measured with three models).
What an explanation costs is charged in units of this."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The response of ``/predict``.

    Attributes:
        predictions: the scores.
        results: one for each transaction.
        model_version: that scored them.
        past: None if the model reads no card history.
        explain_rows: how many rows could have been scored in the CPU time of the explanations.
    """

    predictions: list[float]
    results: list[dict[str, Any]]
    model_version: str
    past: Past | None = None
    explain_rows: int = 0

    def as_json(self) -> dict[str, Any]:
        """The response body as a JSON object."""
        return {
            "predictions": self.predictions,
            "results": self.results,
            "model_version": self.model_version,
        }


def predict(body: bytes, bundle: Bundle, histories: Histories | None = None) -> Prediction:
    """Score all transactions of a request, or none.

    Args:
        body: of the request.
        bundle: scores all of it.
        histories: asked if the bundle reads the history of cards; None: nothing is known of it.

    Raises:
        InvalidInput: the request has faults. At most ``MAX_FAULTS`` are reported.
        TooManyRows: the request has more than ``MAX_ROWS`` transactions.
    """
    request = read_request(body)
    batch, past = with_past(decode_rows(request.rows), bundle, histories)
    scores = score(batch, bundle)
    results = [
        _result(int(batch.ids[i]), scores, i, scores.reasons.get(i, ()), bundle)
        for i in range(len(batch))
    ]
    explain_rows = 0
    if request.explain is not None:
        before = time.thread_time()
        found = explain(batch, bundle, scores, request.explain)
        for result, one in zip(results, found, strict=True):
            result["reasons"] = [reason._asdict() for reason in one.reasons]
            result["explanation"] = describe_attribution(one, request.explain)
        explain_rows = round((time.thread_time() - before) / ROW_SECONDS)
    if past is not None:
        for result, note in zip(results, past.notes, strict=True):
            result["history"] = note
    return Prediction(scores.scores.tolist(), results, scores.version, past, explain_rows)


def decode_rows(rows: Sequence[object]) -> TransactionBatch:
    """Parsed JSON objects as a batch: all of them.

    Raises:
        InvalidInput: some are not valid transactions.
    """
    batch, _, rejections = decode_objects(rows, strict=True)
    if rejections:
        raise InvalidInput([InputFault(r.index, r.field, r.reason) for r in rejections])
    return batch


def with_past(
    batch: TransactionBatch, bundle: Bundle, histories: Histories | None
) -> tuple[TransactionBatch, Past | None]:
    """The batch with the history of each card; None if the bundle reads no history."""
    spec = bundle.features.program.history
    if spec is None:
        return batch, None
    past = read_nothing(batch) if histories is None else histories.read(batch, spec)
    return batch.with_history(past.columns), past


def explain(
    batch: TransactionBatch, bundle: Bundle, scores: Scores, method: str
) -> list[Attribution]:
    """What each score is made of.

    Args:
        batch: with its history.
        bundle: that scored it.
        scores: of the batch.
        method: ``path``, as the stream does, or ``shap``, exact and slow.

    Raises:
        InvalidInput: this model cannot be explained by the method.
    """
    explainer = bundle.reference if method == SHAP else bundle.predictor
    try:
        return attribute(batch, bundle, scores.raw, explainer)
    except (ArtifactIncompatible, FatalError) as error:
        raise InvalidInput([InputFault(None, "explain", f"explain {method!r}: {error}")]) from error


def describe_attribution(found: Attribution, method: str) -> dict[str, Any]:
    """The member ``explanation`` of a result. It adds up: base, contributions, rest."""
    return {
        "method": method,
        "base": found.base,
        "contributions": [reason._asdict() for reason in found.contributions],
        "rest": found.rest,
        "raw_score": found.raw,
    }


def _result(
    transaction_id: int, scores: Scores, row: int, reasons: Sequence[Reason], bundle: Bundle
) -> dict[str, Any]:
    decision = Decision(int(scores.decisions[row]))
    return {
        "transaction_id": transaction_id,
        "score": float(scores.scores[row]),
        "decision": decision.name,
        "is_flagged": decision is not Decision.APPROVE,
        "review_threshold": bundle.thresholds.review,
        "block_threshold": bundle.thresholds.block,
        "reasons": [reason._asdict() for reason in reasons],
        "model_version": scores.version,
    }


__all__ = [
    "MAX_BODY_BYTES",
    "MAX_ROWS",
    "InputFault",
    "InvalidInput",
    "Prediction",
    "TooManyRows",
    "decode_rows",
    "describe_attribution",
    "explain",
    "predict",
    "with_past",
]
