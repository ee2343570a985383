"""The loop's own decisions: parts of the table, portions of labels, and when drift fires."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from dashboard.web.trainings.bodies import AlertmanagerBody, firing_drift, reason_of
from stream_scorer.errors import UsageError
from stream_scorer.local.loop.alerting import moved_features, notification
from stream_scorer.local.loop.tables import (
    MIN_ROWS,
    MOST_ROWS,
    Parts,
    frauds_in_random_order,
    plan_parts,
    portions,
    read_truth,
    split_first,
    split_table,
    write_mixed_up,
)


@pytest.mark.parametrize("rows", [MIN_ROWS, 16_000, 99_999])
def test_parts_are_the_whole_table(rows: int) -> None:
    parts = plan_parts(rows, 1000.0)
    assert sum(n for _, n in parts.items()) == rows
    assert parts.streamed == rows - parts.before
    assert parts.recent > 2_000  # or drift cannot fire


@pytest.mark.parametrize("rows", [MIN_ROWS - 1, MOST_ROWS + 1])
def test_too_few_and_too_many_rows_are_refused_with_the_bounds(rows: int) -> None:
    with pytest.raises(UsageError, match=rf"--transactions from 10000 to 100000, not {rows}"):
        plan_parts(rows, 1000.0)


def test_rate_at_which_the_stream_would_leave_the_hour_is_refused_with_the_least_one() -> None:
    with pytest.raises(UsageError, match=r"--rate 1: 5,000 .* 83 minutes.* --rate 3 or more"):
        plan_parts(MIN_ROWS, 1.0)
    assert plan_parts(MIN_ROWS, 3.0).streamed == 5_000


def test_table_is_split_in_the_order_of_time(tmp_path: Path) -> None:
    table = tmp_path / "train_transaction.csv"
    rows = "".join(f"{n},{n % 2}\n" for n in range(10))
    table.write_text("TransactionID,isFraud\n" + rows)
    split_table(table, Parts(4, 3, 2, 1))
    found = {
        name: [one for one, _ in read_truth(tmp_path / f"{name}.csv")]
        for name in ("before", "recent", "later", "last")
    }
    assert found == {
        "before": ["0", "1", "2", "3"], "recent": ["4", "5", "6"], "later": ["7", "8"],
        "last": ["9"],
    }  # fmt: skip


def test_portions_double_what_is_known_until_all_is() -> None:
    frauds = [str(n) for n in range(60)]
    found = list(portions(frauds))
    assert [len(one) for one in found] == [12, 12, 24, 12]
    assert [one for portion in found for one in portion] == frauds
    assert list(portions([])) == []


def test_order_of_chargebacks_is_random_and_repeatable() -> None:
    truth = [(str(n), n % 3 == 0) for n in range(90)]
    frauds = frauds_in_random_order(truth, 5)
    assert frauds == frauds_in_random_order(truth, 5)
    assert frauds != sorted(frauds, key=int)
    assert sorted(map(int, frauds)) == list(range(0, 90, 3))


def test_mixed_up_labels_have_as_many_frauds_elsewhere(tmp_path: Path) -> None:
    truth = [(str(n), n < 30) for n in range(100)]
    write_mixed_up(tmp_path / "labels.csv", truth, 5)
    with (tmp_path / "labels.csv").open(newline="") as source:
        found = [(row["transaction_id"], row["label"] == "FRAUD") for row in csv.DictReader(source)]
    assert [one for one, _ in found] == [one for one, _ in truth]
    assert sum(label for _, label in found) == 30
    assert found != truth


def test_only_features_far_from_the_reference_on_enough_rows_fire() -> None:
    features = [
        {"name": "near", "psi": 0.25, "rows": 3_000},
        {"name": "few", "psi": 2.0, "rows": 2_000},
        {"name": "moved", "psi": 0.3, "rows": 2_001},
        {"name": "most", "psi": 1.1, "rows": 3_000},
    ]
    assert [one.name for one in moved_features({"features": features})] == ["most", "moved"]


def test_webhook_understands_the_notification() -> None:
    moved = moved_features({"features": [{"name": "most", "psi": 1.1, "rows": 3_000}]})
    alerts = firing_drift(AlertmanagerBody.model_validate(notification("v1", moved)))
    assert reason_of(alerts) == "FraudFeatureDrift: Features of v1 that drifted: 1"


def test_first_rows_and_the_rest_are_the_whole_part(tmp_path: Path) -> None:
    table = tmp_path / "later.csv"
    table.write_bytes(b"a,b\n" + b"".join(b"%d,x\n" % n for n in range(30)))
    names = split_first(table, 20)
    assert names == ("later-first", "later-rest")
    parts = [(tmp_path / f"{name}.csv").read_bytes().splitlines() for name in names]
    assert [part[0] for part in parts] == [b"a,b"] * 2
    assert [*parts[0][1:], *parts[1][1:]] == table.read_bytes().splitlines()[1:]
    assert len(parts[0]) == 21
