"""The JVM's ahead-of-time cache for the embedded broker, which then starts three times as fast.

The cache depends on the machine's JVM and class path, so a training run builds it locally, beside
the jars. It is built only on request: ``python -m stream_scorer.local.aot``.
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
    """Train on a temporary broker and write the cache, unless it exists; returns its path.

    Takes about 30 s of one core; a concurrent call waits for the first. Call it from the main
    thread (see :func:`stream_scorer.runtime.processes.start_child`).

    Raises:
        UsageError: Java or the jars are missing.
        FatalError: the broker did not start.
        ScorerError: the JVM did not write a cache.
    """
    target = aot_cache_path(ensure_jars())
    with file_lock(target.with_suffix(".lock"), "is building the AOT cache"):
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
            broker.kill()  # after a failure: a clean shutdown would first write the cache
            broker.close()
        if not part.exists():
            raise ScorerError(f"the JVM did not write the AOT cache {target}")
        part.replace(target)  # a file with the final name is always complete
    return target


def start_building_aot_cache() -> subprocess.Popen[bytes] | None:
    """Build the cache in a separate process; None if it already exists.

    The caller owns the process and must terminate it or wait for it. A terminated build leaves no
    file that a broker would use.
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
    """Use a topic, a transaction and a group: the code that every later start must run fast."""
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
