"""``fraud-trainer train --labels topic`` on a real Kafka."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.records import encode_record
from stream_scorer.errors import UsageError
from stream_scorer.kafka.clients import open_producer
from stream_scorer.settings import GroupSettings
from tests.support.command_kit import PARTITIONS
from trainer.__main__ import main
from trainer.data.ingest import ingest
from trainer.data.label_topic import read_label_topic
from trainer.data.labels import Labelling
from trainer.data.source import SyntheticSource

LABEL = {
    "transaction_id": 0,
    "label": "FRAUD",
    "origin": "CHARGEBACK",
    "decided_by": "bank",
    "decided_at": 1_790_000_000_000,
}


def label(transaction: int, word: str, origin: str = "CHARGEBACK") -> bytes:
    changed = {"transaction_id": transaction, "label": word, "origin": origin}
    return encode_record("fraud_label", LABEL | changed)


def produce(settings: GroupSettings, values: dict[int, list[bytes]], *, commit: bool) -> None:
    """Write each transaction's labels, by its key, in one Kafka transaction."""
    more = {"transactional.id": f"{settings.kafka_group_id}-{commit}"}
    producer = open_producer(settings, **more)
    producer.init_transactions(30)
    producer.begin_transaction()
    for transaction, labels in values.items():
        for value in labels:
            producer.produce(settings.labels_topic, value, str(transaction).encode())
    if commit:
        producer.commit_transaction(30)
    else:
        producer.flush(30)
        producer.abort_transaction(30)


def test_last_committed_label_of_each_transaction_is_trained_on(
    environment: GroupSettings,
) -> None:
    plain = ingest(SyntheticSource(400, 3), lambda _: None)
    whole = plain.part(np.ones(len(plain), np.bool_))
    first, second, third, fourth = (int(i) for i in whole.batch.ids[:4])
    written = {
        first: [label(first, "LEGITIMATE"), label(first, "FRAUD")],
        second: [label(second, "FRAUD"), label(second, "LEGITIMATE", "REVERSAL")],
        third: [label(third, "UNSURE", "ANALYST")],
        fourth: [b"not a label", json.dumps(LABEL | {"transaction_id": fourth}).encode()],
        999: [label(999, "FRAUD")],
    }
    produce(environment, written, commit=True)
    produce(environment, {first: [label(first, "LEGITIMATE")]}, commit=False)
    source = SyntheticSource(400, 3, Labelling("topic"))
    rows = ingest(source, lambda _: None)
    found = rows.part(np.ones(len(rows), np.bool_))
    labels = dict(zip(found.batch.ids.tolist(), found.labels.tolist(), strict=True))
    expected = dict(zip(whole.batch.ids.tolist(), whole.labels.tolist(), strict=True))
    del expected[third]
    assert labels == expected | {first: 1, second: 0, fourth: 1}
    facts = rows.facts["labels"]
    assert facts["source"] == f"kafka://{environment.labels_topic}"
    assert (facts["records"], facts["bad_records"], facts["transactions"]) == (8, 1, 5)
    assert (facts["matched"], facts["unmatched"], facts["unsure_left_out"]) == (4, 1, 1)
    assert facts["by_origin"] == {"ANALYST": 1, "CHARGEBACK": 2, "REVERSAL": 1, "UNKNOWN": 0}
    assert len(facts["offsets"]) == PARTITIONS


def test_empty_topic_and_missing_topic_are_named(environment: GroupSettings) -> None:
    assert len(read_label_topic("kafka://")) == 0
    with pytest.raises(UsageError, match=r"topic not found at .*: no-such-labels"):
        read_label_topic("kafka://no-such-labels")


def test_command_trains_with_the_labels_of_the_topic(
    environment: GroupSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_STORE_URI", tmp_path.as_uri())
    ids = ingest(SyntheticSource(1500, 3), lambda _: None).part(np.ones(1500, np.bool_)).batch.ids
    wanted = {int(i): [label(int(i), "FRAUD")] for i in ids[::50]}
    produce(environment, wanted, commit=True)
    argv = ["train", "--synthetic", "1500", "--seed", "3", "--labels", "topic", "--trees", "5"]
    argv += ["--leaves", "7", "--threads", "1", "--maturity-days", "1", "--json", "--no-promote"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main([*argv, "--force", "--reason", "few rows"])
    version = json.loads(printed.getvalue())["version"]
    metadata: dict[str, Any] = json.loads(
        (tmp_path / "models" / version / "metadata.json").read_bytes()
    )
    training = metadata["training"]
    assert training["labels"]["matched"] == len(wanted)
    assert training["maturity"]["left_out"] > 0
    assert training["rows"] == 1500 - training["maturity"]["left_out"]
