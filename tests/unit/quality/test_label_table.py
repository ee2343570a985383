"""The labels topic as a table: the last record stands, overall and for each kind of origin."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from schemas.records import encode_record
from stream_scorer.kafka.messages import Records
from stream_scorer.quality import label_table
from stream_scorer.quality.label_table import LabelTableBuilder
from stream_scorer.quality.rows import NONE, LabelTable

TOPIC = "transactions"


class FakeMessage:
    """A message of one partition, as the driver delivers it."""

    def __init__(self, offset: int, value: bytes | None) -> None:
        self._offset, self._value = offset, value

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset


def label(transaction: int, word: str, origin: str = "ANALYST", **fields: Any) -> dict[str, Any]:
    return {
        "transaction_id": transaction, "label": word, "origin": origin, "decided_by": "ana",
        "decided_at": 1, **fields,
    }  # fmt: skip


def encoded(record: dict[str, Any]) -> bytes:
    return encode_record("fraud_label", record)


def add(builder: LabelTableBuilder, partition: int, *values: bytes | None, first: int = 0) -> None:
    messages = [FakeMessage(first + i, value) for i, value in enumerate(values)]
    builder.add(partition, Records(messages), None)  # type: ignore[arg-type]  # all that is read


def by_id(table: LabelTable) -> dict[int, tuple[int, int, int, int]]:
    columns = (table.standing, table.analyst, table.report, table.decided_at)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(table.ids.tolist(), rows, strict=True))


def test_last_record_stands_overall_and_for_each_kind_of_origin() -> None:
    builder = LabelTableBuilder(TOPIC)
    add(
        builder, 0,
        encoded(label(7, "LEGITIMATE")),
        encoded(label(7, "FRAUD", "CHARGEBACK")),
        encoded(label(3, "UNSURE")),
        encoded(label(7, "UNSURE")),
        encoded(label(3, "FRAUD", decided_at=9)),
        encoded(label(7, "LEGITIMATE", "REVERSAL", decided_at=5)),
        encoded(label(9, "FRAUD", "CHARGEBACK")),
    )  # fmt: skip
    table = builder.build()
    assert by_id(table) == {
        3: (1, 1, NONE, 9),
        7: (0, -1, 0, 5),
        9: (1, NONE, 1, 1),
    }


def test_later_decision_stands_where_a_transaction_is_in_two_partitions() -> None:
    builder = LabelTableBuilder(TOPIC)
    add(builder, 0, encoded(label(1, "FRAUD", decided_at=8)), first=5)
    add(builder, 3, encoded(label(1, "LEGITIMATE", decided_at=7)), first=900)
    assert by_id(builder.build()) == {1: (1, 1, NONE, 8)}


@pytest.mark.parametrize("size", [1, 7])
def test_reducing_while_reading_changes_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(4)
    words, origins = ("FRAUD", "LEGITIMATE", "UNSURE"), ("ANALYST", "CHARGEBACK", "REVERSAL")
    ids = [rng.randrange(9) for _ in range(200)]
    values = [
        encoded(
            label(number, rng.choice(words), rng.choice(origins))
            | {"decided_at": rng.randrange(50)}
        )
        for number in ids
    ]

    def table() -> dict[int, tuple[int, int, int, int]]:
        builder = LabelTableBuilder(TOPIC)
        for first in range(0, 200, 10):
            for partition in (0, 1):  # a transaction's labels share a partition
                own = [values[i] for i in range(first, first + 10) if ids[i] % 2 == partition]
                add(builder, partition, *own, first=first)
        return by_id(builder.build())

    expected = table()
    monkeypatch.setattr(label_table, "_MAX_WAITING", size)
    assert table() == expected


def test_record_that_a_label_names_is_kept_if_it_is_of_the_input() -> None:
    builder = LabelTableBuilder(TOPIC)
    source = {"topic": TOPIC, "partition": 2, "offset": 2**40}
    add(
        builder, 0,
        encoded(label(1, "FRAUD", source=source)),
        encoded(label(2, "FRAUD", source=source | {"topic": "other"})),
        json.dumps(label(3, "FRAUD", source=source)).encode(),
        json.dumps(label(4, "FRAUD", source="2:5")).encode(),
        json.dumps(label(5, "FRAUD", source={"topic": TOPIC, "partition": "2"})).encode(),
        json.dumps(label(6, "FRAUD", source=source | {"offset": 2**70})).encode(),
    )  # fmt: skip
    table = builder.build()
    places = zip(table.partitions.tolist(), table.offsets.tolist(), strict=True)
    unnamed = (-1, -1)
    assert list(places) == [(2, 2**40), unnamed, (2, 2**40), unnamed, unnamed, unnamed]


def test_records_that_are_no_labels_are_counted() -> None:
    builder = LabelTableBuilder(TOPIC)
    add(builder, 0, None, b"x", encoded(label(1, "FRAUD")), b"{}")
    table = builder.build()
    assert (len(table), table.bad_records) == (1, 3)


def test_empty_topic_gives_an_empty_table() -> None:
    assert len(LabelTableBuilder(TOPIC).build()) == 0
