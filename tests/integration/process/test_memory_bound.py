"""The peak memory of a scorer whose input is small on the wire and large in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.batch import build_batch
from schemas.transactions.codec import encode_transactions_json
from stream_scorer.kafka.clients import open_producer
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import KafkaSettings
from tests.conftest import MakeTopics
from tests.support.factories import make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.kafka.raw_producer import raw_producer
from tests.support.processes import fleet
from tests.support.scoring_kit import make_value
from tests.support.waiting import wait_until

PEAK_MIB = 1_792
"""As in the sizing section of docs/operations.md; the pod has 2 GiB."""


def bombs() -> Iterator[bytes]:
    """40 records of 30 MB, a kilobyte each once compressed: none can be a transaction."""
    yield from [b"{" + b" " * 30_000_000 + b"}"] * 40


def large_transactions() -> Iterator[bytes]:
    """1,000 valid transactions of 1 MB."""
    for value in encode_transactions_json(build_batch(make_transactions(1_000))):
        yield value[:-1] + b" " * 1_000_000 + b"}"


def produce_packed(settings: KafkaSettings, topic: str, values: Iterator[bytes]) -> int:
    """One batch for each record, compressed by zstd; returns their number."""
    errors: list[str] = []
    producer = open_producer(
        settings,
        **{
            "message.max.bytes": 100_000_000,
            "compression.type": "zstd",
            "batch.num.messages": 1,
        },
    )
    number = 0
    for value in values:
        number += 1
        producer.produce(
            topic, value, b"1", 0,
            on_delivery=lambda error, _: errors.append(str(error)) if error else None,
        )  # fmt: skip
        assert producer.flush(60) == 0
    assert not errors
    return number


def peak_mib(pid: int) -> int:
    """The most memory that a process has held so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", ["bombs", "large", "headers"])
def test_peak_memory_stays_below_the_stated_bound(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path, kind: str
) -> None:
    names = topics(1)
    publish(FileStore(tmp_path / "store"))
    if kind == "headers":
        number = 50
        with raw_producer(kafka.bootstrap_servers) as producer:
            for i in range(number):
                headers = [(b"a", None)] * 90_000
                producer.produce(names.input_topic, make_value(i), b"1", headers)
    else:
        values = bombs() if kind == "bombs" else large_transactions()
        number = produce_packed(kafka.settings, names.input_topic, values)
    with fleet(kafka.settings, names, group_id, tmp_path) as scorers:
        scorer = scorers.start()
        scorer.wait_ready()
        wait_until(lambda: scorer.sample().outcomes == number, 120, what="all outcomes")
        dead = scorer.sample().dead_letters
        peak = peak_mib(scorer.process.pid)
        assert scorer.terminate() == 0
    assert dead == (0 if kind == "large" else number)
    assert peak < PEAK_MIB
