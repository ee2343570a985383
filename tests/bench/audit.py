"""Speed and memory of ``stream-scorer verify``: ``python -m tests.bench.audit``.

An embedded broker gets small inputs, and in transactions a small valid score for each, or a dead
letter for one in a thousand. The command audits them in its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from schemas.batch import build_batch
from schemas.records import encode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.cli.console import say
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.kafka.driver import Producer
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.runtime.settings import KafkaSettings
from tests.support.factories import make_score

TOPICS = ("transactions", "fraud-scores", "transactions-dlq")
_TXN_RECORDS = 50_000
_DEAD_LETTER_EVERY = 1000
_ID_AT = 10  # an input's id is its first field, right after the framing


def score(partition: int, offset: int) -> bytes:
    """The smallest valid score with these source coordinates."""
    fields = make_score(TOPICS[0], partition, offset, transaction_id=offset)
    return encode_record("fraud_score", fields)


def zigzag(number: int) -> bytes:
    """A non-negative Avro long."""
    number <<= 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def input_around_id() -> tuple[bytes, bytes]:
    """The bytes of an input before and after its id: everything else is the same in all."""
    (sample,) = encode_transactions(
        build_batch([{"TransactionID": 0, "TransactionDT": 86400, "TransactionAmt": 1.0}])
    )
    return sample[:_ID_AT], sample[_ID_AT + 1 :]


def inputs(count: int, partitions: int) -> Iterator[tuple[int, bytes, Any]]:
    """Transactions whose id is their offset, for each partition in turn."""
    head, tail = input_around_id()
    for offset in range(count // partitions):
        value = head + zigzag(offset) + tail
        for partition in range(partitions):
            yield partition, value, None


def send(producer: Producer, topic: str, rows: Iterator[tuple[int, bytes, Any]]) -> None:
    for partition, value, headers in rows:
        while True:
            try:
                producer.produce(topic, value, b"13926", partition, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)


def outcomes(count: int, partitions: int) -> Iterator[tuple[str, int, bytes, Any]]:
    """Topic, partition, value and headers of each input's outcome, in input order."""
    # Everything but the id and the source is the same, so only these three numbers are encoded.
    sample = score(0, 0)
    place = sample.rindex(TOPICS[0].encode()) + len(TOPICS[0])
    head_of_input, tail_of_input = input_around_id()
    start, between, tail = sample[:_ID_AT], sample[_ID_AT + 1 : place], sample[place + 2 :]
    for offset in range(count // partitions):
        middle = zigzag(offset)
        head = start + middle + between
        for partition in range(partitions):
            if offset % _DEAD_LETTER_EVERY == _DEAD_LETTER_EVERY - 1:
                name = "__connect.errors."
                yield (
                    TOPICS[2],
                    partition,
                    head_of_input + zigzag(offset) + tail_of_input,
                    [
                        (name + "topic", TOPICS[0].encode()),
                        (name + "partition", str(partition).encode()),
                        (name + "offset", str(offset).encode()),
                        (name + "stage", b"score"),
                        (name + "exception.message", b"made to fail"),
                    ],
                )
            else:
                yield TOPICS[1], partition, head + zigzag(partition) + middle + tail, None


def fill(settings: KafkaSettings, count: int, partitions: int) -> None:
    """Fill the three topics."""
    create_topics(open_admin(settings), {name: {} for name in TOPICS}, partitions, 1)
    bigger = {"linger.ms": 50, "queue.buffering.max.messages": 100_000}
    plain = open_producer(settings, **bigger)
    send(plain, TOPICS[0], inputs(count, partitions))
    assert plain.flush(600) == 0
    producer = open_producer(settings, **{**bigger, "transactional.id": "bench"})
    producer.init_transactions(60)
    producer.begin_transaction()
    for i, (topic, partition, value, headers) in enumerate(outcomes(count, partitions), 1):
        send(producer, topic, iter([(partition, value, headers)]))
        if i % _TXN_RECORDS == 0:
            producer.flush(600)
            producer.commit_transaction(60)
            producer.begin_transaction()
    producer.flush(600)
    producer.commit_transaction(60)


def audit(settings: KafkaSettings, *arguments: str) -> dict[str, Any]:
    """Run the command; its report, with its peak memory."""
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers}
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "stream_scorer", "verify", "--json", *arguments],
            env=environment,
            stdout=output,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        report: dict[str, Any] = json.loads(output.read().splitlines()[-1])
    return {
        "exit": child.returncode,
        "seconds": report["seconds"],
        "records_a_second": round(
            (report["inputs"] + report["scores"] + report["dead_letters"]) / report["seconds"]
        ),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "inputs": report["inputs"],
        "scores": report["scores"],
        "dead_letters": report["dead_letters"],
        "transactions_compared": report["transactions_compared"],
        "verified": report["verified"],
        "digest": report["digest"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=12)
    options = parser.parse_args()
    with EmbeddedBroker() as broker:
        started = time.monotonic()
        each = -(-options.inputs // options.partitions)  # the same number in each partition
        fill(broker.settings, each * options.partitions, options.partitions)
        say(f"filled in {time.monotonic() - started:.0f} s")
        say(json.dumps(audit(broker.settings)))


if __name__ == "__main__":
    main()
