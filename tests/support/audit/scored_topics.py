"""Topics on real Kafka with what the scorers' pipeline writes, without a scorer's process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.kafka.clients import open_producer
from stream_scorer.model.bundle import Bundle
from stream_scorer.settings import GroupSettings
from stream_scorer.stream.outcome import Destinations
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import Outgoing, Polled
from tests.support.records import Seen, produce, read_all, wait_readable
from tests.support.scoring_kit import NOW_MS, SINGLE_OBJECT

Change = Callable[[Outgoing], Outgoing]


def add_scored(
    settings: GroupSettings,
    values: Sequence[bytes | None],
    bundle: Bundle,
    partitions: int,
    change: Change = lambda record: record,
) -> int:
    """Produce inputs, and write the outcomes that a scorer would; returns the number of scores.

    ``change`` may forge a record before it is written.
    """
    before = {
        (record.partition, record.offset) for record in read_all(settings, settings.input_topic)
    }
    produce(settings, settings.input_topic, values, partitions)
    seen = read_all(settings, settings.input_topic)
    new = [record for record in seen if (record.partition, record.offset) not in before]
    assert len(new) == len(values)
    return give_scores(settings, new, bundle, change)


def give_scores(
    settings: GroupSettings, inputs: Sequence[Seen], bundle: Bundle, change: Change
) -> int:
    """Write the outcomes of inputs in one txn; returns the number of scores."""
    to = Destinations(settings.output_topic, settings.dlq_topic, SINGLE_OBJECT, {})
    pipeline = Pipeline(TransactionDecoder(LocalSchemas()), to)
    ordered = sorted(inputs, key=lambda record: (record.partition, record.offset))
    polled = Polled(
        settings.input_topic,
        [record.value for record in ordered],
        [record.key for record in ordered],
        [list(record.headers.items()) or None for record in ordered],
        np.array([record.partition for record in ordered], np.int32),
        np.array([record.offset for record in ordered], np.int64),
        None,
    )
    outcome = pipeline.process(polled, bundle, NOW_MS)
    producer = open_producer(settings, **{"transactional.id": settings.kafka_group_id})
    producer.init_transactions(60)
    producer.begin_transaction()
    for record in map(change, outcome.records):
        producer.produce(
            record.topic, record.value, record.key, record.partition, headers=record.headers
        )
    producer.flush(60)
    producer.commit_transaction(60)
    wait_readable(settings, settings.output_topic, settings.dlq_topic)
    return outcome.scored
