"""One MLflow server for all tests of this folder; each has an experiment and a store of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_scorer.model.store.file_store import FileStore
from tests.support.tracking.mlflow_server import MlflowServer, running_mlflow


@pytest.fixture(scope="package")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileStore:
    """An empty store for the commands of this process, and an experiment for its runs."""
    monkeypatch.setenv("MODEL_STORE_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"test-{uuid.uuid4().hex[:8]}")
    return FileStore(tmp_path / "store")
