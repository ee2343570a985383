"""Compares what scores state with what their model gives for their inputs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.scores.program import DECISIONS
from stream_scorer.audit.recompute.stated import Stated
from stream_scorer.audit.records.columns import Coordinates
from stream_scorer.audit.records.results import (
    NO_REASONS,
    UNREAD,
    Results,
    bits_of,
    hash_reasons,
    number_of,
)
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.isolated import score_isolated

MOST_DESCRIBED: Final = 20
"""Differences that are described, of one batch; all are counted."""

_SHOWN_CHARS: Final = 200


class Difference(NamedTuple):
    """A score that its model version does not give."""

    source: Coordinates
    outcome: Coordinates
    detail: str


class Comparison(NamedTuple):
    """How many scores were compared, how many of them differ, and the first that do."""

    compared: int
    differing: int
    differences: Sequence[Difference]


NOTHING: Final = Comparison(0, 0, ())


def join(parts: Iterable[Comparison]) -> Comparison:
    """The sum of several."""
    joined = NOTHING
    for part in parts:
        joined = Comparison(
            joined.compared + part.compared,
            joined.differing + part.differing,
            [*joined.differences, *part.differences],
        )
    return joined


def compare(partition: int, stated: Stated, batch: TransactionBatch, bundle: Bundle) -> Comparison:
    """Compare scores of inputs of one partition with recomputed ones.

    Args:
        partition: the input partition.
        stated: the scores, all of the bundle's version.
        batch: the transaction of each.
        bundle: the model version.

    Raises:
        ScorerError: the bundle cannot score, whatever the transaction.
    """
    again, failed = recompute(batch, bundle)
    differs = find_differences(stated.results, again)
    differs[list(failed)] = True
    rows = np.flatnonzero(differs)
    described = [
        Difference(
            Coordinates(partition, int(stated.sources[row])),
            Coordinates(int(stated.partitions[row]), int(stated.offsets[row])),
            _describe(row, stated.results, again, failed),
        )
        for row in rows[:MOST_DESCRIBED].tolist()
    ]
    return Comparison(len(stated.sources), len(rows), described)


def recompute(batch: TransactionBatch, bundle: Bundle) -> tuple[Results, dict[int, str]]:
    """The results of a batch, and why the rows without one have none.

    Raises:
        ScorerError: the bundle cannot score, whatever the transaction.
    """
    parts, failed = score_isolated(batch, bundle)
    scores, decisions = np.full(len(batch), np.nan), np.zeros(len(batch), np.int8)
    reasons = np.full(len(batch), NO_REASONS, np.int64)
    for rows, found in parts:
        scores[rows], decisions[rows] = found.scores, found.decisions
        for row, own in found.reasons.items():
            reasons[rows[row]] = hash_reasons(own)
    review, block = (
        np.full(len(batch), bits_of(threshold), np.int64)
        for threshold in (bundle.thresholds.review, bundle.thresholds.block)
    )
    return Results(scores.view(np.int64), review, block, decisions, reasons), failed


def find_differences(stated: Results, again: Results) -> NDArray[np.bool_]:
    """The rows in which any bit differs."""
    reasons = (stated.reasons != again.reasons) & (stated.reasons != UNREAD)
    found: NDArray[np.bool_] = (
        (stated.scores != again.scores)
        | (stated.reviews != again.reviews)
        | (stated.blocks != again.blocks)
        | (stated.decisions != again.decisions)
        | reasons
    )
    return found


def _describe(row: int, stated: Results, again: Results, failed: Mapping[int, str]) -> str:
    """What differs, with both values."""
    if row in failed:
        return f"recomputing fails: {failed[row]}"[:_SHOWN_CHARS]
    names = ("score", "review threshold", "block threshold")
    shown = [
        f"{name} {number_of(int(own[row]))!r}, recomputed {number_of(int(other[row]))!r}"
        for name, own, other in zip(names, stated[:3], again[:3], strict=True)
        if own[row] != other[row]
    ]
    decisions = [
        DECISIONS[code] if code >= 0 else "unknown"
        for code in (int(stated.decisions[row]), int(again.decisions[row]))
    ]
    if decisions[0] != decisions[1]:
        shown.append(f"decision {decisions[0]}, recomputed {decisions[1]}")
    if stated.reasons[row] not in (again.reasons[row], UNREAD):
        shown.append("other reasons")
    return "; ".join(shown)
