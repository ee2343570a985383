"""What would have to differ for another decision: single inputs and pairs, really scored again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from dashboard.explaining.candidates import Value, columns_of, find_candidates, is_of_history
from schemas.batch import TransactionBatch, with_text
from schemas.contracts import NUMBER_INDEX, TEXT_INDEX
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Decision, Reason, attribute, score

MAX_ROWS: Final = 500
"""Rows that are scored for one transaction, at most."""

MAX_FIELDS: Final = 6
_SINGLE_ROWS: Final = 300
_PAIRED_FIELDS: Final = 5
_PAIRED_VALUES: Final = 3
_FOLLOWED: Final = 2
_FOLLOWED_FIELDS: Final = 4
_FOLLOWED_VALUES: Final = 12


class Change(NamedTuple):
    """Another value of one column."""

    column: str
    before: Value
    after: Value


class Outcome(NamedTuple):
    """One transaction with some other inputs, and what the model says of it.

    ``distance`` orders outcomes of the same columns: the smallest change has the least.
    """

    changes: tuple[Change, ...]
    distance: int
    score: float
    decision: Decision


@dataclass(frozen=True, slots=True)
class FieldOutcome:
    """What one input alone can do.

    Attributes:
        column: the input.
        before: its value.
        tried: how many other values were scored.
        lowest: the lowest score among them; None if none was tried.
        reached: decision → the smallest change that reaches it.
    """

    column: str
    before: Value
    tried: int
    lowest: Outcome | None
    reached: Mapping[Decision, Outcome]


@dataclass(frozen=True, slots=True)
class Changes:
    """What would have to differ.

    Attributes:
        goals: the milder decisions, the next one first.
        fields: the inputs behind the strongest pushes, the strongest first.
        pairs: decision → two inputs that reach it together, where no single one does.
        rows: how many rows were scored.
        held: the features of card history among the pushes, which were held fixed.
    """

    goals: tuple[Decision, ...]
    fields: tuple[FieldOutcome, ...]
    pairs: Mapping[Decision, Outcome]
    rows: int
    held: tuple[str, ...]


def find_changes(
    batch: TransactionBatch, bundle: Bundle, decision: Decision, contributions: Sequence[Reason]
) -> Changes:
    """Try other values of the inputs that raised the score most.

    Args:
        batch: one transaction, with the history of its card.
        bundle: that scored it.
        decision: what it decided.
        contributions: of its features, the largest in size first.
    """
    goals = tuple(Decision(value) for value in range(decision - 1, -1, -1))
    raising = [reason.feature for reason in contributions if reason.contribution > 0]
    held = tuple(feature for feature in raising if is_of_history(bundle, feature))
    if not goals:
        return Changes((), (), {}, 0, held)
    columns = _columns_behind(bundle, contributions)[:MAX_FIELDS]
    tried = _try_singles(batch, bundle, columns)
    fields = tuple(
        FieldOutcome(
            column,
            _value(batch, column),
            len(outcomes),
            min(outcomes, key=lambda outcome: (outcome.score, outcome.distance), default=None),
            _reached(outcomes, goals),
        )
        for column, outcomes in tried.items()
    )
    rows = sum(field.tried for field in fields)
    single = {goal for field in fields for goal in field.reached}
    open_goals = [goal for goal in goals if goal not in single]
    paired = _try_pairs(batch, bundle, tried) if open_goals else []
    return Changes(goals, fields, _reached(paired, open_goals), rows + len(paired), held)


def _try_singles(
    batch: TransactionBatch, bundle: Bundle, columns: Sequence[str]
) -> dict[str, list[Outcome]]:
    most = _SINGLE_ROWS // max(len(columns), 1)
    cells: list[tuple[tuple[Change, ...], int]] = []
    for column in columns:
        now = _value(batch, column)
        others = find_candidates(bundle, column, now, most)
        cells += [((Change(column, now, value),), i) for i, value in enumerate(others)]
    found: dict[str, list[Outcome]] = {column: [] for column in columns}
    for outcome in _score(batch, bundle, cells):
        found[outcome.changes[0].column].append(outcome)
    return found


def _try_pairs(
    batch: TransactionBatch, bundle: Bundle, tried: Mapping[str, Sequence[Outcome]]
) -> list[Outcome]:
    """Combinations of values that alone lower the score most, and what they leave to be lowered.

    One input may hide another: the score of a large amount at a new device may be as high without
    the device. So the inputs behind the pushes that are left after a change are tried as well.
    """
    best: list[list[Outcome]] = []
    for outcomes in tried.values():
        nearest: dict[float, Outcome] = {}
        for outcome in outcomes:  # the smallest change first
            nearest.setdefault(outcome.score, outcome)
        best.append([nearest[value] for value in sorted(nearest)[:_PAIRED_VALUES]])
    best = sorted(filter(None, best), key=lambda outcomes: outcomes[0].score)[:_PAIRED_FIELDS]
    cells = {
        _columns(one.changes + other.changes): (
            one.changes + other.changes,
            one.distance + other.distance,
        )
        for first, second in itertools.combinations(best, 2)
        for one, other in itertools.product(first, second)
    }
    for outcome in [outcomes[0] for outcomes in best[:_FOLLOWED]]:
        for changes, distance in _follow(batch, bundle, outcome):
            cells.setdefault(_columns(changes), (changes, distance))
    return _score(batch, bundle, list(cells.values()))


def _follow(
    batch: TransactionBatch, bundle: Bundle, outcome: Outcome
) -> Iterator[tuple[tuple[Change, ...], int]]:
    """A change, together with others of the inputs that raise the score after it."""
    varied = _vary(batch, [outcome.changes])
    raw = score(varied, bundle).raw
    contributions = attribute(varied, bundle, raw, bundle.predictor)[0].contributions
    taken = {change.column for change in outcome.changes}
    columns = [c for c in _columns_behind(bundle, contributions) if c not in taken]
    for column in columns[:_FOLLOWED_FIELDS]:
        now = _value(batch, column)
        for i, value in enumerate(find_candidates(bundle, column, now, _FOLLOWED_VALUES)):
            yield (*outcome.changes, Change(column, now, value)), outcome.distance + i


def _columns_behind(bundle: Bundle, contributions: Sequence[Reason]) -> list[str]:
    """The inputs of the features that raised a score, the strongest first."""
    raising = (reason.feature for reason in contributions if reason.contribution > 0)
    found = (column for feature in raising for column in columns_of(bundle, feature))
    return list(dict.fromkeys(found))


def _columns(changes: Sequence[Change]) -> frozenset[tuple[str, Value]]:
    return frozenset((change.column, change.after) for change in changes)


def _score(
    batch: TransactionBatch, bundle: Bundle, cells: Sequence[tuple[tuple[Change, ...], int]]
) -> list[Outcome]:
    scores = score(_vary(batch, [changes for changes, _ in cells]), bundle)
    return [
        Outcome(changes, distance, value, Decision(decision))
        for (changes, distance), value, decision in zip(
            cells, scores.scores.tolist(), scores.decisions.tolist(), strict=True
        )
    ]


def _vary(batch: TransactionBatch, rows: Sequence[Sequence[Change]]) -> TransactionBatch:
    """The one transaction of ``batch`` once for each row, with the changes of that row."""
    varied = batch.take(np.zeros(len(rows), np.int64))
    text = bytearray(batch.text.tobytes())
    for row, changes in enumerate(rows):
        for column, _, after in changes:
            if column in NUMBER_INDEX:
                varied.numbers[row, NUMBER_INDEX[column]] = np.nan if after is None else after
                continue
            data = b"" if after is None else str(after).encode("utf-8")
            varied.starts[row, TEXT_INDEX[column]] = len(text)
            varied.lengths[row, TEXT_INDEX[column]] = -1 if after is None else len(data)
            text += data
    return with_text(varied, text)


def _reached(outcomes: Sequence[Outcome], goals: Sequence[Decision]) -> dict[Decision, Outcome]:
    """For each decision the smallest change that leads to it, or to a milder one."""
    found = {}
    for goal in goals:
        enough = [outcome for outcome in outcomes if outcome.decision <= goal]
        if enough:
            found[goal] = min(enough, key=lambda outcome: (outcome.distance, outcome.score))
    return found


def _value(batch: TransactionBatch, column: str) -> Value:
    if column in TEXT_INDEX:
        return batch.string(0, TEXT_INDEX[column])
    number = float(batch.numbers[0, NUMBER_INDEX[column]])
    return None if number != number else number
