"""Runs and versions on a real MLflow server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.model.store.file_store import FileStore
from stream_scorer.tracking.alias import TrackingServer, move_alias
from stream_scorer.tracking.identity import identity_tags
from tests.support.factories import publish
from tests.support.tracking.mlflow_server import MlflowServer
from tests.support.waiting import wait_until
from trainer.__main__ import main

TRAIN = [
    "train", "--synthetic", "1500", "--trees", "8", "--leaves", "8", "--threads", "1", "--force",
    "--reason", "a test",
]  # fmt: skip

KILLED = """
import sys
from trainer.publishing.tracking import open_tracker
tracker = open_tracker(sys.argv[1], "file:///store")
tracker.start({"trees": 8}, "data.csv")
tracker.metric("fold_1.validation_average_precision", 0.25, 1)
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    return mlflow_server


def test_run_is_tracked_from_its_start_to_its_champion(
    server: MlflowServer, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    before = time.time()
    assert main([*TRAIN, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    metadata = json.loads(store.fetch("v1")["metadata.json"])
    run = server.runs()[0]
    info, run_id = run["info"], run["info"]["run_id"]
    assert (info["run_name"], info["status"]) == ("v1", "FINISHED")
    assert before < info["start_time"] / 1000 < info["end_time"] / 1000 < time.time()
    assert (info["end_time"] - info["start_time"]) / 1000 >= sum(
        result["stage_seconds"].values()
    ) - 0.1
    assert run["params"]["model.trees"] == "8"
    test = metadata["metrics"]["test"]
    assert run["metrics"]["average_precision"] == pytest.approx(test["average_precision"])
    low, high = test["average_precision_interval"]
    assert run["metrics"]["average_precision_low"] == pytest.approx(low)
    assert run["metrics"]["average_precision_high"] == pytest.approx(high)
    assert run["metrics"]["thresholds.review"] == pytest.approx(metadata["thresholds"]["review"])
    assert run["tags"]["model_version"] == "v1"
    assert run["tags"]["verdict"] == ("passed" if metadata["gate"]["passed"] else "refused")
    data = run["inputs"]["dataset_inputs"][0]
    digest = next(d for d in metadata["training"]["sha256"].values() if d)
    assert data["dataset"]["digest"] == digest[:36]
    assert json.loads(data["dataset"]["profile"])["rows"] == 1500
    curve = server.curve(run_id, "fold_1.validation_average_precision")
    assert [step for step, _ in curve] == list(range(1, len(curve) + 1))
    assert 1 <= len(curve) <= 8
    assert all(0 <= value <= 1 for _, value in curve)
    assert server.files(run_id)["report.html"] > 10_000
    bundle = server.files(run_id, "bundle")
    assert bundle == {f"bundle/{n}": len(content) for n, content in store.fetch("v1").items()}
    registered = server.registered()["v1"]
    assert registered["run_id"] == run_id
    assert registered["source"].endswith("/artifacts/bundle")
    assert server.champion() == "v1"


def test_versions_are_tracked_afterwards_and_the_alias_follows_the_pointer(
    server: MlflowServer, store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(store)
    publish(store, seed=2)
    for version in ("v1", "v2"):
        assert main(["models", "track", version]) == 0
        assert f"{version} is tracked in MLflow" in capsys.readouterr().out
    assert [run["tags"]["tracked"] for run in server.runs()] == ["after the run"] * 2
    assert server.champion() == "v2"
    assert main(["models", "rollback"]) == 0
    assert server.champion() == "v1"
    for version, was in (("v2", "v1"), ("v1", "v2")):  # as the dashboard does, without the client
        tags = identity_tags(json.loads(store.read_metadata(version)))
        assert server.champion() == was
        assert move_alias(TrackingServer(server.uri), tags) is not None
        assert server.champion() == version
    for _ in range(2):
        assert move_alias(TrackingServer(server.uri), {**tags, "model_sha256": "0"}) is None
        assert server.champion() is None
    assert main(["models", "track", "v1"]) == 0
    assert server.champion() == "v1"
    publish(store, seed=3)  # v3, by a trainer that does not track
    capsys.readouterr()
    assert (
        main(["models", "promote", "v3"]) == 0
    )  # promoted already: the alias follows all the same
    assert server.champion() is None
    assert "to register it: fraud-trainer models track v3" in capsys.readouterr().err
    assert main(["models", "track", "v2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "tracked": "v2", "was_registered": True, "missed": {},
    }  # fmt: skip
    assert len(server.runs()) == 2
    assert main(["models", "track", "v9"]) == 1
    assert "no version v9" in capsys.readouterr().err


def test_failed_run_is_marked_with_its_error(
    server: MlflowServer, store: FileStore, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere.csv"
    nowhere.write_text("TransactionID,TransactionDT,TransactionAmt\n1,2,3\n")
    assert main(["train", "--transactions", str(nowhere)]) == 1
    run = server.runs()[0]
    assert run["info"]["status"] == "FAILED"
    assert "no column isFraud" in run["tags"]["error"]
    assert run["params"]["model.seed"] == "7"
    assert store.versions() == []


def test_run_whose_trainer_is_killed_is_marked_killed(
    server: MlflowServer, store: FileStore
) -> None:
    del store  # for the experiment
    trainer = subprocess.Popen(
        [sys.executable, "-c", KILLED, server.uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    with trainer:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == b"started\n"
        trainer.kill()
    run = wait_until(lambda: _ended(server), what="the run to end")
    assert run["info"]["status"] == "KILLED"
    assert run["tags"]["error"] == "the trainer ended before its run did"
    curve = server.curve(run["info"]["run_id"], "fold_1.validation_average_precision")
    assert curve == [(1, 0.25)]


def _ended(server: MlflowServer) -> dict[str, Any] | None:
    runs = server.runs()
    return runs[0] if runs and runs[0]["info"]["status"] != "RUNNING" else None
