"""The evaluation report beside a bundle: in memory, in a folder, in a bucket."""

from __future__ import annotations

import json

import pytest

from stream_scorer.errors import ArtifactCorrupt, StoreError
from stream_scorer.model.store import names as store_layout
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.versions.reports import describe_report, read_report
from tests.support.stores import Place, latest_copy, rest, signed_rest

PAGE = "<!doctype html><p>Größe & <b>mehr</b></p>".encode()


def with_report(version: str) -> dict[str, bytes]:
    metadata = {"version": version, "files": {"report.html": describe_report(PAGE, "v1").as_json()}}
    return rest(version) | {"report.html": PAGE, "metadata.json": json.dumps(metadata).encode()}


def test_report_comes_back_with_its_digest_checked(store: ArtifactStore) -> None:
    version = store.publish(b"model", with_report)
    metadata = json.loads(store.read_metadata(version))
    assert store.read_report(version) == read_report(store, version, metadata) == PAGE


def test_scorers_do_not_fetch_the_report(store: ArtifactStore) -> None:
    version = store.publish(b"model", with_report)
    assert set(store.fetch(version)) == {"model.pkl", "preprocessor.pkl", "metadata.json"}


def test_version_of_an_earlier_release_has_no_report(store: ArtifactStore) -> None:
    version = store.publish(b"model", signed_rest)
    assert store.read_report(version) is None
    assert read_report(store, version, json.loads(store.read_metadata(version))) is None
    with pytest.raises(StoreError, match="not a version"):
        store.read_report("v1/../v2")


def test_changed_or_lost_report_is_refused(place: Place, store: ArtifactStore) -> None:
    version = store.publish(b"model", with_report)
    metadata = json.loads(store.read_metadata(version))
    place.objects.overwrite(f"models/{version}/report.html", PAGE + b" ")
    with pytest.raises(ArtifactCorrupt, match=r"report\.html of v1 has sha256"):
        read_report(store, version, metadata)
    place.objects.remove(f"models/{version}/report.html")
    with pytest.raises(ArtifactCorrupt, match=r"report\.html of v1 is missing"):
        read_report(store, version, metadata)
    assert store.versions() == [version]  # it serves without its report


def test_report_that_is_too_large_is_refused_on_both_sides(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.publish(b"model", with_report)
    limits = {**store_layout._LIMITS, "report.html": len(PAGE) - 1}
    monkeypatch.setattr(store_layout, "_LIMITS", limits)
    with pytest.raises(StoreError, match=f"{len(PAGE)} bytes; the limit is {len(PAGE) - 1}"):
        store.read_report(version)
    with pytest.raises(StoreError, match=r"report\.html has"):
        store.publish(b"model", with_report)
    assert store.versions() == [version]


def test_latest_copy_has_the_report_of_the_promoted_version_only(
    place: Place, store: ArtifactStore
) -> None:
    store.publish(b"m1", with_report)
    store.publish(b"m2", rest)
    first = store.promote("v1", None)
    assert latest_copy(place.objects)["report.html"] == PAGE
    store.promote("v2", first)
    assert "report.html" not in latest_copy(place.objects)
