"""A trainer that is killed while it publishes or promotes, and what ``resume`` makes of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream_scorer.model.store.file_store import FileStore
from tests.support.factories import publish
from trainer.__main__ import main

pytestmark = pytest.mark.timeout(600)  # five trainings at once

TRAIN = ("--synthetic", "6000", "--trees", "15", "--leaves", "15", "--threads", "1")

# Runs the real command with a store that kills the process at one of its writes.
KILLED = """
import os, signal, sys
from pathlib import Path
from stream_scorer.model.store.file_store import FileObjects
from stream_scorer.model.store.layout_store import LayoutStore
from trainer.commands import train_run
from trainer.__main__ import main

root, when, operation, end_of_key = sys.argv[1:5]

def killing(name):
    write = getattr(FileObjects, name)
    def wrapped(objects, key, *rest):
        is_it = name == operation and key.endswith(end_of_key)
        if is_it and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = write(objects, key, *rest)
        if is_it and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return wrapped

class KillingObjects(FileObjects):
    create = killing("create")
    replace = killing("replace")

train_run.open_store = lambda settings: LayoutStore(KillingObjects(Path(root)), is_trusted=True)
sys.exit(main(["train", *sys.argv[5:]]))
"""
POINTS = {
    "before the version": ("before", "create", "/model.pkl"),
    "after the model": ("after", "create", "/model.pkl"),
    "after the metadata": ("after", "create", "/metadata.json"),
    "before the pointer": ("before", "replace", "latest.txt"),
    "after the pointer": ("after", "replace", "latest.txt"),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A store for each point at which a trainer was killed; v1 was promoted before."""
    folder = tmp_path_factory.mktemp("killed")
    roots = {name: folder / str(number) for number, name in enumerate(POINTS)}
    children = {}
    for name, root in roots.items():
        publish(FileStore(root))
        command = [sys.executable, "-c", KILLED, str(root), *POINTS[name], *TRAIN]
        children[name] = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for name, child in children.items():
            _, errors = child.communicate(timeout=500)
            assert child.returncode == -signal.SIGKILL, f"{name}: {child.returncode}\n{errors}"
    finally:
        for child in children.values():
            child.kill()
            child.communicate(timeout=60)
    return roots


@pytest.fixture
def open_killed(
    killed: dict[str, Path], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> FileStore:
    """The store of one point, also for the commands of this process."""
    root = killed[request.param]
    monkeypatch.setenv("MODEL_STORE_URI", root.as_uri())
    return FileStore(root)


def names(root: FileStore) -> str | None:
    pointer = root.current()
    return None if pointer is None else pointer.version


@pytest.mark.parametrize("open_killed", ["before the version"], indirect=True)
def test_before_the_version_nothing_is_left(
    open_killed: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert open_killed.versions() == ["v1"]
    assert open_killed.incomplete() == []
    assert main(["resume"]) == 0
    assert capsys.readouterr().out == "no promotion to resume\n"
    assert names(open_killed) == "v1"


@pytest.mark.parametrize("open_killed", ["after the model"], indirect=True)
def test_half_a_version_is_named_and_never_served(
    open_killed: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "promoted": None, "not_promoted": {}, "incomplete": ["v2"], "is_tracked": None,
    }  # fmt: skip
    assert main(["resume"]) == 0
    assert "v2 is incomplete" in capsys.readouterr().out
    assert names(open_killed) == "v1"
    assert publish(open_killed) == "v3"


@pytest.mark.parametrize("open_killed", ["after the metadata", "before the pointer"], indirect=True)
def test_complete_version_is_promoted_once(
    open_killed: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names(open_killed) == "v1"
    assert main(["resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["promoted"] == "v2"
    assert names(open_killed) == "v2"
    assert main(["resume"]) == 0
    assert capsys.readouterr().out == "no promotion to resume\n"
    assert main(["models", "rollback"]) == 0
    assert names(open_killed) == "v1"
    assert main(["resume"]) == 0  # a rollback is not an interruption
    assert names(open_killed) == "v1"


@pytest.mark.parametrize("open_killed", ["after the pointer"], indirect=True)
def test_after_the_pointer_the_version_serves(
    open_killed: FileStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names(open_killed) == "v2"
    assert main(["resume"]) == 0
    assert capsys.readouterr().out == "no promotion to resume\n"
