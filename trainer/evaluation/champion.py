"""Compares a candidate with the champion on rows that the champion did not learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.bundle import Bundle
from trainer.data.ingest import Part
from trainer.evaluation.comparison import Comparison, card_clusters, compare
from trainer.evaluation.evaluate import score_all
from trainer.evaluation.gate import GateVerdict
from trainer.evaluation.latency import Latency
from trainer.evaluation.measures import Floats, rank, roc_auc, top
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
    measures: Mapping[str, Any],
) -> Rival:
    """Compare the candidate's ``scores`` of the test rows with the champion's.

    Rows that the champion may have learned from are left out: it would look better on them than it
    is. If too few frauds remain, there is no comparison.

    Args:
        test: the test rows.
        scores: the candidate's scores of them; its model must not have learned from them.
        champion: None if there is none, or if this code cannot load it.
        plan: gives the least number of frauds, the review budget and the seed of the bootstrap.
        measures: the candidate's measures on all test rows.
    """
    if champion is None:
        return Rival()
    version, until = champion.version, learned_until(champion.metadata)
    unseen = np.ones(len(test), np.bool_) if until is None else test.batch.times > until
    rows, frauds = int(unseen.sum()), int(test.labels[unseen].sum())
    if not plan.gate.min_frauds <= frauds < rows:
        why = f"it learned from the test rows, except {rows:,} with {frauds} frauds"
        return Rival(notes=(f"not compared with {version}: {why}",))
    part, ours = test, scores
    notes: tuple[str, ...] = ()
    if rows < len(test):
        part, ours = Part(test.batch.take(unseen), test.labels[unseen]), scores[unseen]
        later = f"{rows:,} of {len(test):,} test rows that are later than the rows {version} saw"
        notes = (f"compared on the {later}",)
    theirs = score_all(part.batch, champion)
    budget = budget_of(plan, measures)
    return compare_scores(
        part, ours, theirs, version, budget=budget, seed=plan.model.seed, notes=notes
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
