"""A storage that ignores the conditions of writes is refused before anything is published."""

from __future__ import annotations

from typing import Any

import pytest

from stream_scorer.cli.checks import Level
from stream_scorer.cli.doctor import check_conditional_writes
from stream_scorer.errors import StoreError
from stream_scorer.model.store.memory_store import MemoryObjects, MemoryStore, StoreFault
from stream_scorer.model.store.port import ArtifactStore
from tests.support.stores import Place, rest, s3_place

BOTH = ("IfNoneMatch", "IfMatch")


class CarelessObjects(MemoryObjects):
    """Ignores the given conditions, and answers as if it had obeyed them."""

    def __init__(self, *ignored: str) -> None:
        super().__init__()
        self.ignored = ignored

    def create(self, key: str, content: bytes) -> bool:
        if "IfNoneMatch" in self.ignored:
            self.overwrite(key, content)
            return True
        return super().create(key, content)

    def replace(self, key: str, content: bytes, expected: str | None) -> str:
        ignored = "IfNoneMatch" if expected is None else "IfMatch"
        if ignored in self.ignored:
            self.overwrite(key, content)
        else:
            return super().replace(key, content, expected)
        found = self.read(key, len(content))
        assert found is not None
        return found.token


def careless_s3(endpoint: str, *ignored: str) -> Place:
    """A bucket of a server that drops the given conditions."""

    def drop(params: dict[str, Any], **_: Any) -> Any:  # the stubs know no handler that returns
        return {name: value for name, value in params.items() if name not in ignored}

    place = s3_place(endpoint)
    place.client.meta.events.register("provide-client-params.s3.PutObject", drop)
    return place


@pytest.fixture(params=["memory", "s3"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def careless(kind: str, request: pytest.FixtureRequest, *ignored: str) -> Place:
    if kind == "s3":
        return careless_s3(request.getfixturevalue("s3_endpoint"), *ignored)
    objects = CarelessObjects(*ignored)
    return Place(lambda: MemoryStore(objects), objects)


@pytest.mark.parametrize(
    ("ignored", "named"),
    [(BOTH, "If-None-Match"), (("IfNoneMatch",), "If-None-Match"), (("IfMatch",), "If-Match")],
)
def test_storage_that_ignores_a_condition_is_never_written(
    kind: str, request: pytest.FixtureRequest, ignored: tuple[str, ...], named: str
) -> None:
    place = careless(kind, request, *ignored)
    with pytest.raises(StoreError, match=rf"it ignores {named}\): two publishers would"):
        place.open().publish(b"m", rest)
    assert place.objects.keys("") == []


def test_careless_storage_gets_no_promotion_either(
    kind: str, request: pytest.FixtureRequest
) -> None:
    place = careless(kind, request, "IfMatch")
    for name, content in {"model.pkl": b"m", **rest("v1")}.items():  # by another tool
        place.objects.overwrite(f"models/v1/{name}", content)
    with pytest.raises(StoreError, match="it ignores If-Match"):
        place.open().promote("v1", None)
    assert place.objects.keys("manifests/") == []


def test_doctor_fails_a_careless_storage(kind: str, request: pytest.FixtureRequest) -> None:
    check = check_conditional_writes(careless(kind, request, *BOTH).open())
    assert check.level is Level.FAIL
    assert "it ignores If-None-Match" in check.found


def test_obedient_storage_keeps_nothing_of_the_trial(place: Place, store: ArtifactStore) -> None:
    assert check_conditional_writes(store).level is Level.OK
    assert place.objects.keys("") == []


def test_doctor_of_a_reader_says_what_it_could_not_try() -> None:
    store = MemoryStore()
    store.script(StoreFault("unavailable", "replace *"))
    check = check_conditional_writes(store)
    assert check.level is Level.WARN
    assert "not checked, because a write failed" in check.found


def test_trial_is_made_once_by_a_publisher() -> None:
    objects = MemoryObjects()
    store = MemoryStore(objects)
    store.publish(b"m", rest)
    store.script(StoreFault("unavailable", "replace manifests/probe/*"))
    assert store.publish(b"m", rest) == "v2"
    with pytest.raises(StoreError, match="unavailable"):  # another process tries it again
        MemoryStore(objects).publish(b"m", rest)
