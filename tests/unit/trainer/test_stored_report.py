"""A version is published with its report, and never lost for want of one."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import StoreError
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.signing import generate_key_pair, parse_trusted_keys
from stream_scorer.model.store.memory_store import MemoryStore, StoreFault
from stream_scorer.model.store.names import REPORT_MAX_BYTES
from stream_scorer.model.store.promotions import Override
from stream_scorer.model.versions.reports import find_report, read_report
from stream_scorer.model.versions.thresholds import publish_thresholds
from stream_scorer.runtime.settings import StoreSettings
from tests.support.factories import make_draft, make_files
from tests.support.stores import store_settings
from tests.support.training.report_kit import read_page
from trainer.publishing.publish import publish
from trainer.publishing.stored_report import add_report
from trainer.publishing.tracking import _as_files

ANA = Override("ana", "too many reviews")


def signing_settings(folder: Path) -> StoreSettings:
    pair = generate_key_pair()
    path = folder / "key.pem"
    path.write_bytes(pair.private_pem)
    return store_settings(model_signing_key_file=path, model_trusted_keys=pair.public_base64)


def metadata_of(store: MemoryStore, version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.read_metadata(version))
    return found


def test_signed_metadata_names_the_report_that_is_stored(tmp_path: Path) -> None:
    settings, store = signing_settings(tmp_path), MemoryStore()
    assert publish(store, make_draft(), settings) == "v1"
    metadata = metadata_of(store, "v1")
    page = read_report(store, "v1", metadata)
    assert page is not None
    assert "Fraud model v1" in read_page(page.decode()).text
    facts = find_report(metadata)
    assert facts is not None
    assert (facts.version, facts.size) == ("v1", len(page))
    keys = parse_trusted_keys(settings.model_trusted_keys)
    assert load_bundle(store.fetch("v1"), "v1", keys).version == "v1"  # a scorer needs no report


def test_other_thresholds_keep_the_report_of_the_version_that_was_evaluated(
    tmp_path: Path,
) -> None:
    settings, store = signing_settings(tmp_path), MemoryStore()
    publish(store, make_draft(), settings)
    publish_thresholds(store, settings, "v1", 0.6, None, ANA)
    publish_thresholds(store, settings, "v2", 0.7, None, ANA)
    for version in ("v2", "v3"):
        metadata = metadata_of(store, version)
        facts = find_report(metadata)
        assert facts is not None
        assert facts.version == "v1"
        assert read_report(store, version, metadata) == store.read_report("v1")


@pytest.mark.parametrize("change", ["changed", "lost", "none"])
def test_other_thresholds_are_published_without_a_report_that_cannot_be_used(
    change: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings, store = store_settings(), MemoryStore()
    publish(store, make_draft(), settings)
    key = "models/v1/report.html"
    if change == "changed":
        store.objects.overwrite(key, b"<script>alert(1)</script>")
    else:
        store.objects.remove(key)
    if change == "none":
        metadata = metadata_of(store, "v1")
        del metadata["files"]["report.html"]
        store.objects.overwrite("models/v1/metadata.json", json.dumps(metadata).encode())
    publish_thresholds(store, settings, "v1", 0.6, None, ANA)
    assert store.read_report("v2") is None
    assert "report.html" not in metadata_of(store, "v2")["files"]
    assert ("the new version has no report" in caplog.text) == (change != "none")


def fail(_: Mapping[str, Any]) -> str:
    raise ZeroDivisionError("no rows")


def huge(_: Mapping[str, Any]) -> str:
    return "x" * (REPORT_MAX_BYTES + 1)


@pytest.mark.parametrize(("build", "words"), [(fail, "no rows"), (huge, "the limit is 4194304")])
def test_version_is_published_without_a_report_that_fails_or_is_too_large(
    build: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = {name: content for name, content in make_files().items() if name != "model.pkl"}
    with caplog.at_level(logging.WARNING):
        assert add_report(files, "v1", build) == files
    assert words in caplog.text
    assert "fraud-trainer report v1" in caplog.text


def test_store_that_fails_at_the_report_leaves_no_version() -> None:
    store = MemoryStore()
    store.script(StoreFault("unavailable", "create models/*/report.html"))
    with pytest.raises(StoreError):
        publish(store, make_draft(), store_settings())
    assert (store.versions(), store.incomplete()) == ([], ["v1"])


def test_tracked_model_has_no_report_among_its_files() -> None:
    store = MemoryStore()
    publish(store, make_draft(), store_settings())
    files = {**store.fetch("v1"), "report.html": store.read_report("v1") or b""}
    with _as_files(files, metadata_of(store, "v1")) as paths:
        folders = {Path(path).name: folder for path, folder in paths}
    assert folders == {"report.html": None, "model.pkl": "bundle", "preprocessor.pkl": "bundle",
                       "metadata.json": "bundle"}  # fmt: skip
