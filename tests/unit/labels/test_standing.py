"""Labels that stand: of transactions and origins, whatever the records hold."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from stream_scorer.labels.labels import ORIGINS, VALUES
from stream_scorer.labels.standing import StandingLabels, StandingTable


def label(transaction: int, word: str = "FRAUD", at: int = 1, **more: Any) -> dict[str, Any]:
    fields = {"transaction_id": transaction, "label": word, "decided_at": at, "origin": "ANALYST"}
    return fields | more


def standing(*placed: tuple[int, dict[str, Any]]) -> StandingLabels:
    """Labels with their partitions; offsets count up."""
    table = StandingTable()
    for offset, (partition, fields) in enumerate(placed):
        table.add(partition, offset, fields)
    return table.build()


def test_last_of_a_transaction_and_last_of_each_origin_stand() -> None:
    found = standing(
        (0, label(7, "LEGITIMATE", 3)),
        (0, label(7, "FRAUD", 2, origin="CHARGEBACK")),
        (0, label(3, "UNSURE")),
        (0, label(7, "UNSURE", 4)),
        (0, label(7, "LEGITIMATE", 4, origin="REVERSAL")),
    )
    assert found.last["id"].tolist() == [3, 7]
    assert found.last["value"].tolist() == [-1, 0]
    assert ORIGINS[found.last["origin"][1]] == "REVERSAL"
    by_origin = {
        (row["id"], ORIGINS[row["origin"]]): (row["value"], row["offset"])
        for row in found.by_origin
    }
    assert by_origin == {
        (3, "ANALYST"): (-1, 2), (7, "ANALYST"): (-1, 3), (7, "CHARGEBACK"): (1, 1),
        (7, "REVERSAL"): (0, 4),
    }  # fmt: skip
    assert found.of_origin("ANALYST")["id"].tolist() == [3, 7]
    assert len(found) == 2


def test_label_keeps_what_it_was_decided_on() -> None:
    source = {"topic": "transactions", "partition": 3, "offset": 2**40}
    found = standing((1, label(1, score=0.25, model_version="v7", source=source)))
    row = found.last[0]
    assert (row["score"], found.versions[row["version"]]) == (0.25, "v7")
    where = found.topics[row["topic"]], row["source_partition"], row["source_offset"]
    assert where == ("transactions", 3, 2**40)
    assert (row["partition"], row["offset"], row["decided_at"]) == (1, 0, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": "high", "model_version": 7, "source": "here"},
        {"score": math.nan, "source": {}},
        {"score": 7.0, "source": {"topic": "t", "partition": -1, "offset": 1}},
        {"score": True, "source": {"topic": "t", "partition": 1, "offset": 2**63}},
        {"score": 10**400, "source": {"topic": 1, "partition": 2**31, "offset": 1}},
        {"score": None, "model_version": None, "source": [1]},
    ],
)
def test_fields_of_a_json_label_may_hold_anything(wrong: dict[str, Any]) -> None:
    row = standing((0, label(1, **wrong))).last[0]
    assert math.isnan(row["score"])
    assert (row["version"], row["topic"], row["source_offset"]) == (-1, -1, -1)


def test_many_names_do_not_fill_the_memory() -> None:
    table = StandingTable()
    for number in range(12_000):
        table.add(0, number, label(number, model_version=f"v{number}" + "x" * 1000))
    found = table.build()
    assert len(found.versions) == 10_001
    assert found.versions[-1] == "(others)"
    assert max(map(len, found.versions)) < 250


def test_table_that_is_compacted_finds_what_a_dictionary_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_scorer.labels.standing._CHUNK", 7)
    rng = random.Random(1)
    by_origin: dict[tuple[int, int], tuple[int, int, int]] = {}
    table = StandingTable()
    for offset in range(500):
        transaction, origin = rng.randrange(20), rng.choice(ORIGINS[:3])
        word = rng.choice(list(VALUES))
        # A transaction's labels share a partition.
        at = rng.randrange(9)
        table.add(transaction % 3, offset, label(transaction, word, at, origin=origin))
        one, key = (at, offset, VALUES[word]), (transaction, ORIGINS.index(origin))
        before = by_origin.get(key, one)
        by_origin[key] = max(one, before) if origin == "ANALYST" else one
    found = table.build()
    last: dict[int, tuple[int, int, int]] = {}
    for (transaction, _), one in by_origin.items():
        last[transaction] = max(one, last.get(transaction, one), key=lambda row: row[1])
    rows = zip(*(found.last[n].tolist() for n in ("decided_at", "offset", "value")), strict=True)
    assert dict(zip(found.last["id"].tolist(), rows, strict=True)) == last
    keys = zip(found.by_origin["id"].tolist(), found.by_origin["origin"].tolist(), strict=True)
    places = zip(*(found.by_origin[n].tolist() for n in ("decided_at", "offset")), strict=True)
    assert dict(zip(keys, places, strict=True)) == {key: one[:2] for key, one in by_origin.items()}


def test_chargeback_replaces_a_decision_that_was_made_after_it() -> None:
    """The bank's date is that of the charge; the last record stands, not the last date."""
    found = standing(
        (0, label(1, "LEGITIMATE", 50)),
        (0, label(1, "FRAUD", 10, origin="CHARGEBACK")),
        (0, label(2, "FRAUD", 50, origin="CHARGEBACK")),
        (0, label(2, "LEGITIMATE", 10, origin="ANALYST", supersedes="0:2")),
        (0, label(3, "FRAUD", 50, origin="CHARGEBACK")),
        (0, label(3, "LEGITIMATE", 10, origin="CHARGEBACK")),
    )
    assert found.last["offset"].tolist() == [1, 3, 5]
    assert found.of_origin("CHARGEBACK")["offset"].tolist() == [1, 2, 5]


