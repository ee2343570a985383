"""Which store each URI opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_scorer.errors import SettingsError
from stream_scorer.model.store.opening import open_store
from tests.support.stores import store_settings


@pytest.mark.parametrize(
    "uri", ["s3:///prefix", "file:///", "file:///dir?x=1", "file:///dir#fragment"]
)
def test_invalid_uri_is_refused(uri: str) -> None:
    with pytest.raises(SettingsError, match="MODEL_STORE_URI"):
        open_store(store_settings(model_store_uri=uri))


def test_store_is_opened_at_the_uri(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    store = open_store(store_settings(model_store_uri=folder.as_uri()))
    assert store.where == folder.as_uri()
    assert not folder.exists()
    opened = open_store(store_settings(model_store_uri="s3://bucket/a/b/"))
    assert opened.where == "s3://bucket/a/b"
