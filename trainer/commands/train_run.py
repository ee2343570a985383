"""``fraud-trainer train``: the whole run, from the flags to the promotion."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from stream_scorer.model.store.opening import open_history_store, open_store
from stream_scorer.model.store.port import ArtifactStore
from trainer.candidate import Candidate, FindCandidate
from trainer.commands.features import feature_plan
from trainer.commands.flags.decisions import make_decisions
from trainer.commands.flags.forcing import read_force
from trainer.commands.tracking import finish_tracking
from trainer.cpus import available_cpus
from trainer.data.labels import Labelling
from trainer.data.source import CsvSource, SyntheticSource, TrainingSource
from trainer.fitting.plan import GatePlan, ModelPlan, Plan, SplitPlan, WrongUsageError
from trainer.pipeline import run_training
from trainer.publishing.publish import (
    intention,
    load_champion,
    promote_candidate,
    publish,
    publish_seed,
)
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

MAX_MATURITY_DAYS: Final = 10_000.0


def make_plan(arguments: argparse.Namespace) -> Plan:
    """The plan from the flags."""
    return Plan(
        features=replace(feature_plan(arguments), has_seed=not arguments.no_history_seed),
        split=SplitPlan(
            folds=arguments.folds,
            validation_share=arguments.validation_share,
            test_share=arguments.test_share,
            gap_days=arguments.gap_days,
        ),
        model=ModelPlan(
            trees=arguments.trees,
            leaves=arguments.leaves,
            learning_rate=arguments.learning_rate,
            min_rows_in_leaf=arguments.min_rows_in_leaf,
            feature_share=arguments.feature_share,
            row_share=arguments.row_share,
            l2=arguments.l2,
            learner=arguments.learner,
            seed=arguments.seed,
            threads=arguments.threads or available_cpus(),
        ),
        decisions=make_decisions(arguments),
        gate=GatePlan(max_slowdown=arguments.max_slowdown),
        is_refit=not arguments.no_refit,
    )


def make_labelling(arguments: argparse.Namespace, settings: TrainerSettings) -> Labelling:
    """Where labels other than ``isFraud`` come from.

    Raises:
        WrongUsageError: ``--maturity-days`` is no number of days.
    """
    days = arguments.maturity_days
    if days is not None and not 0 <= days < MAX_MATURITY_DAYS:
        raise WrongUsageError(
            f"--maturity-days {days} must be from 0 to {MAX_MATURITY_DAYS:g} days"
        )
    return Labelling(arguments.labels, days, settings)


def make_source(arguments: argparse.Namespace, settings: TrainerSettings) -> TrainingSource:
    """The source of the rows: from the flags, else from the environment.

    Raises:
        WrongUsageError: neither names a source.
    """
    labelling = make_labelling(arguments, settings)
    if arguments.synthetic is not None:
        return SyntheticSource(arguments.synthetic, arguments.seed, labelling)
    if arguments.transactions is not None:
        return CsvSource(arguments.transactions, arguments.identity, settings, labelling)
    if settings.train_transactions_uri is not None:
        identity = arguments.identity or settings.train_identity_uri
        return CsvSource(settings.train_transactions_uri, identity, settings, labelling)
    raise WrongUsageError(
        "no training data: use --transactions FILE or --synthetic N, or set TRAIN_TRANSACTIONS_URI"
    )


def train(
    arguments: argparse.Namespace,
    settings: TrainerSettings,
    plan: Plan | None = None,
    find: FindCandidate = run_training,
    parameters: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Find a candidate, publish and promote it; returns the value that ``--json`` prints.

    Without ``plan``, it is made from the flags. ``parameters`` are tracked from the
    start; without them, the whole plan is. ``facts`` are added to the metadata.

    Raises:
        ScorerError: the run failed; the message is for the user.
    """
    try:
        plan = plan or make_plan(arguments)
        return _train(arguments, settings, plan, partial(_with_facts, find, facts), parameters)
    except Exception:
        if settings.pushgateway_url:
            push_failure(settings.pushgateway_url)
        raise


def _with_facts(find: FindCandidate, more: Mapping[str, Any] | None, *given: Any) -> Candidate:
    candidate = find(*given)
    facts = {**candidate.draft.facts, **(more or {})}
    return replace(candidate, draft=replace(candidate.draft, facts=facts))


def _train(
    arguments: argparse.Namespace,
    settings: TrainerSettings,
    plan: Plan,
    find: FindCandidate,
    parameters: Mapping[str, Any] | None,
) -> dict[str, Any]:
    started = time.monotonic()
    plan.check()
    override = read_force(arguments, settings)
    source = make_source(arguments, settings)
    store = open_store(settings)
    with tracked(open_tracker(settings.mlflow_tracking_uri, store.where)) as tracker:
        tracker.start(
            plan.facts() if parameters is None else parameters, str(source.facts()["source"])
        )
        stages = Stages(metric=tracker.metric)
        champion = load_champion(store, settings)
        candidate = find(source, plan, stages, champion.bundle, champion.version)
        has_passed = candidate.verdict.has_passed
        is_wanted = not arguments.no_promote and (has_passed or override is not None)
        with stages.stage("publish"):
            if candidate.seed is not None:  # first, so that no version names a seed that is missing
                publish_seed(open_history_store(settings), candidate.seed)
            promotion = intention(champion, wanted=is_wanted)
            version = publish(store, candidate.draft, settings, promotion)
        if is_wanted:
            promote_candidate(store, version, has_passed, champion.pointer, override)
    run = RunMeasures(
        training_seconds=time.monotonic() - started,
        feature_seconds=stages.seconds["features"],
        ingested_rows=candidate.rows,
        test_metrics=candidate.metrics["test"],
        is_promoted=is_wanted,
        is_refused=not has_passed and not is_wanted,
    )
    finish_tracking(tracker, store, version, is_champion=is_wanted)
    _report(run, arguments.metrics_file, settings)
    return _result(candidate, version, run, stages, store)


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
    facts = candidate.draft.facts
    calibration = facts["calibration"]
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
            **{
                name: value for name, value in facts["thresholds"].items() if name != "saving_curve"
            },
        },
        "metrics": {"split": "test", **test},
        **{name: facts[name] for name in ("evaluation", "served") if name in facts},
        **_history(candidate),
        "calibration": {
            name: _without_table(found) if isinstance(found, dict) else found
            for name, found in calibration.items()
        },
        "seconds": round(run.training_seconds, 3),
        "stage_seconds": {name: round(value, 3) for name, value in stages.seconds.items()},
        "stage_peak_mib": {name: stage["peak_mib"] for name, stage in stages.facts().items()},
    }


def _history(candidate: Candidate) -> dict[str, Any]:
    """Counts of the card history and its seed; empty if the features read none."""
    history = candidate.draft.facts["training"].get("history")
    if history is None:
        return {}
    return {"history": history | {"seed": candidate.seed and asdict(candidate.seed.facts)}}


def _without_table(measures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in measures.items() if name != "reliability"}
