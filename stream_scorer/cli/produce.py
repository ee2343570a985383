"""``stream-scorer produce``: sends transactions from IEEE-CIS files to the input topic."""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from schemas.batch import TransactionBatch
from schemas.contracts import NUMBER_INDEX, load_schema
from schemas.transactions.codec import encode_transactions, encode_transactions_json
from stream_scorer.cli.console import count_noun, note, say, say_json
from stream_scorer.cli.pacing import Pacer
from stream_scorer.errors import UsageError
from stream_scorer.kafka.clients import open_producer
from stream_scorer.kafka.driver import KafkaError, KafkaException, Producer
from stream_scorer.kafka.topics import require_topics
from stream_scorer.runtime.registry import register_schema
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.stopping import stop_flag
from stream_scorer.settings import GroupSettings

WireFormat = Literal["avro", "json"]
OnProgress = Callable[["Produced"], None]

FLUSH_SECONDS: Final = 30.0  # for records in flight at the end
_QUEUE_FULL_SECONDS: Final = 0.1  # how long to wait for deliveries when librdkafka's queue is full
_CARD: Final = NUMBER_INDEX["card1"]


@dataclass(slots=True)
class Produced:
    """Counts of transactions; each one sent is eventually delivered or failed."""

    sent: int = 0
    delivered: int = 0
    failed: int = 0
    first_error: str | None = None

    def on_delivery(self, error: KafkaError | None, _message: object) -> None:
        """The producer's delivery callback."""
        if error is None:
            self.delivered += 1
            return
        self.failed += 1
        self.first_error = self.first_error or error.str()


def card_keys(batch: TransactionBatch) -> list[bytes | None]:
    """The record keys of a batch: ``card1`` as a decimal integer, never ``13926.0``.

    A transaction without ``card1`` needs no order: its key is None, and the partitioner distributes
    such records evenly.
    """
    cards = batch.numbers[:, _CARD]
    return [
        None if card != card else (f"{card:.0f}" if card == round(card) else repr(card)).encode()
        for card in cards.tolist()
    ]


