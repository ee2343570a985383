"""The metrics that the real registries expose, and those that an expression uses."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from functools import cache

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from dashboard.cases.desk import DeskStatus
from dashboard.feed.board import Board
from dashboard.history.past import HistoryStatus, NoHistories
from dashboard.metrics import build_metrics
from dashboard.trainings.trainings import Counts
from stream_scorer.drift.features import FeatureSample, read_feature_references
from stream_scorer.drift.reference import read_reference
from stream_scorer.model.serving.status import ReloadStatus
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.quality import metrics as live_quality
from stream_scorer.shadow.figures import no_figures
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Polled
from tests.k8s.support.rules import rules
from tests.support.factories import make_bundle
from tests.support.quality.kit import make_result
from trainer.publishing.telemetry import RunMeasures, build_failure, build_registry

_WORDS = frozenset({"and", "bool", "ignoring", "inf", "nan", "offset", "on", "or", "unless"})


class _Histories(NoHistories):
    def __init__(self) -> None:
        super().__init__(_Model())

    def status(self) -> HistoryStatus:
        return HistoryStatus("snapshot", as_of=datetime.now(UTC))


class _Model:
    current = make_bundle()
    status = ReloadStatus(load_seconds=0.1)


def _desk_status() -> DeskStatus:
    return DeskStatus("live", "", 0, (), 0, 0, 0, 0, {})


def _registries() -> list[CollectorRegistry]:
    """The registries of all processes, updated so that every family has a sample."""
    scorer = ScorerMetrics()
    bundle = make_bundle()
    reference = {"scores": {"edges": [0.1, 0.5], "counts": [5, 3, 2]}}
    bundle.metadata["reference"] = reference  # type: ignore[index]  # a dict of this test
    polled = Polled("in", [None], [None], [None], np.zeros(1, np.int32), np.arange(1), None)
    scores = np.array([0.2])
    outcome = Outcome([], 1, 0, [], Counter({"APPROVE": 1}), bundle.version, scores)
    scorer.batches.committed(polled, outcome, 0.1)
    scorer.batches.count_bins(bundle.version, read_reference(bundle.metadata), scores)
    scorer.model.loaded(bundle.version, 0.1)
    scorer.model.set_probation({"psi": 0.1}, is_rolled_back=False)
    scorer.model.set_status(1.0, is_behind=False, is_failing=False)
    histogram = {"edges": [0.0], "counts": [1, 1], "missing": 0}
    drift = {"reference": {"features": {"amount": histogram}}}
    references = read_feature_references("v1", drift, ["amount"])
    scorer.drift.committed(FeatureSample(references, np.zeros((1, 1))))
    scorer.history.set_states({"client": 1}, 1, 0, 0.0)
    scorer.partitions.set_lag({0: 1}, 1)
    scorer.partitions.set_progress({0: 1.0}, ())
    scorer.partitions.set_lost({0: 1})
    scorer.history.set_states({"client": 1}, 1, 1, 1.0)
    scorer.shadow.loaded("v2")
    scorer.shadow.scored(no_figures(), 0.1)
    scorer.identify("group", "topic")
    dashboard = build_metrics(Board(), _Model(), lambda: 0, _Histories(), _desk_status, Counts())
    dashboard.count_histories(1, 1)
    dashboard.request_count.labels("GET", "/", "200").inc()
    dashboard.request_latency.labels("GET", "/").observe(0.1)
    measures = {"accuracy": 1.0, "average_precision": 1.0, "top": {"0.02": {"recall": 1.0}}}
    run = RunMeasures(1.0, 1.0, 1, measures, is_promoted=True)
    quality = live_quality.build_registry(make_result())
    return [scorer.registry, dashboard.registry, build_registry(run), build_failure(), quality]


@cache
def exposed() -> frozenset[str]:
    """The name of every sample that our processes can expose."""
    text = "".join(generate_latest(registry).decode() for registry in _registries())
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return frozenset(re.split(r"[{ ]", line)[0] for line in lines)


@cache
def recorded() -> frozenset[str]:
    """The names that our rules record."""
    return frozenset(rule["record"] for rule in rules() if "record" in rule)


def metric_names(expr: str) -> set[str]:
    """The metrics that an expression selects.

    Removes strings, label lists, ranges and grouping clauses. Of the remaining names, those that
    are neither called as functions nor PromQL keywords are metrics.
    """
    bare = re.sub(r'"[^"]*"', "", expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    found = re.findall(r"(?<![\w.:])([a-zA-Z_:][\w:]*)\b(?!\s*\()", bare)
    return {
        name for name in found if name.lower() not in _WORDS and not re.fullmatch(r"\d\w*", name)
    }
