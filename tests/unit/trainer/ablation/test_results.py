"""The output file, from which an ablation continues, and the progress."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stream_scorer.errors import UsageError
from tests.support.ablation.kit import PROGRAM, SMALL
from trainer.ablation.plan import AblationPlan
from trainer.ablation.progress import FitProgress, describe_seconds
from trainer.ablation.results import Result, Results, read_results, write_report
from trainer.ablation.variants import plan_variants
from trainer.fitting.plan import WrongUsageError

BASIS = {"data": {"rows": 10}, **SMALL.basis()}


def kept() -> Results:
    results = Results(BASIS)
    variant = plan_variants(PROGRAM).whole
    results.add(Result("a", 1, variant.key, variant.digest, 0.25, 1.5))
    results.costs["abc"] = 0.5
    results.check_window("a", {"sha256": {"numbers": "x"}}, None)
    return results


def test_results_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_report(path, {"rows": [], "kept": kept().plain()})
    again = read_results(path, BASIS)
    assert again.plain() == kept().plain()
    assert again.find("a", 1, plan_variants(PROGRAM).whole) is not None
    assert again.find("a", 2, plan_variants(PROGRAM).whole) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.json"]


def test_missing_file_has_no_results(tmp_path: Path) -> None:
    assert read_results(tmp_path / "out.json", BASIS).plain() == Results(BASIS).plain()


@pytest.mark.parametrize(
    ("basis", "message"),
    [
        ({**BASIS, "gap_days": 9.0}, r"gap_days was 3\.0 and is 9\.0; use another --output"),
        ({**BASIS, "data": {"rows": 11}}, r"data was \{'rows': 10\} and is \{'rows': 11\}"),
    ],
)
def test_results_under_other_conditions_are_refused(
    tmp_path: Path, basis: dict[str, Any], message: str
) -> None:
    path = tmp_path / "out.json"
    write_report(path, {"kept": kept().plain()})
    with pytest.raises(UsageError, match=message):
        read_results(path, basis)


def changed(**fields: Any) -> str:
    plain = kept().plain()
    plain["results"][0] |= fields
    return json.dumps({"kept": plain})


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        '{"rows": []}',
        '{"kept": {"format": 2}}',
        changed(average_precision=2),
        changed(average_precision="x"),
        changed(seed=None),
        changed(other=1),
        "not JSON",
    ],
)
def test_file_that_is_no_ablation_is_refused_and_not_overwritten(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "out.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"out.json is not an ablation .* use another --output"):
        read_results(path, BASIS)
    assert path.read_text() == content


def test_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read --output .*: Is a directory"):
        read_results(tmp_path, BASIS)
    with pytest.raises(UsageError, match=r"cannot write --output .*no/out.json: No such file"):
        write_report(tmp_path / "no" / "out.json", {})


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (AblationPlan(seeds=0), "--seeds 0 must be from 1 to 1000"),
        (AblationPlan(folds=0), "--folds 0"),
        (AblationPlan(gap_days=float("nan")), "--gap-days nan"),
        (AblationPlan(jobs=0), "--jobs 0"),
        (AblationPlan(learning_rate=0), "--learning-rate 0"),
    ],
)
def test_invalid_plan_is_refused(plan: AblationPlan, message: str) -> None:
    with pytest.raises(WrongUsageError, match=message):
        plan.check()


def test_seeds_follow_each_other_and_only_they_differ() -> None:
    plan = AblationPlan(seeds=3, seed_from=40)
    assert plan.all_seeds == (40, 41, 42)
    assert plan.model(41).seed == 41
    assert plan.basis() == AblationPlan(seeds=5, seed_from=7, jobs=4).basis()
    assert plan.basis() != AblationPlan(trees=7).basis()


def make_progress(times: list[float], total: int, done: int) -> FitProgress:
    console, clock = Console(file=io.StringIO()), iter(times)
    return FitProgress(total, done, console, lambda: next(clock))


def test_time_left_is_that_of_this_runs_pace() -> None:
    progress = make_progress([0.0, 20.0, 20.0, 20.0], total=10, done=4)
    assert progress.seconds_left() is None
    progress.advance()
    assert progress.seconds_left() == 100.0


def test_progress_is_logged_every_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with make_progress([0.0, 10.0, 10.0, 31.0, 31.0, 40.0, 40.0], total=5, done=1) as progress:
        for _ in range(3):
            progress.advance()
    assert caplog.messages == [
        "1 of 5 fits are already in the output file",
        "3 of 5 fits done, about 31 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.2, "3 s"), (99, "99 s"), (100, "2 min"), (5970, "1.7 h")]
)
def test_time_is_readable(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text
