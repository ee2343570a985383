"""Labels from their topic: every wire format, the last one of a transaction, and bad records."""

from __future__ import annotations

import itertools
import json
import logging
import uuid

import pytest

from schemas.contracts import load_schema
from schemas.framing import SCHEMA_ID_HEADER, Headers
from schemas.records import UndecodableRecord, encode_record
from stream_scorer.kafka.messages import Records
from stream_scorer.labels.labels import Labels
from stream_scorer.labels.seen import SeenDecisions
from stream_scorer.labels.topic import DecodedLabels, decode_label
from tests.support.wire import FixedResolver

LABEL = {
    "transaction_id": 2,
    "label": "FRAUD",
    "origin": "ANALYST",
    "decided_by": "ana",
    "decided_at": 1_790_000_000_000,
}


def values(labels: Labels) -> dict[int, int]:
    return dict(zip(labels.ids.tolist(), labels.values.tolist(), strict=True))


GUID = uuid.UUID(int=7).bytes
RESOLVER = FixedResolver({3: load_schema("fraud_label")}, {GUID: load_schema("fraud_label")})
SINGLE_OBJECT = encode_record("fraud_label", LABEL)


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (SINGLE_OBJECT, None),
        (encode_record("fraud_label", LABEL, 3), None),
        (SINGLE_OBJECT[10:], [(SCHEMA_ID_HEADER, b"\x01" + GUID)]),
        (json.dumps(LABEL).encode(), None),
        (SINGLE_OBJECT, [("trace", b"1")]),
    ],
)
def test_every_wire_format_is_decoded(value: bytes, headers: Headers) -> None:
    found = decode_label(value, headers, RESOLVER)
    assert {name: found[name] for name in LABEL} == LABEL


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (None, None, "the value is empty"),
        (b"", None, "the value is empty"),
        (b"hello", None, "no known framing starts with the bytes"),
        (b"\x00\x00\x00", None, "Confluent framing needs 5 bytes"),
        (encode_record("fraud_label", LABEL, 99), None, "99"),
        (SINGLE_OBJECT[:-3], None, ""),
        (SINGLE_OBJECT, [(SCHEMA_ID_HEADER, b"\x01")], "is not 0x01 and a 16-byte GUID"),
        (b"{", None, "not JSON"),
        (b"[" * 100_000, None, ""),
        (b'{"a":' * 100_000, None, "JSON with too many levels"),
        (b"[1]", None, "not a JSON object"),
        (json.dumps(LABEL | {"label": "YES"}).encode(), None, "label is not one of FRAUD"),
        (json.dumps(LABEL | {"origin": "UNKNOWN"}).encode(), None, "origin is not one of ANALYST"),
        (json.dumps(LABEL | {"transaction_id": True}).encode(), None, "transaction_id is not a"),
        (json.dumps(LABEL | {"decided_at": 2**63}).encode(), None, "decided_at is not a whole"),
    ],
)  # fmt: skip
def test_what_is_no_label_is_named(value: bytes | None, headers: Headers, reason: str) -> None:
    with pytest.raises(UndecodableRecord) as error:
        decode_label(value, headers, RESOLVER)
    assert reason in str(error.value)


class FakeMessage:
    """A message of one partition, as the driver delivers it."""

    def __init__(self, offset: int, value: bytes | None, headers: Headers = None) -> None:
        self._offset = offset
        self._value = value
        self._headers = headers

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        return b"1"

    def headers(self) -> Headers:
        return self._headers

    def offset(self) -> int:
        return self._offset


def records(*values: bytes | None, start: int = 0) -> Records:
    return Records([FakeMessage(i, value) for i, value in enumerate(values, start)])  # type: ignore[misc]  # has all that is read


def label(
    transaction: int,
    word: str,
    decided_at: int = 1,
    origin: str = "ANALYST",
    supersedes: str | None = None,
) -> bytes:
    return encode_record(
        "fraud_label",
        LABEL
        | {
            "transaction_id": transaction,
            "label": word,
            "decided_at": decided_at,
            "origin": origin,
            "supersedes": supersedes,
        },
    )


def test_of_decisions_at_the_same_time_the_last_record_stands() -> None:
    found = DecodedLabels("labels")
    found.add(
        0, records(label(1, "FRAUD", 9), label(2, "FRAUD"), label(1, "LEGITIMATE", 9)), RESOLVER
    )
    found.add(0, records(label(2, "UNSURE", 1, "REVERSAL"), start=3), RESOLVER)
    labels = found.build({"source": "kafka://labels"})
    assert values(labels) == {1: 0, 2: -1}
    assert (labels.facts["records"], labels.facts["transactions"]) == (4, 2)


