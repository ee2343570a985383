"""Promotions: which of two concurrent ones wins, and how to lift a rejection."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stream_scorer.errors import UsageError
from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.model.store.port import ArtifactStore
from tests.support.factories import make_draft, publish
from tests.support.stores import rest, s3_place, store_settings
from tests.support.waiting import wait_until
from trainer.__main__ import main
from trainer.publishing.publish import load_champion, promote

TRAIN = ("--synthetic", "1500", "--trees", "8", "--leaves", "8", "--threads", "1", "--folds", "1")
FORCED = ("--force", "--reason", "a test of two trainers")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """An empty store for the commands of this process."""
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    return FileStore(tmp_path / "store")


def test_of_two_trainers_at_once_one_wins_and_the_other_reports_it(
    tmp_path: Path, store: FileStore
) -> None:
    environment = os.environ | {"MODEL_STORE_URI": (tmp_path / "store").as_uri()}
    (tmp_path / "store").mkdir()
    with (tmp_path / "store" / ".lock").open("wb") as lock:
        # The pointer moves only after both have published, so both have seen no pointer.
        fcntl.flock(lock, fcntl.LOCK_EX)
        trainers = [
            subprocess.Popen(
                [sys.executable, "-m", "trainer", "train", *TRAIN, *FORCED, "--seed", str(seed)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for seed in (1, 2)
        ]
        try:
            wait_until(lambda: len(store.versions()) == 2, 180, what="both to publish")
            fcntl.flock(lock, fcntl.LOCK_UN)
            ended = [
                (*trainer.communicate(timeout=180), trainer.returncode) for trainer in trainers
            ]
        finally:
            for trainer in trainers:
                trainer.kill()
                trainer.communicate()
    assert sorted(code for *_, code in ended) == [0, 1], ended
    (won, _, _), (_, told, _) = sorted(ended, key=lambda end: end[2])
    pointer = store.current()
    assert pointer is not None
    assert f"{pointer.version} promoted" in won
    lost = {"v1": "v2", "v2": "v1"}[pointer.version]
    assert f"{lost} is published but not promoted: another promotion happened" in told
    assert f"fraud-trainer models promote {lost}" in told
    assert "Traceback" not in told
    assert [p.version for p in store.history()] == [pointer.version]


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_of_many_promotions_at_once_one_wins_and_the_others_are_usage_errors(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def open_store() -> ArtifactStore:
        return FileStore(tmp_path) if place is None else place.open()

    place = s3_place(request.getfixturevalue("s3_endpoint")) if kind == "s3" else None
    store = open_store()
    versions = [store.publish(b"m", rest) for _ in range(5)]
    expected = store.promote(versions.pop(), None)
    start = threading.Barrier(len(versions))

    def run(version: str) -> str | None:
        mine = open_store()
        start.wait(timeout=120)
        try:
            promote(mine, version, expected)
        except UsageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(versions)) as pool:
        said = [text for text in pool.map(run, versions) if text is not None]
    assert len(said) == len(versions) - 1
    assert all("another promotion happened" in text for text in said)
    pointer = store.current()
    assert pointer is not None
    assert [p.version for p in store.history()] == ["v5", pointer.version]


def fill(store: FileStore) -> None:
    """v1 and v3 promoted, v2 published only, v3 rejected."""
    publish(store)
    store.publish(*build_files(make_draft(2)))
    publish(store, seed=3)
    store.reject("v3", {"reason": "too many flagged", "host": "pod-7", "figures": {"psi": 3.5}})


def test_rollback_goes_to_the_previous_promotion_and_never_forward(
    store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(store)
    publish(store, seed=1)  # v4, promoted over v3, which is rejected
    assert main(["models", "rollback"]) == 0
    assert "promoted v1 (rolled back from v4)" in capsys.readouterr().out
    assert main(["models", "rollback"]) == 1
    assert "cannot roll back from v1: every version promoted before it" in capsys.readouterr().err


def test_rejected_version_is_shown_with_the_reason(
    store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(store)
    assert main(["models", "list"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.endswith("promoted, rejected by a scorer: too many flagged (by pod-7)")
    assert main(["models", "list", "--json"]) == 0
    assert [v["rejection"] for v in json.loads(capsys.readouterr().out)] == [
        None, None, "too many flagged (by pod-7)",
    ]  # fmt: skip
    assert main(["models", "show", "v3"]) == 0
    assert json.loads(capsys.readouterr().out)["rejected"]["figures"] == {"psi": 3.5}
    assert main(["models", "show", "v1"]) == 0
    assert "rejected" not in json.loads(capsys.readouterr().out)


def test_rejected_version_is_promoted_only_by_force_and_then_serves(
    store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(store)
    assert main(["models", "promote", "v3"]) == 1  # although the pointer already names it
    said = capsys.readouterr().err
    assert "v3 was rejected by a scorer: too many flagged" in said
    assert "fraud-trainer models accept v3 --reason TEXT" in said
    assert main(["models", "promote", "v3", "--force"]) == 2
    assert "--force needs --reason TEXT" in capsys.readouterr().err
    assert main(["models", "promote", "v3", "--force", "--reason", "sales day"]) == 0
    assert store.rejected() == {}
    assert store.accepted() == {"v3"}


def test_accepting_lifts_the_rejection_for_good(
    store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(store)
    assert main(["models", "accept", "v3"]) == 2
    assert "models accept needs --reason TEXT" in capsys.readouterr().err
    assert store.rejected().keys() == {"v3"}
    assert main(["models", "accept", "v3", "--reason", "sales day"]) == 0
    assert "its rejection is lifted" in capsys.readouterr().out
    assert store.rejected() == {}
    assert store.accepted() == {"v3"}
    assert main(["models", "accept", "v3", "--reason", "sales day", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"accepted": "v3", "was_rejected": False}
    assert main(["models", "accept", "v9", "--reason", "sales day"]) == 1
    assert "no version v9" in capsys.readouterr().err


def shuffle_labels(path: Path) -> None:
    """Give the rows each other's labels, so that nothing can be learned."""
    header, *rows = path.read_text().splitlines()
    cells = [row.split(",", 2) for row in rows]
    labels = np.random.default_rng(1).permutation([row[1] for row in cells]).tolist()
    shuffled = [f"{row[0]},{label},{row[2]}" for row, label in zip(cells, labels, strict=True)]
    path.write_text("\n".join([header, *shuffled]))


