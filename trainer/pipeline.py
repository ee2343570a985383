"""The training run: ingest, folds, calibration, thresholds, gate, and the model that is served."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.model.bundle import Bundle, Draft, Thresholds
from stream_scorer.model.calibration import Calibration, calibrate
from trainer.data.ingest import Part, ingest
from trainer.data.rows import join_rows, some_rows
from trainer.data.source import TrainingSource
from trainer.data.split import Split, split_by_time, window_facts
from trainer.evaluation.calibration import Piece, fit_pooled
from trainer.evaluation.evaluate import candidate_bundle, measure, measure_ranking, score_all
from trainer.evaluation.gate import GateVerdict, judge_candidate
from trainer.evaluation.plots import plot_facts
from trainer.evaluation.reference import golden_rows, reference_facts
from trainer.evaluation.thresholds import choose_thresholds
from trainer.fitting.fit import parameters
from trainer.fitting.plan import Plan
from trainer.learning import Learned, Learning, TreeCount
from trainer.memory import return_freed_memory
from trainer.rival import Paired, pair_with_champion
from trainer.served import Served, train_served
from trainer.stages import Stages

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


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


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """What is known from the test rows, before the served model is trained.

    ``scores`` are the calibrated scores of all test rows, each by the model of its fold, which has
    not seen the row.
    """

    test: Part
    scores: Floats
    calibration: Calibration | None
    thresholds: Thresholds
    metrics: dict[str, Any]
    verdict: GateVerdict
    facts: dict[str, Any]


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
    with stages.stage("ingest", source.size()) as advance:
        ingested = ingest(source, advance)
        source_facts = ingested.facts
        rows = join_rows(ingested)
    with stages.stage("split"):
        return_freed_memory()
        split = split_by_time(rows.batch.times, rows.labels, plan.split)
        for note in split.notes:
            log.warning("%s", note)
    n_fits = len(split.folds) + plan.is_refit
    learning = Learning(rows, stages, TreeCount(n_fits * plan.model.trees))
    learned, uncalibrated = _learn_folds(learning, split, plan)
    evaluated = _evaluate(learning, split, uncalibrated, plan, (champion, champion_version))
    served = train_served(learning, split.folds, learned, plan)
    with stages.stage("reference"):
        bundle = candidate_bundle(served.learned.fitted.model_text, served.learned.features)
        bundle = replace(bundle, thresholds=evaluated.thresholds, calibration=evaluated.calibration)
        described = _describe_test(rows, split, learned[-1], served, evaluated)
    facts = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "training": source_facts | _training_facts(rows, split, stages),
        "parameters": {
            **plan.facts(),
            "lightgbm": parameters(plan.model),
            "trees_used": served.learned.fitted.trees,
        },
        "evaluation": _evaluation_facts(rows, split, learned, uncalibrated, plan.model.seed),
        "served": served.facts,
        **evaluated.facts,
        **described,
    }
    draft = Draft(
        served.learned.fitted.model_text,
        served.learned.features,
        evaluated.thresholds,
        golden_rows(evaluated.test.batch, evaluated.scores),
        facts,
        evaluated.calibration,
    )
    return Candidate(
        draft, bundle, evaluated.verdict, evaluated.metrics, len(rows), served.facts["trees"]
    )


def _learn_folds(
    learning: Learning, split: Split, plan: Plan
) -> tuple[list[Learned], list[Floats]]:
    """The model of each fold, and its scores of the fold's test rows, before calibration."""
    learned, scores = [], []
    for number, fold in enumerate(split.folds, 1):
        one = learning.learn(fold.train, fold.validation, plan.model.trees, plan.model)
        with learning.stages.stage("score"):
            test = some_rows(learning.rows, fold.test)
            bundle = candidate_bundle(one.fitted.model_text, one.features)
            scores.append(score_all(test.batch, bundle))
        learned.append(one)
        log.info("window %d of %d: %d trees", number, len(split.folds), one.fitted.trees)
    return learned, scores


