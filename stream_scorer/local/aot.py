"""The JVM's ahead-of-time cache for the embedded broker: starts in a third of the time.

It is bound to this machine's JVM and class path, so it is built here, beside the jars, by a
training run; nothing builds it unasked. Run as ``python -m stream_scorer.local.aot``.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Final

from stream_scorer.errors import ScorerError
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.local.broker import EmbeddedBroker
from stream_scorer.local.jars import ensure_jars, file_lock
from stream_scorer.local.jvm import aot_cache_path
from stream_scorer.runtime.settings import KafkaSettings

WRITE_TIMEOUT_SECONDS: Final = 180.0  # 9-22 s on two idle cores
_RECORDS: Final = 200


def build_aot_cache() -> Path:
    """Train on a temporary broker and write the cache, unless it is there; its path.

    Takes about 30 s of one core; a concurrent call waits for the first. Call it from the main
    thread (see :func:`stream_scorer.runtime.processes.start_child`).

    Raises:
        UsageError: no Java or no jars.
        FatalError: the broker did not start.
        ScorerError: the JVM wrote no cache.
    """
    target = aot_cache_path(ensure_jars())
    with file_lock(target.with_suffix(".lock"), "builds the AOT cache"):
        if target.exists():
            return target
        part = target.with_suffix(".part")
        part.unlink(missing_ok=True)
        flags = (f"-XX:AOTCacheOutput={part}",)
        broker = EmbeddedBroker(jvm_flags=flags, use_aot_cache=False)
        try:
            broker.start()
            _exercise(broker.settings)
            broker.stop(WRITE_TIMEOUT_SECONDS)
        finally:
            broker.kill()  # after a failure at once: an ordered stop would write the cache first
            broker.close()
        if not part.exists():
            raise ScorerError(f"the JVM wrote no AOT cache {target}")
        part.replace(target)  # under its final name it is whole
    return target


def start_building_aot_cache() -> subprocess.Popen[bytes] | None:
    """Build it in a process of its own; None if it is there already.

    The caller owns the process: terminate it or wait for it before ending. A build that was
    terminated leaves nothing that a start would use.
    """
    if aot_cache_path(ensure_jars()).exists():
        return None
    return subprocess.Popen(
        [sys.executable, "-m", "stream_scorer.local.aot"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _exercise(settings: KafkaSettings) -> None:
    """A topic, a txn and a group: what every start after this one will need quickly."""
    admin = open_admin(settings)
    create_topics(admin, {"training": {}}, partitions=12, replication_factor=1)
    producer = open_producer(settings, **{"transactional.id": f"training-{uuid.uuid4()}"})
    consumer = open_consumer(settings, "training", **{"group.protocol": "consumer"})
    try:
        consumer.subscribe(["training"])
        producer.init_transactions(30)
        producer.begin_transaction()
        for number in range(_RECORDS):
            producer.produce("training", str(number).encode() * 100, str(number))
        producer.commit_transaction(30)
        consumer.consume(_RECORDS, timeout=10)
    finally:
        consumer.close()


def _stop(*_: object) -> None:
    raise SystemExit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    build_aot_cache()
