"""Loops as users write them today, on the same topic and with the same model."""

from __future__ import annotations

import json
import pickle
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import fastavro

from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_consumer, open_producer
from stream_scorer.runtime.settings import KafkaSettings
from tests.bench.lean import LeanPlan, decode, lean_row, usual_row

PEERS_PYTHON: Final = Path(".venv-peers/bin/python")
_QUIX_SECONDS: Final = 180.0


def by_hand(
    settings: KafkaSettings,
    source: str,
    target: str,
    plan: LeanPlan,
    booster: Any,
    rows: int,
    make_row: Callable[[LeanPlan, dict[str, Any]], Any],
) -> float:
    """Poll one record, decode, build a row, predict, produce.

    Returns:
        Rows per second, with at-least-once delivery and no flush.
    """
    consumer = open_consumer(settings, f"hand-{uuid.uuid4().hex[:8]}")
    producer = open_producer(settings)
    schema = fastavro.parse_schema(plan.schema)
    consumer.subscribe([source])
    done, warm, started = 0, max(2, rows // 20), 0.0
    try:
        while done < rows + warm:
            message = consumer.poll(1.0)
            if message is None or message.error() is not None:
                continue
            record = decode(schema, message.value() or b"")
            score = booster.predict(make_row(plan, record), num_threads=1)[0]
            value = json.dumps({"id": record["TransactionID"], "score": score}).encode()
            producer.produce(target, value, message.key(), message.partition() or 0)
            producer.poll(0)
            done += 1
            if done == warm:
                started = time.perf_counter()
        return rows / (time.perf_counter() - started)
    finally:
        consumer.close()
        producer.flush(10)


def lean_by_hand(
    settings: KafkaSettings, source: str, target: str, plan: LeanPlan, booster: Any, rows: int
) -> float:
    """The hand-written loop with a numpy row."""
    return by_hand(settings, source, target, plan, booster, rows, lean_row)


def usual_by_hand(
    settings: KafkaSettings, source: str, target: str, plan: LeanPlan, booster: Any, rows: int
) -> float:
    """The hand-written loop with a one-row DataFrame."""
    return by_hand(settings, source, target, plan, booster, rows, usual_row)


def quix_streams(
    settings: KafkaSettings, source: str, plan: LeanPlan, booster: Any, rows: int, partitions: int
) -> float:
    """Quix Streams with the lean code, exactly once, in its own environment."""
    target = f"quix-{uuid.uuid4().hex[:8]}"
    admin = open_admin(settings)
    create_topics(admin, {target: {}}, partitions, 1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "plan.pkl"
        data.write_bytes(pickle.dumps(_as_plain(plan)))
        booster.save_model(str(Path(folder) / "model.txt"))
        given = {
            "servers": settings.kafka_bootstrap_servers,
            "input": source,
            "output": target,
            "plan": str(data),
            "model": str(Path(folder) / "model.txt"),
            "rows": rows,
            "warm": max(20, rows // 20),
            "group": target,
            "state": str(Path(folder) / "state"),  # else it creates one in the working directory
        }
        done = subprocess.run(
            [str(PEERS_PYTHON), str(Path(__file__).with_name("peer_quix.py")), json.dumps(given)],
            capture_output=True,
            text=True,
            timeout=_QUIX_SECONDS,
            check=False,
        )
    if done.returncode != 0 or not done.stdout.strip():
        raise RuntimeError(f"Quix Streams failed: {done.stderr[-800:]}")
    return float(json.loads(done.stdout.splitlines()[0])["rows_a_second"])


def _as_plain(plan: LeanPlan) -> dict[str, Any]:
    return {
        "schema": plan.schema,
        "numbers": plan.numbers,
        "texts": plan.texts,
        "codes": plan.codes,
        "shares": plan.shares,
        "pairs": plan.pairs,
        "means": plan.means,
        "frequencies": [name for name in plan.shares if "|" not in name],
    }
