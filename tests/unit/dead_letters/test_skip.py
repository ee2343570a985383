"""The dead letters of a batch that was skipped, and how the audit counts them. No Kafka."""

from __future__ import annotations

import pytest

from schemas.rejections import OMITTED_HEADER
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.audit.records.input_reader import InputReader
from stream_scorer.audit.records.outcome_reader import key_hashes
from stream_scorer.dead_letters import skip
from stream_scorer.dead_letters.headers import error_headers
from stream_scorer.kafka.driver import Message, TopicPartition
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.settings import GroupSettings

PLACE = TopicPartition("transactions", 2, 40)


def built(
    passed: PassedBatch, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[bytes | None, bytes | None, dict[str, str]]]:
    monkeypatch.setattr(skip, "_limit", lambda _: 10_000)
    found = skip._dead_letters(GroupSettings(), PLACE, passed)
    return [(key, value, error_headers(headers)) for key, value, headers in found]


def test_records_that_could_be_read_keep_key_value_headers_and_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = [
        Message("transactions", 2, 40, b"k", b"v", [("a", b"1")], None, (1, 5)),
        Message("transactions", 2, 42, None, b"x" * 20_000, None, None, (1, 6)),
    ]
    first, second = built(PassedBatch(40, 43, records, 7), monkeypatch)
    assert first[:2] == (b"k", b"v")
    assert second[0] is None
    assert second[1] is not None
    assert 9_000 < len(second[1]) < 10_000  # cut
    for offset, (_, _, errors) in zip((40, 42), (first, second), strict=True):
        assert (errors["topic"], errors["partition"], errors["offset"]) == (
            "transactions", "2", str(offset),
        )  # fmt: skip
        assert (errors["stage"], errors["exception.class.name"]) == ("framing", "UnreadableBatch")
        assert "batch at offset 40" in errors["exception.message"]


def test_batch_that_cannot_be_read_at_all_has_one_dead_letter_for_each_offset_and_its_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = PassedBatch(40, 43, None, 1_700_000_000_000)
    found = built(passed, monkeypatch)
    assert [(key, value, errors["offset"]) for key, value, errors in found] == [
        (None, None, "40"), (None, None, "41"), (None, None, "42"),
    ]  # fmt: skip
    omitted = OMITTED_HEADER.removeprefix("__connect.errors.")
    assert {errors[omitted] for _, _, errors in found} == {"they cannot be read"}
    reader = InputReader("dlq", TransactionDecoder(LocalSchemas()), 1)
    inputs = reader.passed(2, passed)
    assert inputs.offsets.tolist() == [40, 41, 42]
    assert inputs.key_hashes.tolist() == key_hashes([key for key, _, _ in found]).tolist()
    assert set(inputs.times.tolist()) == {1_700_000_000_000}
