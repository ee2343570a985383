"""``/predict`` without HTTP: scores the body of a request with the same code as the stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NamedTuple

from dashboard.history.past import Histories, Past, read_nothing
from schemas.json.codec import MAX_FAULTS, decode_objects, parse_json, shown_name
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Decision, Reason, Scores, score, shap_reasons

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
MAX_ROWS: Final = 1000
"""1,000 full transactions are 8 MB of JSON and take some tens of milliseconds to score."""

MAX_SHAP_ROWS: Final = 10
"""Exact TreeSHAP takes up to 0.4 s per row with a large model."""

_MEMBERS: Final = ("transactions", "explain")
_MAX_BRACKETS: Final = 100 * MAX_ROWS
"""Opening brackets that a body may contain. A request needs one per row, and strings rarely contain
any. Millions of empty objects would keep the garbage collector busy for seconds, and all threads
would wait for it."""


class InputFault(NamedTuple):
    """One fault of a request. ``row`` counts from 0. It is None for the request itself."""

    row: int | None
    field: str | None
    reason: str


class InvalidInput(Exception):
    """The request is not valid. None of its rows was scored."""

    def __init__(self, faults: Sequence[InputFault]) -> None:
        super().__init__(faults[0].reason)
        self.faults = tuple(faults[:MAX_FAULTS])

    @property
    def summary(self) -> str:
        """One line: the first fault with its row, and how many more were found."""
        first, others = self.faults[0], len(self.faults) - 1
        where = "" if first.row is None else f"row {first.row}: "
        least = "at least " if len(self.faults) >= MAX_FAULTS else ""  # validation stops there
        more = f" (and {least}{others} more)" if others else ""
        return f"{where}{first.reason}{more}"


class TooManyRows(Exception):
    """The request has more transactions than allowed."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The response of ``/predict``; ``past`` is None if the model reads no card history."""

    predictions: list[float]
    results: list[dict[str, Any]]
    model_version: str
    past: Past | None = None

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
    rows, use_shap = _read_request(body)
    batch, _, rejections = decode_objects(rows, strict=True)
    if rejections:
        raise InvalidInput([InputFault(r.index, r.field, r.reason) for r in rejections])
    spec, past = bundle.features.program.history, None
    if spec is not None:
        past = read_nothing(batch) if histories is None else histories.read(batch, spec)
        batch = batch.with_history(past.columns)
    scores = score(batch, bundle)
    reasons: Mapping[int, tuple[Reason, ...]] = scores.reasons
    if use_shap:
        reasons = shap_reasons(batch, bundle, range(len(batch)))
    results = [
        _result(int(batch.ids[i]), scores, i, reasons.get(i, ()), bundle) for i in range(len(batch))
    ]
    if past is not None:
        for result, note in zip(results, past.notes, strict=True):
            result["history"] = note
    return Prediction(scores.scores.tolist(), results, scores.version, past)


def _read_request(body: bytes) -> tuple[list[object], bool]:
    if body.count(b"{") + body.count(b"[") > _MAX_BRACKETS:
        why = f"the body has more objects and arrays than {MAX_ROWS:,} transactions need"
        raise InvalidInput([InputFault(None, None, why)])
    try:
        request = parse_json(body)
    except ValueError as error:
        raise InvalidInput([InputFault(None, None, f"the body is not JSON: {error}")]) from None
    if not isinstance(request, dict):
        why = 'the body must be an object with "transactions"'
        raise InvalidInput([InputFault(None, None, why)])
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
                None, "explain", f'explain "shap" accepts at most {MAX_SHAP_ROWS} transactions'
            )
        )
    if faults:
        raise InvalidInput(faults)
    assert isinstance(rows, list)  # noqa: S101 - anything else is a fault
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
