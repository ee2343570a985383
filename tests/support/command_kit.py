"""Writes inputs and outcomes to real Kafka, and runs commands on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from schemas.framing import Header
from schemas.records import encode_record
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.__main__ import main
from stream_scorer.audit.report import Report
from stream_scorer.audit.verdict import Fault
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.kafka.driver import Producer, TopicPartition
from stream_scorer.settings import GroupSettings
from tests.support.factories import make_batch, make_score
from tests.support.records import Seen, produce, read_all, wait_readable

PARTITIONS = 3


def score_of(record: Seen, topic: str, *, offset: int | None = None, **changes: Any) -> bytes:
    """A score of a record, or of another offset; every second one is flagged."""
    at = record.offset if offset is None else offset
    is_flagged = bool(record.offset % 2)
    fields = make_score(topic, record.partition, at, transaction_id=transaction_of(record.value))
    if is_flagged:
        fields |= {"score": 0.75, "decision": "REVIEW", "is_flagged": True}
    return encode_record("fraud_score", fields | changes)


def transaction_of(value: bytes | None) -> int:
    """The transaction id of an input; 0 if it cannot be decoded."""
    ids = TransactionDecoder(LocalSchemas()).decode([value], [None]).batch.ids
    return int(ids[0]) if len(ids) else 0


def error_headers(record: Seen, topic: str, stage: str = "decode") -> list[Header]:
    start = "__connect.errors."
    return [
        ("traceparent", b"00-1"),
        (start + "topic", topic.encode()),
        (start + "partition", str(record.partition).encode()),
        (start + "offset", str(record.offset).encode()),
        (start + "stage", stage.encode()),
        (start + "exception.class.name", b"DecodeError"),
        (start + "exception.message", f"made to fail at {stage}".encode()),
    ]


def send(producer: Producer, topic: str, record: Seen, value: bytes | None, **more: Any) -> None:
    producer.produce(topic, value, record.key, record.partition, **more)


def give_outcomes(
    settings: GroupSettings,
    inputs: Sequence[Seen],
    stages: Sequence[str | None] = (),
    *,
    transactions: Sequence[int] = (),
) -> None:
    """Write an outcome for each input, all in one txn.

    The outcome is a dead letter where a stage is given, and a score otherwise. Scores have the
    transaction ids of the inputs, or those in ``transactions``.
    """
    producer = open_producer(settings, **{"transactional.id": settings.kafka_group_id})
    producer.init_transactions(60)
    producer.begin_transaction()
    for i, record in enumerate(inputs):
        stage = stages[i % len(stages)] if stages else None
        topic = settings.input_topic
        if stage is None:
            own = {"transaction_id": transactions[i]} if transactions else {}
            send(producer, settings.output_topic, record, score_of(record, topic, **own))
        else:
            headers = error_headers(record, topic, stage)
            send(producer, settings.dlq_topic, record, record.value, headers=headers)
    producer.flush(60)
    producer.commit_transaction(60)
    wait_readable(settings, settings.output_topic, settings.dlq_topic)


def with_inputs(settings: GroupSettings, n: int = 30) -> list[Seen]:
    """Produce ``n`` inputs; returns all records of the input topic."""
    values: list[bytes | None] = [*encode_transactions(make_batch(n))]
    produce(settings, settings.input_topic, values, PARTITIONS)
    return read_all(settings, settings.input_topic)


def delete_before(settings: GroupSettings, topic: str, offsets: Mapping[int, int]) -> None:
    """Delete the records before these offsets, by partition; -1 deletes all."""
    admin = open_admin(settings)
    wanted = [TopicPartition(topic, partition, at) for partition, at in offsets.items()]
    for future in admin.delete_records(wanted).values():
        future.result(30)


def faults(report: Report) -> dict[Fault, int]:
    """The faults that occurred, with their numbers."""
    return {fault: count for fault, count in report.verdict.faults.items() if count}


def run_json(settings: GroupSettings, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with ``--json``; returns its exit code and the JSON it printed."""
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])
