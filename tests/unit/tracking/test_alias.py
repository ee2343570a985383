"""The alias of the champion moves, disappears, and never takes longer than it may."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream_scorer.local.probe import pick_free_port
from stream_scorer.tracking.alias import TrackingError, TrackingServer, move_alias
from stream_scorer.tracking.identity import identity_tags, model_digest
from tests.support.tracking import bad_servers
from tests.support.tracking.memory_mlflow import MemoryMlflow, memory_mlflow

OURS = {"model_version": "v7", "model_sha256": "ab"}


@pytest.fixture
def mlflow() -> Iterator[MemoryMlflow]:
    with memory_mlflow() as server:
        yield server


def test_alias_names_the_version_of_this_store_and_of_no_other(mlflow: MemoryMlflow) -> None:
    mlflow.register("v7", "of another store")
    ours = mlflow.register("v7", "ab")
    mlflow.register("v8", "ab")
    mlflow.aliases["champion"] = "1"
    mlflow.page_size = 1
    assert move_alias(TrackingServer(mlflow.uri), OURS) == ours == "2"
    assert mlflow.aliases == {"champion": "2"}


def test_version_that_is_not_registered_leaves_no_alias(mlflow: MemoryMlflow) -> None:
    mlflow.aliases["champion"] = mlflow.register("v6", "ab")
    for _ in range(2):  # the second time there is none to remove
        assert move_alias(TrackingServer(f"{mlflow.uri}/"), OURS) is None
        assert mlflow.aliases == {}


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ({}, None),
        ({"token": "t"}, "Bearer t"),
        ({"username": "ana", "password": "p:w", "token": "t"}, "Basic YW5hOnA6dw=="),
    ],
)
def test_credentials_are_sent_as_the_client_sends_them(
    mlflow: MemoryMlflow, given: dict[str, str], header: str | None
) -> None:
    server = TrackingServer(mlflow.uri, **given)
    move_alias(server, OURS)
    assert set(mlflow.authorizations) == {header}
    assert "p:w" not in repr(server)


def test_credentials_of_the_address_are_sent_and_never_shown(mlflow: MemoryMlflow) -> None:
    move_alias(TrackingServer(mlflow.uri.replace("//", "//ana:p%3Aw@")), OURS)
    assert set(mlflow.authorizations) == {"Basic YW5hOnA6dw=="}
    with pytest.raises(TrackingError, match="does not answer") as raised:
        move_alias(TrackingServer(f"http://ana:secret@127.0.0.1:{pick_free_port()}"), OURS)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "seconds", "words"),
    [
        (bad_servers.close, 90, "does not answer"),
        (bad_servers.refuse("401 Unauthorized"), 90, "check MLFLOW_TRACKING_USERNAME"),
        (bad_servers.refuse("404 Not Found"), 90, "check the path in MLFLOW_TRACKING_URI"),
        (bad_servers.refuse("302 Found", "Location: http://127.0.0.1:1/"), 90, "redirects to"),
        (bad_servers.refuse("503 Service Unavailable"), 90, "answers 503: Service Unavailable"),
        (bad_servers.hang, 0.5, "it took too long"),
        (bad_servers.drip, 0.5, "it took too long"),
    ],
)
def test_server_that_does_not_work_is_named_in_time(
    answer: bad_servers.Answer, seconds: float, words: str
) -> None:
    with bad_servers.bad_server(answer) as port, pytest.raises(TrackingError) as raised:
        move_alias(TrackingServer(f"http://127.0.0.1:{port}"), OURS, seconds=seconds)
    assert words in str(raised.value)
    assert f"127.0.0.1:{port}" in str(raised.value)


@pytest.mark.parametrize("uri", ["file:///mlruns", "sqlite:///x", "databricks", "http://", "//h"])
def test_other_kinds_of_server_are_refused_with_the_way_out(uri: str) -> None:
    with pytest.raises(TrackingError, match="is not an address with http:// or https://"):
        move_alias(TrackingServer(uri), OURS)


@pytest.mark.parametrize("files", [None, [], {}, {"model.pkl": 3}, {"model.pkl": {}}])
def test_version_without_a_digest_has_an_empty_one(files: object) -> None:
    assert model_digest({"files": files}) == ""
    assert identity_tags({"version": "v1"}) == {"model_version": "v1", "model_sha256": ""}
