from __future__ import annotations

import errno
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream_scorer.model.serving import cache
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.store import names as store_layout


def make_files(text: str) -> dict[str, bytes]:
    content = text.encode()
    return {"model.pkl": content, "preprocessor.pkl": content, "metadata.json": content}


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_empty_cache_returns_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert BundleCache(tmp_path / "absent").load() is None
    assert BundleCache(tmp_path).load() is None
    assert caplog.records == []


def test_saved_bundle_comes_back_in_another_process(tmp_path: Path) -> None:
    files = make_files("3") | {"metadata.json.sig": b"signature"}
    BundleCache(tmp_path / "made" / "for it").save("v3", files)
    assert BundleCache(tmp_path / "made" / "for it").load() == ("v3", files)


def test_last_saved_wins_even_if_its_version_is_older(tmp_path: Path) -> None:
    bundles = BundleCache(tmp_path)
    for version in ("v9", "v10", "v2"):
        bundles.save(version, make_files(version))
    assert bundles.load() == ("v2", make_files("v2"))
    assert [version for version, _ in bundles.candidates()] == ["v2", "v10"]


def test_only_two_versions_are_kept_and_no_partial_ones(tmp_path: Path) -> None:
    bundles = BundleCache(tmp_path)
    for number in range(1, 6):
        bundles.save(f"v{number}", make_files(str(number)))
    assert entries(tmp_path) == ["00000004-v4", "00000005-v5"]


def test_saving_the_same_bundle_again_writes_nothing(tmp_path: Path) -> None:
    bundles = BundleCache(tmp_path)
    bundles.save("v1", make_files("1"))
    bundles.save("v2", make_files("2"))
    bundles.save("v2", make_files("2"))
    assert entries(tmp_path) == ["00000001-v1", "00000002-v2"]


def test_damaged_entry_is_replaced_by_the_next_save(tmp_path: Path) -> None:
    bundles = BundleCache(tmp_path)
    bundles.save("v1", make_files("1"))
    (tmp_path / "00000001-v1" / "model.pkl").write_bytes(b"damaged")
    bundles.save("v1", make_files("1"))
    assert bundles.load() == ("v1", make_files("1"))


def test_unreadable_entry_falls_back_to_the_previous_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundles = BundleCache(tmp_path)
    bundles.save("v1", make_files("1"))
    bundles.save("v2", make_files("2"))
    (tmp_path / "00000002-v2" / "metadata.json").unlink()
    assert bundles.load() == ("v1", make_files("1"))
    assert "00000002-v2" in caplog.text


def test_oversized_entry_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles = BundleCache(tmp_path)
    bundles.save("v1", make_files("1" * 100))
    monkeypatch.setattr(store_layout, "MODEL_MAX_BYTES", 99)
    assert bundles.load() is None


def test_foreign_names_are_ignored(tmp_path: Path) -> None:
    bundles = BundleCache(tmp_path)
    bundles.save("v1", make_files("1"))
    for name in ("latest", "00000009-v0", "00000009-v1x", ".unfinished-left-behind"):
        (tmp_path / name).mkdir()
    assert bundles.load() == ("v1", make_files("1"))


def test_folder_that_cannot_be_created_causes_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    bundles = BundleCache(tmp_path / "file" / "cache")
    bundles.save("v1", make_files("1"))
    assert bundles.load() is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "could not cache bundle v1" in caplog.text


def test_full_disk_causes_a_warning_and_keeps_the_last_good_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fill_up(path: Path, content: bytes) -> None:
        path.write_bytes(content[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    bundles = BundleCache(tmp_path)
    bundles.save("v1", make_files("1"))
    monkeypatch.setattr(cache, "write_synced", fill_up)
    bundles.save("v2", make_files("2"))
    assert "No space left on device" in caplog.text
    assert bundles.load() == ("v1", make_files("1"))
    assert entries(tmp_path) == ["00000001-v1"]


def test_processes_may_share_the_folder(tmp_path: Path) -> None:
    def save(number: int) -> None:
        BundleCache(tmp_path).save("v7", make_files("7"))

    BundleCache(tmp_path).save("v6", make_files("6"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(8)))
    BundleCache(tmp_path).save("v7", make_files("7"))
    found = list(BundleCache(tmp_path).candidates())
    assert found == [("v7", make_files("7")), ("v6", make_files("6"))]


@pytest.mark.parametrize("stray", ["99999999-v1", "123456789012-v9", "00000009-v3"])
def test_stray_entry_does_not_hide_the_last_good_bundle(tmp_path: Path, stray: str) -> None:
    bundles = BundleCache(tmp_path)
    bundles.save("v1", make_files("1"))
    (tmp_path / stray).mkdir()
    bundles.save("v2", make_files("2"))
    assert list(bundles.candidates()) == [("v2", make_files("2")), ("v1", make_files("1"))]


def test_sequence_grows_past_a_complete_stray_entry(tmp_path: Path) -> None:
    bundles = BundleCache(tmp_path)
    bundles.save("v1", make_files("1"))
    (tmp_path / "00000001-v1").rename(tmp_path / "99999999-v1")
    bundles.save("v2", make_files("2"))
    bundles.save("v3", make_files("3"))
    assert [version for version, _ in bundles.candidates()] == ["v3", "v2"]


def test_file_or_link_with_the_name_of_an_entry_is_ignored(tmp_path: Path) -> None:
    bundles = BundleCache(tmp_path)
    bundles.save("v1", make_files("1"))
    (tmp_path / "00000008-v1").write_bytes(b"stray")
    (tmp_path / "00000009-v1").symlink_to(tmp_path / "00000001-v1")
    bundles.forget("v1")
    assert bundles.load() is None
    assert entries(tmp_path) == ["00000008-v1", "00000009-v1"]
