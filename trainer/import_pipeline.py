"""A model that was trained elsewhere, as a candidate: features, thresholds, figures, verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program, parse_program
from stream_scorer.model.bundle import Bundle, Draft
from trainer.candidate import Candidate, SourceRows, compare_paired, read_source, time_models
from trainer.data.rows import Part
from trainer.data.source import TrainingSource
from trainer.evaluation.calibration import measure_calibration
from trainer.evaluation.champion import Rival, gate_facts
from trainer.evaluation.evaluate import candidate_bundle, measure, score_all
from trainer.evaluation.gate import judge_candidate
from trainer.evaluation.plots import plot_facts
from trainer.evaluation.reference import golden_rows, reference_facts
from trainer.evaluation.report_facts import report_facts
from trainer.evaluation.thresholds import choose_thresholds, evaluation_rows
from trainer.fitting.foreign_model import ForeignModel
from trainer.fitting.plan import Plan
from trainer.rival import pair_on_all_rows, pair_on_later_rows
from trainer.stages import Stages

_GROUP: Final = "imported"


def copy_program(columns: Sequence[str]) -> Program:
    """The program whose features are these columns, unchanged and in this order."""
    listed = ", ".join(json.dumps(column) for column in columns)
    return parse_program(
        f'format = 1\nname = "imported/1"\ntitle = "The columns of an imported model"\n\n'
        f'[[operation]]\nop = "copy"\nversion = 1\ngroup = "{_GROUP}"\ncolumns = [{listed}]\n'
    )


def judge_imported(
    model: ForeignModel,
    file: str,
    source: TrainingSource,
    plan: Plan,
    stages: Stages,
    champion: Bundle | None = None,
    champion_version: str | None = None,
) -> Candidate:
    """Judge an imported model on all rows of a source, and compare it with ``champion`` on them.

    The model was trained elsewhere. Whether it has seen these rows is not known here.

    Raises:
        UsageError: the source cannot be used.
    """
    champions = () if champion is None else (champion.features.program,)
    read = read_source(source, stages, champions)
    part = read.rows  # a model of transaction columns needs no card history
    with stages.stage("features"):
        features = FeatureSet.fit(part.batch, copy_program(model.columns))
    bundle = candidate_bundle(model.model_text, features)
    every, seed = slice(0, len(part)), plan.model.seed
    with stages.stage("evaluate"):
        scores = score_all(part.batch, bundle)
        thresholds, chosen = choose_thresholds(
            evaluation_rows(part, scores, "given"), plan.decisions
        )
        bundle = replace(bundle, thresholds=thresholds)
        metrics = {"test": measure(part, scores, thresholds, seed)}
        rival = _compare(read, scores, champion, metrics["test"], plan)
        latency = time_models(read, every, bundle, champion)
    verdict = judge_candidate(
        metrics["test"], rival.comparison, plan.gate, champion_version, rival.notes, latency
    )
    facts = _facts(part, read.facts, model, file, plan) | {
        "metrics": metrics,
        "thresholds": chosen,
        "calibration": _no_calibration(part, scores),
        "gate": gate_facts(verdict, rival, latency),
        "reference": reference_facts(part.batch, scores, features, list(model.gains), "all rows"),
        "plots": _plots(part, scores, model),
    }
    facts |= report_facts(part, scores, bundle, model.gains, None, seed)
    draft = Draft(model.model_text, features, thresholds, golden_rows(part.batch, scores), facts)
    return Candidate(draft, bundle, verdict, metrics, len(part), model.trees)


def _compare(
    read: SourceRows,
    scores: NDArray[np.float64],
    champion: Bundle | None,
    measures: Mapping[str, Any],
    plan: Plan,
) -> Rival:
    """The champion's result on rows that it has not learned from, or else on all of them."""
    if champion is None:
        return Rival()
    part = read.rows_for(champion.features.program)
    rows = slice(0, len(part))
    paired, note = pair_on_later_rows(part, rows, scores, champion, plan)
    if paired is None:
        paired, note = pair_on_all_rows(part, rows, scores, champion, plan, note)
    return compare_paired(paired, (note,), champion, measures, plan)


def _no_calibration(part: Part, scores: NDArray[np.float64]) -> dict[str, Any]:
    """A map takes scores of rows that the model has not seen, which nobody here can know."""
    reason = "the model was trained elsewhere, perhaps on these rows"
    before = measure_calibration(scores, part.labels)
    return {"method": None, "reason": reason, "before": before, "after": None}


def _facts(
    part: Part, source_facts: Mapping[str, Any], model: ForeignModel, file: str, plan: Plan
) -> dict[str, Any]:
    times = part.batch.times
    window = [int(times[0]), int(times[-1])]
    counts = {"rows": len(part), "frauds": int(part.labels.sum())}
    test = counts | {"first_seconds": window[0], "last_seconds": window[1]}
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "imported": {
            "file": file,
            "sha256": model.sha256,
            "learner": model.learner,
            "trees_in_file": model.all_trees,
            "unused_features": list(model.unused),
        },
        "training": {
            **source_facts,
            **counts,
            "window_seconds": window,
            "split": {"gap_days": 0.0, "test": test},
        },
        "parameters": {
            "decisions": asdict(plan.decisions),
            "gate": asdict(plan.gate),
            "trees_used": model.trees,
        },
    }


def _plots(part: Part, scores: NDArray[np.float64], model: ForeignModel) -> dict[str, Any]:
    times = part.batch.times
    found = plot_facts(scores, part.labels, times, part.labels, model.gains)
    return found | {"test_window": [int(times[0]), int(times[-1])]}
