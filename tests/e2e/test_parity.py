"""A transaction has the same score in the trainer's evaluation, in the stream and over REST."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from schemas.batch import TransactionBatch, concatenate
from schemas.csv.codec import read_transactions
from schemas.records import decode_record
from stream_scorer.local.probe import pick_free_port
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.scoring import score
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.processes import end_child, start_child
from tests.conftest import MakeTopics
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.processes import fleet
from tests.support.records import read_all
from tests.support.waiting import wait_until

ROWS = 6000
REQUESTED = 300  # rows sent to /predict


def command(module: str, *arguments: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def post(url: str, body: object) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - loopback
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310 - loopback
        answer: dict[str, Any] = json.loads(response.read())
    return answer


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310 - loopback
            return bool(response.status == 200)
    except OSError:
        return False


def rest_scores(folder: Path, environment: dict[str, str], batch: TransactionBatch) -> list[float]:
    """A dashboard process's predictions for the first rows."""
    port = pick_free_port()
    own = {
        "DASHBOARD_PORT": str(port),
        "DASHBOARD_STATE_DIR": str(folder / "dashboard"),
        "MODEL_CACHE_DIR": str(folder / "dashboard-cache"),
    }
    with (folder / "dashboard.log").open("wb") as log:
        child = start_child(
            [sys.executable, "-m", "dashboard"], log, os.environ | environment | own
        )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/readyz"), 120, what="the dashboard")
        rows = [
            {k: v for k, v in batch.row(i).items() if v is not None and not _is_nan(v)}
            for i in range(REQUESTED)
        ]
        found: list[float] = post(f"http://127.0.0.1:{port}/predict", {"transactions": rows})[
            "predictions"
        ]
        return found
    finally:
        assert end_child(child, 90) == 0


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def read_csvs(folder: Path) -> tuple[TransactionBatch, Any]:
    chunks = list(
        read_transactions(folder / "train_transaction.csv", folder / "train_identity.csv")
    )
    labels = [c.labels for c in chunks if c.labels is not None]
    return concatenate([c.batch for c in chunks]), np.concatenate(labels)


def load(store: FileStore) -> Bundle:
    pointer = store.current()
    assert pointer is not None
    return load_bundle(store.fetch(pointer.version), pointer.version)


@pytest.mark.timeout(900)
def test_training_stream_and_rest_give_the_same_score_bit_for_bit(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(3)
    csvs, store = tmp_path / "csvs", FileStore(tmp_path / "store")
    files = (str(csvs / "train_transaction.csv"), "--identity", str(csvs / "train_identity.csv"))
    command("trainer", "synth", str(csvs), "--rows", str(ROWS), "--seed", "5")
    command(
        "trainer", "train", "--transactions", *files, "--trees", "40", "--leaves", "15", "--force",
        "--reason", "few rows", "--folds", "1", "--no-refit",  # the model that was evaluated serves
        MODEL_STORE_URI=(tmp_path / "store").as_uri(),
    )  # fmt: skip
    batch, labels = read_csvs(csvs)
    bundle = load(store)
    expected = dict(zip(batch.ids.tolist(), score(batch, bundle).scores.tolist(), strict=True))

    with fleet(kafka.settings, names, group_id, tmp_path) as scorers:
        scorers.start().wait_ready()
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "MODEL_STORE_URI": (tmp_path / "store").as_uri(),
            **{name.upper(): value for name, value in names.model_dump().items()},
        }
        half = str(ROWS // 2)
        command("stream_scorer", "produce", *files, "--limit", half, **environment)
        command("stream_scorer", "produce", *files, "--format", "json", **environment)
        wait_until(lambda: scorers.outcomes() >= ROWS * 3 // 2, 180, what="all outcomes")
        rest = rest_scores(tmp_path, environment, batch)

    records = [decode_record("fraud_score", s.value) for s in read_all(
        kafka.settings, names.output_topic)]  # fmt: skip
    assert len(records) == ROWS * 3 // 2
    stream = {r["transaction_id"]: r["score"] for r in records}
    assert all(r["score"] == expected[r["transaction_id"]] for r in records)  # Avro and JSON alike
    assert stream == expected
    assert rest == [expected[i] for i in batch.ids[:REQUESTED].tolist()]

    # The trainer's metric equals the metric of the published scores.
    test = bundle.metadata["training"]["split"]["test"]
    inside = (batch.times >= test["first_seconds"]) & (batch.times <= test["last_seconds"])
    published = np.array([stream[i] for i in batch.ids[inside].tolist()])
    assert int(inside.sum()) == test["rows"]
    assert average_precision_score(labels[inside], published) == pytest.approx(
        bundle.metadata["metrics"]["test"]["average_precision"], rel=1e-12
    )
