"""The contract of every artifact store: in memory, in a folder, in a bucket."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store import names as store_layout
from stream_scorer.model.store.port import ArtifactStore, Challenge
from stream_scorer.model.store.promotions import Override
from tests.support.stores import Place, latest_copy, publish_half, rest, signed_rest

RACERS = 8


def test_empty_store_has_no_versions_no_pointer_no_rejections(store: ArtifactStore) -> None:
    assert store.current() is None
    assert store.versions() == []
    assert store.incomplete() == []
    assert store.rejected() == {}


def test_published_version_comes_back_as_it_went_in(store: ArtifactStore) -> None:
    assert store.publish(b"model", signed_rest) == "v1"
    assert store.fetch("v1") == {"model.pkl": b"model"} | signed_rest("v1")
    assert store.versions() == ["v1"]
    assert store.current() is None


def test_unsigned_version_has_no_signature_file(store: ArtifactStore) -> None:
    store.publish(b"model", rest)
    assert set(store.fetch("v1")) == {"model.pkl", "preprocessor.pkl", "metadata.json"}


def test_metadata_is_read_without_the_other_files(store: ArtifactStore) -> None:
    version = store.publish(b"model", rest)
    assert store.read_metadata(version) == store.fetch(version)["metadata.json"]
    with pytest.raises(StoreError, match="no version v7"):
        store.read_metadata("v7")
    with pytest.raises(StoreError, match="not a version"):
        store.read_metadata("v1/../v2")


def test_versions_are_in_order_of_their_numbers(store: ArtifactStore) -> None:
    published = [store.publish(b"m", rest) for _ in range(11)]
    assert published == [f"v{n}" for n in range(1, 12)]
    assert store.versions() == published


def test_publishing_never_changes_existing_files(place: Place, store: ArtifactStore) -> None:
    store.publish(b"first", rest)
    before = store.fetch("v1")
    assert place.open().publish(b"second", rest) == "v2"
    assert store.fetch("v1") == before


def test_layout_is_the_documented_one(place: Place, store: ArtifactStore) -> None:
    store.publish(b"model", signed_rest)
    store.promote("v1", None)
    store.reject("v1", {"guard": "errors"})
    files = ["metadata.json", "metadata.json.sig", "model.pkl", "preprocessor.pkl"]
    store.accept("v2", {"rows": 5000})
    assert sorted(place.objects.keys("")) == [
        "manifests/accepted/v2.json",
        "manifests/history/000001.json",
        "manifests/latest.txt",
        "manifests/rejected/v1.json",
        *[f"models/latest/{name}" for name in files],
        *[f"models/v1/{name}" for name in files],
    ]
    pointer = place.objects.read("manifests/latest.txt", 100)
    assert pointer is not None
    assert pointer.content == b"v1"


def test_racing_publishers_get_distinct_versions(place: Place) -> None:
    def publish(number: int) -> tuple[str, bytes]:
        store, model = place.open(), b"model %d" % number
        start.wait(timeout=120)
        return store.publish(model, rest), model

    start = threading.Barrier(RACERS)
    with ThreadPoolExecutor(RACERS) as pool:
        published = dict(pool.map(publish, range(RACERS)))
    store = place.open()
    assert sorted(published) == sorted(store.versions())
    assert len(published) == RACERS
    assert {v: store.fetch(v)["model.pkl"] for v in published} == published


def test_one_of_racing_promoters_wins(place: Place) -> None:
    store = place.open()
    versions = [store.publish(b"m", rest) for _ in range(RACERS + 1)]
    expected = store.promote(versions.pop(), None)

    def promote(version: str) -> str | None:
        mine = place.open()
        start.wait(timeout=120)
        try:
            return mine.promote(version, expected).version
        except StoreConflict:
            return None

    start = threading.Barrier(RACERS)
    with ThreadPoolExecutor(RACERS) as pool:
        winners = [version for version in pool.map(promote, versions) if version]
    assert len(winners) == 1
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == winners[0]


def test_incomplete_version_is_ignored(store: ArtifactStore) -> None:
    publish_half(store)
    assert store.versions() == []
    with pytest.raises(StoreError, match=r"v1 .*incomplete: no preprocessor.pkl, metadata.json"):
        store.fetch("v1")
    with pytest.raises(StoreError, match="incomplete"):
        store.promote("v1", None)
    assert store.current() is None
    assert store.publish(b"whole", rest) == "v2"
    assert store.versions() == ["v2"]
    assert store.incomplete() == ["v1"]


def test_version_that_lost_a_file_is_not_listed(place: Place, store: ArtifactStore) -> None:
    store.publish(b"model", rest)
    place.objects.remove("models/v1/preprocessor.pkl")
    assert store.versions() == []
    with pytest.raises(StoreError, match=r"incomplete: no preprocessor\.pkl"):
        store.fetch("v1")


def test_unknown_version_is_refused_by_name(store: ArtifactStore) -> None:
    store.publish(b"model", rest)
    with pytest.raises(StoreError, match="no version v7"):
        store.fetch("v7")
    with pytest.raises(StoreError, match="no version v7"):
        store.promote("v7", None)


@pytest.mark.parametrize("version", ["", "v0", "v01", "1", "latest", "../v1", "v1/../v2", "v1\n"])
def test_invalid_version_never_becomes_a_path(store: ArtifactStore, version: str) -> None:
    with pytest.raises(StoreError, match="not a version"):
        store.fetch(version)
    with pytest.raises(StoreError, match="not a version"):
        store.promote(version, None)
    with pytest.raises(StoreError, match="not a version"):
        store.reject(version, {})


def test_promotion_moves_the_pointer(place: Place, store: ArtifactStore) -> None:
    store.publish(b"m1", rest)
    store.publish(b"m2", rest)
    first = store.promote("v1", None)
    assert store.current() == first == place.open().current()
    second = store.promote("v2", first)
    assert second.version == "v2"
    assert store.current() == second == place.open().current()
    assert store.promote("v1", second).version == "v1"


def test_stale_promoters_error_names_the_expected_version(
    place: Place, store: ArtifactStore
) -> None:
    for _ in range(3):
        store.publish(b"m", rest)
    first = store.promote("v1", None)
    place.open().promote("v2", first)
    with pytest.raises(StoreConflict, match=r"v3 was not promoted.*no longer names v1"):
        store.promote("v3", first)
    with pytest.raises(StoreConflict, match="no longer names no version"):
        store.promote("v3", None)
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v2"


def test_promoter_that_expected_a_pointer_loses_when_it_is_gone(
    place: Place, store: ArtifactStore
) -> None:
    store.publish(b"m", rest)
    pointer = store.promote("v1", None)
    place.objects.remove("manifests/latest.txt")
    with pytest.raises(StoreConflict):
        store.promote("v1", pointer)


def test_unchanged_pointer_is_equal_at_every_read(store: ArtifactStore) -> None:
    store.publish(b"m", rest)
    promoted = store.promote("v1", None)
    assert [store.current() for _ in range(3)] == [promoted] * 3


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"latest", b"../../etc", b"v1 v2", b"v0"])
def test_garbage_pointer_is_reported(place: Place, store: ArtifactStore, content: bytes) -> None:
    place.objects.overwrite("manifests/latest.txt", content)
    with pytest.raises(StoreError, match=r"manifests/latest\.txt contains"):
        store.current()
    assert store.publish(b"m", rest) == "v1"


def test_pointer_edited_by_a_person_is_understood(place: Place, store: ArtifactStore) -> None:
    store.publish(b"m", rest)
    place.objects.overwrite("manifests/latest.txt", b"v1\n")
    pointer = store.current()
    assert pointer is not None
    assert pointer.version == "v1"
    assert store.promote("v1", pointer).version == "v1"


def test_pointer_at_a_missing_version_fails_at_the_fetch(
    place: Place, store: ArtifactStore
) -> None:
    place.objects.overwrite("manifests/latest.txt", b"v5")
    pointer = store.current()
    assert pointer is not None
    with pytest.raises(StoreError, match="no version v5"):
        store.fetch(pointer.version)


def test_number_that_is_still_referenced_is_not_reused(place: Place, store: ArtifactStore) -> None:
    place.objects.overwrite("manifests/latest.txt", b"v5")
    store.reject("v7", {"guard": "flag rate"})
    assert store.publish(b"m", rest) == "v8"


def test_first_rejection_is_kept(place: Place, store: ArtifactStore) -> None:
    store.publish(b"m", rest)
    assert store.reject("v1", {"guard": "errors", "share": 0.5})
    assert not place.open().reject("v1", {"guard": "another"})
    assert store.rejected() == {"v1": {"guard": "errors", "share": 0.5}}
    assert place.open().rejected() == store.rejected()


def test_one_of_racing_rejections_is_first(place: Place) -> None:
    def reject(number: int) -> bool:
        mine = place.open()
        start.wait(timeout=120)
        return mine.reject("v1", {"scorer": number})

    start = threading.Barrier(RACERS)
    with ThreadPoolExecutor(RACERS) as pool:
        outcomes = list(pool.map(reject, range(RACERS)))
    assert outcomes.count(True) == 1
    assert place.open().rejected() == {"v1": {"scorer": outcomes.index(True)}}


def test_unreadable_marker_still_rejects(place: Place, store: ArtifactStore) -> None:
    place.objects.overwrite("manifests/rejected/v2.json", b"\xff{")
    place.objects.overwrite("manifests/rejected/notes.txt", b"not a marker")
    assert list(store.rejected()) == ["v2"]


def test_removed_marker_lifts_the_rejection(place: Place, store: ArtifactStore) -> None:
    store.reject("v1", {"guard": "errors"})
    assert store.rejected()
    place.objects.remove("manifests/rejected/v1.json")
    assert store.rejected() == {}


def test_latest_copy_follows_the_pointer(place: Place, store: ArtifactStore) -> None:
    store.publish(b"m1", signed_rest)
    store.publish(b"m2", rest)
    first = store.promote("v1", None)
    assert latest_copy(place.objects) == store.fetch("v1")
    store.promote("v2", first)
    assert latest_copy(place.objects) == store.fetch("v2")


def test_readers_ignore_the_latest_copy(place: Place, store: ArtifactStore) -> None:
    store.publish(b"m1", rest)
    store.promote("v1", None)
    place.objects.overwrite("models/latest/model.pkl", b"poison")
    assert store.fetch("v1")["model.pkl"] == b"m1"
    assert store.versions() == ["v1"]


def test_oversized_file_is_refused_before_it_is_read(
    place: Place, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(b"m" * 100, rest)
    monkeypatch.setattr(store_layout, "MODEL_MAX_BYTES", 99)
    with pytest.raises(StoreError, match="100 bytes; the limit is 99"):
        place.open().fetch("v1")
    with pytest.raises(StoreError, match="100 bytes; the limit is 99"):
        store.publish(b"m" * 100, rest)
    assert store.versions() == ["v1"]


@pytest.mark.parametrize("change", [{"metadata.json": None}, {"model.pkl": b""}, {"a/b": b""}])
def test_bundle_with_wrong_files_stays_incomplete(
    store: ArtifactStore, change: dict[str, bytes | None]
) -> None:
    def wrong(version: str) -> dict[str, bytes]:
        return {k: v for k, v in (rest(version) | change).items() if v is not None}

    with pytest.raises(StoreError, match="a bundle's files"):
        store.publish(b"m", wrong)
    assert store.versions() == []


def test_accepted_versions_are_known_to_all(place: Place, store: ArtifactStore) -> None:
    assert store.accepted() == set()
    assert store.accept("v2", {"rows": 5000})
    assert not place.open().accept("v2", {"rows": 1})
    assert place.open().accepted() == {"v2"}


def test_readmitted_version_is_accepted_and_no_longer_rejected(
    place: Place, store: ArtifactStore
) -> None:
    store.reject("v2", {"reason": "test"})
    assert place.open().readmit("v2", {"reason": "an operator"})
    assert store.rejected() == {}
    assert store.accepted() == {"v2"}
    assert not store.readmit("v2", {})


def test_version_that_was_accepted_and_rejected_at_once_is_rejected_until_it_is_readmitted(
    place: Place, store: ArtifactStore
) -> None:
    for version in ("v1", "v2"):
        assert store.accept(version, {})
    assert place.open().reject("v2", {"reason": "test"})
    for seen in (store, place.open()):
        assert seen.accepted() == {"v1"}
        assert set(seen.rejected()) == {"v2"}
    assert store.readmit("v2", {})
    assert place.open().accepted() == {"v1", "v2"}
    assert store.rejected() == {}


def test_history_lists_promotions_in_order(place: Place, store: ArtifactStore) -> None:
    for _ in range(3):
        store.publish(b"m", rest)
    first = store.promote("v1", None)
    third = store.promote("v3", first)
    place.open().promote("v1", third, is_rollback=True)
    found = [(p.version, p.previous, p.is_rollback) for p in place.open().history()]
    assert found == [("v1", None, False), ("v3", "v1", False), ("v1", "v3", True)]
    assert all(p.at and p.host for p in store.history())


def test_forced_promotion_is_recorded_with_who_and_why(place: Place, store: ArtifactStore) -> None:
    for _ in range(2):
        store.publish(b"m", rest)
    override = Override("alice@desk", "the labels of May are wrong")
    first = store.promote("v1", None)
    store.promote("v2", first, override=override)
    seen = place.open()
    assert [p.override for p in seen.history()] == [None, override]
    assert seen.last_promotion("v2") == seen.history()[-1]
    assert seen.last_promotion("v3") is None


def test_acceptance_markers_are_listed_with_their_content(
    place: Place, store: ArtifactStore
) -> None:
    store.accept("v10", {"by": "alice@desk"})
    store.accept("v2", {})
    assert list(place.open().acceptances().items()) == [("v2", {}), ("v10", {"by": "alice@desk"})]


@pytest.mark.parametrize(
    "stray", ["models/v999999999/notes.txt", "models/v999999999/model.pkl"], ids=["file", "model"]
)
def test_stray_version_at_the_last_number_does_not_stop_publishing(
    place: Place, store: ArtifactStore, stray: str, caplog: pytest.LogCaptureFixture
) -> None:
    place.objects.overwrite(stray, b"stray")
    assert [store.publish(b"m", rest) for _ in range(2)] == ["v1", "v2"]
    assert "no number is left after v999999999, so it is ignored" in caplog.text


def test_stray_promotion_at_the_last_number_does_not_stop_promoting(
    place: Place, store: ArtifactStore
) -> None:
    place.objects.overwrite("manifests/history/999999999.json", b'{"version": "v9"}')
    store.publish(b"m", rest)
    store.publish(b"m", rest)
    store.promote("v2", store.promote("v1", None))
    assert [(p.version, p.previous) for p in store.history()] == [("v1", None), ("v2", "v1")]


def test_challenger_moves_by_compare_and_set_and_each_move_is_recorded(
    place: Place, store: ArtifactStore
) -> None:
    for _ in range(2):
        store.publish(b"m", rest)
    nobody = store.challenger()
    assert nobody == Challenge(None, None)
    first = store.challenge("v2", nobody)
    assert place.open().challenger() == first == store.challenger()
    with pytest.raises(StoreConflict, match="no longer none"):
        place.open().challenge("v1", nobody)
    assert store.challenger().version == "v2"
    ended = store.challenge(None, first)
    assert place.open().challenger() == ended
    assert ended.version is None
    moves = [(record.version, record.previous) for record in place.open().challenges()]
    assert moves == [("v2", None), (None, "v2")]
    assert store.current() is None
    assert store.history() == []


def test_unknown_version_cannot_challenge(place: Place, store: ArtifactStore) -> None:
    with pytest.raises(StoreError, match="no version v3"):
        store.challenge("v3", store.challenger())
    assert "manifests/challenger.txt" not in place.objects.keys("")
    place.objects.overwrite("manifests/challenger.txt", b"../v1")
    with pytest.raises(StoreError, match=r"contains '\.\./v1' instead of a version"):
        store.challenger()


def test_newest_comparison_of_two_versions_is_kept(store: ArtifactStore) -> None:
    assert store.read_comparison("v1", "v2") is None
    store.write_comparison("v1", "v2", b"{}")
    store.write_comparison("v1", "v2", b"{1}")
    assert store.read_comparison("v1", "v2") == b"{1}"
    assert store.read_comparison("v2", "v1") is None
    with pytest.raises(StoreError, match="not a version"):
        store.write_comparison("v1", "../v2", b"{}")
    with pytest.raises(StoreError, match="the limit is"):
        store.write_comparison("v1", "v2", bytes(65 * 1024))
