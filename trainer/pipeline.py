"""The training run: ingest, folds, calibration, thresholds, gate, and the model that is served."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.program import Program
from stream_scorer.model.bundle import Bundle, Draft, Thresholds
from stream_scorer.model.bundled_history import HistoryDraft
from stream_scorer.model.calibration import Calibration, calibrate
from trainer.candidate import (
    Candidate,
    SourceRows,
    compare_paired,
    lost_columns,
    read_source,
    time_models,
)
from trainer.data.rows import Part, some_rows
from trainer.data.source import TrainingSource
from trainer.data.split import Split, split_by_time, window_facts
from trainer.evaluation.calibration import Piece, fit_pooled, judged_scores
from trainer.evaluation.champion import gate_facts
from trainer.evaluation.evaluate import candidate_bundle, measure, measure_ranking, score_all
from trainer.evaluation.gate import judge_candidate
from trainer.evaluation.plots import plot_facts
from trainer.evaluation.reference import golden_rows, reference_facts
from trainer.evaluation.report_facts import report_facts
from trainer.evaluation.thresholds import choose_thresholds, evaluation_rows
from trainer.fitting.decisions import BY_FOLDS, BY_REFITS
from trainer.fitting.plan import Plan
from trainer.history.burn_in import burn_in_facts, first_learned_row, log_burn_in
from trainer.history.golden_stream import golden_stream
from trainer.history.seed import Seed
from trainer.learning import Learned, Learning, TreeCount
from trainer.memory import return_freed_memory
from trainer.programs.chosen import ChosenProgram, choose_program
from trainer.rival import pair_with_champion
from trainer.served import Served, score_by_trial_refits, train_served
from trainer.stages import Stages

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """What is known from the test rows, before the served model is trained.

    ``scores`` are the calibrated scores of all test rows, each by the model of its fold, which has
    not seen the row. ``decided`` are those that decisions are judged by: of trial refits, which
    have not seen the row either, or the same without a refit.
    """

    test: Part
    scores: Floats
    decided: Floats
    calibration: Calibration | None
    thresholds: Thresholds
    facts: dict[str, Any]

    @property
    def metrics(self) -> dict[str, Any]:
        """The measures of the test rows, under ``test``."""
        found: dict[str, Any] = self.facts["metrics"]
        return found


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
    chosen = choose_program(plan.features.program, plan.features.without)
    program = chosen.program
    champions = () if champion is None else (champion.features.program,)
    seeded = program if plan.features.has_seed else None
    read = read_source(source, stages, (program, *champions), seeded)
    rows = read.rows_for(program)
    with stages.stage("split"):
        split = _split(rows, program, plan)
    fits = len(split.folds) * (1 + plan.is_refit) + plan.is_refit
    trees = TreeCount(fits * plan.model.trees)
    learning = Learning(rows, program, stages, trees, read.columns)
    learned, uncalibrated = _learn_folds(learning, split, plan)
    refits = score_by_trial_refits(learning, split, learned, plan)
    evaluated = _evaluate(learning, split, uncalibrated, refits, plan)
    paired, notes = pair_with_champion(learning, split, evaluated.scores, champion, plan)
    rival = compare_paired(paired, notes, champion, evaluated.metrics["test"], plan)
    served = train_served(learning, split, learned, plan)
    with stages.stage("reference"):
        bundle = candidate_bundle(served.learned.fitted.model_text, served.learned.features)
        bundle = replace(bundle, thresholds=evaluated.thresholds, calibration=evaluated.calibration)
        described = _describe_test(rows, split, learned[-1], bundle, served, evaluated, plan)
        latency = time_models(read, split.test, bundle, champion)
    verdict = judge_candidate(
        evaluated.metrics["test"],
        rival.comparison,
        plan.gate,
        champion_version,
        rival.notes,
        latency,
        lost_columns(read.facts, champion),
    )
    facts = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "training": _training_facts(read, split, program, stages),
        "parameters": _parameters(plan, chosen, served),
        "evaluation": _evaluation_facts(rows, split, learned, uncalibrated, plan.model.seed),
        "served": served.facts,
        **evaluated.facts,
        "gate": gate_facts(verdict, rival, latency),
        **described,
    }
    seed, n_trees = read.seed(program), served.facts["trees"]
    draft = _draft(served, evaluated, facts, seed)
    return Candidate(draft, bundle, verdict, evaluated.metrics, len(rows), n_trees, seed)


def _parameters(plan: Plan, chosen: ChosenProgram, served: Served) -> dict[str, Any]:
    return {
        **plan.facts(),
        "features": chosen.facts(),
        plan.model.learner: served.learned.fitted.parameters,
        "trees_used": served.learned.fitted.trees,
    }


def _draft(
    served: Served, evaluated: _Evaluated, facts: dict[str, Any], seed: Seed | None
) -> Draft:
    spec = served.learned.features.program.history
    history = None
    if spec is not None:
        history = HistoryDraft(golden_stream(spec), None if seed is None else seed.facts)
    return Draft(
        served.learned.fitted.model_text,
        served.learned.features,
        evaluated.thresholds,
        golden_rows(evaluated.test.batch, evaluated.scores),
        facts,
        evaluated.calibration,
        history,
    )


def _split(rows: Part, program: Program, plan: Plan) -> Split:
    return_freed_memory()
    times = rows.batch.times
    split = split_by_time(times, rows.labels, plan.split, first_learned_row(times, program))
    if program.history is not None:
        log_burn_in(times, split.first)
    for note in split.notes:
        log.warning("%s", note)
    return split


def _learn_folds(
    learning: Learning, split: Split, plan: Plan
) -> tuple[list[Learned], list[Floats]]:
    """The model of each fold, and its scores of the fold's test rows, before calibration."""
    learned, scores = [], []
    for number, fold in enumerate(split.folds, 1):
        curve = learning.stages.curve(f"fold_{number}.validation_average_precision")
        one = learning.learn(fold.train, fold.validation, plan.model.trees, plan.model, curve)
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
    refits: Sequence[Floats] | None,
    plan: Plan,
) -> _Evaluated:
    """Calibrate, choose thresholds and measure, on the test rows of all folds.

    What ranks rows is measured on the folds' scores ``uncalibrated``. The map and the thresholds
    are for the model that is served, so they come from the scores of the trial ``refits``.
    """
    stages, seed = learning.stages, plan.model.seed
    test = some_rows(learning.rows, split.test)
    labels = [learning.rows.labels[fold.test] for fold in split.folds]
    with stages.stage("calibrate"):
        like_served = uncalibrated if refits is None else refits
        calibration, calibration_facts = fit_pooled(list(map(Piece, like_served, labels)))
        scores, decided = (
            calibrate(np.concatenate(each), calibration) for each in (uncalibrated, like_served)
        )
    with stages.stage("thresholds"):
        thresholds, chosen = choose_thresholds(
            evaluation_rows(test, decided, "test"), plan.decisions
        )
    chosen["scored_by"] = BY_FOLDS if refits is None else BY_REFITS
    with stages.stage("evaluate"):
        measures = measure(test, scores, thresholds, seed, decided)
        # The map has seen all test rows. Its log loss is that of maps that have not.
        measures["log_loss"] = judged_scores(calibration_facts)["log_loss"]
    facts = {
        "metrics": {"test": measures},
        "thresholds": chosen,
        "calibration": calibration_facts,
    }
    return _Evaluated(test, scores, decided, calibration, thresholds, facts)


