"""Compares a candidate with the champion on rows that the champion did not learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_INDEX
from stream_scorer.quality.comparison import Comparison, compare
from trainer.data.ingest import Part
from trainer.evaluation.gate import GateVerdict
from trainer.evaluation.latency import Latency
from trainer.evaluation.measures import Floats, rank, roc_auc, top
from trainer.fitting.plan import Plan

_CARD: Final = NUMBER_INDEX["card1"]


@dataclass(frozen=True, slots=True)
class Rival:
    """The champion's result on the candidate's test rows.

    Attributes:
        comparison: None if the champion cannot be compared with; ``notes`` then say why.
        figures: the champion's measures, for the metadata; None without a comparison.
        notes: what people should know of the comparison.
    """

    comparison: Comparison | None = None
    figures: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


def card_clusters(batch: TransactionBatch) -> NDArray[np.int64]:
    """A number for each row that is the same for rows of one card; int64 ``[n]``.

    A card is a value of ``card1``, the key of the input topic. A row without it is a card of its
    own.
    """
    cards = batch.numbers[:, _CARD]
    is_missing = np.isnan(cards)
    _, numbers = np.unique(np.where(is_missing, 0.0, cards), return_inverse=True)
    clusters = numbers.astype(np.int64)
    clusters[is_missing] = len(cards) + np.arange(int(is_missing.sum()))
    return clusters


def compare_scores(
    rows: Part,
    candidate: Floats,
    champion: Floats,
    version: str,
    *,
    budget: float,
    seed: int,
    notes: tuple[str, ...] = (),
) -> Rival:
    """Compare two models' scores of the same rows, clustered by card.

    Args:
        rows: rows that neither model learned from, of both classes.
        candidate: the new model's scores, shape ``[n]``.
        champion: the scores of the model to beat, shape ``[n]``.
        version: the version to beat.
        budget: share of the rows that can be reviewed.
        seed: seeds the bootstrap.
        notes: what people should know of the comparison.
    """
    ranking = rank(champion, rows.labels)
    clusters = card_clusters(rows.batch)
    comparison = compare(rows.labels, clusters, candidate, champion, budget, seed)
    figures = {
        "version": version,
        "average_precision": comparison.average_precision.champion,
        "roc_auc": roc_auc(ranking),
        "recall_top_2_percent": top(ranking, 0.02)["recall"],
    }
    return Rival(comparison, figures, notes)


def budget_of(plan: Plan, measures: Mapping[str, Any]) -> float:
    """The share of rows that can be reviewed; without a budget, what the thresholds flag."""
    return plan.decisions.review_budget or max(measures["review"]["share"], 1 / measures["rows"])


def gate_facts(verdict: GateVerdict, rival: Rival, latency: Latency | None) -> dict[str, Any]:
    """The gate's result as plain data, for the metadata."""
    return {
        "passed": verdict.has_passed,
        "refusals": list(verdict.refusals),
        "notes": list(verdict.notes),
        "champion": rival.figures,
        "comparison": None if rival.comparison is None else rival.comparison.facts(),
        "latency": None if latency is None else latency.facts(),
    }
