"""The standing labels as a table: the latest stands, overall and for each kind of origin."""

from __future__ import annotations

from typing import Any

from stream_scorer.labels.standing import StandingTable
from stream_scorer.quality.label_table import table_of
from stream_scorer.quality.rows import NONE, LabelTable

TOPIC = "transactions"


def label(transaction: int, word: str, origin: str = "ANALYST", **fields: Any) -> dict[str, Any]:
    return {
        "transaction_id": transaction,
        "label": word,
        "origin": origin,
        "decided_at": 1,
    } | fields


def table(*labels: dict[str, Any], partitions: tuple[int, ...] = ()) -> LabelTable:
    """Labels in the order in which they were written, all in partition 0 if none are given."""
    standing = StandingTable()
    for offset, one in enumerate(labels):
        standing.add(partitions[offset] if partitions else 0, offset, one)
    return table_of(standing.build(bad=2), TOPIC)


def by_id(found: LabelTable) -> dict[int, tuple[int, int, int, int]]:
    columns = (found.standing, found.analyst, found.report, found.decided_at)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(found.ids.tolist(), rows, strict=True))


def test_last_record_stands_overall_and_for_each_kind_of_origin() -> None:
    found = table(
        label(7, "LEGITIMATE"),
        label(7, "FRAUD", "CHARGEBACK", decided_at=8),
        label(3, "UNSURE"),
        label(7, "UNSURE"),
        label(3, "FRAUD", decided_at=9),
        label(7, "LEGITIMATE", "REVERSAL", decided_at=5),
        label(9, "FRAUD", "CHARGEBACK"),
        label(11, "LEGITIMATE", "REVERSAL"),
        label(11, "FRAUD", "CHARGEBACK"),
    )
    assert by_id(found) == {
        3: (1, 1, NONE, 9),
        7: (0, -1, 0, 5),  # the reversal was written later, and decided before
        9: (1, NONE, 1, 1),
        11: (1, NONE, 1, 1),
    }
    assert found.bad_records == 2


def test_later_decision_stands_where_a_transaction_is_in_two_partitions() -> None:
    found = table(
        label(1, "FRAUD", "CHARGEBACK", decided_at=8),
        label(1, "LEGITIMATE", "REVERSAL", decided_at=7),
        partitions=(0, 3),
    )
    assert by_id(found) == {1: (1, NONE, 1, 8)}


def test_record_that_a_label_names_is_kept_if_it_is_of_the_input() -> None:
    source = {"topic": TOPIC, "partition": 2, "offset": 2**40}
    found = table(
        label(1, "FRAUD", source=source),
        label(2, "FRAUD", source=source | {"topic": "other"}),
        label(3, "FRAUD", source="2:5"),
        label(4, "FRAUD"),
    )
    places = zip(found.partitions.tolist(), found.offsets.tolist(), strict=True)
    assert list(places) == [(2, 2**40), (-1, -1), (-1, -1), (-1, -1)]


def test_nothing_labelled_gives_an_empty_table() -> None:
    assert len(table()) == 0
