"""Scores what the check page sent, and explains it: no HTTP, and nothing is written to Kafka."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboard.explain import Waterfall, build_waterfall
from dashboard.explaining.changes import Changes, FieldOutcome, Outcome, find_changes
from dashboard.explaining.pasted import read_cells, read_pasted
from dashboard.history.past import Histories
from dashboard.predict_request import InputFault, InvalidInput
from dashboard.predicting import ROW_SECONDS, decode_rows, explain, with_past
from dashboard.web.explaining.form import FIELDS, CheckForm
from schemas.batch import TransactionBatch
from schemas.contracts import ID, TIME
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Attribution, Decision, Reason, Scores, score

BARS: Final = 10
"""Features in the waterfall; the others are its rest."""

_DEFAULTS: Final = {ID: 1, TIME: 86_400}
_SHOWN_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class Checked:
    """What the page shows.

    Attributes:
        version: of the model.
        results: one for each transaction.
        waterfall: of a single transaction; None for several.
        changes: what would have to differ for a single transaction; None for several.
        given: the values of a single transaction, by column.
        rows: how many rows this cost, for the rate limit.
        histories: scored with and without the history of the card; zero if the model reads none.
    """

    version: str
    results: list[dict[str, Any]]
    waterfall: Waterfall | None
    changes: dict[str, Any] | None
    given: dict[str, str]
    rows: int
    histories: tuple[int, int]


def check(form: CheckForm, bundle: Bundle, histories: Histories | None) -> Checked:
    """Score all transactions of a form, or none; explain a single one.

    Raises:
        InvalidInput: some are not valid.
        TooManyRows: there are too many.
    """
    if form.mode == FIELDS:
        batch = _decode([_DEFAULTS | read_cells(form.cells)])
    else:
        batch = _decode([_with_defaults(row) for row in read_pasted(form.row)])
    batch, past = with_past(batch, bundle, histories)
    scores = score(batch, bundle)
    results = [_describe(batch, bundle, scores, row) for row in range(len(batch))]
    used = 0
    if past is not None:
        used = past.used
        for result, note in zip(results, past.notes, strict=True):
            result["history"] = note
    counted = (used, len(batch) - used) if past is not None else (0, 0)
    if len(batch) > 1:
        return Checked(bundle.version, results, None, None, {}, len(batch), counted)
    before = time.thread_time()
    found = explain(batch, bundle, scores, form.explain)[0]
    rows = 1 + round((time.thread_time() - before) / ROW_SECONDS)
    waterfall = _waterfall(bundle, found, float(scores.scores[0]))
    pushes = explain(batch, bundle, scores, "path")[0].contributions
    changes = find_changes(batch, bundle, Decision(int(scores.decisions[0])), pushes)
    given = _given(batch)
    shown = _describe_changes(changes, bundle)
    return Checked(bundle.version, results, waterfall, shown, given, rows + changes.rows, counted)


def _decode(rows: Sequence[object]) -> TransactionBatch:
    try:
        return decode_rows(rows)
    except InvalidInput as error:
        if len(rows) > 1:
            raise
        raise InvalidInput([fault._replace(row=None) for fault in error.faults]) from None


def _with_defaults(row: object) -> object:
    """A pasted row; the id and the time, which say little of one transaction, may be left out."""
    if not isinstance(row, dict):
        return row
    return {name: value for name, value in _DEFAULTS.items() if name not in row} | row


def _waterfall(bundle: Bundle, found: Attribution, value: float) -> Waterfall:
    """The largest contributions: first what raised the score, then what lowered it."""
    listed = found.contributions[:BARS]
    ordered = sorted(listed, key=lambda reason: reason.contribution < 0)
    return build_waterfall(bundle, found.base, ordered, found.raw, value)


def _describe(batch: TransactionBatch, bundle: Bundle, scores: Scores, row: int) -> dict[str, Any]:
    reasons: Sequence[Reason] = scores.reasons.get(row, ())
    return {
        "transaction_id": int(batch.ids[row]),
        "score": float(scores.scores[row]),
        "decision": Decision(int(scores.decisions[row])).name,
        "review_threshold": bundle.thresholds.review,
        "block_threshold": bundle.thresholds.block,
        "reasons": [reason._asdict() for reason in reasons],
        "model_version": scores.version,
    }


def _given(batch: TransactionBatch) -> dict[str, str]:
    values = {name: value for name, value in batch.row(0).items() if value is not None}
    return {name: shown(value) for name, value in values.items()}


def shown(value: float | str | None) -> str:
    """A value of a column for people; long texts are shortened."""
    if value is None:
        return "missing"
    if isinstance(value, str):
        return value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "…"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.10g}"


def _describe_changes(changes: Changes, bundle: Bundle) -> dict[str, Any]:
    """The changes for the page: for each goal, what reaches it."""
    names = {decision: decision.name for decision in changes.goals}
    texts = bundle.features.texts
    return {
        "goals": [
            {
                "decision": names[goal],
                "single": [
                    _describe_outcome(field.reached[goal])
                    for field in changes.fields
                    if goal in field.reached
                ],
                "pair": _describe_pair(changes.pairs.get(goal)),
            }
            for goal in changes.goals
        ],
        "unreached": [
            _describe_field(field)
            for field in changes.fields
            if not field.reached and field.lowest is not None
        ],
        "rows": changes.rows,
        "held": [texts.get(feature, feature) for feature in changes.held],
    }


def _describe_field(field: FieldOutcome) -> dict[str, Any]:
    assert field.lowest is not None  # noqa: S101 - the caller leaves out fields without
    return {"column": field.column, "tried": field.tried} | _describe_outcome(field.lowest)


def _describe_pair(outcome: Outcome | None) -> dict[str, Any] | None:
    return None if outcome is None else _describe_outcome(outcome)


def _describe_outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "changes": [
            {"column": column, "before": shown(before), "after": shown(after)}
            for column, before, after in outcome.changes
        ],
        "score": outcome.score,
        "decision": outcome.decision.name,
    }


def describe_faults(faults: Sequence[InputFault]) -> list[Mapping[str, Any]]:
    """Faults for the page; a row counts from 1, as people count lines."""
    return [
        {
            "row": None if fault.row is None else fault.row + 1,
            "field": fault.field,
            "reason": fault.reason,
        }
        for fault in faults
    ]
