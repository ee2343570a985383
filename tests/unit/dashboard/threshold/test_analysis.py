"""Answers from the cache, against a loop over every score."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dashboard.web.problems import Problem
from dashboard.web.threshold.analysis import Answer, answer, describe_answer
from dashboard.web.threshold.query import Question
from dashboard.whatif.labels import StandingLabel
from stream_scorer.quality.sources import LabelSource
from tests.support.listing.scored_month import (
    BLOCK,
    DAY_MS,
    REVIEW,
    Scored,
    make_month,
    write_table,
)

TODAY = 20_000
NOW = TODAY * DAY_MS + DAY_MS // 2
MONTH = make_month(TODAY)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("table"), MONTH)


def decided(row: Scored, label: str) -> StandingLabel:
    return StandingLabel(row.id, row.transaction, label, "ANALYST", row.day * DAY_MS + 1)


def reported(transaction: int, day: int) -> StandingLabel:
    return StandingLabel(None, transaction, "FRAUD", "CHARGEBACK", day * DAY_MS + 2)


# Every second flagged transaction is reviewed; of those every third is fraud.
REVIEWED = [
    decided(row, "FRAUD" if i % 3 == 0 else "LEGITIMATE")
    for i, row in enumerate(r for r in MONTH if r.score >= REVIEW and r.offset % 2)
]
REPORTED = [reported(row.transaction, row.day + 5) for row in MONTH if row.offset % 7 == 0]


def ask(table: Path, question: Question, labels: list[StandingLabel] | None = None) -> Answer:
    return answer(table, [*REVIEWED, *REPORTED] if labels is None else labels, question, "v7", NOW)


def in_window(version: str, first: int, last: int) -> list[Scored]:
    return [r for r in MONTH if r.version == version and first <= r.day <= last]


def test_alerts_are_counted_as_the_scorer_decided_at_every_threshold(table: Path) -> None:
    found = ask(table, Question(7, LabelSource.REVIEWED))
    rows = in_window("v7", TODAY - 6, TODAY)
    assert found.scores == len(rows)
    assert found.thresholds is not None
    assert found.curve is not None
    assert (found.thresholds.review, found.thresholds.block) == (REVIEW, BLOCK)
    pairs = zip(found.curve.thresholds.tolist(), found.curve.alerts.tolist(), strict=True)
    for threshold, alerts in pairs:
        assert alerts == sum(row.score >= threshold for row in rows), threshold
    # Six whole days: today is not over.
    assert found.curve.alerts_per_day[0] == pytest.approx(12.0)
    assert not found.volume.is_partial


def test_reviewed_labels_give_precision_and_never_recall(table: Path) -> None:
    body = describe_answer(ask(table, Question(7, LabelSource.REVIEWED, threshold=0.7)))
    rows = {r.id: r for r in in_window("v7", TODAY - 6, TODAY) if r.score >= REVIEW}
    reports = {x.transaction_id for x in REPORTED}  # later, so they stand
    seen = [(row := rows[x.flag_id], "FRAUD" if row.transaction in reports else x.label)
            for x in REVIEWED if x.flag_id in rows]  # fmt: skip
    for name, threshold in (("live", REVIEW), ("proposed", 0.7)):
        above = [label for row, label in seen if row.score >= threshold]
        at = body[name]
        assert at["precision"]["n"] == len(above)
        assert at["precision"]["value"] == pytest.approx(above.count("FRAUD") / len(above), 1e-5)
        assert at["precision"]["few"] is (len(above) < 50)
        assert at["recall"] == {"value": None, "low": None, "high": None, "n": 0, "few": False}
    assert "analysts see flagged transactions only" in body["recall_reason"]
    assert body["at_least"] == ["caught_per_day", "missed_per_day"]
    assert body["live"]["missed_per_day"] is None
    missed = sum(r.amount for r, label in seen if label == "FRAUD" and r.score < 0.7)
    per_day = 12 / len(in_window("v7", TODAY - 6, TODAY))
    assert body["proposed"]["missed_per_day"] == pytest.approx(missed * per_day, 1e-5)


def test_matured_window_ends_when_labels_are_old_enough(table: Path) -> None:
    found = ask(table, Question(5, LabelSource.MATURED, model="v6", maturity=14))
    body = describe_answer(found)
    assert body["window"]["maturity_days"] == 14
    assert (found.window.first, found.window.last) == (TODAY - 18, TODAY - 14)
    rows = in_window("v6", TODAY - 18, TODAY - 14)
    reviewed = {x.flag_id: x.label for x in REVIEWED}
    reports = {x.transaction_id for x in REPORTED}
    flagged = [r for r in rows if r.score >= REVIEW]
    frauds = [r for r in flagged if r.transaction in reports or reviewed.get(r.id) == "FRAUD"]
    unknown = [r for r in flagged if r.score >= BLOCK and r.id not in reviewed
               and r.transaction not in reports]  # fmt: skip
    precision = body["live"]["precision"]
    assert precision["n"] == len(flagged) - len(unknown)
    assert precision["value"] == pytest.approx(len(frauds) / precision["n"], 1e-5)
    # Reports about transactions that were not flagged have no score here.
    flagged_ids = {r.transaction for r in MONTH if r.score >= REVIEW}
    unscored = [x for x in REPORTED if x.transaction_id not in flagged_ids
                and x.decided_at >= (TODAY - 18) * DAY_MS]  # fmt: skip
    assert found.labelled.unscored == len(unscored) > 0
    recall = body["live"]["recall"]
    assert recall["value"] is None
    assert recall["low"] < len(frauds) / (len(frauds) + len(unscored)) < recall["high"]


def test_versions_are_never_mixed(table: Path) -> None:
    for version in ("v6", "v7"):
        found = ask(table, Question(30, LabelSource.REVIEWED, model=version))
        rows = in_window(version, TODAY - 29, TODAY)
        assert found.scores == len(rows)
        assert len(found.labelled) == sum(
            any(x.flag_id == r.id or x.transaction_id == r.transaction
                for x in (*REVIEWED, *REPORTED)) for r in rows if r.score >= REVIEW
        )  # fmt: skip
        # A day's numbers are of all traffic, whatever share of it this version scored.
        assert found.curve is not None
        assert found.curve.alerts_per_day[0] == pytest.approx(12.0)
    assert ask(table, Question()).models == ["v7", "v6"]


def test_best_labels_are_matured_ones_if_fraud_was_reported(table: Path) -> None:
    assert ask(table, Question(7, maturity=2)).source is LabelSource.MATURED
    assert ask(table, Question(7, maturity=2), REVIEWED).source is LabelSource.REVIEWED
    # v7 has no scores that old.
    assert ask(table, Question(7, maturity=14)).source is LabelSource.REVIEWED


def test_window_without_scores_has_no_curve(table: Path) -> None:
    found = ask(table, Question(1, LabelSource.REVIEWED, model="v6"))
    assert (found.scores, found.curve, found.thresholds) == (0, None, None)
    body: dict[str, Any] = describe_answer(found)
    assert (body["live"], body["proposed"], body["curve"]) == (None, None, None)


def test_proposed_threshold_is_rounded_to_a_counted_one(table: Path) -> None:
    for asked, used, is_rounded in ((0.65, 0.65, False), (0.65049, 0.65, True),
                                    (REVIEW, REVIEW, False), (1.0, 0.999, True)):  # fmt: skip
        found = ask(table, Question(7, LabelSource.REVIEWED, threshold=asked))
        assert found.curve is not None
        assert found.curve.thresholds[found.proposed] == used
        assert found.is_rounded is is_rounded


def test_unknown_model_is_refused_with_those_that_exist(table: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="no scores of model 'v9'; there are scores of v7, v6") as e:
        ask(table, Question(model="v9"))
    assert e.value.status == 404
    with pytest.raises(Problem, match="nothing was scored yet"):
        ask(write_table(tmp_path, []), Question())


def test_days_that_are_no_longer_kept_do_not_count_as_days_without_fraud(tmp_path: Path) -> None:
    rows = in_window("v7", TODAY - 9, TODAY)
    labels = [reported(row.transaction, row.day) for row in rows if row.score >= REVIEW]
    table = write_table(tmp_path, rows)
    flagged = sum(row.score >= REVIEW for row in rows if row.day >= TODAY - 6)
    whole = ask(table, Question(7, LabelSource.MATURED, maturity=0), labels)
    assert not whole.is_trimmed
    assert whole.curve is not None
    assert whole.curve.precision.value[whole.curve.live] == 1.0
    with sqlite3.connect(table) as db:  # as trimming does: the oldest rows, in the middle of a day
        db.execute(
            "DELETE FROM flags WHERE scored_at < ?", ((TODAY - 3) * DAY_MS + rows[-50].offset,)
        )
    rest = ask(table, Question(7, LabelSource.MATURED, maturity=0), labels)
    assert rest.is_trimmed
    assert (rest.window.first, rest.window.last) == (TODAY - 2, TODAY)
    assert rest.curve is not None
    assert rest.curve.precision.value[rest.curve.live] == 1.0
    assert rest.scores == len([row for row in rows if row.day >= TODAY - 2])
    # Analysts' labels are a sample anyway, so alerts are those of all days.
    reviewed = ask(table, Question(7, LabelSource.REVIEWED), labels)
    assert reviewed.is_trimmed
    assert reviewed.curve is not None
    assert reviewed.curve.alerts[reviewed.curve.live] == flagged
    with sqlite3.connect(table) as db:
        db.execute("DELETE FROM flags")
    assert ask(table, Question(7, LabelSource.MATURED, maturity=0), labels).curve is None


def test_second_pair_of_thresholds_in_a_window_is_said(tmp_path: Path) -> None:
    rows = in_window("v7", TODAY - 9, TODAY)
    table = write_table(tmp_path, rows)
    with sqlite3.connect(table) as db:
        db.execute("INSERT INTO score_totals VALUES ('v7', ?, 0.5, 0.9, 3, 2, 1)", (TODAY - 5,))
    found = ask(table, Question(7, LabelSource.REVIEWED))
    assert found.has_other_thresholds
    assert found.thresholds is not None
    assert found.thresholds.review == REVIEW
    assert found.curve is not None
    inside = [r for r in rows if r.day >= TODAY - 6]
    edge = math.ceil(REVIEW * 1000) / 1000
    assert found.curve.alerts[found.curve.live] == sum(r.score >= edge for r in inside)