@pytest.mark.parametrize("chunk", [1, 2, 50])
def test_label_that_names_another_one_replaces_it_whatever_their_times(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("stream_scorer.labels.standing._CHUNK", chunk)
    found = standing(
        (0, label(1, "FRAUD", 10**12)),  # of a clock that is far ahead
        (0, label(1, "LEGITIMATE", 50, supersedes="0:0")),
        (0, label(1, "UNSURE", 40)),  # it waited while Kafka was down
        (0, label(2, "FRAUD", 10, supersedes="0:0")),  # of another transaction
        (0, label(3, "FRAUD", 10, supersedes="0:4")),  # itself
        (0, label(4, "FRAUD", 10, supersedes="x")),
        (1, label(5, "FRAUD", 10)),
        (1, label(5, "LEGITIMATE", 9, supersedes="0:6")),  # of another partition
    )
    assert found.last["id"].tolist() == [1, 2, 3, 4, 5]
    assert found.last["offset"].tolist() == [1, 3, 4, 5, 6]


def test_memory_is_that_of_the_transactions_and_not_of_the_records() -> None:
    table = StandingTable()
    for offset in range(120_000):
        table.add(0, offset, label(offset % 10))
    assert len(table._kept) == 10
    assert len(table.build().last) == 10


def test_nothing_stands_in_an_empty_topic() -> None:
    found = standing()
    assert len(found) == len(found.by_origin) == 0
    assert found.last.dtype.names is not None
    assert np.array_equal(found.of_origin("CHARGEBACK"), found.by_origin)


def test_chargeback_stands_again_once_an_analyst_took_the_decision_back() -> None:
    def build(*records: tuple[str, str, bool], partitions: tuple[int, ...] = ()) -> StandingLabels:
        table = StandingTable()
        for at, (origin, word, is_withdrawal) in enumerate(records):
            partition = partitions[at] if partitions else 0
            fields = label(7, word, at, origin=origin)
            table.add(partition, at, fields, is_withdrawal=is_withdrawal)
        table.add(0, 99, label(9, "FRAUD", 1))
        return table.build()

    bank, mistake = ("CHARGEBACK", "FRAUD", False), ("ANALYST", "LEGITIMATE", False)
    undo = ("ANALYST", "UNSURE", True)
    for records in ((bank, mistake, undo), (mistake, bank, undo), (bank, undo)):
        found = build(*records)
        assert found.last["id"].tolist() == [7, 9]
        assert found.last["value"].tolist() == [1, 1]
        assert found.of_origin("ANALYST")["value"].tolist() == [-1, 1]
    assert build(mistake, undo).last["value"].tolist() == [-1, 1]
    assert build(bank, mistake, undo, mistake).last["value"].tolist() == [0, 1]
    moved = build(mistake, bank, undo, partitions=(1, 0, 0))  # after partitions were added
    assert moved.last["value"].tolist() == [1, 1]
    forged = build(("REVERSAL", "LEGITIMATE", True))  # only a decision can be taken back
    assert forged.last["value"].tolist() == [0, 1]
