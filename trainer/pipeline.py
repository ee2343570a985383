"""The training run: ingest, split, features, fit, thresholds, evaluate, gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.model.bundle import Bundle, Draft, Thresholds
from trainer.data.ingest import Part, TrainingRows, ingest
from trainer.data.source import SyntheticSource, TrainingSource
from trainer.data.split import PARTS, Split, split_by_time
from trainer.evaluation.evaluate import candidate_bundle, measure, score_all
from trainer.evaluation.gate import GateVerdict, judge_candidate
from trainer.evaluation.plots import plot_facts
from trainer.evaluation.reference import golden_rows, reference_facts
from trainer.evaluation.thresholds import choose_thresholds
from trainer.fitting.fit import Fitted, fit_model, make_dataset, parameters
from trainer.fitting.plan import Plan
from trainer.stages import Stages


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained, measured and judged model, ready to publish.

    ``draft.facts`` becomes part of the metadata.
    """

    draft: Draft
    bundle: Bundle
    verdict: GateVerdict
    metrics: Mapping[str, Any]
    rows: int
    trees: int


def run_training(
    source: TrainingSource,
    plan: Plan,
    stages: Stages,
    champion: Bundle | None = None,
    champion_version: str | None = None,
) -> Candidate:
    """Train a candidate and compare it with ``champion`` on the same test rows.

    ``champion_version`` is the version to beat, even if it could not be loaded.

    Raises:
        UsageError: the source or the plan cannot be used.
    """
    plan.check()
    unit = "rows" if isinstance(source, SyntheticSource) else "bytes"
    with stages.stage("ingest", source.size(), unit) as advance:
        rows = ingest(source, advance)
    with stages.stage("split"):
        split = split_by_time(rows.times, rows.labels, plan.split)
        train, validation, test = (rows.part(split.mask(part)) for part in PARTS)
        times = rows.times[split.test]
        rows.release()
    features, fitted = _learn(train, validation, plan, stages)
    del train
    bundle = candidate_bundle(fitted.model_text, features)
    with stages.stage("thresholds"):
        validation_scores = score_all(validation.batch, bundle)
        thresholds, chosen = choose_thresholds(validation_scores, validation.labels, plan.decisions)
        bundle = replace(bundle, thresholds=thresholds)
    with stages.stage("evaluate"):
        scores = score_all(test.batch, bundle)
        seed = plan.model.seed
        metrics = {
            "validation": measure(validation, validation_scores, thresholds, seed),
            "test": measure(test, scores, thresholds, seed),
        }
        rival = _rival(test, champion, seed)
    verdict = judge_candidate(metrics["test"], rival, plan.gate, champion_version)
    facts = _facts(rows, split, plan, fitted, metrics) | {
        "thresholds": chosen,
        "gate": _gate_facts(verdict, rival, champion),
        "reference": reference_facts(test.batch, scores, features, list(fitted.gains), "test"),
        "plots": plot_facts(scores, test.labels, rows.times, rows.labels, fitted.gains)
        | {"test_window": [int(times.min()), int(times.max())]},
    }
    draft = Draft(fitted.model_text, features, thresholds, golden_rows(test.batch, scores), facts)
    return Candidate(draft, bundle, verdict, metrics, len(rows), fitted.trees)


def _learn(train: Part, validation: Part, plan: Plan, stages: Stages) -> tuple[FeatureSet, Fitted]:
    with stages.stage("features"):
        features = FeatureSet.fit(train.batch)
        train_set = make_dataset(
            features.transform(train.batch), train.labels, features.names, plan.model
        )
        validation_set = make_dataset(
            features.transform(validation.batch),
            validation.labels,
            features.names,
            plan.model,
            reference=train_set,
        )
    with stages.stage("fit", plan.model.trees, "trees", is_limit=True) as advance:
        curve = stages.curve("fold_1.validation_average_precision")
        return features, fit_model(train_set, validation_set, plan.model, advance, curve)


def _rival(test: Part, champion: Bundle | None, seed: int) -> dict[str, Any] | None:
    """The champion's measures on the candidate's test rows."""
    if champion is None:
        return None
    scores: NDArray[np.float64] = score_all(test.batch, champion)
    thresholds = Thresholds(champion.thresholds.review, champion.thresholds.block)
    return measure(test, scores, thresholds, seed)


def _facts(
    rows: TrainingRows, split: Split, plan: Plan, fitted: Fitted, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "training": {
            **rows.facts,
            "rows": len(rows),
            "frauds": int(rows.labels.sum()),
            "window_seconds": [int(rows.times.min()), int(rows.times.max())],
            "split": split.facts(rows.times, rows.labels),
        },
        "parameters": {
            **plan.facts(),
            "lightgbm": parameters(plan.model),
            "trees_used": fitted.trees,
        },
        "metrics": metrics,
    }


def _gate_facts(
    verdict: GateVerdict, rival: Mapping[str, Any] | None, champion: Bundle | None
) -> dict[str, Any]:
    compared = None
    if rival is not None and champion is not None:
        compared = {
            "version": champion.version,
            "average_precision": rival["average_precision"],
            "roc_auc": rival["roc_auc"],
            "recall_top_2_percent": rival["top"]["0.02"]["recall"],
        }
    return {
        "passed": verdict.has_passed,
        "refusals": list(verdict.refusals),
        "notes": list(verdict.notes),
        "champion": compared,
    }