def _evaluate(
    learning: Learning,
    split: Split,
    uncalibrated: Sequence[Floats],
    plan: Plan,
    champion: tuple[Bundle | None, str | None],
) -> _Evaluated:
    """Calibrate, choose thresholds, measure and judge, on the test rows of all folds."""
    stages, seed = learning.stages, plan.model.seed
    test = some_rows(learning.rows, split.test)
    labels = [learning.rows.labels[fold.test] for fold in split.folds]
    with stages.stage("calibrate"):
        calibration, calibration_facts = fit_pooled(list(map(Piece, uncalibrated, labels)))
        scores = calibrate(np.concatenate(uncalibrated), calibration)
    with stages.stage("thresholds"):
        thresholds, chosen = choose_thresholds(scores, test.labels, plan.decisions)
    with stages.stage("evaluate"):
        measures = measure(test, scores, thresholds, seed)
        # The map has seen all test rows. Its log loss is that of maps that have not.
        judged = calibration_facts["after"] or calibration_facts["before"]
        measures["log_loss"] = judged["log_loss"]
    paired, notes = pair_with_champion(learning, split, scores, champion[0], plan)
    verdict, gate = _judge(measures, paired, plan, champion[1], notes)
    facts = {
        "metrics": {"test": measures},
        "thresholds": {**chosen, "split": "test"},
        "calibration": calibration_facts,
        "gate": gate,
    }
    return _Evaluated(test, scores, calibration, thresholds, facts["metrics"], verdict, facts)


def _judge(
    measures: Mapping[str, Any],
    paired: Paired | None,
    plan: Plan,
    version: str | None,
    notes: Sequence[str],
) -> tuple[GateVerdict, dict[str, Any]]:
    """The gate's verdict, and its facts for the metadata."""
    ours = theirs = compared = None
    if paired is not None:
        seed, never = plan.model.seed, Thresholds(1.0, 1.0)
        ours = measure(paired.rows, paired.candidate, never, seed)
        theirs = measure(paired.rows, paired.champion, never, seed)
        compared = {
            "version": version,
            "average_precision": theirs["average_precision"],
            "roc_auc": theirs["roc_auc"],
            "recall_top_2_percent": theirs["top"]["0.02"]["recall"],
        }
    verdict = judge_candidate(measures, theirs, plan.gate, version, notes, ours)
    return verdict, {
        "passed": verdict.has_passed,
        "refusals": list(verdict.refusals),
        "notes": list(verdict.notes),
        "champion": compared,
    }


def _describe_test(
    rows: Part, split: Split, last: Learned, served: Served, evaluated: _Evaluated
) -> dict[str, Any]:
    """Reference histograms and the data of the plots, for the metadata.

    Scores are those of the test rows by models that have not seen them: the scores of a refit model
    on its own training rows are too sharp. The same holds for features with fitted tables, so they
    are those of the last fold on its test rows.
    """
    gains = served.learned.fitted.gains
    newest = some_rows(rows, split.folds[-1].test)
    times = evaluated.test.batch.times
    plots = plot_facts(
        evaluated.scores, evaluated.test.labels, rows.batch.times, rows.labels, gains
    )
    judged = evaluated.facts["calibration"]["after"] or evaluated.facts["calibration"]["before"]
    plots["calibration"] = [
        [found["mean_score"], found["frauds"] / found["rows"], found["rows"]]
        for found in judged["reliability"]
    ]
    plots["test_window"] = [int(times[0]), int(times[-1])]
    reference = reference_facts(newest.batch, evaluated.scores, last.features, list(gains), "test")
    return {"reference": reference, "plots": plots}


def _training_facts(rows: Part, split: Split, stages: Stages) -> dict[str, Any]:
    times = rows.batch.times
    return {
        "rows": len(rows),
        "frauds": int(rows.labels.sum()),
        "window_seconds": [int(times[0]), int(times[-1])],
        "split": split.facts(times, rows.labels),
        "stages": stages.facts(),
    }


def _evaluation_facts(
    rows: Part, split: Split, learned: Sequence[Learned], scores: Sequence[Floats], seed: int
) -> dict[str, Any]:
    """Rows, trees and ranking measures of each fold."""
    times, labels = rows.batch.times, rows.labels
    folds = []
    for fold, one, of_fold in zip(split.folds, learned, scores, strict=True):
        folds.append(
            {
                "train": window_facts(fold.train, times, labels),
                "validation": window_facts(fold.validation, times, labels),
                "test": window_facts(fold.test, times, labels),
                "trees": one.fitted.trees,
                **measure_ranking(of_fold, labels[fold.test], seed),
            }
        )
    return {"folds": folds, "gap_days": split.gap_days, "notes": list(split.notes)}
