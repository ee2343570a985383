"""Compares a candidate with the champion on rows that the champion did not learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.bundle import Bundle
from trainer.data.ingest import Part
from trainer.evaluation.comparison import Comparison, Difference, card_clusters, compare
from trainer.evaluation.evaluate import score_all
from trainer.evaluation.gate import GateVerdict
from trainer.evaluation.latency import Latency
from trainer.evaluation.measures import rank, roc_auc, top
from trainer.fitting.plan import Plan


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


def learned_until(metadata: Mapping[str, Any]) -> int | None:
    """The time, in seconds, of the last row that a version learned from; None if unknown."""
    window = _path(metadata, "served", "window_seconds")
    if isinstance(window, list) and len(window) == 2:
        last = window[1]
    else:  # versions of earlier releases were not refit on the rows of their test
        last = _path(metadata, "training", "split", "validation", "last_seconds")
    return int(last) if isinstance(last, int | float) else None


def face_champion(
    test: Part,
    scores: NDArray[np.float64],
    champion: Bundle | None,
    plan: Plan,
    *,
    measures: Mapping[str, Any],
    training: Mapping[str, Any],
) -> Rival:
    """Compare the candidate's ``scores`` of the test rows with the champion's.

    Rows that the champion may have learned from are left out: it would look better on them than it
    is. If too few frauds remain, the champion's own evaluation is used, provided that it was of
    the same rows.

    Args:
        test: the test rows.
        scores: the candidate's scores of them; its model must not have learned from them.
        champion: None if there is none, or if this code cannot load it.
        plan: gives the least number of frauds, the review budget and the seed of the bootstrap.
        measures: the candidate's measures on all test rows.
        training: the candidate's training facts: ``source`` and ``sha256``.
    """
    if champion is None:
        return Rival()
    until = learned_until(champion.metadata)
    unseen = np.ones(len(test), np.bool_) if until is None else test.batch.times > until
    frauds = int(test.labels[unseen].sum())
    if plan.gate.min_frauds <= frauds < int(unseen.sum()):
        # Without a budget, it is the share of rows that the candidate's own thresholds flag.
        budget = plan.decisions.review_budget or max(measures["review"]["share"], 1 / len(test))
        return _on_unseen(test, scores, champion, unseen, budget, plan.model.seed)
    why = (
        f"{champion.version} learned from the test rows, except {int(unseen.sum()):,} with "
        f"{frauds} frauds"
    )
    recorded = _recorded(champion, measures, training)
    if recorded is None:
        return Rival(notes=(f"not compared with {champion.version}: {why}",))
    note = f"compared with {champion.version}'s own evaluation of the same rows: {why}"
    return Rival(_unpaired(recorded, measures), recorded, (note,))


def _on_unseen(
    test: Part,
    scores: NDArray[np.float64],
    champion: Bundle,
    unseen: NDArray[np.bool_],
    budget: float,
    seed: int,
) -> Rival:
    batch = test.batch if unseen.all() else test.batch.take(unseen)
    labels = test.labels[unseen]
    theirs = score_all(batch, champion)
    comparison = compare(labels, card_clusters(batch), scores[unseen], theirs, budget, seed)
    note = (
        f"compared on the {comparison.rows:,} of {len(test):,} test rows that are later than the "
        f"rows {champion.version} learned from"
    )
    ranking = rank(theirs, labels)
    figures = {
        "version": champion.version,
        "average_precision": comparison.average_precision.champion,
        "roc_auc": roc_auc(ranking),
        "recall_top_2_percent": top(ranking, 0.02)["recall"],
    }
    return Rival(comparison, figures, () if unseen.all() else (note,))


def _recorded(
    champion: Bundle, measures: Mapping[str, Any], training: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The champion's published figures, if they are of the candidate's test rows."""
    theirs = _path(champion.metadata, "metrics", "test")
    before = champion.metadata.get("training")
    if not isinstance(theirs, dict) or not isinstance(before, dict):
        return None
    is_same = all(before.get(key) == training.get(key) for key in ("source", "sha256"))
    is_same &= all(theirs.get(key) == measures[key] for key in ("rows", "frauds"))
    figures = {
        "average_precision": theirs.get("average_precision"),
        "roc_auc": theirs.get("roc_auc"),
        "recall_top_2_percent": _path(theirs, "top", "0.02", "recall"),
    }
    if not is_same or not all(isinstance(value, float) for value in figures.values()):
        return None
    return {"version": champion.version, **figures}


def _unpaired(figures: Mapping[str, Any], measures: Mapping[str, Any]) -> Comparison:
    """The two evaluations of the same rows, side by side; there are no scores to resample."""
    recall = float(measures["top"]["0.02"]["recall"])
    return Comparison(
        average_precision=Difference(
            measures["average_precision"], figures["average_precision"], None
        ),
        recall_at_budget=Difference(recall, figures["recall_top_2_percent"], None),
        budget=0.02,
        rows=measures["rows"],
        frauds=measures["frauds"],
        fraud_cards=None,
        is_paired=False,
    )


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


def _path(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
