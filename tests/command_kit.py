"""Inputs and outcomes made by hand, and commands run on them, for tests on real Kafka."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from schemas.framing import Header
from schemas.records import encode_record
from schemas.transaction_codec import encode_transactions
from stream_scorer.__main__ import main
from stream_scorer.audit_report import Report
from stream_scorer.findings import Fault
from stream_scorer.runtime.kafka import (
    Producer,
    open_producer,
)
from stream_scorer.settings import GroupSettings
from tests.factories import make_batch
from tests.records import Seen, produce, read_all

PARTITIONS = 3


def score_of(record: Seen, topic: str, **changes: Any) -> bytes:
    source = {"topic": topic, "partition": record.partition, "offset": record.offset, **changes}
    return encode_record(
        "fraud_score",
        {
            "transaction_id": record.offset,
            "score": 0.75,
            "decision": "REVIEW" if record.offset % 2 else "APPROVE",
            "is_flagged": bool(record.offset % 2),
            "review_threshold": 0.5,
            "block_threshold": 0.9,
            "model_version": "v1",
            "scored_at": 1_700_000_000_000,
            "event_time": None,
            "reasons": [],
            "source": source,
            "context": None,
        },
    )


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
    settings: GroupSettings, inputs: Sequence[Seen], stages: Sequence[str | None] = ()
) -> None:
    """A score, or a dead letter where a stage is given, for each input; in one txn."""
    producer = open_producer(settings, **{"transactional.id": settings.kafka_group_id})
    producer.init_transactions(30)
    producer.begin_transaction()
    for i, record in enumerate(inputs):
        stage = stages[i % len(stages)] if stages else None
        topic = settings.input_topic
        if stage is None:
            send(producer, settings.output_topic, record, score_of(record, topic))
        else:
            headers = error_headers(record, topic, stage)
            send(producer, settings.dlq_topic, record, record.value, headers=headers)
    producer.flush(30)
    producer.commit_transaction(30)


def with_inputs(settings: GroupSettings, n: int = 30) -> list[Seen]:
    """Produce ``n`` inputs; what is on the topic then."""
    values: list[bytes | None] = [*encode_transactions(make_batch(n))]
    produce(settings, settings.input_topic, values, PARTITIONS)
    return read_all(settings, settings.input_topic)


def faults(report: Report) -> dict[Fault, int]:
    """Those that occurred."""
    return {fault: count for fault, count in report.verdict.faults.items() if count}


def say(settings: GroupSettings, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with ``--json``; its exit code and what it said."""
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])