def produce_batches(
    producer: Producer,
    topic: str,
    batches: Iterable[TransactionBatch],
    *,
    fmt: WireFormat = "avro",
    rate: float | None = None,
    schema_id: int | None = None,
    on_progress: OnProgress | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Produced:
    """Send transactions, at a steady ``rate`` if given, and wait for their delivery.

    Args:
        producer: idempotent, with the murmur2 partitioner (:func:`open_producer`).
        topic: the topic to send to.
        batches: the transactions, in order; encoded batch by batch.
        fmt: the wire format.
        rate: records per second; after a stall, sending continues at this rate without a burst.
        schema_id: id of the registered transaction schema; None: single-object encoding.
        on_progress: called with the counts a few times per second.
        is_stopping: checked before each record.

    Returns:
        The counts; every transaction sent was delivered or failed.

    Raises:
        Interrupted: ``is_stopping`` returned True; records already sent were flushed, and the
            exception has the counts.
    """
    produced = Produced()
    pacer = Pacer(rate, wait=producer.poll)
    report = on_progress or (lambda _: None)
    for batch in batches:
        values = (
            encode_transactions(batch, schema_id)
            if fmt == "avro"
            else encode_transactions_json(batch)
        )
        for key, value in zip(card_keys(batch), values, strict=True):
            if pacer.before_next():
                report(produced)
            if is_stopping():
                _finish(producer, produced, report)
                raise Interrupted(produced)
            _send(producer, topic, key, value, produced)
        report(produced)
    _finish(producer, produced, report)
    return produced


class Interrupted(KeyboardInterrupt):
    """Producing was stopped; records already sent were flushed."""

    def __init__(self, produced: Produced) -> None:
        super().__init__()
        self.produced = produced


def _send(
    producer: Producer, topic: str, key: bytes | None, value: bytes, produced: Produced
) -> None:
    while True:
        try:
            producer.produce(topic, value, key, on_delivery=produced.on_delivery)
        except BufferError:
            producer.poll(_QUEUE_FULL_SECONDS)
            continue
        except KafkaException as error:  # for example, the record is too large
            produced.on_delivery(error.args[0], None)
        produced.sent += 1
        return


def _finish(producer: Producer, produced: Produced, report: OnProgress) -> None:
    """Wait for deliveries; records that are not acknowledged in time count as failed."""
    deadline = time.monotonic() + FLUSH_SECONDS
    while producer.flush(0.2) and time.monotonic() < deadline:
        report(produced)
    if lost := produced.sent - produced.delivered - produced.failed:
        produced.failed += lost
        produced.first_error = produced.first_error or (
            f"no acknowledgement within {FLUSH_SECONDS:.0f} s"
        )
    report(produced)


def first_rows(
    batches: Iterable[TransactionBatch], limit: int | None
) -> Iterator[TransactionBatch]:
    """The first ``limit`` transactions; all if it is None."""
    left = limit
    for batch in batches:
        if left is None:
            yield batch
            continue
        if left <= 0:
            return
        yield batch if len(batch) <= left else batch.take(np.arange(left))
        left -= len(batch)


def run_produce(args: argparse.Namespace) -> int:
    """``produce FILE.csv``: exit code 1 if a transaction was not delivered."""
    settings = load_settings(GroupSettings, {"input_topic": args.topic})
    topic = settings.input_topic
    for path in (args.file, args.identity):
        if path is not None and path.is_dir():
            raise UsageError(f"{path} is a directory; name a file in it")
        if path is not None and not path.exists():
            raise UsageError(f"no such file: {path}")
    batches = first_rows(_read(args.file, args.identity, loop=args.loop), args.limit)
    require_topics(settings, [topic])
    schema_id = None
    if args.format == "avro":
        schema_id = register_schema(settings, topic, load_schema("transaction"))
    producer = open_producer(settings)
    begun = time.monotonic()
    try:
        with stop_flag() as is_stopping, _progress(args.limit, quiet=args.json) as on_progress:
            produced = produce_batches(
                producer,
                topic,
                batches,
                fmt=args.format,
                rate=args.rate,
                schema_id=schema_id,
                on_progress=on_progress,
                is_stopping=is_stopping,
            )
    except Interrupted as interrupted:
        _summarise(interrupted.produced, topic, time.monotonic() - begun, as_json=args.json)
        raise
    _summarise(produced, topic, time.monotonic() - begun, as_json=args.json)
    return 1 if produced.failed else 0


def _read(file: Path, identity: Path | None, *, loop: bool) -> Iterator[TransactionBatch]:
    try:
        from schemas.csv.codec import read_transactions
    except ModuleNotFoundError as error:
        raise UsageError(
            f"reading transactions requires {error.name}: pip install 'stream-scorer[trainer]'"
        ) from error

    for _ in itertools.count() if loop else range(1):
        for chunk in read_transactions(file, identity, has_labels=False):
            yield chunk.batch


def _progress(total: int | None, *, quiet: bool) -> AbstractContextManager[OnProgress]:
    if quiet:
        return nullcontext(lambda _: None)
    from stream_scorer.cli.progress import counting

    return counting("producing", total, lambda produced: produced.sent)


def _summarise(produced: Produced, topic: str, seconds: float, *, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "topic": topic,
                "sent": produced.sent,
                "delivered": produced.delivered,
                "failed": produced.failed,
                "first_error": produced.first_error,
                "seconds": round(seconds, 3),
            }
        )
        return
    rate = produced.delivered / seconds if seconds else 0.0
    say(
        f"{count_noun(produced.delivered, 'transaction')} delivered to {topic} "
        f"in {seconds:.1f} s ({rate:,.0f}/s)"
    )
    if produced.failed:
        note(f"{count_noun(produced.failed, 'transaction')} failed: {produced.first_error}")
