"""The inputs of histories on real Kafka: spans, dead letters, removed and unreadable records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from schemas.rejections import Stage
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.kafka.clients import open_producer
from stream_scorer.kafka.reader import committed_spans
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.settings import GroupSettings
from stream_scorer.state.inputs import (
    RAISE,
    InputFaults,
    InputMissing,
    InputRows,
    Refused,
    read_dead_letters,
    read_inputs,
    refused_inputs,
)
from tests.support.command_kit import (
    PARTITIONS,
    delete_before,
    error_headers,
    give_outcomes,
    send,
    with_inputs,
)
from tests.support.factories import make_batch
from tests.support.kafka.bomb import produce_bomb
from tests.support.records import produce
from tests.support.state.kit import NotedFaults

READER = "reader"


def read(
    settings: GroupSettings, spans: Spans, refused: Refused, faults: InputFaults = RAISE
) -> list[InputRows]:
    decoder = TransactionDecoder(LocalSchemas())
    return list(
        read_inputs(settings, READER, spans, decoder, refused, stall_seconds=20, faults=faults)
    )


def offsets(rows: Sequence[InputRows], partition: int) -> list[int]:
    return [o for one in rows if one.partition == partition for o in one.offsets.tolist()]


def dead_letters(
    settings: GroupSettings, faults: InputFaults = RAISE
) -> dict[int, dict[int, Stage]]:
    spans = committed_spans(settings, READER, settings.dlq_topic, PARTITIONS)
    return read_dead_letters(settings, READER, spans, stall_seconds=20, faults=faults)


def test_accepted_inputs_of_spans_are_read_in_order(settings: GroupSettings) -> None:
    inputs = with_inputs(settings, 60)
    give_outcomes(settings, inputs, [None, None, "score", "decode", "publish"])
    found = dead_letters(settings)
    stages = [None, None, Stage.SCORE, Stage.DECODE, Stage.PUBLISH]
    expected = {(record.partition, record.offset): stages[i % 5] for i, record in enumerate(inputs)}
    assert {(p, o): stage for p, some in found.items() for o, stage in some.items()} == {
        place: stage for place, stage in expected.items() if stage
    }
    rows = read(settings, {0: Span(0, 20), 1: Span(5, 15), 2: Span(3, 3)}, refused_inputs(found))
    for partition, wanted in ((0, range(20)), (1, range(5, 15)), (2, range(0))):
        accepted = [o for o in wanted if expected[partition, o] != Stage.DECODE]
        assert offsets(rows, partition) == accepted
    assert len(offsets(rows, 0)) < 20
    sent = {(r.partition, r.offset): r.value for r in inputs}
    for one in rows:
        values = encode_transactions(one.batch)
        places = [(one.partition, o) for o in one.offsets.tolist()]
        assert values == [sent[place] for place in places]


def test_dead_letters_of_others_do_not_count(settings: GroupSettings) -> None:
    (record, *_) = with_inputs(settings, 3)
    producer = open_producer(settings)
    headers = error_headers(record, settings.input_topic)
    odd = [
        error_headers(record, "elsewhere"),
        error_headers(record, settings.input_topic, "nowhere"),
        [h for h in headers if not h[0].endswith("offset")],
        [(n, b"9" * 30 if n.endswith("offset") else v) for n, v in headers],
        [(n, b"2" if n.endswith("partition") else v) for n, v in headers],
        [],
    ]
    for own in odd:
        send(producer, settings.dlq_topic, record, b"x", headers=own)
    assert producer.flush(30) == 0
    assert dead_letters(settings) == {0: {}, 1: {}, 2: {}}
    send(producer, settings.dlq_topic, record, b"x", headers=headers)
    assert producer.flush(30) == 0
    assert dead_letters(settings)[record.partition] == {record.offset: Stage.DECODE}


def test_removed_inputs_and_dead_letters_are_reported(settings: GroupSettings) -> None:
    give_outcomes(settings, with_inputs(settings, 30), ["decode"])
    delete_before(settings, settings.input_topic, {1: 4})
    delete_before(settings, settings.dlq_topic, {2: 6})
    noted = NotedFaults()
    rows = read(settings, {1: Span(2, 10), 2: Span(8, 10)}, {}, noted)
    assert noted.seen == [("removed", settings.input_topic, 1, 2, 4)]
    assert (offsets(rows, 1), offsets(rows, 2)) == ([*range(4, 10)], [8, 9])
    with pytest.raises(InputMissing, match=r"records from offset 2 on are needed, .* at 4"):
        read(settings, {1: Span(2, 10)}, {})
    with pytest.raises(InputMissing, match=r"records from offset 1 on are needed, .* at 6"):
        read_dead_letters(settings, READER, {2: Span(1, 8)}, stall_seconds=20)


def test_unreadable_batch_is_reported_unless_its_records_are_dead_letters(
    settings: GroupSettings,
) -> None:
    value = encode_transactions(make_batch(1))[0]
    produce(settings, settings.input_topic, [value] * 3, PARTITIONS)
    produce_bomb(settings, 1)
    produce(settings, settings.input_topic, [value] * 3, PARTITIONS)
    # The reader unpacks this batch with a larger limit, and the decoder rejects its one record.
    noted, spans = NotedFaults(), {1: Span(0, 3)}
    assert offsets(read(settings, spans, {}, noted), 1) == [0, 2]
    ((fault, *place, reason),) = noted.seen
    assert (fault, *place) == ("undecodable", settings.input_topic, 1, 1)
    assert "more than the 1048576 allowed" in str(reason)
    assert offsets(read(settings, spans, {1: np.array([1], np.int64)}), 1) == [0, 2]