def _describe_test(
    rows: Part,
    split: Split,
    last: Learned,
    bundle: Bundle,
    served: Served,
    evaluated: _Evaluated,
    plan: Plan,
) -> dict[str, Any]:
    """Reference histograms and the data of the plots, for the metadata.

    The reference scores are those of ``bundle``, which is served, on the test rows. The folds'
    models have learned from fewer rows and have fewer trees, so their scores are spread differently
    (docs/model.md has figures). That a refit model has learned from these rows sharpens the highest
    scores, and hardly their deciles. Features with fitted tables are those of the last fold on its
    test rows, which its tables have not seen.
    """
    gains = served.learned.fitted.gains
    newest = some_rows(rows, split.folds[-1].test)
    times = evaluated.test.batch.times
    plots = plot_facts(
        evaluated.scores,
        evaluated.test.labels,
        rows.batch.times,
        rows.labels,
        gains,
        evaluated.decided,
    )
    plots["calibration"] = [
        [found["mean_score"], found["frauds"] / found["rows"], found["rows"]]
        for found in judged_scores(evaluated.facts["calibration"])["reliability"]
    ]
    plots["test_window"] = [int(times[0]), int(times[-1])]
    scores = score_all(evaluated.test.batch, bundle)
    reference = reference_facts(newest.batch, scores, last.features, list(gains), "test")
    report = _report_facts(rows, split, last, evaluated, plan.model.seed)
    return {"reference": reference, "plots": plots, **report}


def _report_facts(
    rows: Part, split: Split, last: Learned, evaluated: _Evaluated, seed: int
) -> dict[str, Any]:
    """Slices, contributions and drift for the report, by the last fold's model.

    That model has not seen its test rows, so its fitted tables do not look into them.
    """
    bundle = candidate_bundle(last.fitted.model_text, last.features)
    bundle = replace(bundle, thresholds=evaluated.thresholds)
    fold = split.folds[-1]
    earlier, newest = (rows.batch.take(part) for part in (fold.train, fold.test))
    gains = last.fitted.gains
    return report_facts(
        evaluated.test,
        evaluated.scores,
        bundle,
        gains,
        earlier,
        seed,
        described=newest,
        decided=evaluated.decided,
    )


def _training_facts(
    read: SourceRows, split: Split, program: Program, stages: Stages
) -> dict[str, Any]:
    rows, history = read.rows, read.history(program)
    times = rows.batch.times
    facts = {
        **read.facts,
        "rows": len(rows),
        "frauds": int(rows.labels.sum()),
        "window_seconds": [int(times[0]), int(times[-1])],
        "split": split.facts(times, rows.labels),
        "stages": stages.facts(),
    }
    if history is not None:
        facts["history"] = history.facts | {"burn_in": burn_in_facts(times, split.first)}
    return facts


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
