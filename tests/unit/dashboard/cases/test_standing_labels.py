"""Which labels stand, of all that were ever given."""

from __future__ import annotations

from pathlib import Path

from dashboard.cases.case import Who
from dashboard.cases.desk_table import DeskWriter
from dashboard.cases.events import CLAIM, DECISION, WITHDRAWAL, make_event
from dashboard.cases.labels import DECIDE, WITHDRAW, Label
from dashboard.cases.log import Place
from dashboard.cases.state import DeskCache


def label(offset: int, target: str, value: str, at: int, **more: object) -> Label:
    fields: dict[str, object] = {
        "place": Place(int(more.pop("partition", 0)), offset),  # type: ignore[call-overload]
        "time": at, "target": target, "transaction_id": 11, "decision_id": f"d{offset}-{at}",
        "origin": "ANALYST", "label": value, "kind": DECIDE, "by": "ana", "decided_at": at,
        "note": None, "reasons": (), "supersedes": None,
    }  # fmt: skip
    return Label(**(fields | more))  # type: ignore[arg-type]


def standing(folder: Path, *labels: Label) -> set[tuple[object, ...]]:
    writer = DeskWriter(folder / "desk.sqlite3")
    writer.save(labels, [], {})
    writer.close()
    return {tuple(row) for row in DeskCache(writer.path).standing_labels()}


def test_last_label_of_each_side_stands(tmp_path: Path) -> None:
    found = standing(
        tmp_path,
        label(0, "0-1", "FRAUD", 10),
        label(1, "0-1", "UNSURE", 20),
        label(2, "0-1", "FRAUD", 30, origin="CHARGEBACK"),
        label(3, "0-1", "LEGITIMATE", 40, origin="REVERSAL"),
        label(4, "#77", "FRAUD", 50, origin="CHARGEBACK", transaction_id=77),
    )
    assert found == {
        ("0-1", 11, "UNSURE", "ANALYST", 20),
        ("0-1", 11, "LEGITIMATE", "REVERSAL", 40),
        (None, 77, "FRAUD", "CHARGEBACK", 50),
    }


def test_withdrawn_decision_does_not_stand(tmp_path: Path) -> None:
    found = standing(
        tmp_path,
        label(0, "0-1", "FRAUD", 10),
        label(1, "0-1", "UNSURE", 20, kind=WITHDRAW),
        label(2, "0-2", "FRAUD", 10),
    )
    assert found == {("0-2", 11, "FRAUD", "ANALYST", 10)}


def test_later_decision_stands_if_labels_of_a_case_are_in_two_partitions(tmp_path: Path) -> None:
    found = standing(
        tmp_path,
        label(9, "0-1", "FRAUD", 30, partition=1),
        label(9, "0-1", "LEGITIMATE", 20),
        label(9, "0-2", "FRAUD", 30, partition=2),
        label(8, "0-2", "UNSURE", 40, kind=WITHDRAW),
    )
    assert found == {("0-1", 11, "FRAUD", "ANALYST", 30)}


def test_cases_that_a_user_decided_and_did_not_withdraw_are_counted(tmp_path: Path) -> None:
    made = [
        ("ana", DECISION, "0-1", 100), ("ana", WITHDRAWAL, "0-1", 100),
        ("ana", DECISION, "0-1", 100),
        ("ana", DECISION, "0-2", 100), ("ana", WITHDRAWAL, "0-2", 200),
        ("ana", DECISION, "0-3", 99), ("ana", DECISION, "0-3", 300),
        ("ana", DECISION, "0-4", 99), ("ana", CLAIM, "0-5", 100), ("bo", DECISION, "0-6", 100),
    ]  # fmt: skip
    events = [
        (make_event(kind, Who(by), at, flag_id=flag_id, transaction_id=1), Place(0, offset))
        for offset, (by, kind, flag_id, at) in enumerate(made)
    ]
    writer = DeskWriter(tmp_path / "desk.sqlite3")
    writer.save([], events, {})
    writer.close()
    cache = DeskCache(writer.path)
    assert [cache.count_decided(who, since=100) for who in ("ana", "bo", "eve")] == [2, 1, 0]
    assert cache.count_decided("ana", since=201) == 1
