"""The places an artifact store can be in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_scorer.model.file_store import FileObjects, FileStore
from stream_scorer.model.memory_store import MemoryObjects, MemoryStore
from stream_scorer.model.store import ArtifactStore
from tests.s3_server import AtomicS3Server
from tests.stores import Place, s3_place


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = AtomicS3Server(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_endpoint(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint of an S3 API; credentials for it are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return s3_server


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
