"""``/predict`` without HTTP: a request's bytes to scores, through the stream's own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from schemas.json.codec import MAX_FAULTS, decode_objects, parse_json, shown_name
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Decision, Reason, Scores, score, shap_reasons

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
MAX_ROWS: Final = 1000
"""A thousand full transactions are 8 MB of JSON and some tens of milliseconds of work."""

MAX_SHAP_ROWS: Final = 10
"""Exact TreeSHAP takes up to 0.4 s a row with a heavy model."""

_MEMBERS: Final = ("transactions", "explain")
_MAX_BRACKETS: Final = 100 * MAX_ROWS
"""Objects and lists that a body may open; a request opens one for each row, and strings rarely
hold any. Millions of empty ones would keep the interpreter busy for seconds (its garbage
collector), and all threads wait."""


class InputFault(NamedTuple):
    """One thing wrong with a request; ``row`` counts from 0, None for the request itself."""

    row: int | None
    field: str | None
    reason: str


class InvalidInput(Exception):
    """The request cannot be scored; nothing of it was."""

    def __init__(self, faults: Sequence[InputFault]) -> None:
        super().__init__(faults[0].reason)
        self.faults = tuple(faults[:MAX_FAULTS])

    @property
    def summary(self) -> str:
        """One line: the first fault, with row and field, and how many more were found."""
        first, others = self.faults[0], len(self.faults) - 1
        where = "" if first.row is None else f"row {first.row}: "
        least = "at least " if len(self.faults) >= MAX_FAULTS else ""  # nobody looked further
        more = f" (and {least}{others} more)" if others else ""
        return f"{where}{first.reason}{more}"


class TooManyRows(Exception):
    """More transactions than one request may hold."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer, as JSON members."""

    predictions: list[float]
    results: list[dict[str, Any]]
    model_version: str

    def as_json(self) -> dict[str, Any]:
        """The response body."""
        return {
            "predictions": self.predictions,
            "results": self.results,
            "model_version": self.model_version,
        }


def predict(body: bytes, bundle: Bundle) -> Prediction:
    """Score the transactions of a request, all or none.

    Raises:
        InvalidInput: with the faults found, ``MAX_FAULTS`` of them at most.
        TooManyRows: more than ``MAX_ROWS``.
    """
    rows, by_shap = _read_request(body)
    batch, _, rejections = decode_objects(rows, strict=True)
    if rejections:
        raise InvalidInput([InputFault(r.index, r.field, r.reason) for r in rejections])
    scores = score(batch, bundle)
    reasons: Mapping[int, tuple[Reason, ...]] = scores.reasons
    if by_shap:
        reasons = shap_reasons(batch, bundle, range(len(batch)))
    results = [
        _result(int(batch.ids[i]), scores, i, reasons.get(i, ()), bundle) for i in range(len(batch))
    ]
    return Prediction(scores.scores.tolist(), results, scores.version)


def _read_request(body: bytes) -> tuple[list[object], bool]:
    if body.count(b"{") + body.count(b"[") > _MAX_BRACKETS:
        why = f"the body opens more objects and lists than {MAX_ROWS:,} transactions need"
        raise InvalidInput([InputFault(None, None, why)])
    try:
        request = parse_json(body)
    except ValueError as error:
        raise InvalidInput([InputFault(None, None, f"the body is not JSON: {error}")]) from None
    if not isinstance(request, dict):
        raise InvalidInput([InputFault(None, None, "the body must be an object with transactions")])
    unknown = (shown_name(name) for name in request if name not in _MEMBERS)
    faults = [
        InputFault(None, name, f"unknown field {name!r}") for name in islice(unknown, MAX_FAULTS)
    ]
    rows = request.get("transactions")
    if "transactions" not in request:
        faults.append(InputFault(None, "transactions", "transactions is missing"))
    elif not isinstance(rows, list):
        faults.append(InputFault(None, "transactions", "transactions must be an array"))
    elif not rows:
        faults.append(InputFault(None, "transactions", "transactions is empty"))
    elif len(rows) > MAX_ROWS:
        raise TooManyRows
    explain = request.get("explain")
    if explain not in (None, "shap"):
        faults.append(InputFault(None, "explain", 'explain must be "shap" or absent'))
    elif explain and isinstance(rows, list) and len(rows) > MAX_SHAP_ROWS:
        faults.append(
            InputFault(
                None, "explain", f'explain "shap" takes at most {MAX_SHAP_ROWS} transactions'
            )
        )
    if faults:
        raise InvalidInput(faults)
    assert isinstance(rows, list)  # noqa: S101 - else there is a fault
    return rows, bool(explain)


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
