"""A model that was trained elsewhere, as a candidate: features, thresholds, figures, verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program, parse_program
from stream_scorer.model.bundle import Bundle, Draft
from trainer.data.ingest import ingest
from trainer.data.rows import Part, TrainingRows
from trainer.data.source import TrainingSource
from trainer.evaluation.evaluate import candidate_bundle, measure, score_all
from trainer.evaluation.gate import judge_candidate
from trainer.evaluation.plots import plot_facts
from trainer.evaluation.reference import golden_rows, reference_facts
from trainer.evaluation.thresholds import choose_thresholds
from trainer.fitting.foreign_model import ForeignModel
from trainer.fitting.plan import Plan
from trainer.pipeline import Candidate, gate_facts, measure_rival
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
    with stages.stage("ingest", source.size()) as advance:
        rows = ingest(source, advance)
    part = rows.part(np.ones(len(rows), np.bool_))
    rows.release()
    with stages.stage("features"):
        features = FeatureSet.fit(part.batch, copy_program(model.columns))
    bundle = candidate_bundle(model.model_text, features)
    with stages.stage("evaluate"):
        scores = score_all(part.batch, bundle)
        thresholds, chosen = choose_thresholds(scores, part.labels, plan.decisions)
        bundle = replace(bundle, thresholds=thresholds)
        seed = plan.model.seed
        metrics = {"test": measure(part, scores, thresholds, seed)}
        rival = measure_rival(part, champion, seed)
    verdict = judge_candidate(metrics["test"], rival, plan.gate, champion_version)
    facts = _facts(rows, model, file, plan) | {
        "metrics": metrics,
        "thresholds": chosen | {"split": "all rows"},
        "gate": gate_facts(verdict, rival, champion),
        "reference": reference_facts(part.batch, scores, features, list(model.gains), "all rows"),
        "plots": _plots(rows, part, scores, model),
    }
    draft = Draft(model.model_text, features, thresholds, golden_rows(part.batch, scores), facts)
    return Candidate(draft, bundle, verdict, metrics, len(rows), model.trees)


def _facts(rows: TrainingRows, model: ForeignModel, file: str, plan: Plan) -> dict[str, Any]:
    window = [int(rows.times.min()), int(rows.times.max())]
    counts = {"rows": len(rows), "frauds": int(rows.labels.sum())}
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
            **rows.facts,
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


def _plots(
    rows: TrainingRows, part: Part, scores: NDArray[np.float64], model: ForeignModel
) -> dict[str, Any]:
    found = plot_facts(scores, part.labels, rows.times, rows.labels, model.gains)
    return found | {"test_window": [int(rows.times.min()), int(rows.times.max())]}
