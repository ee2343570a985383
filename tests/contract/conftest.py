"""The kinds of location of an artifact store."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_scorer.model.store.file_store import FileObjects, FileStore
from stream_scorer.model.store.memory_store import MemoryObjects, MemoryStore
from stream_scorer.model.store.port import ArtifactStore
from tests.support.stores import Place, s3_place


@pytest.fixture(params=["memory", "file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "memory":
        objects = MemoryObjects()
        return Place(lambda: MemoryStore(objects), objects)
    if request.param == "file":
        root = tmp_path / "store"
        return Place(lambda: FileStore(root), FileObjects(root))
    return s3_place(request.getfixturevalue("s3_endpoint"))


@pytest.fixture
def store(place: Place) -> ArtifactStore:
    return place.open()
