"""Behaviour specific to the store in a folder: processes, locks, paths."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.file_store import FileObjects, FileStore
from tests.support.stores import rest

RACERS = 8

PUBLISHER = """
import sys
from pathlib import Path
from stream_scorer.model.store.file_store import FileStore
store = FileStore(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(store.publish(sys.argv[2].encode(), lambda v: {
    "metadata.json": v.encode(), "preprocessor.pkl": sys.argv[2].encode()}))
"""

PROMOTER = """
import sys
from pathlib import Path
from stream_scorer.errors import StoreConflict
from stream_scorer.model.store.file_store import FileStore
store = FileStore(Path(sys.argv[1]))
expected = store.current()
print("ready", flush=True)
sys.stdin.readline()
try:
    print(store.promote(sys.argv[2], expected).version)
except StoreConflict:
    print("conflict")
"""


def race_processes(script: str, root: Path, arguments: list[str]) -> list[str]:
    """Start one process per argument, release them together, return their last lines."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(root), argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for argument in arguments
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("\n")
            racer.stdin.flush()
        return [racer.communicate(timeout=180)[0].strip() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def test_racing_processes_publish_distinct_versions(tmp_path: Path) -> None:
    models = [f"model {n}" for n in range(RACERS)]
    versions = race_processes(PUBLISHER, tmp_path, models)
    store = FileStore(tmp_path)
    assert sorted(versions) == sorted(store.versions())
    assert len(set(versions)) == RACERS
    for version, model in zip(versions, models, strict=True):
        files = store.fetch(version)
        assert files["model.pkl"] == files["preprocessor.pkl"] == model.encode()


def test_one_of_racing_processes_promotes(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    versions = [store.publish(b"m", rest) for _ in range(RACERS + 1)]
    store.promote(versions.pop(), None)
    outcomes = race_processes(PROMOTER, tmp_path, versions)
    (winner,) = [outcome for outcome in outcomes if outcome != "conflict"]
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == winner


def test_file_store_leaves_no_unfinished_files(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "not" / "there" / "yet")
    store.publish(b"m", rest)
    store.promote("v1", None)
    assert list((tmp_path / "not/there/yet/.unfinished").iterdir()) == []


def test_file_store_names_the_path_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreError, match=str(tmp_path / "store")):
        FileStore(tmp_path / "store").current()
    with pytest.raises(StoreError, match=str(tmp_path / "store")):
        FileStore(tmp_path / "store").publish(b"m", rest)


def test_file_pointer_rewritten_with_the_same_version_is_noticed(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.publish(b"m", rest)
    first = store.promote("v1", None)
    store.promote("v1", first)
    with pytest.raises(StoreConflict):
        store.promote("v1", first)


def test_promotion_times_out_on_a_lock_that_is_never_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path)
    store.publish(b"m", rest)
    monkeypatch.setattr("stream_scorer.model.store.file_store.LOCK_TIMEOUT_SECONDS", 0.05)
    with (tmp_path / ".lock").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another process holds the lock"):
            store.promote("v1", None)
    assert store.promote("v1", None).version == "v1"


@pytest.mark.parametrize("call", ["current", "promote"])
def test_pointer_that_is_a_folder_is_named(tmp_path: Path, call: str) -> None:
    store = FileStore(tmp_path)
    store.publish(b"m", rest)
    (tmp_path / "manifests/latest.txt").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"/manifests/latest\.txt is a folder: remove it"):
        store.current() if call == "current" else store.promote("v1", None)


def test_folder_in_the_way_of_a_write_is_named(tmp_path: Path) -> None:
    objects = FileObjects(tmp_path)
    (tmp_path / "models/latest/model.pkl/x").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"/models/latest/model\.pkl: Is a directory"):
        objects.overwrite("models/latest/model.pkl", b"m")