def test_version_trained_on_shuffled_labels_needs_force_and_a_reason(
    tmp_path: Path,
    store: FileStore,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is stable, so no guard can see that it is worthless; only the gate can."""
    monkeypatch.setenv("FRAUD_TRAINER_USER", "alice\x1b[31m")
    publish(store)  # v1, which serves
    assert main(["synth", str(tmp_path), "--rows", "8000", "--seed", "5"]) == 0
    path = tmp_path / "train_transaction.csv"
    shuffle_labels(path)
    train = ["train", "--transactions", str(path), "--trees", "8", "--leaves", "8"]
    assert main([*train, "--threads", "1", "--no-promote"]) == 1
    capsys.readouterr()

    assert main(["models", "promote", "v2"]) == 1
    refused = capsys.readouterr().err
    assert "v2 was refused by its gate: " in refused
    assert "no better than chance" in refused or "below" in refused
    assert "Traceback" not in refused
    assert main(["models", "promote", "v2", "--force"]) == 2
    assert "--force needs --reason TEXT" in capsys.readouterr().err
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v1"

    assert main(["models", "promote", "v2", "--force", "--reason", "to see it fail"]) == 0
    assert "promoted v2" in capsys.readouterr().out
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    assert r"promoted by force by alice\x1b[31m@" in shown
    assert "to see it fail; refused by the gate" in shown
    assert "\x1b" not in shown
    assert main(["models", "show", "v2"]) == 0
    recorded = json.loads(capsys.readouterr().out)["promoted"]
    assert (recorded["forced"], recorded["reason"]) == (True, "to see it fail")

    publish(store, seed=3)  # v3
    assert main(["models", "rollback"]) == 0
    out, said = capsys.readouterr()
    assert "promoted v1 (rolled back from v3)" in out
    assert "passed over v2" in said


def test_candidate_is_compared_with_the_version_that_serves_not_with_a_rejected_one(
    store: FileStore,
) -> None:
    fill(store)
    champion = load_champion(store, store_settings(model_store_uri="file:///nowhere"))
    assert champion.version == "v1"
    assert champion.bundle is not None
    assert champion.bundle.version == "v1"
    assert champion.pointer is not None
    assert champion.pointer.version == "v3"