def last(*labels: bytes) -> int:
    """The label that training reads of transaction 1, of records in this order."""
    found = DecodedLabels("labels")
    found.add(0, records(*labels), RESOLVER)
    return values(found.build({}))[1]


def test_withdrawal_of_the_desk_lets_a_chargeback_stand_again() -> None:
    kinds = [("decision-kind", b"decide"), ("decision-kind", b"withdraw")]  # the last one counts
    undo = FakeMessage(2, label(1, "UNSURE", 3), kinds)
    found = DecodedLabels("labels")
    found.add(0, records(label(1, "FRAUD", 1, "CHARGEBACK"), label(1, "LEGITIMATE", 2)), RESOLVER)
    found.add(0, Records([undo]), RESOLVER)  # type: ignore[list-item]  # has all that is read
    assert values(found.build({})) == {1: 1}


def test_label_that_is_written_late_does_not_undo_a_later_decision() -> None:
    late, later = label(1, "FRAUD", 10), label(1, "LEGITIMATE", 20)
    assert last(later, late) == last(late, later) == 0


def test_last_decision_stands_in_every_order_in_which_labels_arrive() -> None:
    words = enumerate(("FRAUD", "UNSURE", "FRAUD", "LEGITIMATE"), 1)
    made = [label(1, word, at) for at, word in words]
    assert {last(*order) for order in itertools.permutations(made)} == {0}


def test_correction_stands_although_the_first_label_is_of_a_clock_far_ahead() -> None:
    ahead = label(1, "FRAUD", 10**12)
    assert last(ahead, label(1, "LEGITIMATE", 5, supersedes="0:0")) == 0
    assert last(ahead, label(1, "LEGITIMATE", 5, supersedes="1:0")) == 1  # of another partition


def decided(offset: int, value: bytes, decision: bytes) -> FakeMessage:
    return FakeMessage(offset, value, [("decision-id", b"other"), ("decision-id", decision)])


def test_decision_that_two_dashboards_wrote_is_one() -> None:
    # Sent to both while Kafka was down, and corrected before the second one wrote it.
    first, second = label(1, "FRAUD", 5), label(1, "FRAUD", 9)
    twice = [decided(0, first, b"a"), decided(1, label(1, "LEGITIMATE", 7), b"b"),
             decided(2, second, b"a")]  # fmt: skip
    seen = list[int]()
    found = DecodedLabels("labels", lambda _partition, offset, _label: seen.append(offset))
    found.add(0, Records(twice[:2]), RESOLVER)  # type: ignore[arg-type]  # has all that is read
    found.add(0, Records(twice[2:]), RESOLVER)  # type: ignore[arg-type]  # has all that is read
    assert values(found.build({})) == {1: 0}
    assert seen == [0, 1]
    assert found.records == 3


def test_id_of_a_decision_counts_within_its_partition_and_needs_no_header() -> None:
    seen = SeenDecisions()
    ids = [(0, b"a"), (1, b"a"), (0, None), (0, None), (0, b"b"), (0, b"a"), (1, b"a")]
    assert [seen.is_repeated(*one) for one in ids] == [False] * 5 + [True, True]


def test_ids_are_known_beyond_those_kept_as_objects() -> None:
    seen, ids = SeenDecisions(), [str(number).encode() for number in range(120_000)]
    assert not any(seen.is_repeated(0, one) for one in ids)
    assert all(seen.is_repeated(0, one) for one in ids)


def test_between_partitions_the_later_decision_stands() -> None:
    found = DecodedLabels("labels")
    found.add(0, records(label(1, "FRAUD", 9), label(2, "FRAUD", 3)), RESOLVER)
    found.add(1, records(label(1, "LEGITIMATE", 3), label(2, "LEGITIMATE", 9)), RESOLVER)
    assert values(found.build({})) == {1: 1, 2: 0}


def test_bad_records_are_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    found = DecodedLabels("labels")
    bad: list[bytes | None] = [b"\x1b[31mred", None, b"{}"]
    with caplog.at_level(logging.WARNING):
        found.add(2, records(*bad, label(1, "FRAUD"), *[b"x"] * 50), RESOLVER)
        labels = found.build({})
    assert values(labels) == {1: 1}
    assert (labels.facts["bad_records"], labels.facts["records"]) == (53, 54)
    assert "labels 2-0 is not a label: no known framing" in caplog.text
    assert "labels 2-1 is not a label: the value is empty" in caplog.text
    assert "labels: 53 of 54 records are no labels" in caplog.text
    assert "\x1b" not in caplog.text
    assert len(caplog.records) == 6


def test_topic_without_labels_gives_none() -> None:
    assert len(DecodedLabels("labels").build({})) == 0
