"""``stream-scorer demo --loop``: what it says happened is what the topics and the store say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from schemas.records import decode_record
from stream_scorer.audit.verify import verify_topics
from stream_scorer.local.probe import pick_free_port
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.conftest import MakeTopics
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.records import read_all

ROWS, RECENT, LATER, LAST = 10_000, 3_000, 1_000, 1_000
STEPS = ["prepare", "first version", "start", "stream", "drift", "training", "challenger"]
AFTERWARDS = ["promote", "worse version", "probation", "verdict on it", "quality", "audit"]


def run_loop(
    kafka: KafkaUnderTest, names: TopicSettings, group_id: str, folder: Path
) -> dict[str, Any]:
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_GROUP_ID": group_id,
        **{name.upper(): value for name, value in names.model_dump().items()},
    }
    done = subprocess.run(
        [sys.executable, "-m", "stream_scorer", "demo", "--loop", "--exit", "--transactions",
         str(ROWS), "--rate", "1000", "--port", str(pick_free_port()), "--folder", str(folder)],
        env=environment, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "all processes have ended" in done.stderr
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


@pytest.mark.timeout(1300)  # each step has its own deadline
def test_drift_leads_to_a_better_version_and_never_to_a_worse_one(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    names = topics(4)
    summary = run_loop(kafka, names, group_id, tmp_path / "loop")
    versions = summary["versions"]
    assert versions == {"first": "v1", "retrained": "v2", "worse": "v3"}

    # The time line: each step begins after the one before it.
    steps = [one["step"] for one in summary["steps"]]
    portions = [step for step in steps if step.startswith("labels ")]
    assert steps == [*STEPS, *portions, *AFTERWARDS]
    assert all(a["at"] <= b["at"] for a, b in pairwise(summary["steps"]))

    # Verdicts: not on few labels, better on more, never for the worse one.
    *undecided, better, worse = summary["comparisons"]
    assert undecided
    assert {one["verdict"] for one in undecided} == {"cannot tell yet"}
    assert undecided[0]["more_labels"] > 0
    assert better["verdict"] == "better"
    assert better["chargebacks"] == summary["labels_needed"] > undecided[-1]["chargebacks"]
    assert worse["verdict"] == "worse"

    # The store: the second version serves and has passed its probation, the worse one never served.
    store = FileStore(tmp_path / "loop" / "store")
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v2"
    assert "v2" in store.accepted()
    assert store.rejected() == {}

    # The topics: who decided what, and who scored in shadow.
    deciding = Counter(versions_of(kafka, names.output_topic))
    assert deciding == {"v1": RECENT + LATER, "v2": LAST}
    shadowing = Counter(versions_of(kafka, names.shadow_topic))
    left_out = summary["left_out"]
    assert shadowing == {"v2": LATER - left_out["v2"], "v3": LAST - left_out["v3"]}
    assert sum(left_out.values()) < (LATER + LAST) / 2
    labels = [
        decode_record("fraud_label", r.value) for r in read_all(kafka.settings, names.labels_topic)
    ]
    assert len(labels) == len({one["transaction_id"] for one in labels}) == worse["chargebacks"]
    assert {(one["label"], one["origin"]) for one in labels} == {("FRAUD", "CHARGEBACK")}
    settings = GroupSettings(
        **kafka.settings.model_dump(), **names.model_dump(), kafka_group_id=group_id
    )
    report = verify_topics(settings)
    assert report.is_verified, report.as_json()


def versions_of(kafka: KafkaUnderTest, topic: str) -> list[str]:
    return [
        decode_record("fraud_score", one.value)["model_version"]
        for one in read_all(kafka.settings, topic)
    ]
