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

TRAIN = ("--synthetic", "1500", "--trees", "8", "--leaves", "8", "--threads", "1", "--folds", "1",
         "--force")  # fmt: skip


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
                [sys.executable, "-m", "trainer", "train", *TRAIN, "--seed", str(seed)],
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
    assert "fraud-trainer models accept v3" in said
    assert main(["models", "promote", "v3", "--force"]) == 0
    assert store.rejected() == {}
    assert store.accepted() == {"v3"}


def test_accepting_lifts_the_rejection_for_good(
    store: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(store)
    assert main(["models", "accept", "v3"]) == 0
    assert "its rejection is lifted" in capsys.readouterr().out
    assert store.rejected() == {}
    assert store.accepted() == {"v3"}
    assert main(["models", "accept", "v3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"accepted": "v3", "was_rejected": False}
    assert main(["models", "accept", "v9"]) == 1
    assert "no version v9" in capsys.readouterr().err


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
