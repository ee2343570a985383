"""``fraud-trainer train``: the whole run, from the flags to the promotion."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from typing import Any

from stream_scorer.model.store.opening import open_store
from stream_scorer.model.store.port import ArtifactStore
from trainer.commands.tracking import finish_tracking
from trainer.cpus import available_cpus
from trainer.data.source import CsvSource, SyntheticSource, TrainingSource
from trainer.fitting.plan import DecisionPlan, ModelPlan, Plan, SplitPlan, WrongUsageError
from trainer.pipeline import Candidate, run_training
from trainer.publishing.publish import intention, load_champion, promote, publish
from trainer.publishing.telemetry import (
    RunMeasures,
    build_registry,
    push_failure,
    push_metrics,
    write_metrics,
)
from trainer.publishing.tracking import open_tracker, tracked
from trainer.settings import TrainerSettings
from trainer.stages import Stages

log = logging.getLogger(__name__)


def make_plan(arguments: argparse.Namespace) -> Plan:
    """The plan from the flags."""
    return Plan(
        split=SplitPlan(
            validation_share=arguments.validation_share,
            test_share=arguments.test_share,
            gap_days=arguments.gap_days,
        ),
        model=ModelPlan(
            trees=arguments.trees,
            leaves=arguments.leaves,
            learning_rate=arguments.learning_rate,
            seed=arguments.seed,
            threads=arguments.threads or available_cpus(),
        ),
        decisions=DecisionPlan(
            review_budget=arguments.review_budget, block_precision=arguments.block_precision
        ),
    )


def make_source(arguments: argparse.Namespace, settings: TrainerSettings) -> TrainingSource:
    """The source of the rows: from the flags, else from the environment.

    Raises:
        WrongUsageError: neither names a source.
    """
    if arguments.synthetic is not None:
        return SyntheticSource(arguments.synthetic, arguments.seed)
    if arguments.transactions is not None:
        return CsvSource(arguments.transactions, arguments.identity, settings)
    if settings.train_transactions_uri is not None:
        identity = arguments.identity or settings.train_identity_uri
        return CsvSource(settings.train_transactions_uri, identity, settings)
    raise WrongUsageError(
        "no training data: use --transactions CSV or --synthetic N, or set TRAIN_TRANSACTIONS_URI"
    )


def train(arguments: argparse.Namespace, settings: TrainerSettings) -> dict[str, Any]:
    """Run the pipeline; returns the value that ``--json`` prints.

    Raises:
        ScorerError: the run failed; the message is for the user.
    """
    try:
        return _train(arguments, settings)
    except Exception:
        if settings.pushgateway_url:
            push_failure(settings.pushgateway_url)
        raise


def _train(arguments: argparse.Namespace, settings: TrainerSettings) -> dict[str, Any]:
    started = time.monotonic()
    plan = make_plan(arguments)
    plan.check()
    source = make_source(arguments, settings)
    store = open_store(settings)
    with tracked(open_tracker(settings.mlflow_tracking_uri, store.where)) as tracker:
        tracker.start(plan.facts(), str(source.facts()["source"]))
        stages = Stages(metric=tracker.metric)
        champion = load_champion(store, settings)
        candidate = run_training(source, plan, stages, champion.bundle, champion.version)
        is_wanted = _is_promotion_wanted(candidate, arguments)
        with stages.stage("publish"):
            promotion = intention(champion, wanted=is_wanted)
            version = publish(store, candidate.draft, settings, promotion)
        if is_wanted:
            promote(store, version, champion.pointer)
    run = RunMeasures(
        training_seconds=time.monotonic() - started,
        feature_seconds=stages.seconds["features"],
        ingested_rows=candidate.rows,
        test_metrics=candidate.metrics["test"],
        is_promoted=is_wanted,
    )
    finish_tracking(tracker, store, version, is_champion=is_wanted)
    _report(run, arguments.metrics_file, settings)
    return _result(candidate, version, run, stages, store)


def _is_promotion_wanted(candidate: Candidate, arguments: argparse.Namespace) -> bool:
    return not arguments.no_promote and (candidate.verdict.has_passed or arguments.force)


def _report(run: RunMeasures, path: Path | None, settings: TrainerSettings) -> None:
    registry = build_registry(run)
    if path is not None:
        write_metrics(registry, path)
    if settings.pushgateway_url:
        push_metrics(registry, settings.pushgateway_url)


def _result(
    candidate: Candidate, version: str, run: RunMeasures, stages: Stages, store: ArtifactStore
) -> dict[str, Any]:
    test = candidate.metrics["test"]
    thresholds = candidate.draft.thresholds
    return {
        "version": version,
        "store": store.where,
        "promoted": run.is_promoted,
        "gate": {
            "passed": candidate.verdict.has_passed,
            "refusals": list(candidate.verdict.refusals),
            "notes": list(candidate.verdict.notes),
        },
        "rows": candidate.rows,
        "trees": candidate.trees,
        "thresholds": {
            "review": thresholds.review,
            "block": thresholds.block,
            "block_method": candidate.draft.facts["thresholds"]["block_method"],
        },
        "metrics": {"split": "test", **test},
        "seconds": round(run.training_seconds, 3),
        "stage_seconds": {name: round(value, 3) for name, value in stages.seconds.items()},
    }
