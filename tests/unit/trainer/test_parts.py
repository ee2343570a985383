"""Plan, processors, sources and metrics of the trainer."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import UnusableFileError
from stream_scorer.errors import UsageError
from stream_scorer.runtime.settings import StoreSettings, load_settings
from trainer.cpus import available_cpus
from trainer.data.ingest import ingest
from trainer.data.source import CsvSource, SyntheticSource
from trainer.fitting.decisions import Costs, DecisionPlan
from trainer.fitting.plan import GatePlan, ModelPlan, Plan, SplitPlan, WrongUsageError
from trainer.publishing.telemetry import RunMeasures, build_registry, push_metrics, write_metrics

HEADER = "TransactionID,isFraud,TransactionDT,TransactionAmt\n"


def nothing(_: int) -> None:
    pass


@pytest.mark.parametrize(
    ("plan", "flag"),
    [
        (Plan(model=ModelPlan(trees=0)), "--trees 0"),
        (Plan(model=ModelPlan(leaves=1)), "--leaves 1"),
        (Plan(decisions=DecisionPlan(review_budget=1.5)), "--review-budget 1.5"),
        (Plan(decisions=DecisionPlan(block_precision=float("nan"))), "--block-precision nan"),
        (Plan(decisions=DecisionPlan(review_budget=None)), "--review-budget None must be given"),
        (Plan(decisions=DecisionPlan(capacity_per_day=0)), "--capacity-per-day 0 must be"),
        (Plan(decisions=DecisionPlan(costs=Costs(-1.0))), "--review-cost -1.0 must be"),
        (Plan(decisions=DecisionPlan(costs=Costs(1.0, float("inf")))), "--fraud-loss inf must be"),
        (Plan(decisions=DecisionPlan(costs=Costs(1.0, None, 0.0))), "--block-cost 0.0 must be"),
        (Plan(gate=GatePlan(max_slowdown=float("nan"))), "--max-slowdown nan must be"),
        (Plan(split=SplitPlan(gap_days=-1)), "--gap-days -1"),
        (Plan(split=SplitPlan(folds=0)), "--folds 0"),
        (Plan(split=SplitPlan(test_share=0.95)), "--test-share 0.95"),
        (Plan(split=SplitPlan(validation_share=0.6)), "--validation-share 0.6"),
    ],
)
def test_an_invalid_plan_names_the_flag(plan: Plan, flag: str) -> None:
    with pytest.raises(WrongUsageError, match=flag):
        plan.check()


@pytest.mark.parametrize(
    ("content", "limit"), [("150000 100000", 1.5), ("50000 100000", 0.5), ("max 100000", None)]
)
def test_cpus_follow_the_cgroup_limit(tmp_path: Path, content: str, limit: float | None) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    without = available_cpus(tmp_path / "nowhere")
    expected = without if limit is None else max(1, min(without, int(np.ceil(limit))))
    assert available_cpus(tmp_path) == expected


def test_cpus_follow_the_older_cgroup_files(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == 1


def test_csv_source_digests_and_counts_what_it_reads(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "t.csv"
    content = HEADER + "".join(f"{i},{i % 2},{i},1.5\n" for i in range(50))
    path.write_text(content)
    source = CsvSource(path.as_uri(), None, load_settings(StoreSettings))
    seen = 0

    def advance(count: int) -> None:
        nonlocal seen
        seen += count

    rows = ingest(source, advance)
    assert len(rows) == 50
    assert seen == source.size() == len(content)
    digest = hashlib.sha256(content.encode()).hexdigest()
    assert rows.facts["sha256"] == {"transactions": digest}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEADER + "1,0,1,2\n2,0,2,2\n", "all 2 rows have isFraud = 0; training needs both classes"),
        (HEADER + "1,1,1,2\n", "all 1 rows have isFraud = 1"),
        ("TransactionID,TransactionDT,TransactionAmt\n1,1,2\n", "line 1: no column isFraud"),
        ("", "the file is empty"),
        (HEADER + "1,0,1,x\n", "line 2, column TransactionAmt: 'x' is not a number"),
    ],
)
def test_a_table_without_usable_labels_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises((UsageError, UnusableFileError), match=message) as error:
        ingest(CsvSource(str(path), None, load_settings(StoreSettings)), nothing)
    assert "t.csv" in str(error.value)


def test_synthetic_source_is_the_same_twice() -> None:
    first, again = (ingest(SyntheticSource(300, 5), nothing) for _ in range(2))
    assert first.facts == again.facts
    assert first.facts["source"] == "synthetic:300:5"


def make_run() -> RunMeasures:
    test = {"accuracy": 0.97, "average_precision": 0.5, "top": {"0.02": {"recall": 0.4}}}
    return RunMeasures(12.5, 3.25, 1000, test, is_promoted=True)


def test_metrics_have_the_documented_names(tmp_path: Path) -> None:
    path = tmp_path / "trainer.prom"
    write_metrics(build_registry(make_run()), path)
    lines = path.read_text().splitlines()
    for line in (
        "training_duration_seconds 12.5",
        "data_ingestion_rows_total 1000.0",
        "model_accuracy 0.97",
        "feature_engineering_time 3.25",
        "feature_engineering_time_seconds 3.25",
    ):
        assert line in lines


def test_unwritable_metrics_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        write_metrics(build_registry(make_run()), tmp_path / "no" / "folder" / "x.prom")


def test_a_pushgateway_that_cannot_be_used_is_only_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        push_metrics(build_registry(make_run()), "nonsense://nowhere")
    assert "could not push metrics to nonsense://nowhere" in caplog.text
