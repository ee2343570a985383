"""``stream-scorer tail``: prints scores as they are committed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any, Final

from schemas.records import UndecodableRecord, decode_record
from stream_scorer.cli.console import note, say, say_json
from stream_scorer.cli.times import format_time
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import Consumer, KafkaException, Message, TopicPartition
from stream_scorer.kafka.errors import translate
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.reader import fetch_span
from stream_scorer.kafka.topics import require_topics
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import GroupSettings

TAIL_GROUP: Final = "-tail"  # added to the scorers' group id; it never joins or commits

_BATCH_RECORDS: Final = 500
_BATCH_SECONDS: Final = 0.1  # longest time until a score is printed
_HEADER: Final = (
    f"{'scored at':<12} {'transaction':>12} {'score':>7}  {'decision':<8} {'model':<6} "
    f"{'amount':>10}  {'product':<7}  reasons"
)


def run_tail(args: argparse.Namespace) -> int:
    """``tail``: stops after ``--limit`` scores or at Ctrl-C."""
    settings = load_settings(GroupSettings)
    topic = settings.output_topic
    partitions = require_topics(settings, [topic])[topic]
    consumer = open_consumer(settings, settings.kafka_group_id + TAIL_GROUP)
    printed = 0
    try:
        if not args.json:
            say(_HEADER)
        for score in _scores(consumer, settings, partitions, from_start=args.from_beginning):
            if args.flagged and not score["is_flagged"]:
                continue
            if args.json:
                say_json(score)
            else:
                say(score_line(score))
            printed += 1
            if printed == args.limit:
                return 0
    except KafkaException as error:
        raise translate(error) from error
    finally:
        consumer.close()
    return 0


def _scores(
    consumer: Consumer, settings: GroupSettings, partitions: int, *, from_start: bool
) -> Iterator[dict[str, Any]]:
    """Yield scores until the process is stopped; unreadable records are reported and skipped."""
    topic = settings.output_topic
    consumer.assign([_begin(consumer, topic, p, from_start) for p in range(partitions)])
    with using_resolver(settings, "fraud_score") as resolver:
        while True:
            messages = consumer.consume(_BATCH_RECORDS, _BATCH_SECONDS)
            if failure := next((e for m in messages if (e := m.error()) is not None), None):
                raise KafkaException(failure)
            for message, value in zip(messages, Records(messages).values, strict=True):
                try:
                    yield decode_record("fraud_score", value, resolver)
                except UndecodableRecord as error:
                    note(f"{topic} {_place(message)} is not a score: {error}")


def _begin(consumer: Consumer, topic: str, partition: int, from_start: bool) -> TopicPartition:
    # Start at a fixed offset: a logical "end" offset is resolved again when the first fetch is
    # late, and scores would be skipped.
    span = fetch_span(consumer, topic, partition)
    return TopicPartition(topic, partition, span.low if from_start else span.high)


def score_line(score: Mapping[str, Any]) -> str:
    """One score as a line with aligned columns; only flagged and sampled ones have an amount."""
    when = format_time(score["scored_at"], f"%H:%M:%S.{score['scored_at'] % 1000:03d}")
    context = score.get("context") or {}
    amount = context.get("TransactionAmt")
    reasons = "; ".join(
        f"{reason['feature']}={'missing' if reason['value'] is None else reason['value']} "
        f"({reason['contribution']:+.2f})"
        for reason in score.get("reasons") or ()
    )
    if score.get("is_sampled"):
        reasons = "(sampled for review)"
    return (
        f"{when:<12} {score['transaction_id']:>12} "
        f"{score['score']:>7.4f}  {score['decision']:<8} {score['model_version']:<6} "
        f"{'' if amount is None else f'{amount:,.2f}':>10}  "
        f"{context.get('ProductCD') or '':<7}  {reasons}"
    ).rstrip()


def _place(message: Message) -> str:
    return f"{message.partition()}-{message.offset()}"
