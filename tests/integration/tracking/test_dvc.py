"""The pipeline of trainer/dvc under a real DVC."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_scorer.model.store.file_store import FileStore
from tests.support.tracking.mlflow_server import require_tool

ROOT = Path(__file__).parents[3]
DEFINITION = ROOT / "trainer" / "dvc"
SMALL = {"trees": 15, "leaves": 15, "learning-rate": 0.15, "threads": 1}

Dvc = Callable[..., str]


def change_params(repository: Path, section: str, **values: Any) -> None:
    path = repository / "trainer/dvc/params.yaml"
    params = yaml.safe_load(path.read_text("utf-8"))
    params[section] |= {name.replace("_", "-"): value for name, value in values.items()}
    path.write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository with this project's code and DVC's files; the code is linked."""
    for name in ("schemas", "stream_scorer", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "trainer").mkdir()
    for path in (ROOT / "trainer").iterdir():
        if path.name != DEFINITION.name:
            (tmp_path / "trainer" / path.name).symlink_to(path)
    (tmp_path / "trainer/dvc").mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(DEFINITION / name, tmp_path / "trainer/dvc")
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    change_params(tmp_path, "synth", rows=6000)
    change_params(tmp_path, "train", **SMALL)
    return tmp_path


@pytest.fixture
def dvc(repository: Path) -> Dvc:
    """Runs DVC in the repository and returns what it prints."""
    program = require_tool("dvc")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")
    } | {
        "DVC_NO_ANALYTICS": "1",
        "MODEL_STORE_URI": (repository / "store").as_uri(),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "XDG_CONFIG_HOME": str(repository / ".config"),
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    git = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *command], cwd=repository, env=environment, check=True)
    return run


def test_pipeline_trains_once_and_again_after_a_change(repository: Path, dvc: Dvc) -> None:
    store = FileStore(repository / "store")
    assert "python -m trainer train" in dvc("repro", "trainer/dvc/dvc.yaml")
    assert store.versions() == ["v1"]
    assert store.current() is None  # no-promote
    metadata = json.loads(store.fetch("v1")["metadata.json"])
    assert metadata["parameters"]["model"]["leaves"] == 15
    assert metadata["training"]["rows"] == 6000
    report = (repository / "data/dvc/report.html").read_text("utf-8")
    assert report.startswith("<!doctype html>")
    shown = json.loads(dvc("metrics", "show", "--json"))
    measures = shown[""]["data"]["data/dvc/metrics.json"]["data"]
    assert measures["version"] == "v1"
    assert (
        measures["metrics"]["average_precision"] == metadata["metrics"]["test"]["average_precision"]
    )

    again = dvc("repro", "trainer/dvc/dvc.yaml")
    assert "Data and pipelines are up to date" in again
    assert store.versions() == ["v1"]

    change_params(repository, "train", leaves=7)
    difference = json.loads(dvc("params", "diff", "--json"))
    changed_param = difference["trainer/dvc/params.yaml"]["train.leaves"]
    assert (changed_param["old"], changed_param["new"]) == (15, 7)
    changed = dvc("repro", "trainer/dvc/dvc.yaml:train")
    assert "dvc.yaml:synth' didn't change, skipping" in changed
    assert store.versions() == ["v1", "v2"]
    metadata = json.loads(store.fetch("v2")["metadata.json"])
    assert metadata["parameters"]["model"]["leaves"] == 7
